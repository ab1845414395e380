"""Questions to one agent and its answers: what does the kernel hold, what does the switch do with a packet.

An answer comes in parts and may never come: each question has a deadline. What an agent sends unasked is
dropped, and no agent can make us keep more than a bounded number of entries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address

from cloison.addresses import IpAddress
from cloison.errors import Unavailable
from cloison.v1 import host_sync_pb2

# The agent's own deadlines are 8 s for the kernel and 5 s for a trace: it should be the one to say no.
TIMEOUT_S = 10.0
ENTRIES_MAX = 1_000_000
PARTS_MAX = 4096
QUESTIONS_MAX = 64


@dataclass(slots=True)
class Answer:
    """What an agent said. fdb: VTEP by MAC, by VNI, for every device; devices: VNI by OpenFlow port."""

    fdb: dict[int, dict[int, IpAddress]] = field(default_factory=dict)
    devices: dict[int, int] = field(default_factory=dict)
    vtep: IpAddress | None = None
    oddities: list[str] = field(default_factory=list)
    trace: str = ""


@dataclass(slots=True)
class _Question:
    future: asyncio.Future[Answer]
    answer: Answer = field(default_factory=Answer)
    entries: int = 0
    parts: int = 0


class Inspections:
    """The open questions of one agent's session."""

    def __init__(self, send: Callable[[host_sync_pb2.ControllerMessage], None]) -> None:
        self._send = send
        self._open: dict[int, _Question] = {}
        self._last_id = 0
        self._ended: str | None = None

    async def ask(self, *, kernel: bool = False, trace: str = "", timeout_s: float = TIMEOUT_S) -> Answer:
        """Ask and wait; raises Unavailable if there is no answer in time or the agent could not read."""
        if self._ended is not None:
            raise Unavailable(f"the agent is not connected: {self._ended}")
        if len(self._open) >= QUESTIONS_MAX:
            raise Unavailable("too many questions to one agent are open")
        self._last_id += 1
        number = self._last_id
        question = self._open[number] = _Question(asyncio.get_running_loop().create_future())
        inspect = host_sync_pb2.Inspect(id=number, kernel=kernel, ofproto_trace=trace)
        self._send(host_sync_pb2.ControllerMessage(inspect=inspect))
        try:
            return await asyncio.wait_for(question.future, timeout_s)
        except TimeoutError as error:
            raise Unavailable(f"the agent gave no answer within {timeout_s:g} s") from error
        finally:
            self._open.pop(number, None)

    def answered(self, message: host_sync_pb2.Inspection) -> None:
        """Take in one part of an answer."""
        question = self._open.get(message.id)
        if question is None or question.future.done():
            return
        question.parts += 1
        question.entries += sum(len(n.upserted) for n in message.networks)
        try:
            if message.HasField("error"):
                raise Unavailable(f"{message.error.reason}: {message.error.message}"[:1000])
            if question.entries > ENTRIES_MAX or question.parts > PARTS_MAX:
                raise Unavailable("the agent's answer is larger than any host's state")
            _take(question.answer, message)
        except Unavailable as error:
            question.future.set_exception(error)
            return
        if not message.partial:
            question.future.set_result(question.answer)

    def end(self, reason: str) -> None:
        """The session is over: nothing will be answered any more."""
        self._ended = self._ended or reason
        for question in self._open.values():
            if not question.future.done():
                question.future.set_exception(Unavailable(f"the agent is gone: {reason}"))


def _take(answer: Answer, message: host_sync_pb2.Inspection) -> None:
    try:
        if message.vtep:
            answer.vtep = ip_address(message.vtep)
        for network in message.networks:
            entries = answer.fdb.setdefault(network.vni, {})
            for entry in network.upserted:
                entries[entry.mac] = ip_address(entry.vtep)
    except ValueError as error:
        raise Unavailable(f"the agent's answer cannot be read: {error}") from error
    answer.devices.update({port.ofport: port.vni for port in message.tunnel_ports})
    answer.oddities += [f"{c.reason}: {c.message}"[:500] for c in message.oddities]
    answer.trace += message.ofproto_trace
