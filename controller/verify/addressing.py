"""Contract of addressing: ADDRESSING and ROUTE tell whom each admitted frame is for, and in which network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import NamedTuple

from cloison.addresses import TO_ALL_MAC
from cloison.names import HostName
from controller.verify import semantics
from controller.verify.contracts import dropped, in_network, on_wire, same_header, untagged
from controller.verify.explore import Question, explore
from controller.verify.frame import Frame
from controller.verify.intent import ExitIntent, NetworkIntent, RouteIntent, RouterIntent
from controller.verify.packet import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    OFFSETS,
    UNTAGGED,
    cube,
)
from controller.verify.policy import PROFILE_OPEN
from controller.verify.space import Region, member
from controller.verify.stages import (
    ABROAD_AS,
    ABROAD_BIT,
    ABROAD_TO,
    ADDRESSING,
    DIRECTION,
    FORWARD,
    FROM_PORT,
    FROM_PROFILE,
    LOCAL,
    METER,
    NETWORK,
    ORIGIN,
    SPREADING,
    TO_PROFILE,
)
from controller.verify.symbolic import Bridge, Leaf
from controller.verify.world import World

_ETH_DST = OFFSETS["eth_dst"]

Addressed = dict[tuple[object, ...], bool]
"""Verdicts of `addressing`, by all that they depend on: networks look the same on many hosts."""


class Led(NamedTuple):
    """Where a route leads: the VNI (None: nowhere), and the MAC of the next hop (None: of whom it is for).

    shares: of several next hops the MACs by share (routing.share); then mac is of one of them.
    abroad: as whom the other tenant is known here, this side there, and that tenant's number.
    """

    vni: int | None
    mac: int | None = None
    shares: tuple[int, ...] = ()
    abroad: tuple[int, int, int] | None = None


Leads = Mapping[RouteIntent, Led]
Exits = Mapping[tuple[int, int], Mapping[int, tuple[ExitIntent, ...]]]
"""The ways out of ports' own: by MAC of the router and family, then by number of the port."""


class Ways(NamedTuple):
    """What a network's ports on one host can be routed by, and where each of that leads."""

    leads: Leads
    exits: Exits


def ways_of(world: World, host: HostName, network: NetworkIntent) -> Ways:
    """Return where the routes lead that a network's ports on a host can take."""
    exits: dict[tuple[int, int], dict[int, tuple[ExitIntent, ...]]] = {}
    for port in world.ports_on(host, network.name).values():
        for router in network.routers if port.exits else ():
            for version in (4, 6):
                own = port.exits_by(router, version)
                if own:
                    exits.setdefault((router.mac, version), {})[port.number] = own
    routes = [route for router in network.routers for route in router.routes]
    routes += {way.route for numbers in exits.values() for own in numbers.values() for way in own}
    return Ways(_leads(world, routes), exits)


def _leads(world: World, routes: Iterable[RouteIntent]) -> Leads:
    found = {}
    for route in routes:
        into, hops = world.networks.get(route.network), world.next_hops(route)
        macs = tuple(hop.mac for hop in semantics.shares(hops))
        if into is None or (route.via is not None and not macs):
            found[route] = Led(None)
        else:
            crossing, number = route.crossing, world.tenant_number(into.name.tenant)
            abroad = (crossing.theirs, crossing.ours, number) if crossing is not None else None
            shares = macs if len(set(macs)) > 1 else ()
            found[route] = Led(into.vni, macs[0] if macs else None, shares, abroad)
    return found


