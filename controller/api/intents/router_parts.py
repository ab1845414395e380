"""The parts of a router's message: MAC, interfaces, routes, each held against what is there. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from ipaddress import IPv4Network, IPv6Network

from cloison.addresses import ROUTER_MAC, IpAddress, IpNetwork, Mac, format_mac, is_within, parse_mac
from cloison.model import Router, RouterInterface, RouterRoute, Subnet
from cloison.names import NetworkName, RouterName, SubnetName
from cloison.service_link import SERVICE_ADDRESSES
from cloison.v1 import router_pb2 as pb
from controller.api import validate
from controller.api.intents import release
from controller.store import ids, transit
from controller.store.state import State

# So that a router with all of its networks is one transaction that etcd takes as it comes (128 operations).
INTERFACES_MAX, ROUTES_MAX = 30, 100
# Of a route: each has its share of 16 (docs/decisions.md, 65).
NEXT_HOPS_MAX = 8
# Of all routes of a router that have several: they cost flows, and the proof's time when one comes or goes.
SHARING_HOPS_MAX = 32
# What no route leads to: groups, and what never leaves its link (RFC 3927, section 2.6.2; RFC 4291, 2.5.6).
_NOWHERE: tuple[tuple[IpNetwork, str], ...] = (
    (IPv4Network("224.0.0.0/3"), "multicast or reserved"),
    (IPv4Network("169.254.0.0/16"), "link-local"),
    (IPv4Network("127.0.0.0/8"), "loopback"),
    (IPv6Network("ff00::/8"), "multicast"),
    (IPv6Network("fe80::/10"), "link-local"),
)


def mac(check: validate.Checker, text: str) -> Mac:
    """Return the MAC of a message: the common one if it says none."""
    if not text:
        return ROUTER_MAC
    try:
        if parse_mac(text) == ROUTER_MAC:
            return ROUTER_MAC
    except ValueError:
        pass  # said below
    return check.take(lambda: validate.mac(text, "router.mac_address")) or ROUTER_MAC


def check_mac(check: validate.Checker, state: State, router: Router) -> None:
    """Refuse a MAC that somebody else has in one of the router's networks."""
    for network in router.networks:
        key = ids.mac(network, router.mac)
        held = release.foreign(state.reservations.get(key), router.meta.uid)
        if held is None:
            continue
        text = format_mac(router.mac)
        release.refuse_released(held, "router.mac_address", text)
        check.wrong("router.mac_address", text, f"a MAC of its own in {network}: {held.owner} has this one")


def interfaces(
    check: validate.Checker,
    state: State,
    messages: Sequence[pb.RouterInterface],
    name: RouterName,
    uid: str,
) -> tuple[RouterInterface, ...]:
    """Return the interfaces, each in a subnet of the tenant, none overlapping another, by subnet."""
    field = "router.interfaces"
    if not check.that(
        len(messages) <= INTERFACES_MAX,
        field,
        f"{len(messages)} interfaces",
        f"at most {INTERFACES_MAX} interfaces",
    ):
        return ()
    found: list[tuple[RouterInterface, Subnet]] = []
    for i, message in enumerate(messages):
        subnet = _subnet(check, state, message.subnet, f"{field}[{i}].subnet", name)
        if subnet is None or not _apart(check, subnet, [s for _, s in found], f"{field}[{i}].subnet"):
            continue
        address = _address(check, message.ip_address, subnet, f"{field}[{i}].ip_address")
        if address is not None:
            _check_owner(check, state, subnet, address, f"{field}[{i}].ip_address", uid)
            found.append((RouterInterface(subnet.name, address), subnet))
    return tuple(sorted((interface for interface, _ in found), key=lambda i: i.subnet))


def _subnet(
    check: validate.Checker, state: State, text: str, field: str, router: RouterName
) -> Subnet | None:
    subnet_name = check.take(lambda: SubnetName.parse(text, field))
    if subnet_name is None:
        return None
    if subnet_name.tenant != router.tenant:
        check.wrong(field, text, f"a subnet of {router.parent}: a router joins networks of one tenant")
        return None
    if transit.is_transit(subnet_name.parent):
        check.wrong(field, text, "a subnet of a network of your own: this is the way out of a router")
        return None
    subnet = state.subnets.get(subnet_name)
    if subnet is None or subnet_name.parent not in state.networks:
        check.wrong(field, text, "a subnet that exists")
        return None
    return subnet


def _apart(check: validate.Checker, subnet: Subnet, others: Sequence[Subnet], field: str) -> bool:
    for other in others:
        if other.name == subnet.name:
            return check.that(False, field, subnet.name, "each subnet once")
        if other.cidr.overlaps(subnet.cidr):
            return check.that(
                False,
                field,
                subnet.name,
                f"a subnet whose range ({subnet.cidr}) does not overlap {other.cidr} of {other.name}",
            )
    return True


def _address(check: validate.Checker, text: str, subnet: Subnet, field: str) -> IpAddress | None:
    if not text:
        check.that(
            subnet.gateway_ip is not None, field, "", f"an address of {subnet.cidr}: it has no gateway_ip"
        )
        return subnet.gateway_ip
    address = check.take(lambda: validate.address(text, field))
    if address is None:
        return None
    inside = validate.is_usable(address, subnet.cidr)
    if not check.that(inside, field, text, validate.usable_expected(subnet.cidr)):
        return None
    free = address not in SERVICE_ADDRESSES
    return address if check.that(free, field, text, validate.SERVICE_EXPECTED) else None


