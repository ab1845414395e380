"""The first of a start on a real Open vSwitch: the bridge dials whom it obeyed last, nothing else happens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.opening import Opening, Options
from agent.ovsdb import TlsFiles
from agent.plan import Vtep
from agent.seams import Dial, HostSettings
from agent.state import Fence, StateDirectory
from cloison.errors import Precondition
from tests.support.ovs import Ovs

pytestmark = pytest.mark.system

TARGET = "ssl:127.0.0.1:6653"
TLS = TlsFiles("/etc/host.key", "/etc/host.crt", "/etc/ca.crt")


@pytest.fixture
def ovs() -> Iterator[Ovs]:
    with Ovs() as running:
        yield running


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A directory in which an agent has obeyed a controller."""
    directory = StateDirectory(tmp_path / "state")
    directory.open()
    directory.write_fence(Fence(3, "c1", TARGET))
    directory.close()
    return tmp_path / "state"


def options(ovs: Ovs, state: Path) -> Options:
    settings = HostSettings("h1", Vtep(bytes([10, 0, 0, 1])), tls=TLS)
    dial = Dial(("127.0.0.1:1",), "controller.c1")
    return Options(settings, dial, state, ovs.db, ovs.run_dir / "switch.ctl", {}, 1500, (), None, None)


@asynccontextmanager
async def begun(ovs: Ovs, state: Path) -> AsyncIterator[Opening]:
    opening = Opening(options(ovs, state))
    try:
        await opening.begin()
        yield opening
    finally:
        opening.bridge.close()
        opening.state.close()


def rows(ovs: Ovs) -> str:
    """All of the database but who is dialled."""
    tables = ("Bridge", "Port", "Interface", "Open_vSwitch")
    columns = (
        "--columns=name,ports",
        "--columns=name,interfaces",
        "--columns=name,external_ids",
        "--columns=bridges",
    )
    return "".join(ovs.vsctl(column, "list", table) for table, column in zip(tables, columns, strict=True))


async def test_a_bridge_dials_whom_it_obeyed_and_is_else_as_it_was(ovs: Ovs, state: Path) -> None:
    ovs.vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=dummy", "fail_mode=secure")
    ovs.vsctl("add-port", "br-int", "vx001000", "--", "set", "interface", "vx001000", "type=dummy")
    ovs.vsctl("add-port", "br-int", "tap1", "--", "set", "interface", "tap1", "type=dummy",
              "external_ids:iface-id=a", "external_ids:cloison-state=refused")  # fmt: skip
    before = rows(ovs)
    async with begun(ovs, state) as opening:
        assert ovs.vsctl("get-controller", "br-int").split() == [TARGET]
        assert opening.bridge.view.interfaces["tap1"].iface_id == "a"
        assert rows(ovs) == before
    assert TLS.cert in ovs.vsctl("get-ssl")


async def test_who_has_obeyed_nobody_dials_nobody(ovs: Ovs, tmp_path: Path) -> None:
    ovs.vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=dummy")
    async with begun(ovs, tmp_path / "new"):
        assert ovs.vsctl("get-controller", "br-int").split() == []


async def test_no_bridge_is_made_before_it_is_known_of_which_type(ovs: Ovs, state: Path) -> None:
    async with begun(ovs, state):
        assert ovs.vsctl("list-br").split() == []


async def test_a_database_that_is_not_there_stops_no_start(ovs: Ovs, state: Path) -> None:
    ovs.kill_db()
    async with begun(ovs, state) as opening:
        assert not opening.bridge.view.connected


async def test_another_agent_keeps_its_directory(ovs: Ovs, state: Path) -> None:
    async with begun(ovs, state):
        second = Opening(options(ovs, state))
        with pytest.raises(Precondition):
            await second.begin()