def addressing(
    bridge: Bridge,
    network: NetworkIntent,
    ways: Ways,
    verdicts: Addressed | None = None,
    *,
    loss: bool = False,
) -> bool:
    """Tell whether ADDRESSING and ROUTE give each admitted frame the network and the MAC of whom it is for,
    hand to the services what they answer in a router's stead, and drop the rest.

    loss: tell whether they do, or drop what they should not. verdicts: where to note it, and look it up.
    """
    if verdicts is None:
        return _addresses(bridge, network, ways, loss)
    here = cube(**{NETWORK: network.vni, ORIGIN: LOCAL})
    tables = bridge.tables
    met = tuple(tables[n].met(here) if n in tables else None for n in range(ADDRESSING, SPREADING))
    own = tuple((*by, *numbers.items()) for by, numbers in ways.exits.items())
    routing = network.routers, tuple(ways.leads.items()), own
    key = (network.vni, network.multicast, network.ranges4, network.ranges6, routing, met)
    found = verdicts.get(key)
    if found is None:
        found = verdicts[key] = _addresses(bridge, network, ways, loss=False)
    return found


def _addresses(bridge: Bridge, network: NetworkIntent, ways: Ways, loss: bool) -> bool:
    from_open = cube(**{FROM_PROFILE: PROFILE_OPEN})
    starts = [(untagged(kind)._replace(holes=(from_open,)), True) for kind in (ETH_ARP, ETH_IPV4, ETH_IPV6)]
    anything = cube(**{"vlan_vid": UNTAGGED, FROM_PROFILE: PROFILE_OPEN})
    for region, checked in (*starts, (Region(*anything), False)):
        start = in_network(region, network, LOCAL)
        for leaf in bridge.run(start, ADDRESSING, stop_at=SPREADING):
            if loss and dropped(leaf):
                continue
            for part, (way, led) in explore(leaf.region, partial(_led, network, ways, checked)):
                if not _addressed(leaf, start, led, way) and member(part) is not None:
                    return False
    return True


TO_ALL = "all"
Way = str | RouteIntent | semantics.Services | None


def _way(network: NetworkIntent, exits: Exits, checked: bool, seen: Question) -> Way:
    """As semantics.onward, or TO_ALL. Who sent it is in a register."""
    if network.multicast and semantics.group_of(network, seen) is not None:
        return TO_ALL

    def leave(router: RouterIntent, version: int) -> tuple[ExitIntent, ...]:
        numbers = exits.get((router.mac, version), {})
        number = seen.find(FROM_PORT, numbers) if numbers else None
        return numbers[number] if number is not None else ()

    return semantics.onward(network, seen, leave, checked=checked)


def _led(network: NetworkIntent, ways: Ways, checked: bool, seen: Question) -> tuple[Way, Led]:
    """As _way, and where that leads, by one next hop."""
    way = _way(network, ways.exits, checked, seen)
    led = ways.leads[way] if isinstance(way, RouteIntent) else Led(network.vni)
    return way, led._replace(mac=semantics.share(led.shares, seen)) if led.shares else led


def _addressed(leaf: Leaf, start: Frame, led: Led, way: Way) -> bool:
    if leaf.sent or leaf.copies:
        return False
    if way is None or led.vni is None or leaf.stopped is None:
        return (way is None or led.vni is None) and leaf.stopped is None
    table, frame = leaf.stopped
    wanted, goes_to = start._replace(region=frame.region), FORWARD
    if isinstance(way, RouteIntent):
        aimed = "ipv4_dst" if way.prefix.version == 4 else "ipv6_dst"
        wanted = on_wire(wanted, aimed) if led.mac is None else wanted.write(_ETH_DST, 48, led.mac)
        wanted = wanted.older()
        goes_to = FORWARD if led.abroad is None else DIRECTION
    elif way == TO_ALL:
        wanted, goes_to = wanted.write(_ETH_DST, 48, TO_ALL_MAC), SPREADING
    elif isinstance(way, str):
        wanted = on_wire(wanted, way)
    else:
        goes_to = METER
    # (ORIGIN is all of its register: what does not cross does not say so.)
    origin = LOCAL if led.abroad is None else LOCAL | 1 << ABROAD_BIT
    placed = frame.field(NETWORK) == led.vni and frame.field(ORIGIN) == origin
    if led.abroad is not None:
        registers = (TO_PROFILE, ABROAD_AS, ABROAD_TO)
        placed = placed and tuple(frame.field(name) for name in registers) == led.abroad
    return table == goes_to and placed and same_header(frame, wanted)
