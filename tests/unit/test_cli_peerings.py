"""Peerings on the command line, in files and in plans."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from cloison.names import PeeringName
from tests.unit.test_cli import Served, run, served, world

assert served
assert world
ACME, BETA = ("-t", "acme"), ("-t", "beta")
FILE = """
    kind: Peering
    name: to-beta
    tenant: acme
    router: r1
    peer_router: tenants/beta/routers/r9
    prefixes: [10.7.0.0/24]
    peer_prefixes: [10.9.0.0/24]
    services: [tcp:5432, icmp]
"""
THEIRS = (
    *("peering", "create", "to-acme", *BETA, "--router", "r9", "--peer-router", "tenants/acme/routers/r1"),
    *("--prefix", "10.9.0.0/24", "--peer-prefix", "10.7.0.0/24"),
)


@pytest.fixture
def two(world: Served) -> Served:
    run("tenant", "create", "beta")
    for tenant, router, cidr in ((ACME, "r1", "10.7.0.0/24"), (BETA, "r9", "10.9.0.0/24")):
        run("network", "create", "db", *tenant)
        run("subnet", "create", "v4", *tenant, "-n", "db", "--cidr", cidr)
        run("router", "create", router, *tenant, "--interface", "db/v4")
    return world


def test_a_half_in_a_file_and_the_other_by_hand(two: Served, tmp_path: Path) -> None:
    file = tmp_path / "peering.yaml"
    file.write_text(dedent(FILE))
    shown = run("plan", "-f", str(file)).stdout
    assert "+ tenants/acme/peerings/to-beta" in shown
    assert "services: icmp, tcp:5432" in shown
    run("apply", "-f", str(file), "--yes")
    assert PeeringName("acme", "to-beta") in two.api.store.state.peerings
    assert "No changes" in run("plan", "-f", str(file)).stdout
    exported = run("export", "acme").stdout
    assert "kind: Peering" in exported
    assert "tcp:5432" in exported
    assert "PEER_NOT_ACCEPTED" in run("peering", "list", *ACME).stdout
    assert not run("peering", "list", "--effective").stdout
    run(*THEIRS)
    lines = [line.split() for line in run("peering", "list", "--effective").stdout.splitlines()[1:]]
    assert len(lines) == 2
    assert lines[0][:5] == [
        "tenants/beta/routers/r9",
        "10.9.0.0/24",
        "icmp",
        "tcp:5432",
        "tenants/acme/routers/r1",
    ]
    assert lines[1][:4] == ["tenants/acme/routers/r1", "10.7.0.0/24", "-", "tenants/beta/routers/r9"]
    run("peering", "update", "to-beta", *ACME, "--service", "udp:53")
    assert "udp:53" in run("peering", "list", "--effective").stdout
    run("peering", "delete", "to-beta", *ACME)
    assert not run("peering", "list", "--effective").stdout


def test_prune_takes_a_peering_away_before_its_router(two: Served, tmp_path: Path) -> None:
    file = tmp_path / "peering.yaml"
    file.write_text(dedent(FILE))
    run("apply", "-f", str(file), "--yes")
    file.write_text("kind: Tenant\nname: acme\n---\nkind: Network\ntenant: acme\nname: db\n")
    run("apply", "-f", str(file), "--prune", "--yes")
    assert not two.api.store.state.peerings
    assert not two.api.store.state.routers_of(PeeringName("acme", "x").parent)


def test_a_service_that_is_none(two: Served) -> None:
    done = run(*THEIRS, "--service", "tcp:x", code=2)
    assert "'tcp:x' is not PROTOCOL" in done.stderr
