"""What the local services need to know of a port of this host: a part of the host's plan. Pure data.

Who the port is (number, VNI, MAC), which addresses it has, and what DHCP, router advertisements, DNS and
the metadata proxy tell its guest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from cloison.addresses import IpAddress, IpNetwork, Mac, link_local
from cloison.errors import InvalidIntent
from cloison.model import PORT_NUMBER_MAX, Ipv6Mode, Vni
from cloison.names import PortName
from cloison.v1 import host_sync_pb2 as pb

MTU_MIN, MTU_MAX = 68, 65535
TEXT_BYTES_MAX = 255
"""Of what goes into one option of DHCP."""
_LABEL_BYTES_MAX = 63
_MODES = {0: Ipv6Mode.UNSPECIFIED, 1: Ipv6Mode.STATEFUL, 2: Ipv6Mode.STATELESS, 3: Ipv6Mode.SLAAC}


@dataclass(frozen=True, slots=True)
class ServiceRoute:
    """A route a guest is told of; a next hop of 0.0.0.0 (or ::) means on-link."""

    destination: IpNetwork
    next_hop: IpAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSubnet:
    """A subnet a port has an address in.

    `gateway` is None unless somebody answers at it. `dns_servers` empty: the local resolver.
    """

    prefix: IpNetwork
    gateway: IpAddress | None = None
    dhcp: bool = True
    dns_servers: tuple[IpAddress, ...] = ()
    ntp_servers: tuple[IpAddress, ...] = ()
    routes: tuple[ServiceRoute, ...] = ()
    ipv6_mode: Ipv6Mode = Ipv6Mode.UNSPECIFIED


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRouter:
    """A router in a port's network: here are its addresses there, addresses all it has anywhere.

    vnis: the networks that it joins.
    """

    mac: Mac
    here: tuple[IpAddress, ...]
    addresses: tuple[IpAddress, ...]
    vnis: tuple[Vni, ...] = ()

    @property
    def link_local(self) -> IPv6Address | None:
        """What its advertisements come from, None if it has no IPv6 address in the network."""
        return link_local(self.mac) if any(isinstance(a, IPv6Address) for a in self.here) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """What a network boot asks for: a server (name or address) and a file for each kind of client."""

    next_server: str = ""
    bios: str = ""
    uefi: str = ""
    ipxe: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """A port whose guest is served here.

    tenant, network and port are ids (the parts of its name). `mtu` in bytes; `domain` without a final dot,
    '' for none. `allowed_prefixes` are source addresses it may use besides its own.
    """

    number: int
    vni: Vni
    mac: Mac
    addresses: tuple[IpAddress, ...]
    tenant: str
    network: str
    port: str
    mtu: int
    subnets: tuple[ServiceSubnet, ...] = ()
    hostname: str = ""
    domain: str = ""
    boot: Boot = Boot()
    device_id: str = ""
    project_id: str = ""
    ofport: int = 0
    allowed_prefixes: tuple[IpNetwork, ...] = ()
    routers: tuple[ServiceRouter, ...] = ()

    def router_at(self, address: IpAddress) -> ServiceRouter | None:
        """Return the router that has an address in the port's network, or None."""
        return next((r for r in self.routers if address in r.here or address == r.link_local), None)

    @property
    def near(self) -> frozenset[Vni]:
        """The networks that are routed with the port's own."""
        return frozenset(vni for router in self.routers for vni in router.vnis) - {self.vni}

    @property
    def default_router6(self) -> ServiceRouter | None:
        """The router that answers at an IPv6 gateway of the port's subnets, or None."""
        gateways = (s.gateway for s in self.subnets if isinstance(s.gateway, IPv6Address))
        return next((router for at in gateways if (router := self.router_at(at)) is not None), None)

    def subnet_of(self, address: IpAddress) -> ServiceSubnet | None:
        """Return the subnet an address lies in, or None."""
        for subnet in self.subnets:
            if address.version == subnet.prefix.version and address in subnet.prefix:
                return subnet
        return None


