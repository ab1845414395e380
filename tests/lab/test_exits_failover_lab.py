"""A lost gateway host: the next one takes over, at once and for good. And what is too large for outside."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab.spine import SETTLE_S, Site, site
from tests.lab.ways_out import (
    add_external,
    add_floating,
    add_router,
    enforced,
    fetched_bytes,
    gateway_host,
    let_in,
    out,
    until,
)
from topologies.outside import DEFAULT

TENANTS, FAMILIES = ("red", "blue"), (4, 6)
MTU = 1300
FAILOVER_S, TRY_S = 3.0, 0.5


@pytest.fixture(scope="module")
def cloud(module_run_dir: Path) -> Iterator[Site]:
    with site(module_run_dir, outside=replace(DEFAULT, mtu=MTU, blob_bytes=1 << 20)) as cloud:
        add_external(cloud, "h1", "h2", mtu=MTU)
        for tenant in TENANTS:
            let_in(cloud, tenant)
            add_router(cloud, tenant)
        for tenant in TENANTS:
            until(lambda t=tenant: bool(gateway_host(cloud, t)), f"the way out of {tenant}")
        enforced(cloud)
        yield cloud


def test_a_guest_learns_how_much_fits_outside(cloud: Site) -> None:
    guest = cloud.guests["red/p3"]
    for version in FAMILIES:
        far = cloud.lab.outside.far(version)
        big = ["ping", "-n", "-c", "2", "-i", "0.2", "-W", "9", "-M", "do", "-s", "1400", far]
        until(lambda v=version: out(cloud, guest, v), f"IPv{version}", 20)
        told = guest.run(big)
        assert str(MTU) in told.stdout + told.stderr, told
        assert fetched_bytes(guest, cloud.lab.outside.url(version)) == 1 << 20
        up = guest.run(["iperf3", "-J", "-c", far, "-n", "2M"], timeout_s=30)
        assert up.returncode == 0, up.stdout


def soon(check: Callable[[], bool], what: str, timeout_s: float) -> None:
    """Wait for what has little time; one try counts as one, also if the machine stands still in it."""
    spent_s = 0.0
    while True:
        began_s = time.monotonic()
        if check():
            return
        spent_s += min(time.monotonic() - began_s, TRY_S)
        assert spent_s < timeout_s, f"{what}: not within {timeout_s:g} s"


def connects(cloud: Site, guest: str, version: int) -> bool:
    """Whether a new TCP connection to outside begins within a moment."""
    far = cloud.lab.outside.far(version)
    argv = ["socat", "-u", "/dev/null"]
    target = f"TCP4:{far}:80" if version == 4 else f"TCP6:[{far}]:80"
    return cloud.guests[guest].run([*argv, f"{target},connect-timeout=0.3"]).returncode == 0


def kill_everything(cloud: Site, name: str) -> None:
    """As when a machine loses its power, but for its kernel."""
    host = cloud.host(name)
    for daemon in (host.agent, host.switch.vswitchd, host.switch.ovsdb):
        assert daemon is not None
        daemon.kill()


def test_the_next_gateway_host_takes_over_and_keeps_it(cloud: Site) -> None:
    node = cloud.lab.outside.node
    floating = add_floating(cloud, "red/p3")
    pinged = ["ping", "-n", "-c", "1", "-W", "0.3", floating.ip_address]
    until(lambda: node.run(pinged).returncode == 0, "the floating IP", 10)
    for tenant in TENANTS:
        until(lambda t=tenant: connects(cloud, f"{t}/p3", 4), f"{tenant} out", 10)
    first = gateway_host(cloud, "red")
    other = {"h1": "h2", "h2": "h1"}[first]
    kill_everything(cloud, first)
    soon(lambda: connects(cloud, "red/p3", 4), "a new connection", FAILOVER_S)
    soon(lambda: node.run(pinged).returncode == 0, "the floating IP elsewhere", 1)
    for tenant in TENANTS:
        for version in FAMILIES:
            soon(lambda t=tenant, v=version: connects(cloud, f"{t}/p3", v), f"{tenant} {version}", 1)
        assert gateway_host(cloud, tenant) == other
    assert "the way out of a router moved" in cloud.log("", "controller")
    bring_back(cloud, first)
    for tenant in TENANTS:
        assert gateway_host(cloud, tenant) == other
        until(lambda t=tenant: connects(cloud, f"{t}/p3", 4), f"{tenant} out")


def test_a_gateway_host_that_vanishes_without_a_word_is_replaced(cloud: Site) -> None:
    """Its cables are cut: no connection is closed, and nothing tells but that nobody answers."""
    for tenant in TENANTS:
        until(lambda t=tenant: bool(gateway_host(cloud, t)), f"the way out of {tenant}")
        until(lambda t=tenant: connects(cloud, f"{t}/p3", 4), f"{tenant} out", 10)
    first = gateway_host(cloud, "red")
    node = cloud.host(first).node
    links = [interface.name for interface in cloud.lab.underlay.interfaces(first)]
    try:
        cloud.lab.outside.cut(cloud.host(first))
        node.ip([f"link set {link} down" for link in links])
        soon(lambda: connects(cloud, "red/p3", 4), "a new connection", FAILOVER_S)
        assert gateway_host(cloud, "red") != first
    finally:
        node.ip([f"link set {link} up" for link in links])
        cloud.lab.outside.cut(cloud.host(first), is_cut=False)


def bring_back(cloud: Site, name: str) -> None:
    """Start again what was killed; return when the controller has heard all from it."""
    host = cloud.host(name)
    assert host.agent is not None
    host.switch.ovsdb.start()
    host.switch.vswitchd.start()
    host.agent.start()
    cloud.lab.wait_connected()
    until(lambda: cloud.host_status(name).switch_connected, "its switch", SETTLE_S)
    with contextlib.suppress(AssertionError):
        enforced(cloud)
