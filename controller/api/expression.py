"""The packets of `trace` in words: "icmp to 10.0.0.6", "arp who-has 10.0.0.6", "tcp dst port 80 to
2001:db8::6", "eth_src=52:54:00:00:00:01,ip,nw_dst=10.0.0.6". Pure.

Reads what was said and nothing more; what was left out is filled in by honest.py. A word that is not
understood is named, with what would be right in its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address

from cloison.addresses import IpAddress, parse_mac
from cloison.errors import InvalidIntent
from controller.flows.fields import FIELDS
from controller.verify.packet import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    FRAGMENT,
    FRAGMENT_LATER,
    ND_SOLICITATION,
    PROTO_ICMPV6,
    VLAN_PRESENT,
)

WORDS_MAX, CHARS_MAX = 64, 1024
PROTO_ICMP, PROTO_TCP, PROTO_UDP = 1, 6, 17
ECHO_REQUEST6 = 128
_SYNTAX = (
    "words such as icmp, icmp6, tcp, udp, arp, ip, ip6, to ADDRESS, from ADDRESS, who-has ADDRESS, "
    "dst port N, ether src MAC, ether dst MAC, vlan N, ttl N, or fields such as nw_src=10.0.0.9"
)
_ETH_TYPES = {"arp": ETH_ARP, "ip": ETH_IPV4, "ip6": ETH_IPV6, "ipv6": ETH_IPV6, "icmp": ETH_IPV4}
_PROTOCOLS = {
    "icmp": PROTO_ICMP,
    "icmp6": PROTO_ICMPV6,
    "icmpv6": PROTO_ICMPV6,
    "tcp": PROTO_TCP,
    "udp": PROTO_UDP,
    "tcp6": PROTO_TCP,
    "udp6": PROTO_UDP,
}
_FAMILY6 = ("icmp6", "icmpv6", "tcp6", "udp6")
# Names of ovs-ofctl and their synonyms (ovs-fields(7)) -> ours.
_FIELDS = {
    **{
        n: n
        for n in (
            "eth_src",
            "eth_dst",
            "eth_type",
            "vlan_vid",
            "ipv4_src",
            "ipv4_dst",
            "ipv6_src",
            "ipv6_dst",
        )
    },
    **{n: n for n in ("arp_op", "arp_spa", "arp_tpa", "arp_sha", "arp_tha", "ip_proto", "ip_ttl", "ip_frag")},
    **{n: n for n in ("icmpv6_type", "icmpv6_code")},
    "dl_src": "eth_src",
    "dl_dst": "eth_dst",
    "dl_type": "eth_type",
    "nw_src": "ipv4_src",
    "nw_dst": "ipv4_dst",
    "ip_src": "ipv4_src",
    "ip_dst": "ipv4_dst",
    "nw_proto": "ip_proto",
    "nw_ttl": "ip_ttl",
    "nd_target": "ipv6_nd_target",
    "nd_sll": "ipv6_nd_sll",
    "nd_tll": "ipv6_nd_tll",
}
_PORTS = {
    "tcp_src": "src",
    "tcp_dst": "dst",
    "udp_src": "src",
    "udp_dst": "dst",
    "tp_src": "src",
    "tp_dst": "dst",
}
_FRAGMENTS = {"no": 0, "first": FRAGMENT, "later": FRAGMENT | FRAGMENT_LATER}


@dataclass(slots=True)
class Said:
    """What an expression says: header fields by name, and what no rule looks at (ports of TCP and UDP).

    source, destination: an address whose field depends on what kind of packet it becomes.
    """

    fields: dict[str, int] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    source: IpAddress | None = None
    destination: IpAddress | None = None
    resolving: bool = False


def parse(text: str) -> Said:
    """Read an expression; raises InvalidIntent naming the word that is wrong and what would be right."""
    words = [w for w in re.split(r"[,\s]+", text.strip()) if w]
    if len(text) > CHARS_MAX or len(words) > WORDS_MAX:
        raise InvalidIntent.of("packet", text, f"at most {WORDS_MAX} words and {CHARS_MAX} characters")
    return _Reader(words).read()


class _Reader:
    def __init__(self, words: list[str]) -> None:
        self._words, self._at, self._said = words, 0, Said()

    def read(self) -> Said:
        while self._at < len(self._words):
            word = self._take("")
            if "=" in word:
                self._field(word)
            else:
                self._word(word)
        return self._said

    def _take(self, expected: str) -> str:
        if self._at == len(self._words):
            last = self._words[-1] if self._words else ""
            raise InvalidIntent.of("packet", last, f"followed by {expected}")
        self._at += 1
        return self._words[self._at - 1]

    def _take_if(self, *words: str) -> str:
        if self._at < len(self._words) and self._words[self._at].lower() in words:
            return self._take("").lower()
        return ""

    def _word(self, word: str) -> None:
        known = word.lower()
        verbs: dict[str, Callable[[], None]] = {
            "to": lambda: self._end("dst"),
            "dst": lambda: self._end("dst"),
            ">": lambda: self._end("dst"),
            "from": lambda: self._end("src"),
            "src": lambda: self._end("src"),
            "tell": lambda: self._end("src"),
            "who-has": self._who_has,
            "ether": self._ether,
            "vlan": lambda: self._put("vlan_vid", VLAN_PRESENT | self._number("vlan", 4095)),
            "ttl": lambda: self._put("ip_ttl", self._number("ttl", 255)),
            "port": lambda: self._layer4("dst"),
            "request": lambda: self._put("arp_op", 1),
            "reply": lambda: self._put("arp_op", 2),
            "fragment": lambda: self._put("ip_frag", _FRAGMENTS[self._take_if("first", "later") or "first"]),
            "and": lambda: None,
        }
        if known in _ETH_TYPES or known in _PROTOCOLS:
            self._protocol(known)
        elif known in verbs:
            verbs[known]()
        else:
            raise InvalidIntent.of("packet", word, _SYNTAX)

    def _protocol(self, word: str) -> None:
        if word in _FAMILY6:
            self._put("eth_type", ETH_IPV6)
        elif word in _ETH_TYPES:
            self._put("eth_type", _ETH_TYPES[word])
        if word in _PROTOCOLS:
            self._put("ip_proto", _PROTOCOLS[word])

    def _end(self, which: str) -> None:
        if self._take_if("port"):
            self._layer4(which)
            return
        self._take_if("host")
        word = self._take("an IPv4 or IPv6 address, or port N")
        if re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", word):
            self._put(f"eth_{which}", _mac(word))
            return
        address = _address(word)
        known = self._said.source if which == "src" else self._said.destination
        if known not in (None, address):
            raise InvalidIntent.of("packet", word, f"said once: {known} was said before")
        if which == "src":
            self._said.source = address
        else:
            self._said.destination = address

    def _who_has(self) -> None:
        """ARP for an IPv4 address, a neighbour solicitation for an IPv6 one."""
        address = _address(self._take("an IPv4 or IPv6 address"))
        self._said.resolving = True
        if isinstance(address, IPv4Address):
            self._put("eth_type", ETH_ARP)
            self._put("arp_op", 1)
            self._put("arp_tpa", int(address))
        else:
            self._put("eth_type", ETH_IPV6)
            self._put("ip_proto", PROTO_ICMPV6)
            self._put("icmpv6_type", ND_SOLICITATION)
            self._put("ipv6_nd_target", int(address))

    def _ether(self) -> None:
        which = self._take_if("src", "dst")
        if not which:
            wrong = self._take("src MAC or dst MAC")
            raise InvalidIntent.of("packet", f"ether {wrong}", "ether src MAC or ether dst MAC")
        self._take_if("host")
        self._put(f"eth_{which}", _mac(self._take("a MAC")))

    def _layer4(self, which: str) -> None:
        self._said.ports[which] = self._number("port", 65535)

    def _number(self, what: str, most: int) -> int:
        word = self._take(f"a number from 0 to {most}")
        if not word.isdecimal() or int(word) > most:
            raise InvalidIntent.of("packet", f"{what} {word}", f"{what} and a number from 0 to {most}")
        return int(word)

    def _field(self, word: str) -> None:
        name, _, text = word.partition("=")
        if name == "in_port":
            raise InvalidIntent.of(
                "packet", word, "no in_port: the packet enters by the port it is traced from"
            )
        if name in _PORTS:
            self._said.ports[_PORTS[name]] = _integer(word, text, 65535)
            return
        ours = _FIELDS.get(name)
        if ours is None:
            raise InvalidIntent.of("packet", word, f"a field of these: {', '.join(sorted(_FIELDS))}")
        self._put(ours, _value(word, ours, text))

    def _put(self, name: str, value: int) -> None:
        known = self._said.fields.get(name, value)
        if known != value:
            raise InvalidIntent.of(
                "packet", self._words[self._at - 1], f"one {name}: another was said before"
            )
        self._said.fields[name] = value


def _value(word: str, name: str, text: str) -> int:
    if name in ("eth_src", "eth_dst", "arp_sha", "arp_tha", "ipv6_nd_sll", "ipv6_nd_tll"):
        return _mac(text)
    if name in ("ipv4_src", "ipv4_dst", "arp_spa", "arp_tpa", "ipv6_src", "ipv6_dst", "ipv6_nd_target"):
        address = _address(text)
        if (address.version == 6) != name.startswith("ipv6"):
            raise InvalidIntent.of("packet", word, f"an IPv{4 if address.version == 6 else 6} address")
        return int(address)
    if name == "ip_frag" and text in _FRAGMENTS:
        return _FRAGMENTS[text]
    return _integer(word, text, FIELDS[name].all_ones)


def _integer(word: str, text: str, most: int) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise InvalidIntent.of("packet", word, f"a number from 0 to {most}")
    return value


def _address(word: str) -> IpAddress:
    try:
        return ip_address(word)
    except ValueError as error:
        raise InvalidIntent.of("packet", word, "an IPv4 or IPv6 address, without prefix length") from error


def _mac(word: str) -> int:
    try:
        return parse_mac(word)
    except (ValueError, InvalidIntent) as error:
        raise InvalidIntent.of("packet", word, "a MAC such as 52:54:00:00:00:01") from error
