"""What to ask Open vSwitch's ofproto/trace about one packet on one bridge, and what its answer says. Pure.

A trace looks nothing up in connection tracking: it is told what that would find, and what the connection's
tuple is. How long the packet is it does not know: it follows both ways of check_pkt_len, and one is meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from cloison.addresses import parse_mac
from controller.flows import Ct, Flow
from controller.flows.conntrack import CT_STATE
from controller.flows.text import value_text
from controller.verify.packet import CT_FIELDS, INVALID, NEW, Packet, present_fields
from controller.verify.path import Hop

# ofproto/trace writes no number where an output field decided, but the line after it.
_OUTPUT = re.compile(r"^\s*(?:-> output port is |output:)(\d+)\n(?!\s*>> )", re.MULTILINE)
_ENTERS = re.compile(r"^Flow:.*dl_src=([0-9a-f:]{17}),dl_dst=([0-9a-f:]{17})", re.MULTILINE)
_HOPS = re.compile(r"\bnw_ttl=(\d+)")
_ACTIONS = re.compile(r"^Datapath actions: (.*)$", re.MULTILINE)
_ETHERNET = re.compile(r"(src|dst)=([0-9a-f:]{17})(?:/([0-9a-f:]{17}))?")
_SET_HOPS = re.compile(r"set\(ipv[46]\((?:ttl|hlimit)=(\d+)\)\)")
# What neither sends, nor changes what is sent.
_NO_MATTER = ("ct(", "ct_clear", "recirc(", "meter(", "drop", "userspace(")


class Said(NamedTuple):
    """A frame that Open vSwitch would send. hops: its TTL or hop limit, 0 of what has none.

    longer: only if it is too long, or only if not; None: anyway.
    """

    ofport: int
    eth_src: int
    eth_dst: int
    hops: int
    longer: bool | None


# --- asking -----------------------------------------------------------------------------------------------


def questions(hop: Hop) -> list[str]:
    """Return what to ask about a packet that enters a bridge: the last one tells what becomes of it.

    To ofproto/trace a packet has lost its tuple once a flow committed it, although tracking gives it back
    (ofproto-dpif-xlate.c, compose_conntrack_action()). So where a packet is committed and then looked up
    again, the trace is asked twice: as it is, up to there, and as if its sender's zone knew it already.
    """
    flow = f"in_port={hop.in_port},{hop.packet}{_tuple(hop.packet)}"
    state, lookups, committed = hop.packet.ct_state, *_lookups(hop.run.flows)
    asked = [_with_states(flow, [state] * lookups)]
    if committed and state & NEW:
        known = state & ~NEW | CT_STATE["est"]
        asked.append(_with_states(flow, [known] * committed + [state] * (lookups - committed)))
    return asked


def _lookups(flows: tuple[Flow, ...]) -> tuple[int, int]:
    """How often a packet was looked up; and how often before a commit that another look-up came after."""
    lookups, committed_after, again = 0, 0, 0
    for flow in flows:
        for action in flow.actions:
            if isinstance(action, Ct) and action.table is not None:
                lookups += 1
                again = committed_after
            elif isinstance(action, Ct) and action.commit:
                committed_after = lookups
    return lookups, again


def _with_states(flow: str, states: list[int]) -> str:
    return " ".join([flow, *(f"--ct-next {_flags(state).replace('|', ',')}" for state in states)])


def _tuple(packet: Packet) -> str:
    if not packet.ct_state:
        return ""
    there = present_fields(packet)
    named = [f"ct_state={_flags(packet.ct_state)}"]
    if not packet.ct_state & INVALID:
        named += [f"{n}={value_text(n, getattr(packet, n))}" for n in CT_FIELDS[1:] if n in there]
    return "," + ",".join(named)


def _flags(state: int) -> str:
    return "|".join(name for name, bit in CT_STATE.items() if state & bit)


# --- the answer -------------------------------------------------------------------------------------------


def same_outputs(hop: Hop, answers: list[str]) -> bool:
    """Tell whether the switch sends what the flows as read do: by the same ports, with the same MACs and TTL.

    answers: to each of questions(hop).
    """
    if not answers:
        return False
    lookups, committed = _lookups(hop.run.flows)
    if committed and len(answers) > 1 and len(_ACTIONS.findall(answers[0])) != lookups + 1:
        return False
    try:
        said = list(_sent(answers[-1]))
    except ValueError:
        return False
    oversize = bool(hop.packet.oversize)
    found = sorted(s[:4] for s in said if s.longer in (None, oversize))
    packets = ((sent.ofport, sent.packet) for sent in hop.run.sent)
    wanted = ((ofport, packet.eth_src, packet.eth_dst, packet.ip_ttl) for ofport, packet in packets)
    return found == sorted(wanted)


def _sent(text: str) -> Iterator[Said]:
    """Yield what a trace says is sent; raises ValueError for a trace that says what we do not understand.

    OpenFlow ports stand in the steps, MACs and branches in the datapath actions, both in the same order.
    """
    for run in re.split(r"^=+\nrecirc\(.*\n=+$", text, flags=re.MULTILINE):
        ports = [int(port) for port in _OUTPUT.findall(run)]
        entered, actions = _ENTERS.search(run), _ACTIONS.findall(run)
        if entered is None or len(actions) != 1:
            raise ValueError("a trace without flow or datapath actions")
        line = run[entered.start() : run.find("\n", entered.start())]
        hops = _HOPS.search(line)
        head = parse_mac(entered[1]), parse_mac(entered[2]), int(hops[1]) if hops else 0
        frames = list(_frames(actions[0], head, None))
        for port, (said, longer) in zip(ports, frames, strict=True):
            yield Said(port, *said, longer)


_Head = tuple[int, int, int]
"""Both MACs, and the TTL."""


def _frames(actions: str, head: _Head, longer: bool | None) -> Iterator[tuple[_Head, bool | None]]:
    """Yield the head of each output of a list of datapath actions, with its branch of check_pkt_len."""
    for action in _split(actions):
        if action.isdecimal():
            yield head, longer
        elif action.startswith("set(eth("):
            head = _set(action, head)
        elif (hops := _SET_HOPS.fullmatch(action)) is not None:
            head = *head[:2], int(hops[1])
        elif action.startswith("check_pkt_len("):
            branches = [a for a in _split(action[len("check_pkt_len(") : -1]) if not a.startswith("size=")]
            for branch in branches:
                name, _, inner = branch.partition("(")
                if name not in ("gt", "le"):
                    raise ValueError(f"an unknown branch: {branch}")
                yield from _frames(inner[:-1], head, name == "gt")
        elif not action.startswith(_NO_MATTER):
            raise ValueError(f"an unknown datapath action: {action}")


def _set(action: str, head: _Head) -> _Head:
    found = list(head)
    for end, text, mask in _ETHERNET.findall(action):
        number, bits = ("src", "dst").index(end), parse_mac(mask) if mask else (1 << 48) - 1
        found[number] = found[number] & ~bits | parse_mac(text) & bits
    return found[0], found[1], found[2]


def _split(text: str) -> Iterator[str]:
    """Yield what commas outside of parentheses separate."""
    depth, start = 0, 0
    for at, char in enumerate(text + ","):
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            if text[start:at]:
                yield text[start:at]
            start = at + 1
