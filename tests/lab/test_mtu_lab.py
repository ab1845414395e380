"""What guests are told of the MTU, and what becomes of packets that are larger than it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.clients import iperf_server, throughput_bps
from tests.lab.spine import Site, site
from topologies.workload import Workload

HEADERS_BYTES = {4: 28, 6: 48}


@pytest.fixture(scope="module")
def cloud(module_run_dir: Path) -> Iterator[Site]:
    with site(module_run_dir) as cloud:
        yield cloud


@pytest.fixture
def large(cloud: Site) -> Iterator[Workload]:
    """red/p1 as it is when nobody told it the MTU: it sends what its own link takes."""
    guest, tap = cloud.guests["red/p1"], cloud.guests["red/p1"].plug.tap
    usual, whole = cloud.lab.underlay.mtu - 50, cloud.lab.underlay.mtu
    cloud.host("h1").node.ip([f"link set {tap} mtu {whole}"])
    guest.ip([f"link set eth0 mtu {whole}"])
    yield guest
    guest.ip([f"link set eth0 mtu {usual}", "route flush cache"])
    guest.run(["ip", "-6", "route", "flush", "cache"])
    cloud.host("h1").node.ip([f"link set {tap} mtu {usual}"])


@pytest.mark.parametrize("version", [4, 6])
def test_an_oversize_packet_is_answered_and_the_next_one_fits(
    cloud: Site, large: Workload, version: int
) -> None:
    overlay_mtu, target = cloud.lab.underlay.mtu - 50, cloud.guests["red/p2"].address(version)
    size = str(cloud.lab.underlay.mtu - HEADERS_BYTES[version])
    argv = ["ping", "-n", "-c", "3", "-i", "0.3", "-W", "9", "-M", "do", "-s", size, target]
    said = large.run(argv)
    assert re.search(rf"mtu ?= ?{overlay_mtu}\b", said.stdout + said.stderr), said.stdout + said.stderr
    route = large.run(["ip", "route", "get", target]).stdout
    assert f"mtu {overlay_mtu}" in route
    # Its kernel cuts now by itself.
    argv = ["ping", "-n", "-c", "1", "-W", "9", "-M", "dont", "-s", size, target]
    assert large.run(argv).returncode == 0


@pytest.mark.parametrize("version", [4, 6])
def test_tcp_of_a_guest_that_does_not_know_the_mtu_still_passes(
    cloud: Site, large: Workload, version: int
) -> None:
    with iperf_server(cloud.guests["red/p2"]):
        assert throughput_bps(large, cloud.guests["red/p2"], 2, version) > 1e6


def test_on_one_host_nothing_is_too_large_for_the_overlay(cloud: Site, large: Workload) -> None:
    port = cloud.create_port("tenants/red/networks/web", "near", "h1", addresses=["10.0.0.51"])
    near = cloud.lab.plug_port(port)
    cloud.adopt(port, near)
    cloud.wait_active([port.name])
    try:
        near.ip([f"link set eth0 mtu {cloud.lab.underlay.mtu}"])
        cloud.host("h1").node.ip([f"link set {near.plug.tap} mtu {cloud.lab.underlay.mtu}"])
        size = str(cloud.lab.underlay.mtu - HEADERS_BYTES[4])
        assert large.run(["ping", "-n", "-c1", "-W9", "-M", "do", "-s", size, "10.0.0.51"]).returncode == 0
    finally:
        cloud.drop("red/near")
