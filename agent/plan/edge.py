"""A router's way out on this host, as the plan has it. Pure data.

The kernel routes and translates in a network namespace, the edge: inside it is plugged into br-int as a port
of the router's transit network, outside into the bridge of a physical network.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import TypeVar

from cloison.addresses import MULTICAST_BIT, IpAddress, IpNetwork, Mac
from cloison.errors import InvalidIntent
from cloison.model import PORT_NUMBER_MAX
from cloison.names import ID_PATTERN, RouterName
from cloison.v1 import host_sync_pb2 as pb

IpInterface = IPv4Interface | IPv6Interface
MTU_MIN, MTU_MAX, VLAN_MAX = 68, 65535, 4094
IPV6_MTU_MIN = 1280
"""RFC 8200, section 5: the kernel speaks no IPv6 on a link with less."""
IFACE_ID_CHARS_MAX = 255
FAMILIES = (4, 6)
_INSIDE, _OUTSIDE = "cli", "clo"
_LINK_NAME = re.compile(r"cl[io]([0-9a-f]{8})")
T = TypeVar("T")
U = TypeVar("U")


def inside_link(number: int) -> str:
    """Return the name of the device that is an edge's port of br-int."""
    return f"{_INSIDE}{number:08x}"


def outside_link(number: int) -> str:
    """Return the name of the device that is an edge's port of the bridge of its physical network."""
    return f"{_OUTSIDE}{number:08x}"


def edge_of_link(name: str) -> int | None:
    """Return the number of the edge that the name of one of these devices stands for, None for any other."""
    match = _LINK_NAME.fullmatch(name)
    return int(match[1], 16) if match else None


@dataclass(frozen=True, slots=True)
class Floating:
    """An address outside that stands for an address inside, of one family."""

    address: IpAddress
    fixed: IpAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """One edge.

    The fields are those of the contract, read and found to agree with each other. MTUs in bytes.
    """

    number: int
    iface_id: str
    router: str
    inside_mac: Mac
    inside: tuple[IpInterface, ...]
    inside_mtu: int
    router_mac: Mac
    router_addresses: tuple[IpAddress, ...]
    inside_prefixes: tuple[IpNetwork, ...]
    physical_network: str
    vlan: int
    outside_mac: Mac
    outside_mtu: int
    outside: tuple[IpInterface, ...]
    outside_prefixes: tuple[IpNetwork, ...]
    gateways: tuple[IpAddress, ...]
    snat: tuple[IpAddress, ...]
    routed_prefixes: tuple[IpNetwork, ...]
    floating: tuple[Floating, ...]
    active: bool

    @property
    def outside_addresses(self) -> tuple[IpAddress, ...]:
        """The router's own addresses outside."""
        return tuple(dict.fromkeys([*(at.ip for at in self.outside), *self.snat]))

    @property
    def answered(self) -> tuple[IpAddress, ...]:
        """Every address that it answers for outside while it is active: the router's own, then the others."""
        return *self.outside_addresses, *(pair.address for pair in self.floating)

    @property
    def title(self) -> str:
        """What a person reads in a report."""
        return f"edge {self.number} of {self.router}"


@dataclass(frozen=True, slots=True)
class EdgeRecord:
    """A record of the plan as it came, and what it says; if it is of no use, edge is None, fault says why."""

    message: pb.Edge
    edge: Edge | None
    fault: str = ""

    @classmethod
    def read(cls, message: pb.Edge, like: EdgeRecord | None = None) -> EdgeRecord:
        """Read a record, or take the one that says the same; one that is bad stops no other."""
        if like is not None and like.message == message:
            return like
        kept = pb.Edge()
        kept.CopyFrom(message)
        try:
            return cls(kept, read_edge(kept))
        except ValueError as err:
            return cls(kept, None, str(err))


def read_edge(message: pb.Edge) -> Edge:
    """Return what a record of the plan says; raises ValueError for one that cannot be carried out."""
    try:
        RouterName.parse(message.router)
    except InvalidIntent as err:
        raise ValueError(f"{message.router!r} is no name of a router") from err
    _check("number", message.number, 1, PORT_NUMBER_MAX)
    _check("VLAN", message.vlan, 0, VLAN_MAX)
    if not 0 < len(message.iface_id) <= IFACE_ID_CHARS_MAX or not message.iface_id.isprintable():
        raise ValueError(f"{message.iface_id[:40]!r} is no iface-id: 1 to {IFACE_ID_CHARS_MAX} characters")
    if not ID_PATTERN.fullmatch(message.physical_network):
        raise ValueError(f"{message.physical_network[:40]!r} is no name of a physical network")
    edge = Edge(
        number=message.number,
        iface_id=message.iface_id,
        router=message.router,
        inside_mac=_mac("inside MAC", message.inside_mac),
        inside=_each("inside address", message.inside, _interface),
        inside_mtu=message.inside_mtu,
        router_mac=_mac("router's MAC", message.router_mac),
        router_addresses=_each("router's address", message.router_addresses, _address),
        inside_prefixes=_each("inside prefix", message.inside_prefixes, _network),
        physical_network=message.physical_network,
        vlan=message.vlan,
        outside_mac=_mac("outside MAC", message.outside_mac),
        outside_mtu=message.outside_mtu,
        outside=_each("outside address", message.outside, _interface),
        outside_prefixes=_each("outside prefix", message.outside_prefixes, _network),
        gateways=_each("gateway", message.gateways, _address),
        snat=_each("SNAT address", message.snat, _address),
        routed_prefixes=_each("routed prefix", message.routed_prefixes, _network),
        floating=_each("floating address", message.floating, _floating),
        active=message.active,
    )
    _agree(edge)
    return edge


