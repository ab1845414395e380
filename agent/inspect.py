"""Answers a controller that asks what this host really holds: devices and FDBs from the kernel, a trace from
Open vSwitch.

Reads past the mirror of the reconciler and never into it; changes nothing. Bounded: one question at a time, a
few may wait, each has a deadline, and who does not fetch the answers gets no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Protocol

import structlog

from agent.outbox import Outbox
from agent.ovsdb.view import BridgeView
from agent.plan import Actual, NetworkPlan, Vtep, full_deltas, link_name
from agent.plan.model import HostPlan
from cloison.addresses import format_mac
from cloison.errors import Unavailable
from cloison.model import Revision, Vni
from cloison.v1 import common_pb2
from cloison.v1 import host_sync_pb2 as pb

_log = structlog.get_logger("agent.inspect")

KERNEL_TIMEOUT_S = 8.0
TRACE_TIMEOUT_S = 5.0
QUESTIONS_MAX = 8
ANSWERS_UNSENT_MAX = 256
TRACE_CHARS_MAX = 256 << 10
ODDITIES_MAX = 50


class SeenKernel(Protocol):
    """What is asked of a kernel."""

    async def inspect(self) -> Actual:
        """Read everything of ours anew, apart from the mirror; raises Unavailable."""


class SeenBridge(Protocol):
    """What is asked of a bridge."""

    view: BridgeView

    async def trace(self, flow: str) -> str:
        """Return what ofproto/trace says of a flow (with what connection tracking is to find).

        Raises Unavailable, ValueError for what is no flow.
        """


class Inspector:
    """Takes questions and puts the answers into the outbox, in order."""

    def __init__(self, kernel: SeenKernel, bridge: SeenBridge, outbox: Outbox, local: Vtep) -> None:
        self._kernel, self._bridge, self._outbox, self._local = kernel, bridge, outbox, local
        self._questions: asyncio.Queue[pb.Inspect] = asyncio.Queue(QUESTIONS_MAX)

    def ask(self, question: pb.Inspect) -> None:
        """Take a question; it is answered later, with an error at once if too many wait."""
        if self._outbox.inspections_unsent > ANSWERS_UNSENT_MAX:
            return  # whoever asks does not listen, and has a deadline of its own
        try:
            self._questions.put_nowait(question)
        except asyncio.QueueFull:
            self._outbox.inspection(_failed(question.id, "BUSY", f"{QUESTIONS_MAX} questions wait already"))

    def forget(self) -> None:
        """The stream on which the waiting questions came has ended."""
        while not self._questions.empty():
            self._questions.get_nowait()

    async def run(self) -> None:
        """Answer for ever."""
        while True:
            question = await self._questions.get()
            for message in await self.answer(question):
                self._outbox.inspection(message)

    async def answer(self, question: pb.Inspect) -> list[pb.Inspection]:
        """Return the whole answer; what could not be read is said in it."""
        messages: list[pb.Inspection] = []
        try:
            if question.kernel:
                async with asyncio.timeout(KERNEL_TIMEOUT_S):
                    messages += self._read(await self._kernel.inspect())
            if question.ofproto_trace:
                async with asyncio.timeout(TRACE_TIMEOUT_S):
                    text = await self._bridge.trace(question.ofproto_trace)
                messages.append(pb.Inspection(ofproto_trace=_clipped(text)))
        except (Unavailable, TimeoutError) as err:
            words = str(err) or "no answer in time"
            _log.warning("inspection failed", error=words)
            return [_failed(question.id, "UNREADABLE", words)]
        except ValueError as err:
            return [_failed(question.id, "REFUSED", str(err))]
        messages = messages or [pb.Inspection()]
        for message in messages:
            message.id, message.partial = question.id, True
        messages[-1].partial = False
        return messages

    def _read(self, actual: Actual) -> Iterator[pb.Inspection]:
        """Put what was read into messages of a bounded size; devices without entries are in it too."""
        networks = {
            vni: NetworkPlan(vni, link.mtu, actual.fdb.get(vni, {})) for vni, link in actual.links.items()
        }
        locals_ = {link.local for link in actual.links.values()}
        first = pb.Inspection(vtep=locals_.pop() if len(locals_) == 1 else b"")
        for tunnel in self._bridge.view.tunnels.values():
            if tunnel.usable:
                first.tunnel_ports.add(vni=int(tunnel.vni), ofport=tunnel.ofport)
        for reason, words in _oddities(actual, self._local):
            if len(first.oddities) == ODDITIES_MAX:
                break
            first.oddities.append(common_pb2.Condition(reason=reason, message=words))
        yield first
        for delta in full_deltas(HostPlan(Revision(0), networks, {})):
            yield pb.Inspection(networks=delta.networks)


def _oddities(actual: Actual, local: Vtep) -> Iterator[tuple[str, str]]:
    """Yield what no Inspection can say in entries: each is something we never make."""
    for vni, link in sorted(actual.links.items()):
        wrong = {
            "is down": not link.up,
            "learns": link.learning,
            "has another local address": link.local != local,
            "is not made as we make it": not link.sound,
        }
        for words, is_so in wrong.items():
            if is_so:
                yield "LINK_ALTERED", f"{link_name(vni)} {words}"
    for vni, macs in sorted(actual.strays.items()):
        for mac in sorted(macs):
            yield (
                "FDB_FOREIGN",
                f"{link_name(vni)} has an entry for {format_mac(mac)} of a form we never write",
            )
    for vni in sorted(actual.taken):
        yield "LINK_FOREIGN", f"{link_name(Vni(vni))} is no VXLAN device"
    if not actual.firewall.intact:
        yield "FIREWALL_ALTERED", "the filter in front of the VXLAN devices is not as we write it"


def _failed(id_: int, reason: str, words: str) -> pb.Inspection:
    return pb.Inspection(id=id_, error=common_pb2.Condition(reason=reason, message=words[:1000]))


def _clipped(text: str) -> str:
    return text if len(text) <= TRACE_CHARS_MAX else text[:TRACE_CHARS_MAX] + "\n...\n"
