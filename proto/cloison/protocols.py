"""IP protocols by name and number, as rules of security groups name them. Pure data.

Source: IANA, Assigned Internet Protocol Numbers. The names are those of OpenStack's networking API, so that a
rule of the one is a rule of the other.
"""

from __future__ import annotations

ICMP, TCP, UDP, DCCP, ICMPV6, SCTP, UDPLITE = 1, 6, 17, 33, 58, 132, 136

# Several names may stand for one number; the first is the one that is shown.
_NAMES: dict[int, tuple[str, ...]] = {
    ICMP: ("icmp",),
    2: ("igmp",),
    4: ("ipip",),
    TCP: ("tcp",),
    8: ("egp",),
    UDP: ("udp",),
    DCCP: ("dccp",),
    41: ("ipv6-encap",),
    43: ("ipv6-route",),
    44: ("ipv6-frag",),
    46: ("rsvp",),
    47: ("gre",),
    50: ("esp",),
    51: ("ah",),
    ICMPV6: ("icmpv6", "ipv6-icmp"),
    59: ("ipv6-nonxt",),
    60: ("ipv6-opts",),
    89: ("ospf",),
    112: ("vrrp",),
    113: ("pgm",),
    SCTP: ("sctp",),
    UDPLITE: ("udplite",),
}
_NUMBERS = {name: number for number, names in _NAMES.items() for name in names}

# Those whose ports connection tracking shows, in ct_tp_src and ct_tp_dst; and the others that have ports.
WITH_PORTS = frozenset({TCP, UDP})
UNSHOWN_PORTS = frozenset({DCCP, SCTP, UDPLITE})
EXPECTED = "a protocol name such as tcp, udp, icmp, icmpv6 or sctp, or a number from 0 to 255"


def protocol_number(text: str) -> int:
    """Return the number of a protocol given by name or number; raises ValueError if it is neither."""
    known = _NUMBERS.get(text.lower())
    if known is not None:
        return known
    if not (text.isascii() and text.isdigit() and int(text) <= 255):
        raise ValueError(EXPECTED)
    return int(text)


def protocol_name(number: int) -> str:
    """Return the name of a protocol, or its number where it has none."""
    names = _NAMES.get(number)
    return names[0] if names else str(number)


def service_text(protocol: str, port_min: int, port_max: int) -> str:
    """Return a kind of connections on one line: tcp:80-81, udp:53, icmp, any. 0 and 0: any port."""
    if not (port_min or port_max):
        return protocol or "any"
    return f"{protocol}:{port_min}" + (f"-{port_max}" if port_max != port_min else "")


def parse_service(text: str) -> tuple[str, int, int]:
    """Return (protocol, port_min, port_max) of what service_text writes; raises ValueError."""
    protocol, colon, ports = text.strip().partition(":")
    if not colon:
        return ("" if protocol == "any" else protocol), 0, 0
    low, dash, high = ports.partition("-")
    if not (low.isdecimal() and (high.isdecimal() or not dash)):
        raise ValueError("PROTOCOL, PROTOCOL:PORT or PROTOCOL:FIRST-LAST such as tcp:443, or any")
    return protocol, int(low), int(high if dash else low)