def within(address: IpAddress, networks: Iterable[IpNetwork]) -> bool:
    """Tell whether an address lies in one of these."""
    return any(network.version == address.version and address in network for network in networks)


def _agree(edge: Edge) -> None:
    """Raise ValueError if the parts of an edge cannot all be true."""
    both = (*edge.inside, *edge.outside)
    low = IPV6_MTU_MIN if any(interface.version == 6 for interface in both) else MTU_MIN
    _check("inside MTU", edge.inside_mtu, low, MTU_MAX)
    _check("outside MTU", edge.outside_mtu, low, MTU_MAX)
    for what, addresses in (
        ("gateways", edge.gateways),
        ("SNAT addresses", edge.snat),
        ("router's addresses", edge.router_addresses),
    ):
        if len({address.version for address in addresses}) < len(addresses):
            raise ValueError(f"{what} {_words(addresses)}: at most one of each family")
    inner = [interface.network for interface in edge.inside]
    for prefix in edge.inside_prefixes:
        if prefix.version not in {address.version for address in edge.router_addresses}:
            raise ValueError(f"inside prefix {prefix}: the router has no address of its family")
        if prefix in edge.outside_prefixes:
            raise ValueError(f"prefix {prefix} is both inside and outside")
    for address in edge.router_addresses:
        if not within(address, inner):
            raise ValueError(f"router's address {address} is not on the link of {_words(edge.inside)}")
    _agree_outside(edge, inner)


def _agree_outside(edge: Edge, inner: Sequence[IpNetwork]) -> None:
    for pair in edge.floating:
        if not within(pair.fixed, edge.inside_prefixes):
            raise ValueError(f"floating address {pair.address}: {pair.fixed} is not inside")
    own = edge.outside_addresses
    floating = Counter(pair.address for pair in edge.floating)
    for address, uses in floating.items():
        if uses > 1 or address in own:
            raise ValueError(f"floating address {address} stands for two things")
    local = {interface.ip for interface in edge.inside}
    for address in (*own, *floating, *edge.gateways):
        if address in local or within(address, inner) or within(address, edge.inside_prefixes):
            raise ValueError(f"address {address} outside is one of the inside")
    for address in edge.gateways:
        if address in own or address in floating:
            raise ValueError(f"gateway {address} is an address of the edge's own")


def _words(things: Iterable[object]) -> str:
    return ", ".join(str(thing) for thing in things) or "nothing"


def _each(what: str, given: Iterable[T], read: Callable[[T], U]) -> tuple[U, ...]:
    try:
        return tuple(dict.fromkeys(read(one) for one in given))
    except ValueError as err:
        raise ValueError(f"{what}: {err}") from err


def _check(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{what} {value} is outside {low}..{high}")


def _mac(what: str, value: int) -> Mac:
    _check(what, value, 1, (1 << 48) - 1)
    if value & MULTICAST_BIT:
        raise ValueError(f"{what} {value:012x} is of a group")
    return Mac(value)


def _address(packed: bytes) -> IpAddress:
    address = IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
    if address.is_multicast or address.is_unspecified or address.is_loopback or address.is_link_local:
        raise ValueError(f"{address} cannot be routed to")
    return address


def _interface(given: pb.EdgeAddress) -> IpInterface:
    address = _address(given.address)
    _check("prefix length", given.prefix_length, 0, address.max_prefixlen)
    if isinstance(address, IPv4Address):
        return IPv4Interface((address, given.prefix_length))
    return IPv6Interface((address, given.prefix_length))


def _network(given: pb.EdgePrefix) -> IpNetwork:
    if len(given.address) == 4:
        return IPv4Network((given.address, given.prefix_length))
    return IPv6Network((given.address, given.prefix_length))


def _floating(given: pb.FloatingAddress) -> Floating:
    pair = Floating(_address(given.address), _address(given.fixed))
    if pair.address.version != pair.fixed.version:
        raise ValueError(f"{pair.address} and {pair.fixed} are not of one family")
    return pair
