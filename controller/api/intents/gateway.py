"""A router's gateway: from what was asked for to the system objects that its way out is made of. Pure.

Setting and removing it are several changes, each made on what the ones before leave behind, and one
transaction: the transit network with its subnets, the router's interfaces there, the port `gw`, its edge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cloison.addresses import IpAddress, IpNetwork, is_within
from cloison.errors import PermissionDenied
from cloison.model import ExternalNetwork, Router, RouterEdge, RouterGateway, RouterInterface
from cloison.names import HostName, RouterName, SubnetName
from cloison.v1 import network_pb2, subnet_pb2
from cloison.v1 import router_pb2 as pb
from controller.api import allocate, validate
from controller.api.intents import common, edges, external_addresses, network, release, subnet
from controller.store import ids, keys, transit
from controller.store.hypothesis import Hypothesis
from controller.store.state import State
from controller.store.txn import Txn

_FIELD = "router.gateway"
ROUTED_PREFIXES_MAX = 32


def own(router: Router) -> tuple[RouterInterface, ...]:
    """Return the interfaces that are not part of a router's way out."""
    return tuple(i for i in router.interfaces if not transit.is_transit(i.subnet.parent))


def parse(
    check: validate.Checker,
    state: State,
    asked: pb.Router,
    router: Router,
    old: RouterGateway | None,
    stamp: common.Stamp,
) -> RouterGateway | None:
    """Return the gateway of a router's message; without addresses where any will do.

    router: what else the message says, found right; old: the gateway that it has.
    """
    message = asked.gateway
    tenant = router.name.parent
    found = check.take(
        lambda: external_addresses.shared(
            state, message.external_network, tenant, f"{_FIELD}.external_network"
        )
    )
    if found is None:
        return None
    if old is not None and old.external_network != found.name:
        expected = f"{old.external_network}, as it is: to go out elsewhere, remove the gateway first"
        check.wrong(f"{_FIELD}.external_network", message.external_network, expected)
        return None
    _check_apart(check, state, asked, found)
    check.that(
        not (message.no_snat and message.distributed_snat),
        f"{_FIELD}.distributed_snat",
        "true",
        "false, since no_snat is set: nothing is translated",
    )
    return RouterGateway(
        external_network=found.name,
        addresses=_addresses(check, state, found, message.ip_addresses, router),
        snat=not message.no_snat,
        distributed_snat=message.distributed_snat,
        routed_prefixes=_routed(check, state, found, message.routed_prefixes, router, old, stamp),
    )


def _check_apart(check: validate.Checker, state: State, asked: pb.Router, there: ExternalNetwork) -> None:
    """Refuse subnets and routes that overlap what a way out uses: no edge can do both.

    What is for the transit network would never leave, and an address outside that is one of the inside as
    well makes the edge invalid (EDGE_INVALID): all of the router's ways out would stand still.
    """
    for i, interface in enumerate(asked.interfaces):
        cidr = state.subnets[SubnetName.parse(interface.subnet)].cidr
        for range_, whose in _outward(there):
            check.that(
                not cidr.overlaps(range_),
                f"router.interfaces[{i}].subnet",
                interface.subnet,
                f"a subnet whose range ({cidr}) does not overlap {range_}, {whose}",
            )
    for i, route in enumerate(asked.routes):
        field = f"router.routes[{i}].destination"
        destination = validate.prefix(route.destination, field)
        for _, range_ in transit.RANGES:
            expected = f"a range that is not within {range_}, which the router's gateway uses"
            check.that(not is_within(destination, range_), field, route.destination, expected)
        for outer in there.subnets:
            # A default route is none of the inside: whoever has one has none outside.
            apart = not destination.prefixlen or not destination.overlaps(outer.cidr)
            expected = f"a range that does not overlap {outer.cidr} of {there.name}"
            check.that(apart, field, route.destination, f"{expected}, by which the router goes out")


def _outward(there: ExternalNetwork) -> Iterator[tuple[IpNetwork, str]]:
    for _, range_ in transit.RANGES:
        yield range_, "which the router's gateway uses"
    for subnet_ in there.subnets:
        yield subnet_.cidr, f"of {there.name}, by which the router goes out"


