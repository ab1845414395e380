"""The agent's answers to Inspect: whole, in bounded parts, past the mirror; errors said; bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from agent import inspect as inspect_module
from agent.inspect import QUESTIONS_MAX, Inspector
from agent.outbox import Outbox
from agent.ovsdb.view import BridgeView, TunnelView
from agent.plan import Actual, Firewall, Link, Vtep
from cloison.addresses import Mac
from cloison.errors import Unavailable
from cloison.model import Vni
from cloison.v1 import host_sync_pb2 as pb

LOCAL, PEER = Vtep(bytes([10, 0, 0, 1])), Vtep(bytes([10, 0, 0, 2]))
VNI = Vni(0x1000)
SOUND = Link(vni=VNI, ifindex=7, mtu=1450, up=True, learning=False, local=LOCAL, sound=True)


def actual(entries: int = 3, link: Link = SOUND, strays: Iterable[int] = ()) -> Actual:
    made = Actual(firewall=Firewall(intact=True))
    made.set_link(VNI, link)
    made.set_fdb(VNI, {Mac(0x0AF00A000000 + n): PEER for n in range(entries)}, set(strays))
    return made


class Kernel:
    def __init__(self, answer: Actual | Exception | None = None) -> None:
        self.answer = answer

    async def inspect(self) -> Actual:
        if self.answer is None:
            await asyncio.Event().wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None
        return self.answer


class Bridge:
    def __init__(self, answer: str | Exception | None = "Datapath actions: drop") -> None:
        tunnel = TunnelView(VNI, 9, "", 7)
        self.view = BridgeView(tunnels={VNI: tunnel, Vni(5): TunnelView(Vni(5), 0, "no device", 0)})
        self.answer = answer
        self.asked: list[str] = []

    async def trace(self, flow: str) -> str:
        self.asked.append(flow)
        if self.answer is None:
            await asyncio.Event().wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None
        return self.answer


def inspector(kernel: Kernel | None = None, bridge: Bridge | None = None) -> tuple[Inspector, Outbox]:
    outbox = Outbox()
    return Inspector(kernel or Kernel(actual()), bridge or Bridge(), outbox, LOCAL), outbox


async def test_the_kernel_is_told_whole_in_parts_of_bounded_size() -> None:
    made, _ = inspector(Kernel(actual(10_000)))
    parts = await made.answer(pb.Inspect(id=4, kernel=True))
    assert [p.id for p in parts] == [4] * len(parts)
    assert [p.partial for p in parts] == [True] * (len(parts) - 1) + [False]
    assert max(p.ByteSize() for p in parts) < 200_000
    told = {e.mac: e.vtep for p in parts for n in p.networks if n.vni == VNI for e in n.upserted}
    assert told == {0x0AF00A000000 + n: PEER for n in range(10_000)}
    assert parts[0].vtep == LOCAL
    assert [(t.vni, t.ofport) for t in parts[0].tunnel_ports] == [(VNI, 9)]
    assert not any(p.oddities for p in parts)


async def test_a_device_without_entries_is_told_too() -> None:
    made, _ = inspector(Kernel(actual(0)))
    parts = await made.answer(pb.Inspect(id=1, kernel=True))
    assert [n.vni for p in parts for n in p.networks] == [VNI]


async def test_what_entries_cannot_say_is_told_in_words() -> None:
    odd = Link(vni=VNI, ifindex=7, mtu=1450, up=False, learning=True, local=PEER, sound=False)
    held = actual(1, odd, strays=[0x525400000001])
    held.taken.add(Vni(0xABCD))
    held.firewall = Firewall()
    made, _ = inspector(Kernel(held))
    parts = await made.answer(pb.Inspect(id=1, kernel=True))
    told = {(o.reason, o.message) for p in parts for o in p.oddities}
    assert {reason for reason, _ in told} == {
        "LINK_ALTERED",
        "FDB_FOREIGN",
        "LINK_FOREIGN",
        "FIREWALL_ALTERED",
    }
    assert ("LINK_ALTERED", "vx001000 learns") in told
    assert any("52:54:00:00:00:01" in words for _, words in told)


async def test_a_trace_is_passed_on_and_cut_at_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect_module, "TRACE_CHARS_MAX", 100)
    bridge = Bridge("x" * 1000)
    made, _ = inspector(bridge=bridge)
    (part,) = await made.answer(pb.Inspect(id=2, ofproto_trace="in_port=1,ip"))
    assert bridge.asked == ["in_port=1,ip"]
    assert part.ofproto_trace.startswith("x" * 100)
    assert len(part.ofproto_trace) < 120


@pytest.mark.parametrize(
    ("kernel", "bridge", "reason"),
    [
        (Kernel(Unavailable("netlink: no")), None, "UNREADABLE"),
        (None, Bridge(Unavailable("ovs-vswitchd does not answer")), "UNREADABLE"),
        (None, Bridge(ValueError("a flow, not an option")), "REFUSED"),
        (Kernel(None), None, "UNREADABLE"),
        (None, Bridge(None), "UNREADABLE"),
    ],
)
async def test_what_cannot_be_read_is_said_in_time(
    monkeypatch: pytest.MonkeyPatch, kernel: Kernel | None, bridge: Bridge | None, reason: str
) -> None:
    monkeypatch.setattr(inspect_module, "KERNEL_TIMEOUT_S", 0.05)
    monkeypatch.setattr(inspect_module, "TRACE_TIMEOUT_S", 0.05)
    made, _ = inspector(kernel, bridge)
    (part,) = await made.answer(
        pb.Inspect(id=3, kernel=kernel is not None, ofproto_trace="" if kernel else "ip")
    )
    assert (part.id, part.error.reason, part.partial) == (3, reason, False)
    assert part.error.message


async def test_questions_are_answered_in_order_and_too_many_are_refused_at_once() -> None:
    kernel = Kernel(None)
    made, outbox = inspector(kernel)
    task = asyncio.create_task(made.run())
    made.ask(pb.Inspect(id=1, kernel=True))
    await asyncio.sleep(0)
    for number in range(2, QUESTIONS_MAX + 4):
        made.ask(pb.Inspect(id=number, kernel=True))
    refused = [m.inspection for m in outbox.take()]
    assert [(r.id, r.error.reason) for r in refused] == [
        (QUESTIONS_MAX + 2, "BUSY"),
        (QUESTIONS_MAX + 3, "BUSY"),
    ]
    made.forget()
    task.cancel()


async def test_answers_of_a_stream_that_ended_are_not_sent_on_the_next() -> None:
    outbox = Outbox()
    outbox.inspection(pb.Inspection(id=1))
    outbox.begin()
    assert not [m for m in outbox.take() if m.WhichOneof("kind") == "inspection"]
