"""From what an expression says to a whole packet: what was left out is what an honest guest sends.

Its own MAC and address, the destination's MAC as its ARP or neighbour table would have it, an echo request
where no protocol was named, a client's port to a server's where no port was. Pure; nothing that was said is
changed.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from cloison.addresses import IpAddress
from cloison.errors import InvalidIntent
from controller.api.connection import ECHO4, ECHO6, ECHO_REPLY4, ECHO_REPLY6, in_connection
from controller.api.expression import Opened, Said
from controller.flows.text import field_text
from controller.verify.intent import PortIntent
from controller.verify.packet import (
    CT_FIELDS,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    FRAGMENT_LATER,
    ND_ADVERTISEMENT,
    ND_SOLICITATION,
    PROTO_ICMPV4,
    PROTO_ICMPV6,
    PROTO_IPV6_FRAGMENT,
    PROTO_TCP,
    PROTO_UDP,
    VLAN_PRESENT,
    Packet,
)
from controller.verify.semantics import (
    GROUPS4,
    LIMITED_BROADCAST,
    LINK_LOCAL6,
    ND_HOP_LIMIT,
    SERVICES4,
    SERVICES6,
    tracked,
)
from controller.verify.stages import SERVICE_MAC
from controller.verify.world import Members, World

BROADCAST = 0xFFFFFFFFFFFF
# Where a guest that has no answer to its ARP would send, if it sent: no port can have it.
NOBODY = 0
TTL = 64
# A client's port, of the dynamic range of RFC 6335, and the server's where none was said.
CLIENT_PORT = 50000
SERVER_PORTS = {PROTO_TCP: 80, PROTO_UDP: 53}
_PORT_FIELDS = {PROTO_TCP: "tcp", PROTO_UDP: "udp"}
_ICMP6_ONLY = {"icmpv6_type", "icmpv6_code", "ipv6_nd_target", "ipv6_nd_sll", "ipv6_nd_tll"}
_SOLICITED_NODE = 0xFF02 << 112 | 0x1FF << 24


def complete(world: World, sender: PortIntent, said: Said, receiver: PortIntent | None) -> Packet:
    """Return the whole packet; raises InvalidIntent if it makes no sense, or does not say for whom it is."""
    return _Completion(world, sender, said, receiver).packet()


class _Completion:
    def __init__(self, world: World, sender: PortIntent, said: Said, receiver: PortIntent | None) -> None:
        self._sender, self._said, self._receiver = sender, said, receiver
        self._members: Members = world.members_of(sender.name.parent)
        self._network = world.networks.get(sender.name.parent)
        here = world.hosts.get(sender.host) if sender.host is not None else None
        self._mtu = here.mtu if here is not None else 0
        # Of the whole datagram: a later fragment of IPv6 does not show it.
        self._protocol = 0
        self._v: dict[str, int] = dict(said.fields)

    def packet(self) -> Packet:
        values = self._v
        values.setdefault("eth_type", self._eth_type())
        values.setdefault("eth_src", self._sender.mac)
        if values["eth_type"] == ETH_ARP:
            self._arp()
        elif values["eth_type"] == ETH_IPV4:
            self._ipv4()
        elif values["eth_type"] == ETH_IPV6:
            self._ipv6()
        values.setdefault("eth_dst", NOBODY if self._receiver is None else self._receiver.mac)
        if values.get("vlan_vid"):
            values["vlan_vid"] |= VLAN_PRESENT
        given = {name: values.pop(name) for name in CT_FIELDS if name in values}
        bare = Packet(**values, oversize=int(self._is_oversize())).canonical()
        packet = in_connection(bare, self._said.opened, given, self._protocol).canonical()
        values |= given
        return self._checked(packet)

    def _is_oversize(self) -> bool:
        size = self._said.size_bytes
        return self._said.oversize or (size is not None and 0 < self._mtu < size)

    def _eth_type(self) -> int:
        names = self._v.keys()
        if any(n.startswith("arp_") for n in names):
            return ETH_ARP
        if names & _ICMP6_ONLY or any(n.startswith(("ipv6_", "ct_ipv6_")) for n in names):
            return ETH_IPV6
        address = self._said.destination or self._said.source
        if address is not None:
            return ETH_IPV4 if isinstance(address, IPv4Address) else ETH_IPV6
        if "ipv4_src" in names or "ipv4_dst" in names:
            return ETH_IPV4
        ends = [self._sender] if self._receiver is None else [self._sender, self._receiver]
        return ETH_IPV4 if all(p.addresses4 for p in ends) else ETH_IPV6

    def _arp(self) -> None:
        values = self._v
        values.setdefault("arp_op", 1)
        values.setdefault("arp_spa", self._source(4))
        values.setdefault("arp_sha", self._sender.mac)
        if "arp_tpa" not in values:
            values["arp_tpa"] = self._destination(4)
        owner = self._owner4(values["arp_tpa"])
        if values["arp_op"] == 2:
            values.setdefault("arp_tha", owner)
            values.setdefault("eth_dst", owner)
        values.setdefault("eth_dst", BROADCAST)

    def _ipv4(self) -> None:
        values = self._v
        self._protocol = values.setdefault("ip_proto", self._default_protocol(PROTO_ICMPV4))
        self._layer4("icmpv4", ECHO4, ECHO_REPLY4)
        values.setdefault("ip_ttl", TTL)
        if "ipv4_src" not in values:
            values["ipv4_src"] = self._source(4)
        if "ipv4_dst" not in values:
            values["ipv4_dst"] = self._destination(4)
        values.setdefault("eth_dst", self._owner4(values["ipv4_dst"]))

    def _ipv6(self) -> None:
        values = self._v
        default = PROTO_ICMPV6 if values.keys() & _ICMP6_ONLY else self._default_protocol(PROTO_ICMPV6)
        self._protocol = values.setdefault("ip_proto", default)
        if values.get("ip_frag", 0) & FRAGMENT_LATER:
            # A later fragment has no layer 4 that a switch could see (ovs-fields(7), ip_frag).
            values["ip_proto"] = PROTO_IPV6_FRAGMENT
        self._layer4("icmpv6", ECHO6, ECHO_REPLY6)
        if values["ip_proto"] == PROTO_ICMPV6:
            self._discovery()
        values.setdefault("ip_ttl", TTL)
        if "ipv6_dst" not in values:
            values["ipv6_dst"] = self._destination(6)
        if "ipv6_src" not in values:
            values["ipv6_src"] = self._source(6)
        values.setdefault("eth_dst", self._owner6(values["ipv6_dst"]))

    def _layer4(self, icmp: str, request: int, answer: int) -> None:
        """Ports, or type and code of ICMP: a request to a server, or the answer to one."""
        values, said = self._v, self._said
        if values.get("ip_frag", 0) & FRAGMENT_LATER:
            return
        answers = said.opened is Opened.BY_RECEIVER
        if self._protocol == (PROTO_ICMPV4 if icmp == "icmpv4" else PROTO_ICMPV6):
            values.setdefault(f"{icmp}_type", answer if answers else request)
            values.setdefault(f"{icmp}_code", 0)
        prefix = _PORT_FIELDS.get(self._protocol)
        if prefix is None:
            return
        ports = (CLIENT_PORT, SERVER_PORTS[self._protocol])
        ports = ports[::-1] if answers else ports
        for end, known, default in zip(
            ("src", "dst"), (said.source_port, said.destination_port), ports, strict=True
        ):
            name = f"{prefix}_{end}"
            values.setdefault(name, default if known is None else known)
            if known not in (None, values[name]):
                raise InvalidIntent.of("packet", f"port {known}", f"one {name}: another was said")

    def _discovery(self) -> None:
        values = self._v
        if values["icmpv6_type"] not in (ND_SOLICITATION, ND_ADVERTISEMENT):
            return
        values.setdefault("ip_ttl", ND_HOP_LIMIT)
        if values["icmpv6_type"] == ND_ADVERTISEMENT:
            values.setdefault("ipv6_nd_target", self._source(6))
            values.setdefault("ipv6_nd_tll", self._sender.mac)
            return
        values.setdefault("ipv6_nd_sll", self._sender.mac)
        if "ipv6_nd_target" not in values:
            values["ipv6_nd_target"] = self._destination(6)
        if "ipv6_dst" not in values and self._said.destination is None:
            # RFC 4861, section 4.3: to the solicited-node address of the target.
            values["ipv6_dst"] = _SOLICITED_NODE | values["ipv6_nd_target"] & 0xFFFFFF

    def _default_protocol(self, default: int) -> int:
        if self._v.keys() & {"udp_src", "udp_dst"}:
            return PROTO_UDP
        ports = (self._said.source_port, self._said.destination_port)
        return PROTO_TCP if ports != (None, None) or self._v.keys() & {"tcp_src", "tcp_dst"} else default

    def _source(self, version: int) -> int:
        if self._said.source is not None:
            return _of_version(self._said.source, version)
        own = self._sender.addresses4 if version == 4 else self._sender.addresses6
        if not own:
            raise InvalidIntent.of(
                "packet", f"IPv{version}", f"from ADDRESS: {self._sender.name} has no IPv{version} address"
            )
        if version == 6 and _is_link_local(self._v.get("ipv6_dst", self._v.get("ipv6_nd_target", 0))):
            return next((a for a in own if _is_link_local(a)), own[0])
        return own[0]

    def _destination(self, version: int) -> int:
        if self._said.destination is not None:
            return _of_version(self._said.destination, version)
        if self._receiver is None:
            raise InvalidIntent.of("packet", "", "to ADDRESS, or name the receiving port in to_port")
        theirs = self._receiver.addresses4 if version == 4 else self._receiver.addresses6
        if not theirs:
            raise InvalidIntent.of("to_port", self._receiver.name, f"a port with an IPv{version} address")
        return theirs[0]

    def _owner4(self, address: int) -> int:
        if address == LIMITED_BROADCAST:
            return BROADCAST
        if address & GROUPS4[1] == GROUPS4[0]:
            # RFC 1112, section 6.4: 01:00:5e and the last 23 bits of the group.
            return 0x01005E << 24 | address & 0x7FFFFF
        if address in SERVICES4:
            return SERVICE_MAC
        theirs = self._receiver.addresses4 if self._receiver is not None else ()
        return self._resolved(address, 4, self._members.by_ipv4.get(address), address in theirs)

    def _owner6(self, address: int) -> int:
        if address >> 120 == 0xFF:
            # RFC 2464, section 7: 33:33 and the last 32 bits of the group.
            return 0x3333 << 32 | address & 0xFFFFFFFF
        if address in SERVICES6:
            return SERVICE_MAC
        theirs = self._receiver.addresses6 if self._receiver is not None else ()
        return self._resolved(address, 6, self._members.by_ipv6.get(address), address in theirs)

    def _resolved(self, address: int, version: int, owner: PortIntent | None, is_receivers: bool) -> int:
        """The owner's MAC, or off the link that of the network's router.

        Without a router the MAC of a port of another network, as if the guest had learnt it somehow.
        """
        if owner is None and (router := self._router(address, version)) is not None:
            return router
        if owner is None and is_receivers:
            owner = self._receiver
        return owner.mac if owner is not None else NOBODY

    def _router(self, address: int, version: int) -> int | None:
        """The MAC by which a guest leaves its network, or reaches a router's own address in it."""
        if self._network is None:
            return None
        for router in self._network.routers:
            here = [int(a) for a in router.here if a.version == version]
            if address in here:
                return router.mac
        ranges = self._network.ranges4 if version == 4 else self._network.ranges6
        if any(address & mask == value for value, mask in ranges):
            return None
        led = (r for r in self._network.routers if any(a.version == version for a in r.here))
        return next((router.mac for router in led), None)

    def _checked(self, packet: Packet) -> Packet:
        """Refuse what was said of fields that such a packet does not have."""
        canonical = packet.canonical()
        for name, value in self._said.fields.items():
            # Of a later fragment of IPv6 the protocol shows in its connection only.
            hidden = name == "ip_proto" and value == self._protocol
            if not hidden and getattr(canonical, name) != (self._v[name] if name == "vlan_vid" else value):
                raise InvalidIntent.of("packet", field_text(name), "a field that a packet of this kind has")
        for end, address in (("src", self._said.source), ("dst", self._said.destination)):
            if address is not None and not _has_address(canonical, end, address):
                raise InvalidIntent.of("packet", address, f"one {end} address, of the packet's own family")
        ports = (self._said.source_port, self._said.destination_port)
        if ports != (None, None) and self._protocol not in _PORT_FIELDS:
            raise InvalidIntent.of("packet", "port", "tcp or udp: other packets have no ports")
        sized = self._said.oversize or self._said.size_bytes is not None
        if sized and not tracked(canonical):
            raise InvalidIntent.of("packet", "size", "an IP packet: others are of any size")
        return canonical


def _of_version(address: IpAddress, version: int) -> int:
    if address.version != version:
        raise InvalidIntent.of("packet", address, f"an IPv{version} address")
    return int(address)


def _is_link_local(address: int) -> bool:
    return address & LINK_LOCAL6[1] == LINK_LOCAL6[0]


def _has_address(packet: Packet, end: str, address: IpAddress) -> bool:
    if packet.eth_type == ETH_ARP:
        return int(address) == (packet.arp_spa if end == "src" else packet.arp_tpa)
    if isinstance(address, IPv6Address):
        return packet.eth_type == ETH_IPV6 and int(address) == getattr(packet, f"ipv6_{end}")
    return packet.eth_type == ETH_IPV4 and int(address) == getattr(packet, f"ipv4_{end}")


def shown(packet: Packet) -> str:
    """Return a packet in words that trace takes, with its connection if it does not open one."""
    connection = packet.connection_text()
    parts = [
        str(packet),
        f"ct_state={connection}" if connection else "",
        "oversize" if packet.oversize else "",
    ]
    return ",".join(part for part in parts if part)
