"""Compiler bugs, put in by hand, are stopped by the gate of a running controller; traffic goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloison.v1 import port_pb2
from tests.lab.observe import table
from tests.lab.spine import Site, short_name, site
from tests.lab.traffic import Pings, wait_reaches
from tests.support.compiler_bugs import BUG_FILE, BUGS
from topologies.client import CALL_S
from topologies.wait import wait_until

SETTLE_S = 20.0


@pytest.fixture(scope="module")
def buggy(module_run_dir: Path) -> Iterator[tuple[Site, Path]]:
    """The overlapping tenants, under a controller whose compiler gets the bug that a file names."""
    bug_file = module_run_dir / "bug"
    with pytest.MonkeyPatch.context() as patch, site(module_run_dir) as built:
        patch.setenv(BUG_FILE, str(bug_file))
        controller = built.lab.controller
        controller.stop()
        position = controller.argv.index("controller")
        argv = [*controller.argv]
        argv[position] = "tests.support.compiler_bugs"
        controller.argv = tuple(argv)
        controller.start()
        built.wait_active()
        yield built, bug_file


@pytest.mark.lab
@pytest.mark.parametrize("bug", sorted(BUGS))
def test_the_gate_stops_it_and_nobody_else_notices(buggy: tuple[Site, Path], bug: str) -> None:
    built, bug_file = buggy
    red = {short: guest for short, guest in built.guests.items() if short.startswith("red/")}
    first, second = list(red.values())[:2]
    victim_id = f"victim-{bug.replace('_', '-')}"
    bug_file.write_text(f"{bug} {victim_id}")
    before = {host: table(built.host(host)).flows.keys() for host in built.lab.hosts}
    network = "tenants/red/networks/web"
    request = port_pb2.CreatePortRequest(
        parent=network, port_id=victim_id, port=port_pb2.Port(requested_hosts=["hosts/h1"])
    )
    with Pings(first, second) as pings:
        victim = built.client.ports.CreatePort(request, timeout=CALL_S)
        built.adopt(victim, built.lab.plug_port(victim))
        wait_until(lambda: built.port(victim.name).state == port_pb2.Port.ERROR, SETTLE_S, f"{bug} refused")
        (condition,) = built.port(victim.name).conditions
        assert condition.reason == "REFUSED_BY_GATE"
        assert victim.name in condition.message
        assert "table=" in condition.message, "the counterexample shows its way, flow by flow"
        after = {host: table(built.host(host)).flows.keys() for host in built.lab.hosts}
        assert after == before, "not one flow of the refused change may be on any switch"
        pings.wait_more()
    assert pings.lost == []
    bug_file.unlink()
    built.drop(short_name(victim.name))
    wait_reaches(first, second)