def inward(state: State, router: Router) -> Iterator[tuple[IpNetwork, str]]:
    """Yield the ranges behind a router with a way out, each with what it is."""
    for interface in own(router):
        yield state.subnets[interface.subnet].cidr, f"of {interface.subnet}, which {router.name} joins"
    for route in router.routes:
        if route.destination.prefixlen:
            yield route.destination, f"to which {router.name} has a route"


def _addresses(
    check: validate.Checker, state: State, there: ExternalNetwork, texts: Sequence[str], router: Router
) -> tuple[IpAddress, ...]:
    found: dict[int, tuple[IpAddress, str]] = {}
    for place, text in check.each(f"{_FIELD}.ip_addresses", texts, 2, "addresses"):
        address = check.take(
            lambda t=text, p=place: external_addresses.chosen(  # type: ignore[misc]
                state, there, t, p, tenant=router.name.parent, uid=router.meta.uid
            )
        )
        if address is None:
            continue
        other, first = found.setdefault(address.version, (address, place))
        expected = f"one address of each family: {other} is IPv{other.version} too"
        check.that(first == place, place, text, expected)
    return tuple(found[version][0] for version in sorted(found))


def _routed(
    check: validate.Checker,
    state: State,
    there: ExternalNetwork,
    texts: Sequence[str],
    router: Router,
    old: RouterGateway | None,
    stamp: common.Stamp,
) -> tuple[IpNetwork, ...]:
    """Return what goes out untranslated: operators say so; others who say nothing leave it as it is."""
    field, before = f"{_FIELD}.routed_prefixes", old.routed_prefixes if old is not None else ()
    if not stamp.operator and not texts:
        texts = list(map(str, before))
    found: list[IpNetwork] = []
    for place, text in check.each(field, texts, ROUTED_PREFIXES_MAX, "prefixes"):
        prefix = check.take(lambda t=text, p=place: validate.prefix(t, p))  # type: ignore[misc]
        if prefix is None:
            continue
        own_ranges = [state.subnets[i.subnet].cidr for i in own(router)]
        inside = any(is_within(prefix, cidr) for cidr in own_ranges)
        shown = ", ".join(map(str, own_ranges)) or "it has none"
        if not check.that(
            inside, place, text, f"a part of the range of one of the router's subnets: {shown}"
        ):
            continue
        taken = _taken(state, there, prefix, router.name) + [
            f"{other}" for other in found if prefix.overlaps(other)
        ]
        if check.that(not taken, place, text, f"a prefix apart from {', '.join(taken)}"):
            found.append(prefix)
    prefixes = tuple(sorted(found, key=lambda p: (p.version, int(p.network_address), p.prefixlen)))
    if prefixes != before and not stamp.operator:
        raise PermissionDenied(f"only operators may change {field}; leave it out")
    return prefixes


def _taken(state: State, there: ExternalNetwork, prefix: IpNetwork, name: RouterName) -> list[str]:
    """Return in words what of an external network a prefix meets."""
    met = [f"{s.cidr} of {there.name}" for s in there.subnets if prefix.overlaps(s.cidr)]
    for router in state.routers_out(there.name):
        if router.name != name and router.gateway is not None:
            met += [f"{o} of {router.name}" for o in router.gateway.routed_prefixes if prefix.overlaps(o)]
    return met


# -- what is stored --------------------------------------------------------------------------------


def exchange(txn: Txn, state: State, old: Router, new: Router, stamp: common.Stamp) -> None:
    """Take what a router's changed gateway needs outside, and give back what it needs no more."""
    before, after = old.gateway, new.gateway
    if before is None or after is None or before == after:
        return
    there = state.external_networks[after.external_network]
    added = set(after.addresses) - set(before.addresses)
    _reserve(txn, there, added, old, stamp, routed=after.routed_prefixes != before.routed_prefixes)
    gone = set(before.addresses) - set(after.addresses)
    external_addresses.give_back(txn, state, there.name, gone, old.meta.uid)


def _reserve(
    txn: Txn,
    there: ExternalNetwork,
    addresses: set[IpAddress],
    router: Router,
    stamp: common.Stamp,
    *,
    routed: bool,
) -> None:
    external_addresses.reserve(txn, there, addresses, router.name, router.meta.uid)
    if routed:
        # Of two routers that take prefixes at one moment, the second is judged with the first in view.
        txn.update(there, common.touched(there, stamp))


