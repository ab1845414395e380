"""One bridge, one packet: flows interpreted step by step, in the plainest way (OpenFlow 1.4.1, section 5).

Slow and simple on purpose: it is what symbolic.py is tested against. Knows no intent, and no connections:
what connection tracking would say of a packet, in whatever zone, the packet brings along (packet.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from controller.flows import (
    CheckPacketLarger,
    Conjunction,
    Ct,
    DecTtl,
    Flow,
    Load,
    Match,
    Move,
    Output,
    OutputField,
    Resubmit,
    SetField,
)
from controller.flows.fields import FIELDS
from controller.verify.grammar import OFPORT_MAX, Refused, fault
from controller.verify.packet import CT_FIELDS, STATE_FIELDS, Packet, connected


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
        sent: list[Sent] = []
        trace: list[Flow] = []
        missed = self._follow(0, packet, entry_state(in_port), sent, trace)
        return Run(tuple(s for s in sent if s.ofport not in (0, in_port)), tuple(trace), missed)

    def _follow(
        self, first: int, packet: Packet, state: dict[str, int], sent: list[Sent], trace: list[Flow]
    ) -> int | None:
        """Carry out what the tables say from the first on; return the one that had no flow for the packet.

        A copy for another table is followed at once; what is written there stays there (see grammar.py).
        """
        table: int | None = first
        while table is not None:
            flow = self._lookup(table, packet, state)
            if flow is None:
                return table
            trace.append(flow)
            for action in flow.actions:
                if isinstance(action, Resubmit):
                    self._follow(action.table, packet, dict(state), sent, trace)
                else:
                    packet = act(flow, action, packet, state, sent)
            table = onward(flow)
        return None

    def _lookup(self, table: int, packet: Packet, state: dict[str, int]) -> Flow | None:
        """Return the flow that a packet meets.

        A conjunction counts at its priority: if a packet meets a flow of each of its clauses there, it meets
        the flow that matches its conj_id; if it meets one of no conjunction completely, it goes on below.
        """
        flows = [f for f in self._tables.get(table, ()) if _matches(f.match, packet, state)]
        for priority in dict.fromkeys(flow.priority for flow in flows):
            level = [flow for flow in flows if flow.priority == priority]
            parts = [flow for flow in level if _is_part(flow)]
            found = [flow for flow in level if not _is_part(flow)]
            for number in sorted(_complete(parts)):
                found += self._at_top(table, packet, {**state, "conj_id": number})
            if any(_effect(flow) != _effect(found[0]) for flow in found):
                raise Ambiguous("two flows of one priority match one packet", found[-1])
            if found:
                return found[0]
        return None

    def _at_top(self, table: int, packet: Packet, state: dict[str, int]) -> list[Flow]:
        """The flows of the highest priority that a packet meets, conjunctions left out."""
        flows = [
            f for f in self._tables.get(table, ()) if not _is_part(f) and _matches(f.match, packet, state)
        ]
        return [flow for flow in flows if flow.priority == flows[0].priority]


def entry_state(in_port: int) -> dict[str, int]:
    """Return what a bridge keeps beside a packet that enters: in_port, registers, no connection yet."""
    return {**dict.fromkeys((*STATE_FIELDS, *CT_FIELDS), 0), "in_port": in_port}


def _is_part(flow: Flow) -> bool:
    return any(isinstance(action, Conjunction) for action in flow.actions)


def _complete(parts: Iterable[Flow]) -> set[int]:
    """The conjunctions of which every clause is met."""
    met: dict[tuple[int, int], set[int]] = {}
    for flow in parts:
        for action in flow.actions:
            assert isinstance(action, Conjunction), flow
            met.setdefault((action.id, action.clauses), set()).add(action.clause)
    return {number for (number, clauses), here in met.items() if len(here) == clauses}


def _effect(flow: Flow) -> tuple[object, ...]:
    return flow.actions, flow.goto, flow.meter


def onward(flow: Flow) -> int | None:
    """Return the table where a packet goes on: by goto, or when connection tracking is done with it."""
    again = (action.table for action in flow.actions if isinstance(action, Ct))
    return flow.goto if flow.goto is not None else next(again, None)


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
        case CheckPacketLarger(_, field, bit):
            return _write(field.name, bit, 1, packet.oversize, packet, state)
        case DecTtl():
            if packet.ip_ttl <= 1:
                raise Refused("makes a TTL less that is used up", flow)
            return replace(packet, ip_ttl=packet.ip_ttl - 1)
        case Ct(_, _, table):
            # (ofproto-dpif-xlate.c, compose_conntrack_action: who only tells, knows nothing afterwards.)
            known = connected(packet) if table is not None else None
            state.update((name, getattr(known, name) if known is not None else 0) for name in CT_FIELDS)
            return packet
    raise Refused(f"an action the proof does not know: {action!r}", flow)


def _write(name: str, start: int, bits: int, value: int, packet: Packet, state: dict[str, int]) -> Packet:
    ones = ((1 << bits) - 1) << start
    new = (_read(name, packet, state) & ~ones & FIELDS[name].all_ones) | value << start
    if name in state:
        state[name] = new
        return packet
    return replace(packet, **{name: new})
