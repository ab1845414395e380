"""What the compiler is given: a host, the networks present on it, the ports plugged, the policies of tenants.

Frozen values. A unit of compiling sees one of them and no other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

from cloison.addresses import IpAddress, IpNetwork, link_local
from cloison.model import PROFILE_NONE, PROFILE_OPEN, AddressGroup, AddressPair, SecurityGroup, Vni
from cloison.names import AddressGroupName, PortName, SecurityGroupName, TenantName
from controller.compiler.cookies import Cookie, CookieKind

# Their ids begin beyond all OpenFlow ports (16 bits), which are the ids of the meters of services.
METERS_OF_CONNECTIONS = 0x10000
METERS_OF_SPREADING = 0x20000


def mac_leads_to(pairs: Collection[AddressPair], profile: int, addresses: Iterable[IpAddress]) -> bool:
    """Tell whether the real MAC of such a port leads to it, and so what is for addresses not its own.

    That is for who may answer for such addresses: ports with address pairs, or without port security.
    Without an IPv4 address there is no other way to it for the local services.
    """
    return bool(pairs) or profile == PROFILE_OPEN or not any(a.version == 4 for a in addresses)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostUnitView:
    """What of a host its flows depend on. service_ofport is None until its service port is on the bridge.

    mtu: the longest IP packet that fits into the overlay, in bytes.
    """

    service_ofport: int | None
    mtu: int


class NextHop(NamedTuple):
    """Who forwards what a route leads to. mac is None if no port has its address.

    others: the MACs of the route's further next hops, in their order.
    """

    mac: int | None
    others: tuple[int | None, ...] = ()


class CrossingView(NamedTuple):
    """By which peering a route leads into a network of another tenant.

    source: only what comes from here. own_number: the profile as which the other side is known here;
    their_number: as which this side is known there; their_tenant: number of the other tenant.
    """

    source: IpNetwork
    own_number: int
    their_number: int
    their_tenant: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteView:
    """Where a router sends a range: into the network of this VNI, to the address itself or to a next hop."""

    prefix: IpNetwork
    vni: Vni
    next_hop: NextHop | None = None
    crossing: CrossingView | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterView:
    """A router as one of its networks sees it.

    here: its addresses in that network, and if any is of IPv6 its link-local one; addresses: all that were
    given to it. No two routes have one prefix and source.
    """

    mac: int
    here: tuple[IpAddress, ...]
    addresses: tuple[IpAddress, ...]
    routes: tuple[RouteView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Everyone:
    """All ports of a network, as one host sees them.

    ports: OpenFlow port, policy profile and number of those here. own_mac: under which what is for all comes
    to this host (cloison.addresses.host_mac; None: it cannot), and other_macs: to others with ports of it.
    """

    ports: tuple[tuple[int, int, int], ...]
    own_mac: int | None
    other_macs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkView:
    """A network as one host sees it. tunnel_ofport is None until its VXLAN device is on the bridge.

    routers: those that ports of the network on this host can reach; none where it has no port.
    everyone: whom what is sent to a group or to all reaches; None if the network has no multicast.
    """

    tenant_number: int
    vni: Vni
    subnets: tuple[IpNetwork, ...]
    tunnel_ofport: int | None
    routers: tuple[RouterView, ...] = ()
    everyone: Everyone | None = None

    @property
    def cookie(self) -> int:
        """Cookie of the network's flows."""
        return Cookie(CookieKind.NETWORK, self.tenant_number, self.vni).pack()

    @property
    def subnets4(self) -> tuple[IPv4Network, ...]:
        """Its IPv4 subnets."""
        return tuple(s for s in self.subnets if isinstance(s, IPv4Network))

    @property
    def subnets6(self) -> tuple[IPv6Network, ...]:
        """Its IPv6 subnets."""
        return tuple(s for s in self.subnets if isinstance(s, IPv6Network))


class Claim(NamedTuple):
    """Source addresses that a port may use with a MAC."""

    mac: int
    prefix: IpNetwork


