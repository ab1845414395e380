"""What guests of a subnet are told besides their address: servers, routes, how to get the address. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloison.addresses import IpAddress, IpNetwork
from cloison.model import Ipv6Mode, Route, Subnet
from cloison.v1 import subnet_pb2
from controller.api import validate
from controller.api.intents import common

# No more are told to guests (agent/services/dhcp4.py).
SERVERS_MAX, ROUTES_MAX = 8, 100
# A guest makes its address of 64 bits of its own and the prefix (RFC 4862, section 5.5.3).
_SLAAC_PREFIX_LENGTH = 64
SELF_MADE = frozenset({Ipv6Mode.SLAAC, Ipv6Mode.STATELESS})


@dataclass(frozen=True, slots=True)
class Told:
    """The settings of a subnet, each well-formed and of its family."""

    dns_servers: tuple[IpAddress, ...]
    ntp_servers: tuple[IpAddress, ...]
    routes: tuple[Route, ...]
    ipv6_mode: Ipv6Mode


def parse(check: validate.Checker, message: subnet_pb2.Subnet, cidr: IpNetwork) -> Told:
    """Check the settings of a subnet's message."""
    return Told(
        dns_servers=_servers(check, message.dns_servers, cidr, "subnet.dns_servers"),
        ntp_servers=_servers(check, message.ntp_servers, cidr, "subnet.ntp_servers"),
        routes=_routes(check, message.routes, cidr),
        ipv6_mode=_mode(check, message.ipv6_mode, cidr),
    )


def _servers(
    check: validate.Checker, texts: Sequence[str], cidr: IpNetwork, field: str
) -> tuple[IpAddress, ...]:
    servers: list[IpAddress] = []
    for place, text in check.each(field, texts, SERVERS_MAX, "servers"):
        server = check.take(lambda text=text, place=place: validate.unicast(text, place))  # type: ignore[misc]
        if server is None or not check.that(
            server.version == cidr.version, place, text, f"an IPv{cidr.version} address, as {cidr} is"
        ):
            continue
        if check.that(server not in servers, place, text, "each server once"):
            servers.append(server)
    return tuple(servers)


def _routes(
    check: validate.Checker, messages: Sequence[subnet_pb2.Route], cidr: IpNetwork
) -> tuple[Route, ...]:
    routes: list[Route] = []
    for place, message in check.each("subnet.routes", messages, ROUTES_MAX, "routes"):
        route = _route(check, message, cidr, place)
        if route is not None and check.that(
            all(route.destination != other.destination for other in routes),
            f"{place}.destination",
            message.destination,
            "each destination once",
        ):
            routes.append(route)
    return tuple(routes)


def _route(check: validate.Checker, message: subnet_pb2.Route, cidr: IpNetwork, field: str) -> Route | None:
    destination = check.take(lambda: validate.prefix(message.destination, f"{field}.destination"))
    next_hop = check.take(lambda: validate.address(message.next_hop, f"{field}.next_hop"))
    if destination is None or next_hop is None:
        return None
    right = check.that(
        destination.version == cidr.version and not destination.is_multicast,
        f"{field}.destination",
        message.destination,
        f"an IPv{cidr.version} range, as {cidr} is, and not multicast",
    )
    right &= check.that(
        destination.prefixlen > 0,
        f"{field}.destination",
        message.destination,
        "a range narrower than everything: the way to everything is gateway_ip",
    )
    right &= check.that(
        validate.is_usable(next_hop, cidr),
        f"{field}.next_hop",
        message.next_hop,
        f"an address of {cidr} that an interface can have",
    )
    return Route(destination, next_hop) if right else None


def _mode(check: validate.Checker, number: int, cidr: IpNetwork) -> Ipv6Mode:
    """Return how guests get their address; in IPv6 by DHCP unless something else is asked for."""
    names = {value: name for name, value in subnet_pb2.Ipv6Mode.items()}
    field, shown = "subnet.ipv6_mode", names.get(number, str(number))
    if number and (number not in names or cidr.version == 4):
        check.wrong(
            field,
            shown,
            "nothing, since the range is IPv4" if cidr.version == 4 else "STATEFUL, STATELESS or SLAAC",
        )
        return Ipv6Mode.UNSPECIFIED
    if cidr.version == 4:
        return Ipv6Mode.UNSPECIFIED
    mode = Ipv6Mode(names[number]) if number else Ipv6Mode.STATEFUL
    check.that(
        mode not in SELF_MADE or cidr.prefixlen == _SLAAC_PREFIX_LENGTH,
        field,
        shown,
        f"STATEFUL, since {cidr} is no /{_SLAAC_PREFIX_LENGTH}, as guests need for that (RFC 4862)",
    )
    return mode


def check_mode(message: subnet_pb2.Subnet, old: Subnet) -> None:
    """Raise InvalidIntent if the mode that was sent is not the one the subnet has."""
    names = {value: name for name, value in subnet_pb2.Ipv6Mode.items()}
    sent = names.get(message.ipv6_mode, str(message.ipv6_mode))
    if message.ipv6_mode or old.ipv6_mode is Ipv6Mode.UNSPECIFIED:
        common.check_immutable("subnet.ipv6_mode", sent, old.ipv6_mode.value)


def makes_its_own(subnet: Subnet) -> bool:
    """Tell whether guests make their address in this subnet from their MAC: then it is not chosen here."""
    return subnet.ipv6_mode in SELF_MADE
