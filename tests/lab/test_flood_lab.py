"""One port floods; the others on its host and elsewhere do not notice, and nobody's memory grows."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.lab.clients import dhclient, dig, echo_servers, tcp
from tests.lab.spine import Site, site
from topologies.daemon import Daemon
from topologies.workload import Workload

SECONDS, RATE_PPS = 10, 50_000
GROWTH_MAX_BYTES = 64 << 20
DNS4 = "169.254.169.253"
PORT = 22
LEASE_S, RETRIES_S = 10, 5
"""A client sends its first packet again after 1 and 3 seconds (RFC 6298)."""


@pytest.fixture(scope="module")
def cloud(module_run_dir: Path) -> Iterator[Site]:
    """Beside the flooder red/p1, on its host: a neighbour of its tenant, and one that has no address yet."""
    with site(module_run_dir) as cloud:
        for n, port_id in ((71, "near"), (72, "fresh")):
            port = cloud.create_port("tenants/red/networks/web", port_id, "h1", addresses=[f"10.0.0.{n}"])
            guest = cloud.lab.plug_port(port) if port_id == "near" else cloud.lab.plug(
                "h1", port.iface_id, port.mac_address, [], name="red-fresh")  # fmt: skip
            cloud.adopt(port, guest)
        cloud.wait_active()
        yield cloud


def resident_bytes(daemon: Daemon) -> int:
    text = Path(f"/proc/{daemon.pid}/status").read_text(encoding="ascii")
    return int(text.partition("VmRSS:")[2].split()[0]) * 1024


def daemons(cloud: Site) -> dict[str, Daemon]:
    agents = {f"agent of {name}": host.agent for name, host in cloud.lab.hosts.items() if host.agent}
    return {"controller": cloud.lab.controller, **agents}


@contextmanager
def flood(source: Workload, target: Workload, kind: str) -> Iterator[subprocess.Popen[str]]:
    argv = [
        sys.executable,
        "-m",
        "tests.lab.flooder",
        "eth0",
        kind,
        str(SECONDS),
        str(RATE_PPS),
        source.plug.mac,
    ]
    root = Path(__file__).resolve().parents[2]
    process = source.popen(
        [*argv, source.address(4), target.address(4)], stdout=subprocess.PIPE, text=True, cwd=root
    )
    try:
        # As soon as it sends.
        yield process
        print(f"\n{kind}: {int(process.communicate(timeout=SECONDS + 20)[0]) / SECONDS:.0f} frames a second")
    finally:
        process.kill()
        process.communicate()


def still_served(cloud: Site, directory: Path, until: float) -> dict[str, int]:
    """Use everything again and again until a moment (monotonic seconds); what failed, how often."""
    failed = {"lease": 0, "name": 0, "near": 0, "far": 0, "other tenant": 0}
    rounds = 0
    while time.monotonic() < until or not rounds:
        failed["lease"] += not _succeeds(
            lambda: dhclient(cloud.guests["red/fresh"], directory, timeout_s=LEASE_S)
        )
        failed["name"] += not _succeeds(
            lambda: dig(cloud.guests["red/near"], DNS4, "p2.web.red.cloison.internal")
        )
        failed["near"] += not tcp(cloud.guests["red/p2"], cloud.guests["red/near"], PORT, wait_s=RETRIES_S)
        failed["far"] += not tcp(cloud.guests["red/near"], cloud.guests["red/p3"], PORT, wait_s=RETRIES_S)
        failed["other tenant"] += not tcp(
            cloud.guests["blue/p1"], cloud.guests["blue/p2"], PORT, wait_s=RETRIES_S
        )
        rounds += 1
    print(f"{rounds} rounds, failed: {failed}")
    return {what: times for what, times in failed.items() if times}


def _succeeds(call: object) -> bool:
    try:
        return bool(call())  # type: ignore[operator]
    except (AssertionError, TimeoutError):
        return False


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["dhcp", "dns", "tcp"])
def test_a_flooding_port_harms_nobody_else(cloud: Site, tmp_path: Path, kind: str) -> None:
    source, target = cloud.guests["red/p1"], cloud.guests["red/p2"]
    before = {name: resident_bytes(daemon) for name, daemon in daemons(cloud).items()}
    with (
        echo_servers(cloud.guests["red/near"], (PORT,)),
        echo_servers(cloud.guests["red/p3"], (PORT,)),
        echo_servers(cloud.guests["blue/p2"], (PORT,)),
        flood(source, target, kind),
    ):
        failed = still_served(cloud, tmp_path, time.monotonic() + SECONDS)
    after = {name: resident_bytes(daemon) for name, daemon in daemons(cloud).items()}
    print({name: f"{before[name] >> 20} -> {after[name] >> 20} MiB" for name in before})
    assert not failed
    assert not {name for name in before if after[name] - before[name] > GROWTH_MAX_BYTES}


def test_fragments_without_rest_leave_room_for_the_fragments_of_others(cloud: Site) -> None:
    source, target = cloud.guests["red/p1"], cloud.guests["red/p2"]
    source.send((_first_fragment(source, target, n) for n in range(1, 3001)), 0.0005)
    assert cloud.guests["blue/p1"].ping("10.0.0.12", count=3, size_bytes=3000).ok


def _first_fragment(source: Workload, target: Workload, number: int) -> bytes:
    ether = Ether(src=source.plug.mac, dst=target.plug.mac)
    head = IP(src=source.address(4), dst=target.address(4), id=number, flags="MF", proto=17)
    return bytes(ether / head / UDP(sport=9, dport=9, len=3000) / Raw(bytes(1352)))