class ExitView(NamedTuple):
    """A way out of a port's own, instead of its router's default route: to the edge on its own host.

    Of the family of version, into the network of this VNI, to the port with this MAC (None: to nobody).
    source: only what has this source address; of two ways the one that names it wins.
    """

    router_mac: int
    version: int
    vni: Vni
    mac: int | None
    source: IpAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PortView:
    """A port plugged on the host, enabled, its ofport confirmed. profile: the number of its PolicyProfile."""

    tenant_number: int
    port_number: int
    vni: Vni
    ofport: int
    mac: int
    addresses: tuple[IpAddress, ...]
    profile: int = PROFILE_NONE
    allowed_address_pairs: tuple[AddressPair, ...] = ()
    # Of the pairs' addresses, those that live here: it was the last port to announce them.
    claimed: tuple[IpAddress, ...] = ()
    # It lives on another host, and may come to live here: its guest has but to announce itself.
    standby: bool = False
    # At most one for each router, family and source.
    exits: tuple[ExitView, ...] = ()

    @property
    def cookie(self) -> int:
        """Cookie of the port's flows."""
        return Cookie(CookieKind.PORT, self.tenant_number, self.port_number).pack()

    @property
    def meter_of_services(self) -> int:
        """Id of the meter for what it asks of its host's services."""
        return self.ofport

    @property
    def meter_of_connections(self) -> int:
        """Id of the meter for the connections that it opens."""
        return METERS_OF_CONNECTIONS + self.ofport

    @property
    def meter_of_spreading(self) -> int:
        """Id of the meter for what it sends to all of a network with multicast."""
        return METERS_OF_SPREADING + self.ofport

    @property
    def port_security(self) -> bool:
        """Tell whether what it sends is checked and policy applies to it."""
        return self.profile != PROFILE_OPEN

    @property
    def reached_by_mac(self) -> bool:
        """Tell whether its real MAC leads to it."""
        return mac_leads_to(self.allowed_address_pairs, self.profile, self.addresses)

    @property
    def addresses4(self) -> tuple[IPv4Address, ...]:
        """The IPv4 addresses it was given."""
        return tuple(a for a in self.addresses if isinstance(a, IPv4Address))

    @property
    def addresses6(self) -> tuple[IPv6Address, ...]:
        """The IPv6 addresses it was given, the EUI-64 link-local one among them if it has any."""
        given = tuple(a for a in self.addresses if isinstance(a, IPv6Address))
        own = link_local(self.mac)
        return (*given, own) if given and own not in given else given

    @property
    def reached4(self) -> tuple[IPv4Address, ...]:
        """The IPv4 addresses that live here, claimed ones included."""
        claimed = (a for a in self.claimed if isinstance(a, IPv4Address))
        return tuple(dict.fromkeys([*self.addresses4, *claimed]))

    @property
    def reached6(self) -> tuple[IPv6Address, ...]:
        """The IPv6 addresses that live here, claimed ones included."""
        claimed = (a for a in self.claimed if isinstance(a, IPv6Address))
        return tuple(dict.fromkeys([*self.addresses6, *claimed]))

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Its own addresses and its allowed address pairs, each once.

        Whether an address of the pairs is claimed makes no difference: its connections outlive its moves.
        """
        return tuple(dict.fromkeys([*self._own, *self._pairs]))

    @property
    def held(self) -> tuple[Claim, ...]:
        """What it may speak for in ARP and neighbour discovery: what lives here, with each MAC it may use."""
        living = [*_alone(self.reached4), *_alone(self.reached6)]
        paired = [
            Claim(mac, one)
            for one in living
            for mac, prefix in self._pairs
            if prefix.version == one.version and one.network_address in prefix
        ]
        return tuple(dict.fromkeys([*self._own, *paired]))

    @property
    def announced(self) -> tuple[Claim, ...]:
        """What it may claim: to speak for it, unless it is held, announces that it lives here from now on."""
        held = set(self.held)
        return tuple(claim for claim in dict.fromkeys(self._pairs) if claim not in held)

    @property
    def _own(self) -> list[Claim]:
        return [Claim(self.mac, one) for own in (self.addresses4, self.addresses6) for one in _alone(own)]

    @property
    def _pairs(self) -> list[Claim]:
        return [
            Claim(self.mac if pair.mac is None else pair.mac, pair.prefix)
            for pair in self.allowed_address_pairs
        ]


def _alone(addresses: Iterable[IpAddress]) -> Iterator[IpNetwork]:
    """Yield the ranges of just one address; from numbers, as from addresses they are made by way of text."""
    for address in addresses:
        number = int(address)
        yield IPv4Network(number) if isinstance(address, IPv4Address) else IPv6Network(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyView:
    """Everything the policy of a tenant depends on.

    profiles: the groups of each profile in use. A rule that names a group or an address group that is not
    here matches nobody.
    """

    tenant_number: int
    profiles: Mapping[int, tuple[SecurityGroupName, ...]]
    groups: Mapping[SecurityGroupName, SecurityGroup]
    address_groups: Mapping[AddressGroupName, AddressGroup]

    @property
    def cookie(self) -> int:
        """Cookie of the policy's flows."""
        return Cookie(CookieKind.POLICY, self.tenant_number, self.tenant_number).pack()


@dataclass(frozen=True, slots=True)
class HostView:
    """Everything one host carries. unit is None until the controller knows the host's underlay."""

    networks: Mapping[Vni, NetworkView]
    ports: Mapping[PortName, PortView]
    unit: HostUnitView | None = None
    policies: Mapping[TenantName, PolicyView] = field(default_factory=dict)
