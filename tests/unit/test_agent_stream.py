"""When the stream dials, and when it waits."""

from __future__ import annotations

import asyncio
import contextlib

from agent.outbox import Outbox
from agent.ovsdb.view import BridgeView
from agent.plan import Vtep
from agent.seams import Dial
from agent.session import Session
from agent.stream import Identity, Stream

ROUNDS = 50


class Asked(Exception):
    """A session was asked for."""


async def test_without_a_bridge_nobody_is_dialled_and_with_one_at_once() -> None:
    outbox, asked = Outbox(), 0

    def session() -> tuple[Session, int]:
        nonlocal asked
        asked += 1
        raise Asked

    async def mtu() -> int:
        return 1500

    identity = Identity("h1", Vtep(bytes([10, 0, 0, 1])), "1")
    stream = Stream(Dial(("127.0.0.1:1",), "c1"), identity, outbox, BridgeView, session, mtu)
    running = asyncio.create_task(stream.run())
    try:
        for view in (None, BridgeView(connected=True), BridgeView(connected=True, exists=True)):
            if view is not None:
                outbox.inventory(view)
            for _ in range(ROUNDS):
                await asyncio.sleep(0)
            assert not asked
            assert not running.done()
        outbox.inventory(BridgeView(connected=True, exists=True, datapath_id=1))
        with contextlib.suppress(Asked):
            await asyncio.wait_for(running, 5)
        assert asked == 1
    finally:
        running.cancel()
