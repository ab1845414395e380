"""Routers on the command line, in files and in plans."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from cloison.names import RouterName
from tests.unit.test_cli import Served, run, served, world

assert served
assert world
ACME = ("-t", "acme")
FILE = """
    kind: Router
    name: r1
    tenant: acme
    interfaces: [web/s4, db/v4 10.1.0.9]
    routes: ["192.0.2.0/24 via 10.1.0.7, 10.1.0.8"]
"""


@pytest.fixture
def two(world: Served) -> Served:
    run("network", "create", "db", *ACME)
    run("subnet", "create", "v4", *ACME, "-n", "db", "--cidr", "10.1.0.0/24")
    return world


def subnet_of_web(site: Served) -> str:
    return next(s.subnet for s in site.api.store.state.subnets if s.network == "web" and s.subnet)


def test_a_router_is_made_shown_and_taken_away(two: Served) -> None:
    web = subnet_of_web(two)
    run("router", "create", "r1", *ACME, "--interface", f"web/{web}", "--interface", "db/v4,10.1.0.9")
    run("router", "update", "r1", *ACME, "--route", "192.0.2.0/24,10.1.0.7")
    listed = run("router", "list", *ACME).stdout
    assert "0a:f3:00:00:00:02" in listed
    assert "db/v4,10.1.0.9" in listed
    assert "192.0.2.0/24,10.1.0.7" in listed
    run("router", "update", "r1", *ACME, "--route", "192.0.2.0/24,10.1.0.8,10.1.0.7")
    assert "192.0.2.0/24,10.1.0.7,10.1.0.8" in run("router", "list", *ACME).stdout
    run("router", "delete", "r1", *ACME)
    assert not two.api.store.state.routers


def test_a_router_in_a_file(two: Served, tmp_path: Path) -> None:
    file = tmp_path / "router.yaml"
    file.write_text(dedent(FILE).replace("web/s4", f"web/{subnet_of_web(two)}"))
    shown = run("plan", "-f", str(file)).stdout
    assert "+ tenants/acme/routers/r1" in shown
    assert "routes: 192.0.2.0/24 via 10.1.0.7 10.1.0.8" in shown
    run("apply", "-f", str(file), "--yes")
    assert RouterName("acme", "r1") in two.api.store.state.routers
    exported = run("export", "acme").stdout
    assert "kind: Router" in exported
    assert "db/v4 10.1.0.9" in exported
    assert "No changes" in run("plan", "-f", str(file)).stdout


def test_a_wrong_route_is_told_where_it_stands(two: Served, tmp_path: Path) -> None:
    file = tmp_path / "router.yaml"
    file.write_text(dedent(FILE).replace("web/s4", "nowhere/v4"))
    refused = run("plan", "-f", str(file), code=1)
    assert "interfaces[0]" in refused.stderr
