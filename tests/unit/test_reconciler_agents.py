"""Agents that come back, are replaced, or were deleted: a session that is over says nothing any more."""

from __future__ import annotations

from typing import Any

import pytest

from cloison.errors import Unavailable
from cloison.v1 import host_sync_pb2, port_pb2
from controller.flows import Flow, match
from controller.reconcile import plugs
from tests.support.hosts import MemoryHost, eventually
from tests.support.reconciling import (
    H1,
    ack,
    controller,
    delete_host,
    pair,
    with_base,
)


async def test_a_receipt_for_an_older_question_does_not_answer_the_newer_one_of_that_revision() -> None:
    async with controller() as made:
        h1, _, _, _ = await pair(made)
        h1.mute = True
        before = len(h1.barriers)
        p3 = await made.create_port(3, "h2")
        revision = made.store.state.revision
        await eventually(lambda: made.reconciler.revision == revision, "followed")
        actor = made.reconciler.hosts[H1]
        actor.send_barrier(force=True)
        await eventually(lambda: len(h1.barriers) > before, f"asked after {p3}")
        revision = h1.barriers[-1].revision
        evil = Flow(table=0, priority=65535, match=match(in_port=9), goto=20)
        h1.switch.tamper(add=(evil,))
        await eventually(lambda: evil.key not in h1.switch.flows, "repaired")
        # The agent answers what it was asked before the flow went.
        made.reconciler.acked(h1.session, ack(revision))
        assert not actor.holds(revision), "the cached flows were not revalidated yet"
        await eventually(lambda: h1.barriers[-1].revalidate, "asked again")
        made.reconciler.acked(h1.session, ack(h1.barriers[-1].revision))
        assert actor.holds(revision)


async def test_an_agent_that_comes_back_has_confirmed_nothing() -> None:
    async with controller() as made:
        _, h2, p1, p2 = await pair(made)
        h2.disconnect_agent()
        again = MemoryHost(made.reconciler, 2, h2.switch)
        again._ofport = 100
        again.mute = True
        await again.connect("if2")
        await eventually(lambda: made.status(p1) == made.status(p2) == port_pb2.Port.BUILDING, "not known")
        made.reconciler.acked(again.session, ack(made.store.state.revision))
        await made.active(p1)
        await made.active(p2)


async def test_a_session_that_was_closed_is_over() -> None:
    async with controller() as made:
        await with_base(made)
        old, new = MemoryHost(made.reconciler, 1), MemoryHost(made.reconciler, 1)
        await old.connect("if1")
        worker = old.session.worker
        await new.connect("if1")
        assert worker is not None
        await eventually(worker.done, "nobody settles what the old session says")
        with pytest.raises(Unavailable):
            made.reconciler.inventory(old.session, host_sync_pb2.Inventory(complete=True))
        assert made.reconciler.hosts[H1].agent is new.session


async def test_an_agent_of_a_host_that_was_deleted_must_register_again() -> None:
    async with controller() as made:
        h1 = MemoryHost(made.reconciler, 1)
        await h1.register()
        await delete_host(made, H1)
        await eventually(lambda: H1 not in made.reconciler.hosts, "forgotten")
        with pytest.raises(Unavailable):
            made.reconciler.inventory(h1.session, host_sync_pb2.Inventory(complete=True))
        assert H1 not in made.reconciler.hosts


async def test_a_worker_that_fails_ends_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    async with controller() as made:
        h1, _, _, _ = await pair(made)

        def broken(*args: Any) -> Any:
            raise RuntimeError("a bug")

        monkeypatch.setattr(plugs, "binding_changes", broken)
        h1.plug("if9")
        await eventually(lambda: h1.session.closed_because, "the agent dials again, and has a new worker")


async def test_a_host_is_not_told_of_ports_that_are_not_its_own() -> None:
    async with controller() as made:
        await with_base(made)
        await MemoryHost(made.reconciler, 1).register()
        h2 = MemoryHost(made.reconciler, 2)
        await made.create_port(1, "h1")
        await h2.connect("if1")
        await eventually(lambda: "if1" in h2.verdicts, "judged")
        condition = h2.verdicts["if1"].condition
        assert condition.reason == "NOT_SCHEDULED_HERE"
        assert not condition.subjects
        assert "acme" not in condition.message
        assert "h1" not in condition.message
