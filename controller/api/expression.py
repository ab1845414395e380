"""The packets of `trace` in words: "icmp to 10.0.0.6", "arp who-has 10.0.0.6", "tcp to 2001:db8::6 port 80",
"udp src port 53 reply to 10.0.0.6", "eth_src=52:54:00:00:00:01,ip,nw_dst=10.0.0.6". Pure.

Reads what was said and nothing more; what was left out is filled in by honest.py. A word that is not
understood is named, with what would be right in its place.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from cloison.addresses import IpAddress
from cloison.errors import InvalidIntent
from controller.api.vocabulary import (
    ETH_TYPES,
    FAMILY6,
    FIELD_WORDS,
    FRAGMENTS,
    PORT_WORDS,
    PROTOCOLS,
    SYNTAX,
    address_of,
    mac_of,
    number_of,
    value_of,
)
from controller.verify.packet import (
    ETH_ARP,
    ETH_IPV6,
    ND_SOLICITATION,
    PROTO_ICMPV4,
    PROTO_ICMPV6,
    VLAN_PRESENT,
)

WORDS_MAX, CHARS_MAX = 64, 1024
PORT_MAX, SIZE_MAX = 65535, 65535


class Opened(enum.Enum):
    """Whose connection a packet is of; NOW: it opens one."""

    NOW = "now"
    BY_SENDER = "established"
    BY_RECEIVER = "reply"


@dataclass(slots=True)
class Said:
    """What an expression says: header fields by name, and what they do not say.

    source, destination: an address whose field depends on what kind of packet it becomes. source_port,
    destination_port: the same of TCP and UDP. size_bytes: of the whole IP packet. oversize: it is longer than
    the overlay takes, however long that is.
    """

    fields: dict[str, int] = field(default_factory=dict)
    source: IpAddress | None = None
    destination: IpAddress | None = None
    source_port: int | None = None
    destination_port: int | None = None
    opened: Opened = Opened.NOW
    oversize: bool = False
    size_bytes: int | None = None
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
        self._answers = False
        self._icmp: dict[str, int] = {}

    def read(self) -> Said:
        while self._at < len(self._words):
            word = self._take("")
            if "=" in word:
                self._field(word)
            else:
                self._word(word)
        self._settle()
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
            "reply": self._reply,
            "established": lambda: self._of_connection(Opened.BY_SENDER, "established"),
            "type": lambda: self._icmp_number("type"),
            "code": lambda: self._icmp_number("code"),
            "oversize": self._oversize,
            "size": self._size,
            "fragment": lambda: self._put("ip_frag", FRAGMENTS[self._take_if("first", "later") or "first"]),
            "and": lambda: None,
        }
        if known in ETH_TYPES or known in PROTOCOLS:
            self._protocol(known)
        elif known in verbs:
            verbs[known]()
        else:
            raise InvalidIntent.of("packet", word, SYNTAX)

    def _protocol(self, word: str) -> None:
        if word in FAMILY6:
            self._put("eth_type", ETH_IPV6)
        elif word in ETH_TYPES:
            self._put("eth_type", ETH_TYPES[word])
        if word in PROTOCOLS:
            self._put("ip_proto", PROTOCOLS[word])

    def _end(self, which: str) -> None:
        if self._take_if("port"):
            self._layer4(which)
            return
        self._take_if("host")
        word = self._take("an IPv4 or IPv6 address, or port N")
        if re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", word):
            self._put(f"eth_{which}", mac_of(word))
            return
        address = address_of(word)
        known = self._said.source if which == "src" else self._said.destination
        if known not in (None, address):
            raise InvalidIntent.of("packet", word, f"said once: {known} was said before")
        if which == "src":
            self._said.source = address
        else:
            self._said.destination = address

    def _who_has(self) -> None:
        """ARP for an IPv4 address, a neighbour solicitation for an IPv6 one."""
        address = address_of(self._take("an IPv4 or IPv6 address"))
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
        self._put(f"eth_{which}", mac_of(self._take("a MAC")))

    def _layer4(self, which: str) -> None:
        self._port(which, self._number("port", PORT_MAX))

    def _port(self, which: str, number: int) -> None:
        known = self._said.source_port if which == "src" else self._said.destination_port
        if known not in (None, number):
            raise InvalidIntent.of("packet", f"port {number}", f"said once: {known} was said before")
        if which == "src":
            self._said.source_port = number
        else:
            self._said.destination_port = number

    def _reply(self) -> None:
        """Of ARP an operation, of anything else a packet of a connection that the other side opened."""
        self._answers = True

    def _of_connection(self, opened: Opened, word: str) -> None:
        if self._said.opened not in (Opened.NOW, opened):
            raise InvalidIntent.of("packet", word, f"one of {opened.value} and {self._said.opened.value}")
        self._said.opened = opened

    def _icmp_number(self, what: str) -> None:
        number = self._number(what, 255)
        if self._icmp.setdefault(what, number) != number:
            raise InvalidIntent.of("packet", f"{what} {number}", "said once: another was said before")

    def _oversize(self) -> None:
        if self._said.size_bytes is not None:
            raise InvalidIntent.of("packet", "oversize", "one of oversize and size N")
        self._said.oversize = True

    def _size(self) -> None:
        if self._said.oversize or self._said.size_bytes is not None:
            raise InvalidIntent.of("packet", "size", "one of oversize and size N, once")
        self._said.size_bytes = self._number("size", SIZE_MAX)

    def _settle(self) -> None:
        """Give words their meaning that depends on the protocol, which may be said after them."""
        fields = self._said.fields
        if self._answers:
            if fields.get("eth_type") == ETH_ARP or any(name.startswith("arp_") for name in fields):
                self._put("arp_op", 2)
            elif fields.keys() & {"eth_type", "ip_proto"}:
                self._of_connection(Opened.BY_RECEIVER, "reply")
            else:
                raise InvalidIntent.of(
                    "packet", "reply", "arp, tcp, udp, icmp or icmp6 with it: a reply of what"
                )
        version = {PROTO_ICMPV4: "v4", PROTO_ICMPV6: "v6"}.get(fields.get("ip_proto", 0))
        for what, number in self._icmp.items():
            if version is None:
                raise InvalidIntent.of(
                    "packet", f"{what} {number}", "icmp or icmp6 with it: others have none"
                )
            self._put(f"icmp{version}_{what}", number)

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
        if name in PORT_WORDS:
            self._port(PORT_WORDS[name], number_of(word, text, PORT_MAX))
            return
        ours = FIELD_WORDS.get(name)
        if ours is None:
            known = ", ".join(sorted({*FIELD_WORDS, *PORT_WORDS}))
            raise InvalidIntent.of("packet", word, f"a field of these: {known}")
        self._put(ours, value_of(word, ours, text))

    def _put(self, name: str, value: int) -> None:
        known = self._said.fields.get(name, value)
        if known != value:
            raise InvalidIntent.of(
                "packet", self._words[self._at - 1], f"one {name}: another was said before"
            )
        self._said.fields[name] = value