def _check_owner(
    check: validate.Checker, state: State, subnet: Subnet, address: IpAddress, field: str, uid: str
) -> None:
    """Refuse an address that a port or another router has; the gateway's waits for its router."""
    for router in state.routers_using(subnet.name):
        taken = any(i.subnet == subnet.name and i.address == address for i in router.interfaces)
        if router.meta.uid != uid and taken:
            check.wrong(field, address, f"another address of {subnet.cidr}: {router.name} has this one")
            return
    if address == subnet.gateway_ip:
        return
    held = release.foreign(state.reservations.get(ids.ip(subnet.name.parent, address)), uid)
    if held is not None:
        release.refuse_released(held, field, address)
        check.wrong(field, address, f"an address that is not taken: {held.owner} has it")


def routes(
    check: validate.Checker,
    state: State,
    messages: Sequence[pb.RouterRoute],
    connected: Sequence[RouterInterface],
) -> tuple[RouterRoute, ...]:
    """Return the routes, each destination once, each next hop in the subnet of an interface."""
    field = "router.routes"
    if not check.that(
        len(messages) <= ROUTES_MAX, field, f"{len(messages)} routes", f"at most {ROUTES_MAX} routes"
    ):
        return ()
    found: dict[IpNetwork, RouterRoute] = {}
    subnets = {i.subnet: state.subnets[i.subnet].cidr for i in connected}
    for i, message in enumerate(messages):
        place = f"{field}[{i}]"
        destination = _destination(check, message.destination, f"{place}.destination", subnets)
        hops = _next_hops(check, message.next_hops, f"{place}.next_hops", connected, subnets)
        if destination is None or not hops:
            continue
        for n, hop in enumerate(hops):
            same = hop.version == destination.version
            expected = f"an IPv{destination.version} address, as {destination}"
            check.that(same, f"{place}.next_hops[{n}]", hop, expected)
        once = destination not in found
        check.that(once, f"{place}.destination", message.destination, "each destination once")
        in_order = sorted(hops, key=lambda hop: (hop.version, int(hop)))
        found[destination] = RouterRoute(destination, tuple(in_order))
    sharing = sum(len(route.next_hops) for route in found.values() if len(route.next_hops) > 1)
    expected = f"at most {SHARING_HOPS_MAX} next hops of routes that have several"
    check.that(sharing <= SHARING_HOPS_MAX, field, f"{sharing} next hops", expected)
    return tuple(sorted(found.values(), key=lambda r: _order(r.destination)))


def _order(range_: IpNetwork) -> tuple[int, int, int]:
    return range_.version, int(range_.network_address), range_.prefixlen


def _destination(
    check: validate.Checker, text: str, field: str, subnets: dict[SubnetName, IpNetwork]
) -> IpNetwork | None:
    destination = check.take(lambda: validate.prefix(text, field))
    if destination is None:
        return None
    for name, cidr in subnets.items():
        if destination == cidr:
            check.wrong(field, text, f"another range than that of {name}, to which the router is connected")
            return None
    never = never_routed(destination)
    if never is not None:
        check.wrong(field, text, f"a range of addresses that are routed: {never}")
        return None
    return destination


def never_routed(range_: IpNetwork) -> str | None:
    """Return why nothing is routed to a range, None if it may be."""
    for never, what in _NOWHERE:
        if is_within(range_, never):
            return f"{never} is {what}"
    return None


def _next_hops(
    check: validate.Checker,
    texts: Sequence[str],
    field: str,
    connected: Sequence[RouterInterface],
    subnets: dict[SubnetName, IpNetwork],
) -> tuple[IpAddress, ...]:
    """Return the next hops of a route, none if one is wrong: each once, all in one network."""
    expected = f"1 to {NEXT_HOPS_MAX} next hops"
    if not check.that(1 <= len(texts) <= NEXT_HOPS_MAX, field, ", ".join(texts), expected):
        return ()
    found: dict[IpAddress, NetworkName] = {}
    for i, text in enumerate(texts):
        place = f"{field}[{i}]"
        hop = check.take(partial(validate.unicast, text, place))
        network = _network_to(check, hop, place, connected, subnets) if hop is not None else None
        if hop is None or network is None:
            continue
        check.that(hop not in found, place, hop, "each next hop once")
        known = next(iter(found.values()), network)
        check.that(known == network, place, hop, f"an address in {known}, as the other next hops")
        found[hop] = network
    return tuple(found) if len(found) == len(texts) else ()


def _network_to(
    check: validate.Checker,
    hop: IpAddress,
    field: str,
    connected: Sequence[RouterInterface],
    subnets: dict[SubnetName, IpNetwork],
) -> NetworkName | None:
    """Return the network of a next hop, which is somebody else in the subnet of an interface."""
    if any(i.address == hop for i in connected):
        check.wrong(field, hop, "the address of somebody else: this is the router's own")
        return None
    for name, cidr in subnets.items():
        if cidr.version == hop.version and hop in cidr:
            return name.parent
    known = ", ".join(str(cidr) for cidr in subnets.values()) or "it has none"
    check.wrong(field, hop, f"an address in the subnet of one of its interfaces: {known}")
    return None