@dataclass(frozen=True, slots=True)
class PortRecord:
    """A record of the plan as it came, and what it says; if it is of no use, port is None, fault says why."""

    # Serialized: a message keeps alive all of the message that it was a part of.
    said: bytes
    port: ServicePort | None
    fault: str = ""

    @classmethod
    def read(cls, message: pb.ServicePort, like: PortRecord | None = None) -> PortRecord:
        """Read a record, or take the one that says the same; one that is bad stops no other."""
        said = message.SerializeToString(deterministic=True)
        if like is not None and like.said == said:
            return like
        try:
            return cls(said, read_service_port(message))
        except ValueError as err:
            return cls(said, None, str(err))


def read_service_port(message: pb.ServicePort) -> ServicePort:
    """Return what a record of the plan says; raises ValueError for one that no guest can be served by."""
    try:
        name = PortName.parse(message.port)
    except InvalidIntent as err:
        raise ValueError(f"{message.port!r} is no name of a port") from err
    _check("number", message.number, 0, PORT_NUMBER_MAX)
    _check("VNI", message.vni, 1, (1 << 24) - 1)
    _check("MAC", message.mac, 1, (1 << 48) - 1)
    _check("MTU", message.mtu, MTU_MIN, MTU_MAX)
    return ServicePort(
        number=message.number,
        vni=Vni(message.vni),
        mac=Mac(message.mac),
        addresses=tuple(_address(given.address) for given in message.addresses),
        tenant=name.tenant,
        network=name.network,
        port=name.port,
        mtu=message.mtu,
        subnets=tuple(dict.fromkeys(_subnet(given) for given in message.addresses)),
        hostname=_domain(message.hostname),
        domain=_domain(message.domain),
        boot=Boot(
            next_server=_text(message.next_server),
            bios=_text(message.boot_file_bios),
            uefi=_text(message.boot_file_uefi),
            ipxe=_text(message.boot_file_ipxe),
        ),
        device_id=message.device_id,
        project_id=message.project_id,
        ofport=message.ofport,
        allowed_prefixes=tuple(_prefix_of_text(text) for text in message.allowed_prefixes),
        routers=tuple(_router(given) for given in message.routers),
    )


def _subnet(given: pb.ServiceAddress) -> ServiceSubnet:
    routes = (
        ServiceRoute(_network(route.destination, route.prefix_length), _address(route.next_hop))
        for route in given.routes
    )
    if given.ipv6_mode not in _MODES:
        raise ValueError(f"IPv6 mode {given.ipv6_mode} is not known")
    return ServiceSubnet(
        prefix=_network(given.address, given.prefix_length),
        gateway=_address(given.router) if given.router else None,
        dhcp=not given.no_dhcp,
        dns_servers=_addresses(given.dns_servers),
        ntp_servers=_addresses(given.ntp_servers),
        routes=tuple(routes),
        ipv6_mode=_MODES[given.ipv6_mode],
    )


def _router(given: pb.ServiceRouter) -> ServiceRouter:
    _check("a router's MAC", given.mac, 1, (1 << 48) - 1)
    return ServiceRouter(
        mac=Mac(given.mac),
        here=_addresses(given.here),
        addresses=_addresses(given.addresses),
        vnis=tuple(map(Vni, given.vnis)),
    )


def _check(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{what} {value} is outside {low}..{high}")


def _address(packed: bytes) -> IpAddress:
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


def _addresses(given: Iterable[bytes]) -> tuple[IpAddress, ...]:
    return tuple(_address(packed) for packed in given)


def _network(packed: bytes, length: int) -> IpNetwork:
    if len(packed) == 4:
        return IPv4Network((packed, length), strict=False)
    return IPv6Network((packed, length), strict=False)


def _prefix_of_text(text: str) -> IpNetwork:
    return IPv6Network(text, strict=False) if ":" in text else IPv4Network(text, strict=False)


def _text(text: str) -> str:
    if not text.isascii() or len(text) > TEXT_BYTES_MAX:
        raise ValueError(f"{text[:40]!r} does not go into an option")
    return text


def _domain(text: str) -> str:
    """Return a domain name without its final dot; raises ValueError for what has no wire form."""
    name = _text(text.removesuffix("."))
    if name and not all(0 < len(label) <= _LABEL_BYTES_MAX for label in name.split(".")):
        raise ValueError(f"{text[:40]!r} is no domain name")
    return name
