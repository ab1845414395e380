"""Whose connection the packet of a trace is of: what connection tracking would find, without asking it. Pure.

A packet opens a connection of its own unless something else is said. What cannot open one (an ICMP error, an
echo reply) is then invalid, as it is to Open vSwitch (lib/conntrack-icmp.c: icmp4_validate_new()).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cloison.errors import InvalidIntent
from controller.api.expression import Opened
from controller.flows.conntrack import CT_STATE
from controller.verify.packet import (
    CT_FIELDS,
    ETH_IPV4,
    FRAGMENT_LATER,
    INVALID,
    NEW,
    PROTO_ICMPV4,
    PROTO_ICMPV6,
    REPLY,
    TRACKED,
    Packet,
    connected,
)
from controller.verify.semantics import tracked

ECHO4, ECHO_REPLY4, ECHO6, ECHO_REPLY6 = 8, 0, 128, 129
# Request -> its reply: echo, timestamp and information (RFC 792); echo (RFC 4443).
ANSWERS4 = {ECHO4: ECHO_REPLY4, 13: 14, 15: 16}
ANSWERS6 = {ECHO6: ECHO_REPLY6}
_STATES = {
    Opened.BY_SENDER: CT_STATE["est"] | TRACKED,
    Opened.BY_RECEIVER: CT_STATE["est"] | REPLY | TRACKED,
}


def in_connection(packet: Packet, opened: Opened, given: Mapping[str, int], protocol: int) -> Packet:
    """Return the packet with its connection.

    given: the ct_* fields that were said. protocol: of the whole datagram, which a later fragment of IPv6
    does not show. Raises InvalidIntent where what was said cannot be.
    """
    bare = replace(packet, **dict.fromkeys(CT_FIELDS, 0))
    if not tracked(bare):
        if opened is not Opened.NOW or given:
            said = next(iter(given), opened.value)
            raise InvalidIntent.of(
                "packet", said, "an IP packet, no ARP or neighbour discovery: no connection"
            )
        return bare
    if opened is not Opened.NOW and "ct_state" in given:
        raise InvalidIntent.of("packet", "ct_state", f"one of ct_state and {opened.value}")
    state = given.get("ct_state", _STATES.get(opened, _state_of_first(bare, given)))
    if state & INVALID:
        if given.keys() - {"ct_state"}:
            raise InvalidIntent.of("packet", "ct_state=inv", "no tuple with it: what is invalid has none")
        return replace(bare, ct_state=state)
    return replace(_tuple(bare, state, protocol), **given)


def _state_of_first(packet: Packet, given: Mapping[str, int]) -> int:
    return TRACKED | (NEW if given or _can_open(packet) else INVALID)


def _can_open(packet: Packet) -> bool:
    if packet.ip_frag & FRAGMENT_LATER:
        return True
    if packet.ip_proto == PROTO_ICMPV4 and packet.eth_type == ETH_IPV4:
        return packet.icmpv4_type in ANSWERS4
    if packet.ip_proto == PROTO_ICMPV6 and packet.eth_type != ETH_IPV4:
        return packet.icmpv6_type in ANSWERS6
    return True


def _tuple(bare: Packet, state: int, protocol: int) -> Packet:
    """The packet with the tuple that its connection began with: its own, or that of which it is the reply."""
    own = replace(connected(bare), ct_state=state, ct_nw_proto=protocol)
    if not state & REPLY:
        return own
    ports = _asked(own) or (own.ct_tp_dst, own.ct_tp_src)
    return replace(
        own, ct_tp_src=ports[0], ct_tp_dst=ports[1], ct_nw_src=own.ct_nw_dst, ct_nw_dst=own.ct_nw_src,
        ct_ipv6_src=own.ct_ipv6_dst, ct_ipv6_dst=own.ct_ipv6_src,
    )  # fmt: skip


def _asked(own: Packet) -> tuple[int, int] | None:
    """Type and code of the request that an ICMP message answers; None if it is no ICMP."""
    if own.ct_nw_proto not in (PROTO_ICMPV4, PROTO_ICMPV6) or own.ip_frag & FRAGMENT_LATER:
        return None
    four = own.ct_nw_proto == PROTO_ICMPV4
    kind = own.icmpv4_type if four else own.icmpv6_type
    for request, answer in (ANSWERS4 if four else ANSWERS6).items():
        if answer == kind:
            return request, 0
    if own.ct_state & CT_STATE["rel"]:
        return 0, 0  # an error: the tuple is of the packet it is about, and was said
    raise InvalidIntent.of(
        "packet", f"type {kind}", "a reply's type, 0 of icmp or 129 of icmp6: no other is one"
    )
