"""The controller's questions to one agent: parts put together, deadlines, endings, hostile answers."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import Any

import pytest

from cloison.errors import Unavailable
from cloison.v1 import common_pb2, host_sync_pb2
from controller.reconcile import inspect as inspect_module
from controller.reconcile.inspect import QUESTIONS_MAX, Inspections


def part(id_: int, vni: int, macs: list[int], *, last: bool, vtep: bytes = b"\xc0\x00\x02\x01") -> Any:
    network = host_sync_pb2.NetworkDelta(vni=vni)
    for mac in macs:
        network.upserted.add(mac=mac, vtep=vtep)
    return host_sync_pb2.Inspection(id=id_, networks=[network], partial=not last)


class Asked:
    """Inspections, and the questions that were sent."""

    def __init__(self) -> None:
        self.sent: list[host_sync_pb2.ControllerMessage] = []
        self.inspections = Inspections(self.sent.append)

    async def ask(self, **options: Any) -> tuple[asyncio.Task[Any], int]:
        task = asyncio.create_task(self.inspections.ask(**options))
        await asyncio.sleep(0)
        return task, self.sent[-1].inspect.id


async def test_parts_are_put_together_and_questions_are_kept_apart() -> None:
    asked = Asked()
    first, one = await asked.ask(kernel=True)
    second, two = await asked.ask(trace="ip")
    assert asked.sent[1].inspect.ofproto_trace == "ip"
    asked.inspections.answered(part(one, 5, [1, 2], last=False))
    asked.inspections.answered(host_sync_pb2.Inspection(id=two, ofproto_trace="drop"))
    asked.inspections.answered(part(one, 5, [3], last=True))
    assert (await first).fdb == {5: dict.fromkeys((1, 2, 3), ip_address("192.0.2.1"))}
    assert (await second).trace == "drop"


async def test_no_answer_and_no_session_are_unavailable() -> None:
    asked = Asked()
    with pytest.raises(Unavailable, match="no answer within"):
        await asked.inspections.ask(kernel=True, timeout_s=0.01)
    asked.inspections.answered(part(asked.sent[-1].inspect.id, 5, [1], last=True))
    waiting, _ = await asked.ask(kernel=True)
    asked.inspections.end("it went")
    with pytest.raises(Unavailable, match="it went"):
        await waiting
    with pytest.raises(Unavailable, match="not connected"):
        await asked.inspections.ask(kernel=True)


@pytest.mark.parametrize(
    ("hostile", "says"),
    [
        (lambda n: part(n, 5, [1], last=True, vtep=b"abc"), "cannot be read"),
        (lambda n: part(n, 5, list(range(50)), last=False), "larger than"),
        (
            lambda n: host_sync_pb2.Inspection(
                id=n, error=common_pb2.Condition(reason="UNREADABLE", message="netlink")
            ),
            "UNREADABLE: netlink",
        ),
    ],
)
async def test_what_an_agent_may_say_is_bounded(
    monkeypatch: pytest.MonkeyPatch, hostile: Any, says: str
) -> None:
    monkeypatch.setattr(inspect_module, "ENTRIES_MAX", 40)
    asked = Asked()
    task, number = await asked.ask(kernel=True)
    asked.inspections.answered(hostile(number))
    asked.inspections.answered(part(number, 5, [1], last=True))
    with pytest.raises(Unavailable, match=says):
        await task


async def test_unasked_answers_are_dropped_and_questions_are_bounded() -> None:
    asked = Asked()
    asked.inspections.answered(part(99, 5, [1], last=True))
    tasks = [(await asked.ask(kernel=True))[0] for _ in range(QUESTIONS_MAX)]
    with pytest.raises(Unavailable, match="too many"):
        await asked.inspections.ask(kernel=True)
    asked.inspections.end("over")
    await asyncio.gather(*tasks, return_exceptions=True)
