"""Sessions of switches in any order: nothing of one that ended counts for the next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from controller.compiler.cookies import CookieKind, unpack
from controller.flows import Flow
from controller.flows.delta import InstalledFlows
from controller.openflow.fake import FakeSwitch
from tests.support.hosts import MemoryHost, eventually
from tests.support.reconciling import (
    H1,
    SlowSwitch,
    controller,
    delete_host,
    pair,
    with_base,
)


async def test_an_answer_of_the_last_session_is_not_taken_for_one_of_this() -> None:
    async with controller() as made:
        h1, _, p1, _ = await pair(made)
        (binding,) = made.store.state.bindings_of(p1)
        made.reconciler.switch_gone(1)
        slow = SlowSwitch(1, "h1")
        slow.ports = dict(h1.switch.ports)
        made.reconciler.switch_connected(1, slow)
        await eventually(lambda: slow.reading, "reading")
        fresh = FakeSwitch(1, "h1")
        fresh.ports = {binding.ofport: "tap-of-somebody-else"}
        made.reconciler.switch_connected(1, fresh)
        slow.may_read.set()
        await eventually(lambda: fresh.deltas, "filled")
        sent = [flow for delta in fresh.deltas for flow in (*delta.add, *delta.modify)]
        assert all((c := unpack(f.cookie)) is None or c.kind is not CookieKind.PORT for f in sent)
        assert ("OFPORT_UNCONFIRMED", ("hosts/h1",)) in made.reasons(p1)


class LatePorts(FakeSwitch):
    """A port changes its name after the switch has said what it has, and before that is heard."""

    late: dict[int, str | None] = {}

    async def read_ports(self) -> None:
        said = dict(self.ports)
        for ofport, name in self.late.items():
            self.set_port(ofport, name)
        self.ports = said


async def test_a_port_that_changes_while_ports_are_read_is_noticed() -> None:
    async with controller() as made:
        h1, _, p1, _ = await pair(made)
        (binding,) = made.store.state.bindings_of(p1)
        made.reconciler.switch_gone(1)
        late = LatePorts(1, "h1")
        late.ports = dict(h1.switch.ports)
        late.late = {binding.ofport: "tap-of-somebody-else"}
        made.reconciler.switch_connected(1, late)
        await eventually(lambda: late.deltas, "filled")
        assert ("OFPORT_UNCONFIRMED", ("hosts/h1",)) in made.reasons(p1)


async def test_what_is_read_against_does_not_change_meanwhile() -> None:
    """Another thread walks through what a switch is expected to hold."""
    async with controller() as made:
        h1, _, _, _ = await pair(made)
        walks: list[Iterable[Flow]] = []

        class Walking(SlowSwitch):
            async def read_flows(self, **how: Any) -> InstalledFlows:
                walk = iter(how["expected"])
                next(walk)
                walks.append(walk)
                found = await super().read_flows(**how)
                assert list(walk)
                return found

        made.reconciler.switch_gone(1)
        walking = Walking(1, "h1")
        walking.ports = h1.switch.ports
        h1.switch = walking
        made.reconciler.switch_connected(1, walking)
        await eventually(lambda: walks, "reading")
        p3 = await made.create_port(3, "h1")
        h1.plug("if3")
        await eventually(lambda: made.reconciler.hosts[H1].flows.flows_of(("port", p3)), "compiled")
        walking.may_read.set()
        await made.active(p3)


async def test_a_host_that_was_deleted_and_comes_back_has_its_switch() -> None:
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1)
        await h1.connect()
        await eventually(lambda: h1.switch.deltas, "filled")
        h1.disconnect_agent()
        await delete_host(made, H1)
        await eventually(lambda: H1 not in made.reconciler.hosts, "forgotten")
        realized, _, missing = await made.reconciler.tracker.wait_realized(H1, made.store.state.revision, 0.1)
        assert realized, missing
        again = MemoryHost(made.reconciler, 1, h1.switch)
        await again.register()
        status = made.reconciler.tracker.host_status
        await eventually(lambda: status(H1).switch_connected, "the session that never ended counts")


async def test_a_host_with_another_bridge_has_lost_the_old_one() -> None:
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1)
        await h1.connect()
        status = made.reconciler.tracker.host_status
        assert status(H1).switch_connected
        h1.disconnect_agent()
        moved = MemoryHost(made.reconciler, 1, FakeSwitch(77, "h1"))
        moved._number = 77
        await moved.register(vtep="192.0.2.1")
        await eventually(lambda: not status(H1).switch_connected, "that bridge is not this host's")
        made.reconciler.switch_connected(77, moved.switch)
        await eventually(lambda: moved.switch.deltas, "the new one is filled")
