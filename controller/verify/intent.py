"""What the tenants asked for and where it runs, as the proof needs it: frozen values (index: world.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from cloison.addresses import WIRE4_PREFIX, WIRE6_PREFIX, IpAddress, IpNetwork, link_local
from cloison.names import HostName, NetworkName, PortName
from controller.verify.policy import PROFILE_NONE, PROFILE_OPEN, PolicyIntent


@dataclass(frozen=True, slots=True)
class PairIntent:
    """Source addresses that a port may use besides its own; mac None: with its own MAC."""

    prefix: IpNetwork
    mac: int | None = None


@dataclass(frozen=True, slots=True)
class CrossingIntent:
    """A peering in effect, from one side: both tenants have accepted what passes by it.

    source: only what comes from here may take it. theirs: the profile that stands for the other side to this
    tenant; ours: the one that stands for this side to the other. name is what people call it by.
    """

    source: IpNetwork
    theirs: int
    ours: int
    name: str = field(default="", compare=False)

    @property
    def range(self) -> tuple[int, int]:
        """(value, mask) of the sources."""
        return int(self.source.network_address), int(self.source.netmask)


@dataclass(frozen=True, slots=True)
class RouteIntent:
    """A range that a router sends into a network: to whom it is for, or to who has the address via.

    others: further next hops, with via each has a share of what goes by the route (routing.share).
    crossing: by what it leads into a network of another tenant; None: it is one of the router's own.
    """

    prefix: IpNetwork
    network: NetworkName
    via: IpAddress | None = None
    others: tuple[IpAddress, ...] = ()
    crossing: CrossingIntent | None = None

    @property
    def range(self) -> tuple[int, int]:
        """(value, mask) of the addresses."""
        return int(self.prefix.network_address), int(self.prefix.netmask)


class ExitIntent(NamedTuple):
    """A way out of a port's own: what a router (known by its MAC) would send by a default route, it takes.

    The range of route is all addresses of its family. It counts only if the router leads into its network.
    source: only what has this source address; such a way goes before one for all.
    """

    router_mac: int
    route: RouteIntent
    source: IpAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PortIntent:
    """A port. Plugged if it has a host, then ofport is its OpenFlow port there; a disabled one is not.

    profile: of the tenant's PolicyIntent, or PROFILE_OPEN (nothing it sends is checked) or PROFILE_NONE.
    """

    name: PortName
    number: int
    mac: int
    addresses: tuple[IpAddress, ...]
    host: HostName | None = None
    ofport: int = 0
    profile: int = PROFILE_NONE
    pairs: tuple[PairIntent, ...] = ()
    # Of the addresses of its pairs, those that live here.
    claimed: tuple[IpAddress, ...] = ()
    # Where else it is plugged, as (host, OpenFlow port): it may say there that it is there, and nothing else.
    standby: tuple[tuple[HostName, int], ...] = ()
    # This is the port as it is at one of these places (World.by_ofport).
    stands_by: bool = False
    # At most one for each router, family and source.
    exits: tuple[ExitIntent, ...] = ()
    # Its IPv4 addresses, claimed ones last.
    addresses4: tuple[int, ...] = field(init=False, repr=False, compare=False)
    # Its IPv6 addresses; who was given any also has its EUI-64 link-local one (RFC 4291, appendix A).
    addresses6: tuple[int, ...] = field(init=False, repr=False, compare=False)
    # (MAC, address, mask) of what it may give as its source, of IPv4 and of IPv6.
    claims4: tuple[tuple[int, int, int], ...] = field(init=False, repr=False, compare=False)
    claims6: tuple[tuple[int, int, int], ...] = field(init=False, repr=False, compare=False)
    # (MAC, address) of what lives here: what it may speak for in ARP and neighbour discovery.
    spoken4: tuple[tuple[int, int], ...] = field(init=False, repr=False, compare=False)
    spoken6: tuple[tuple[int, int], ...] = field(init=False, repr=False, compare=False)
    # Every destination MAC under which frames for this port travel between hosts.
    frame_macs: frozenset[int] = field(init=False, repr=False, compare=False)
    # Those of them that suffice, whatever is in the frame: the local services may answer it by them.
    answer_macs: frozenset[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        own4 = tuple(int(a) for a in self.addresses if a.version == 4)
        own6 = tuple(int(a) for a in self.addresses if a.version == 6)
        if own6:
            local = int(link_local(self.mac))
            own6 = own6 if local in own6 else (*own6, local)
        all4 = (*own4, *(int(a) for a in self.claimed if a.version == 4 and int(a) not in own4))
        all6 = (*own6, *(int(a) for a in self.claimed if a.version == 6 and int(a) not in own6))
        wires4 = {WIRE4_PREFIX << 32 | a for a in all4}
        wires6 = {WIRE6_PREFIX << 32 | (a & 0xFFFFFFFF) for a in all6}
        object.__setattr__(self, "addresses4", all4)
        object.__setattr__(self, "addresses6", all6)
        real = {self.mac} if self.by_mac else set()
        answer_macs = frozenset(wires4 | real)
        frame_macs = answer_macs | wires6 if wires6 else answer_macs
        object.__setattr__(self, "frame_macs", frame_macs)
        object.__setattr__(self, "answer_macs", answer_macs)
        for name, version, own, bits in (("claims4", 4, own4, 32), ("claims6", 6, own6, 128)):
            claims = [(self.mac, address, (1 << bits) - 1) for address in own]
            for pair in self.pairs:
                if pair.prefix.version == version:
                    mac = self.mac if pair.mac is None else pair.mac
                    claims.append((mac, int(pair.prefix.network_address), int(pair.prefix.netmask)))
            object.__setattr__(self, name, tuple(dict.fromkeys(claims)))
            living = all4 if version == 4 else all6
            spoken = [
                (mac, address) for mac, value, mask in claims for address in living if address & mask == value
            ]
            object.__setattr__(self, f"spoken{version}", tuple(dict.fromkeys(spoken)))

    @property
    def checked(self) -> bool:
        """Tell whether what it sends is checked (port security)."""
        return self.profile != PROFILE_OPEN

    def exits_by(self, router: RouterIntent, version: int) -> tuple[ExitIntent, ...]:
        """Return its own ways out by a router, of a family: the first that fits wins over a default route."""
        found = (
            way
            for way in self.exits
            if way.router_mac == router.mac
            and way.route.prefix.version == version
            and router.leads_into(way.route.network)
        )
        return tuple(sorted(found, key=lambda way: way.source is None))

    @property
    def by_mac(self) -> bool:
        """Tell whether its real MAC leads to it, and so what is for addresses that are not its own.

        So it is with who may send from such addresses, and with who has no IPv4 address, so that its services
        know it by no other MAC.
        """
        return bool(self.pairs) or not self.checked or all(a.version == 6 for a in self.addresses)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterIntent:
    """A router, as one network knows it: here are its addresses in that network, in any order.

    They include its link-local one, if it has any of IPv6 there (RFC 4291, section 2.1).
    """

    mac: int
    here: tuple[IpAddress, ...]
    addresses: tuple[IpAddress, ...]
    routes: tuple[RouteIntent, ...]

    def own(self, version: int) -> tuple[int, ...]:
        """Return all of its addresses of a family."""
        return tuple(int(address) for address in self.addresses if address.version == version)

    def ways(self, version: int) -> list[RouteIntent]:
        """Return the routes of a family, the longest prefix first."""
        found = [route for route in self.routes if route.prefix.version == version]
        return sorted(found, key=lambda route: -route.prefix.prefixlen)

    def leads_into(self, network: NetworkName) -> bool:
        """Tell whether any route of it does."""
        return any(route.network == network for route in self.routes)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkIntent:
    """A network: its VNI, its subnets, the OpenFlow port of its VXLAN device on each host that has one.

    routers: those that its ports can send to, no two with one MAC.
    """

    name: NetworkName
    vni: int
    subnets: tuple[IpNetwork, ...]
    tunnels: Mapping[HostName, int] = field(default_factory=dict)
    routers: tuple[RouterIntent, ...] = ()
    # Whether what is sent to a group, or to all, reaches all its ports; else it reaches nobody.
    multicast: bool = False
    # The broadcast address of each IPv4 subnet that has one (not of a /31 or /32, RFC 3021).
    broadcasts4: tuple[int, ...] = field(init=False, repr=False, compare=False)
    # (value, mask) of each IPv4 and each IPv6 subnet.
    ranges4: tuple[tuple[int, int], ...] = field(init=False, repr=False, compare=False)
    ranges6: tuple[tuple[int, int], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, version in (("ranges4", 4), ("ranges6", 6)):
            ranges = ((int(s.network_address), int(s.netmask)) for s in self.subnets if s.version == version)
            object.__setattr__(self, name, tuple(ranges))
        wide = (s for s in self.subnets if s.version == 4 and s.prefixlen < 31)
        object.__setattr__(self, "broadcasts4", tuple(int(s.broadcast_address) for s in wide))

    @property
    def reaches(self) -> frozenset[NetworkName]:
        """The networks that its routers lead into, itself included if they do."""
        return frozenset(route.network for router in self.routers for route in router.routes)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostIntent:
    """A host; vtep is None until its agent has registered.

    service_ofport: the OpenFlow port where the local services are, None if they are not. mtu: largest IP
    packet, in bytes, that the overlay carries from here; 0 as long as that is not known.
    """

    name: HostName
    vtep: IpAddress | None
    service_ofport: int | None = None
    mtu: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """All of it, at one revision. Tenants are the first part of each name; policies are by tenant id."""

    hosts: Mapping[HostName, HostIntent] = field(default_factory=dict)
    networks: Mapping[NetworkName, NetworkIntent] = field(default_factory=dict)
    ports: Mapping[PortName, PortIntent] = field(default_factory=dict)
    policies: Mapping[str, PolicyIntent] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentDelta:
    """What an intent becomes: the new value of each object that changed, None where it is gone."""

    hosts: Mapping[HostName, HostIntent | None] = field(default_factory=dict)
    networks: Mapping[NetworkName, NetworkIntent | None] = field(default_factory=dict)
    ports: Mapping[PortName, PortIntent | None] = field(default_factory=dict)
    policies: Mapping[str, PolicyIntent | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.hosts or self.networks or self.ports or self.policies)

    @classmethod
    def whole(cls, intent: Intent) -> IntentDelta:
        """Return the change from nothing to an intent."""
        return cls(hosts=intent.hosts, networks=intent.networks, ports=intent.ports, policies=intent.policies)
