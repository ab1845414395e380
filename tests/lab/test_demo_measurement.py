"""The demo's measurement must be able to fail: hand-made flows that are right, that lose, and that leak."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import plain
from topologies.demo.guests import Guest, guests
from topologies.demo.measure import Measurement
from topologies.lab import Lab
from topologies.state import LabState
from topologies.workload import Workload

TENANTS = ("red", "blue")


@pytest.fixture(scope="module")
def lab(module_run_dir: Path) -> Iterator[Lab]:
    """One host, two tenants with the same MACs and addresses, two workloads each."""
    with plain("one-host", module_run_dir) as lab:
        for tenant in TENANTS:
            for n in (1, 2):
                addresses = [f"10.0.0.1{n}/24", f"fd00:10::1{n}/64"]
                name = f"{tenant}-p{n}"
                lab.plug("h1", name, f"52:54:00:00:00:1{n}", addresses, name=name)
        yield lab


def flows(lab: Lab, allowed: set[tuple[str, str]]) -> None:
    """Whatever a workload sends is copied to those it is allowed to reach."""
    switch = lab.hosts["h1"].switch
    ofports = {n: _ofport(lab, w) for n, w in lab.workloads.items()}
    switch.ofctl("del-flows")
    for kind in (133, 143):  # what a kernel says unasked: router solicitations, multicast listener reports
        switch.ofctl("add-flow", f"priority=65000,icmp6,icmp_type={kind},actions=drop")
    for name, ofport in ofports.items():
        outputs = ",".join(f"output:{ofports[to]}" for source, to in sorted(allowed) if source == name)
        switch.ofctl("add-flow", f"in_port={ofport},actions={outputs or 'drop'}")


def _ofport(lab: Lab, workload: Workload) -> str:
    return lab.hosts["h1"].switch.vsctl("get", "Interface", workload.plug.tap, "ofport").stdout.strip()


def everyone(lab: Lab) -> list[Guest]:
    return guests(LabState.load(lab.run_dir), {n: n.split("-")[0] for n in lab.workloads})


RIGHT = {("red-p1", "red-p2"), ("red-p2", "red-p1"), ("blue-p1", "blue-p2"), ("blue-p2", "blue-p1")}


def measure(lab: Lab, tenants: tuple[str, ...] = TENANTS) -> Measurement:
    measurement = Measurement(everyone(lab), [], {})
    for tenant in tenants:
        measurement.matrix(tenant)
        measurement.flood(tenant, rounds=3)
    return measurement


def test_tenants_that_are_apart_pass(lab: Lab) -> None:
    flows(lab, RIGHT)
    result = measure(lab).result
    assert result.leaks == []
    assert {(p.source, p.target) for p in result.pairs if p.reached} == RIGHT
    assert result.right
    assert {"arp", "broadcast", "multicast", "unknown unicast", "forged", "probe"} == set(result.sent)


def test_a_pair_that_should_talk_and_does_not_fails(lab: Lab) -> None:
    flows(lab, RIGHT - {("blue-p1", "blue-p2")})
    result = measure(lab, ("blue",)).result
    assert not result.right
    # A ping needs both directions.
    assert {(p.source, p.target) for p in result.pairs if not p.right} == {
        ("blue-p1", "blue-p2"),
        ("blue-p2", "blue-p1"),
    }


def test_a_leak_in_one_direction_is_found_though_no_answer_comes_back(lab: Lab) -> None:
    flows(lab, RIGHT | {("red-p1", "blue-p2")})
    result = measure(lab).result
    assert not result.right
    assert {(p.source, p.target) for p in result.pairs if p.reached and not p.expected} == {
        ("red-p1", "blue-p2")
    }
    # (Answers of blue-p2 go to its own tenant's twin of the sender: further leaks, rightly.)
    assert "blue-p2" in {leak.where for leak in result.leaks}
    assert {leak.phase for leak in result.leaks} == {"probes", "flood"}


def test_a_leak_of_broadcasts_alone_is_found(lab: Lab) -> None:
    flows(lab, RIGHT)
    switch = lab.hosts["h1"].switch
    source, target = (_ofport(lab, lab.workloads[n]) for n in ("blue-p1", "red-p1"))
    switch.ofctl(
        "add-flow", f"priority=40000,in_port={source},dl_dst=ff:ff:ff:ff:ff:ff,actions=output:{target}"
    )
    result = measure(lab).result
    assert {leak.where for leak in result.leaks} == {"red-p1"}
    assert not result.right