def put(made: Hypothesis, name: RouterName, gateway: RouterGateway, stamp: common.Stamp) -> None:
    """Give a router that has none a gateway."""
    _transit(made, name, stamp)
    state = made.after
    router, there = state.routers[name], state.external_networks[gateway.external_network]
    addresses = gateway.addresses or tuple(
        allocate.external_address(state, there, s.cidr.version, stamp) for s in there.subnets
    )
    inside = tuple(
        RouterInterface(name_, range_[1])
        for name_, (_, range_) in zip(transit.subnets_of(name), transit.RANGES, strict=True)
    )
    txn = Txn()
    interfaces = tuple(sorted((*router.interfaces, *inside), key=lambda i: i.subnet))
    new = replace(router, gateway=replace(gateway, addresses=addresses), interfaces=interfaces)
    txn.update(router, common.touched(new, stamp))
    txn.reserve(ids.mac(transit.network_of(name), router.mac), name, router.meta.uid)
    for interface in inside:
        txn.add_reference(interface.subnet, name)
    _reserve(txn, there, set(addresses), router, stamp, routed=bool(gateway.routed_prefixes))
    txn.add_reference(there.name, name)
    made.carry_out(txn)
    edge = RouterEdge(router=name, host=None, port=transit.port_of(name, None))
    edges.with_port(made, edge, there.gateway_hosts, stamp, transit.GATEWAY_ADDRESSES)
    txn = Txn()
    txn.create(edge)
    made.carry_out(txn)


def _transit(made: Hypothesis, name: RouterName, stamp: common.Stamp) -> None:
    """Make the network between a router and its edges."""
    request = network_pb2.CreateNetworkRequest(
        parent=str(name.parent), network_id=transit.network_of(name).network
    )
    request.network.display_name = f"the way out of {name.router}"
    txn, _ = network.create(made.after, request, stamp.part("transit"))
    made.carry_out(txn)
    for subnet_id, range_ in transit.RANGES:
        wanted = subnet_pb2.Subnet(cidr=str(range_), no_dhcp=True)
        asked = subnet_pb2.CreateSubnetRequest(
            parent=str(transit.network_of(name)), subnet_id=subnet_id, subnet=wanted
        )
        txn, _ = subnet.create(made.after, asked, stamp.part(f"transit/{subnet_id}"))
        made.carry_out(txn)


def take_away(made: Hypothesis, name: RouterName, stamp: common.Stamp) -> None:
    """Take a router's gateway away, with all that its way out is made of.

    Raises Precondition while floating IPs go by it.
    """
    before, router = made.before, made.after.routers[name]
    assert router.gateway is not None
    floating = (one.name for one in before.floating_ips_by(name))
    common.refuse_if_referenced(name, floating, "is still the way out of")
    between = made.after.networks[transit.network_of(name)]
    # Found before anything goes: whoever carries it now may hold what is in it.
    bound = (b.host for edge in before.edges_of(name) for b in before.bindings_of(edge.port))
    inside = tuple(sorted({*release.holders(before, between), *bound}))
    outside = external_addresses.holders(before, router.gateway.external_network)
    for edge in before.edges_of(name):
        made.carry_out(edges.without(made.after, edge, inside, outside))
    made.carry_out(_detached(made.after, router, stamp, inside, outside))
    for subnet_name in transit.subnets_of(name):
        made.carry_out(subnet.remove(made.after, made.after.subnets[subnet_name], inside))
    made.carry_out(network.remove(made.after, made.after.networks[between.name], inside))


def _detached(
    state: State,
    router: Router,
    stamp: common.Stamp,
    inside: tuple[HostName, ...],
    outside: tuple[HostName, ...],
) -> Txn:
    """Return what takes a router out of its transit network, and of the external one."""
    gateway, name = router.gateway, router.name
    assert gateway is not None
    txn = Txn()
    txn.update(router, common.touched(replace(router, gateway=None, interfaces=own(router)), stamp))
    txn.require_unreferenced(keys.interfaces_of(name))
    release.release(txn, state, [ids.mac(transit.network_of(name), router.mac)], router.meta.uid, inside)
    for subnet_name in transit.subnets_of(name):
        txn.drop_reference(subnet_name, name)
    txn.drop_reference(gateway.external_network, name)
    there, uid = gateway.external_network, router.meta.uid
    external_addresses.give_back(txn, state, there, gateway.addresses, uid, outside)
    return txn
