"""One bridge, one packet: flows interpreted step by step, in the plainest way (OpenFlow 1.4.1, section 5).

Slow and simple on purpose: it is what symbolic.py is tested against. Knows no intent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from controller.flows import Flow, Load, Match, Move, Output, OutputField, SetField
from controller.flows.fields import FIELDS
from controller.verify.grammar import OFPORT_MAX, Refused, fault
from controller.verify.packet import REGISTERS, Packet


class Ambiguous(Refused):
    """Two flows of one table and priority match one packet and differ: the switch may do either."""


class Sent(NamedTuple):
    """A packet as it leaves the bridge by an OpenFlow port."""

    ofport: int
    packet: Packet


@dataclass(frozen=True, slots=True)
class Run:
    """What a bridge did with a packet: what it sent, and the flow that matched in each table."""

    sent: tuple[Sent, ...]
    flows: tuple[Flow, ...]
    missed_table: int | None = None


class Switch:
    """The flow tables of a bridge."""

    def __init__(self, flows: Iterable[Flow]) -> None:
        """Raise Refused for a flow that is not understood (grammar.py), or two of one key."""
        self._tables: dict[int, list[Flow]] = {}
        seen = set()
        for flow in flows:
            wrong = fault(flow) or ("has the key of another flow" if flow.key in seen else None)
            if wrong is not None:
                raise Refused(f"a flow {wrong}", flow)
            seen.add(flow.key)
            self._tables.setdefault(flow.table, []).append(flow)
        for table in self._tables.values():
            table.sort(key=lambda f: -f.priority)

    def run(self, packet: Packet, in_port: int) -> Run:
        """Return what happens to a packet that enters by in_port.

        A packet is never sent back to in_port (ofproto-dpif-xlate.c drops it there); port 0 does not exist.
        Raises Refused where what happens is not defined or not understood.
        """
        state = {**dict.fromkeys(REGISTERS, 0), "in_port": in_port}
        sent: list[Sent] = []
        trace: list[Flow] = []
        table: int | None = 0
        while table is not None:
            flow = self._lookup(table, packet, state)
            if flow is None:
                return Run(tuple(sent), tuple(trace), table)
            trace.append(flow)
            for action in flow.actions:
                packet = act(flow, action, packet, state, sent)
            table = flow.goto
        return Run(tuple(s for s in sent if s.ofport not in (0, in_port)), tuple(trace))

    def _lookup(self, table: int, packet: Packet, state: dict[str, int]) -> Flow | None:
        found: Flow | None = None
        for flow in self._tables.get(table, ()):
            if found is not None and flow.priority < found.priority:
                break
            if not _matches(flow.match, packet, state):
                continue
            if found is None:
                found = flow
            elif (found.actions, found.goto) != (flow.actions, flow.goto):
                raise Ambiguous("two flows of one priority match one packet", flow)
        return found


def _read(name: str, packet: Packet, state: dict[str, int]) -> int:
    return state[name] if name in state else int(getattr(packet, name))


def _matches(match: Match, packet: Packet, state: dict[str, int]) -> bool:
    return all(_read(t.field.name, packet, state) & t.mask == t.value for t in match)


def act(flow: Flow, action: object, packet: Packet, state: dict[str, int], sent: list[Sent]) -> Packet:
    """Return the packet after one action; state (in_port and registers) and sent follow.

    Raises Refused for what is not understood.
    """
    match action:
        case Output(port):
            sent.append(Sent(port, packet))
            return packet
        case OutputField(field, start, bits, _):
            port = _read(field.name, packet, state) >> start & ((1 << bits) - 1)
            if port > OFPORT_MAX:
                raise Refused(f"sends to the reserved port {port:#x}", flow)
            sent.append(Sent(port, packet))
            return packet
        case SetField(field, value):
            return _write(field.name, 0, field.width, value, packet, state)
        case Load(field, start, bits, value):
            return _write(field.name, start, bits, value, packet, state)
        case Move(src, src_start, dst, dst_start, bits):
            value = _read(src.name, packet, state) >> src_start
            return _write(dst.name, dst_start, bits, value & ((1 << bits) - 1), packet, state)
    raise Refused(f"an action the proof does not know: {action!r}", flow)


def _write(name: str, start: int, bits: int, value: int, packet: Packet, state: dict[str, int]) -> Packet:
    ones = ((1 << bits) - 1) << start
    new = (_read(name, packet, state) & ~ones & FIELDS[name].all_ones) | value << start
    if name in state:
        state[name] = new
        return packet
    return replace(packet, **{name: new})
