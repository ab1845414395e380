"""Local contracts: what each stage of one bridge owes, proved stage by stage for all packets.

The stages that differ from port to port and from network to network; stations.py has those that are the same
for all, policing.py those of security groups. They meet at these tables: a frame leaves for METER, TRACK or
ADDRESSING with its sender's network, tenant, number and profile in the registers, unchanged, if and only if
its sender may send it and that is where it is to go; it enters FORWARD with the MAC of whom it is meant for,
in that one's network, or goes to METER if the services answer it for a router;
there it goes to DELIVER for the local port that this is, with that port's profile, or to EXIT for the
network's VXLAN device; and what is for all, as a copy each, to all ports here and to all other hosts. With
unique identifiers and exact forwarding databases the contracts of all hosts imply that every packet is
received as semantics.py says (the argument is in isolation.py). They are stricter than that: a contract that
does not hold is a reason to look closer (exact.py), not yet a violation. A contract is checked for what a
change can touch and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from cloison.addresses import TO_ALL_MAC, WIRE4_PREFIX, WIRE6_PREFIX
from cloison.names import HostName
from controller.verify import semantics
from controller.verify.explore import Question, explore
from controller.verify.frame import Frame, entering
from controller.verify.intent import ExitIntent, NetworkIntent, PortIntent, RouteIntent, RouterIntent
from controller.verify.packet import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    FIELD_MASKS,
    FRAGMENT,
    FRAGMENT_LATER,
    HEADER_MASK,
    ND_SOLICITATION,
    OFFSETS,
    PROTO_ICMPV6,
    UNTAGGED,
    WIDTHS,
    Cube,
    cube,
)
from controller.verify.policy import PROFILE_OPEN
from controller.verify.rules import Rule
from controller.verify.shapes import PACKETS
from controller.verify.space import Region, member, within
from controller.verify.stages import (
    ADDRESSING,
    DELIVER,
    EXIT,
    FORWARD,
    FROM_PORT,
    FROM_PROFILE,
    FROM_SERVICE,
    LOCAL,
    METER,
    NETWORK,
    ORIGIN,
    ORIGIN_BITS,
    OVERLAY,
    ROUTE,
    SERVICE_MAC,
    SPREADING,
    TENANT,
    TO_PORT,
    TO_PORT_BITS,
    TO_PROFILE,
    TO_SERVICE_PREFIX,
    TRACK,
)
from controller.verify.symbolic import Bridge, Leaf
from controller.verify.world import Members, World

_ETH_DST = OFFSETS["eth_dst"]
_ETH_SRC_MASK = FIELD_MASKS["eth_src"]
_PREFIX_AT = _ETH_DST + 32
_LOW32 = 0xFFFFFFFF

# More than all packets: the fields of all kinds side by side. A contract that holds for these holds for the
# real ones (shapes.py), and a flow looks at no field that its packets may lack (grammar.py).
ANYTHING = Region(*cube(ip_frag=(0, 0xFF & ~(FRAGMENT | FRAGMENT_LATER))))


def _untagged(eth_type: int, *holes: Cube, **fixed: int) -> Region:
    return Region(*cube(vlan_vid=UNTAGGED, eth_type=eth_type, **fixed), holes)


_SOLICITED = {"ip_proto": PROTO_ICMPV6, "icmpv6_type": ND_SOLICITATION}
_NOT_A_MAC = tuple(cube(eth_dst=r) for r in (semantics.GROUP_MAC, *semantics.WIRE_MACS))
_OF_A_KIND = tuple(cube(eth_type=kind) for kind in (ETH_ARP, ETH_IPV4, ETH_IPV6))
# Admitted frames by the field that says whom they are meant for (semantics.aim).
KINDS: dict[str, tuple[Region, ...]] = {
    "ipv4_dst": (_untagged(ETH_IPV4),),
    "arp_tpa": (_untagged(ETH_ARP),),
    "ipv6_nd_target": (_untagged(ETH_IPV6, **_SOLICITED),),
    "ipv6_dst": (_untagged(ETH_IPV6, cube(**_SOLICITED)),),
    "eth_dst": (
        _untagged(ETH_IPV4, *_NOT_A_MAC),
        _untagged(ETH_ARP, *_NOT_A_MAC),
        _untagged(ETH_IPV6, cube(**_SOLICITED), *_NOT_A_MAC),
        Region(*cube(vlan_vid=UNTAGGED), (*_OF_A_KIND, *_NOT_A_MAC)),
    ),
}
_PREFIX = {
    "ipv4_dst": WIRE4_PREFIX,
    "arp_tpa": WIRE4_PREFIX,
    "ipv6_dst": WIRE6_PREFIX,
    "ipv6_nd_target": WIRE6_PREFIX,
}


def regular(rule: Rule) -> bool:
    """Tell whether a rule leaves the registers alone that say who sent a frame, and in which network.

    Only table 0 writes them, but for the network, which ROUTE changes for what it matches by network. So a
    rule that matches on one of them is met only by frames of that sender or network, and of a network by
    what routers lead into it; a change of the rule concerns nobody else. contracts.py and isolation.py rest
    on that.
    """
    if rule.table == 0:
        return True
    kept = _SENDER_MASK if rule.table == ROUTE else _IDENTITY_MASK
    return not any(_writes(step) & kept for step in rule.steps)


_ORIGIN_MASK = ((1 << ORIGIN_BITS) - 1) << OFFSETS[ORIGIN]
_SENDER_MASK = _ORIGIN_MASK | sum(FIELD_MASKS[name] for name in ("in_port", FROM_PORT, FROM_PROFILE, TENANT))
_IDENTITY_MASK = _SENDER_MASK | FIELD_MASKS[NETWORK]


def _writes(step: tuple[str, int, int, int]) -> int:
    verb, a, b, c = step
    if verb == "write":
        return ((1 << b) - 1) << a
    if verb == "longer":
        return 1 << b
    return ((1 << c) - 1) << b if verb == "copy" else 0


def admission(bridge: Bridge, world: World, host: HostName, ofport: int) -> bool:
    """Tell whether what enters by an OpenFlow port gets to the right table, as it is, if it may be sent."""
    if ofport == world.service_of(host):
        return _from_services(bridge, ofport)
    device = world.by_tunnel.get((host, ofport))
    if device is not None:
        return _arrival(bridge, world, device, ofport)
    port = world.by_ofport.get((host, ofport))
    network = world.networks.get(port.name.parent) if port is not None else None
    if port is None or network is None:
        leaves = bridge.run(entering(ANYTHING, ofport), stop_at=1)
        return all(_dropped(leaf) or member(leaf.region) is None for leaf in leaves)
    placed = {
        NETWORK: network.vni, ORIGIN: LOCAL, FROM_PORT: port.number, FROM_PROFILE: port.profile,
        TENANT: world.tenant_number(port.name.tenant),
    }  # fmt: skip
    for first in bridge.run(entering(ANYTHING, ofport), stop_at=1):
        if first.stopped is None:
            leaves = iter((first,))
        elif first.sent or first.stopped[1].field(FROM_PORT) != port.number:
            if member(first.region) is not None:
                return False
            continue
        else:
            table, frame = first.stopped
            leaves = bridge.run(frame, table, stop_at=TRACK)
        if not all(_admission_leaf(leaf, port, placed) for leaf in leaves):
            return False
    return True


def _dropped(leaf: Leaf) -> bool:
    return leaf.stopped is None and not leaf.sent and not leaf.copies


def _admission_leaf(leaf: Leaf, port: PortIntent, placed: Mapping[str, int]) -> bool:
    if _dropped(leaf):
        got: int | None = None
    elif leaf.stopped is None or leaf.sent or not _untouched(leaf.stopped[1], placed):
        return member(leaf.region) is None
    else:
        got = leaf.stopped[0]
    parts = explore(leaf.region, lambda seen: after_admission(port, seen))
    return all(wanted == got or member(region) is None for region, wanted in parts)


def after_admission(port: PortIntent, seen: Question) -> int | None:
    """Return the table where a packet goes that a port sends; None if it goes nowhere."""
    if port.stands_by:
        return METER if semantics.arrives(port, seen) else None
    if not semantics.admitted(port, seen):
        return None
    if semantics.announces(port, seen) or semantics.served(seen):
        return METER
    if port.checked and semantics.says_it_serves(seen):
        return None
    return TRACK if semantics.tracked(seen) else ADDRESSING


def untracked(bridge: Bridge, port: PortIntent) -> Iterator[Region]:
    """Yield packets of a port that get past connection tracking and should not; nothing says where they end.

    No packet shows by itself that they do: replies to them are then taken for what opens a connection.
    """
    for kind in PACKETS:
        for leaf in bridge.run(entering(kind, port.ofport), stop_at=TRACK):
            if leaf.stopped is None or leaf.stopped[0] == TRACK:
                continue
            for region, wanted in explore(leaf.region, partial(after_admission, port)):
                if wanted == TRACK:
                    yield region


def _arrival(bridge: Bridge, world: World, network: NetworkIntent, ofport: int) -> bool:
    """Tell whether what a VXLAN device brings gets to FORWARD, as it is, in the device's network.

    It is of whom the low bits of its source MAC say; that is read of IP only, and there TAG has written it.
    """
    placed = {NETWORK: network.vni, ORIGIN: OVERLAY, TENANT: world.tenant_number(network.name.tenant)}
    profile = {OFFSETS[FROM_PROFILE] + n: OFFSETS["eth_src"] + n for n in range(WIDTHS[FROM_PROFILE])}
    for leaf in bridge.run(entering(ANYTHING, ofport), stop_at=1):
        passed = (
            leaf.stopped is not None
            and not leaf.sent
            and leaf.stopped[0] == FORWARD
            and _untouched(leaf.stopped[1], placed)
            and leaf.stopped[1].origins(FROM_PROFILE) == profile
        )
        for region, untagged in explore(leaf.region, lambda seen: seen.has("vlan_vid", UNTAGGED)):
            if not (passed if untagged else _dropped(leaf)) and member(region) is not None:
                return False
    return True


_SERVICE_SOURCES = (TO_SERVICE_PREFIX << 32, 0xFFFFFF << 24)
_VNI_BITS = 24


def _from_services(bridge: Bridge, ofport: int) -> bool:
    """Tell whether what the local services send gets to FORWARD in the network that their source MAC says."""
    vni = {OFFSETS[NETWORK] + n: OFFSETS["eth_src"] + n for n in range(_VNI_BITS)}
    for leaf in bridge.run(entering(ANYTHING, ofport), stop_at=1):
        passed = False
        if leaf.stopped is not None and not leaf.sent and leaf.stopped[0] == FORWARD:
            frame = leaf.stopped[1]
            high = frame.bits(OFFSETS[NETWORK] + _VNI_BITS, WIDTHS[NETWORK] - _VNI_BITS)
            named = high == 0 and frame.origins(NETWORK) == vni
            said = frame.written & HEADER_MASK == _ETH_SRC_MASK and frame.field("eth_src") == SERVICE_MAC
            passed = named and said and frame.field(ORIGIN) == FROM_SERVICE
        for region, sent in explore(leaf.region, _services_may_send):
            if not (passed if sent else _dropped(leaf)) and member(region) is not None:
                return False
    return True


def _services_may_send(seen: Question) -> bool:
    return seen.has("vlan_vid", UNTAGGED) and seen.has("eth_src", *_SERVICE_SOURCES)


def strangers(bridge: Bridge, known: frozenset[int]) -> bool:
    """Tell whether nothing gets anywhere that enters by an OpenFlow port which no port or device has."""
    holes = tuple(cube(in_port=ofport) for ofport in known)
    table = bridge.tables.get(0)
    # A rule for one of the known ports cannot see it: look only at the others.
    if table is None or all(_only_for(rule.cube, holes) or rule.drops for rule in table.rules.values()):
        return True
    leaves = bridge.run(entering(ANYTHING._replace(holes=holes), None), stop_at=1)
    return all(_dropped(leaf) or member(leaf.region) is None for leaf in leaves)


def _only_for(match: tuple[int, int], ports: tuple[tuple[int, int], ...]) -> bool:
    at, ones = OFFSETS["in_port"], (1 << WIDTHS["in_port"]) - 1
    exact = match[1] >> at & ones == ones
    return exact and (match[0] & (ones << at), ones << at) in ports


def _untouched(frame: Frame, placed: Mapping[str, int]) -> bool:
    """Tell whether a frame is as it came in, and registers say what they should."""
    return not frame.written & HEADER_MASK and all(
        frame.field(name) == value for name, value in placed.items()
    )


def _start(region: Region, network: NetworkIntent, origin: int) -> Frame:
    """A frame in a network, whatever the other registers and in_port are."""
    frame = Frame(region).write(OFFSETS[NETWORK], WIDTHS[NETWORK], network.vni)
    return frame.write(OFFSETS[ORIGIN], WIDTHS[ORIGIN], origin)


def _on_wire(frame: Frame, aimed: str) -> Frame:
    """The frame with the wire MAC of the address in a field."""
    prefix = _PREFIX.get(aimed)
    if prefix is None:
        return frame
    return frame.write(_PREFIX_AT, 16, prefix).copy(OFFSETS[aimed], _ETH_DST, 32)


Addressed = dict[tuple[object, ...], bool]
"""Verdicts of `addressing`, by all that they depend on: networks look the same on many hosts."""


class Led(NamedTuple):
    """Where a route leads: the VNI (None: nowhere), and the MAC of the next hop (None: of whom it is for)."""

    vni: int | None
    mac: int | None = None


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
        into, hop = world.networks.get(route.network), world.next_hop(route)
        if into is None or (route.via is not None and hop is None):
            found[route] = Led(None)
        else:
            found[route] = Led(into.vni, hop.mac if hop is not None else None)
    return found


def addressing(bridge: Bridge, network: NetworkIntent, ways: Ways, verdicts: Addressed | None = None) -> bool:
    """Tell whether ADDRESSING and ROUTE give each admitted frame the network and the MAC of whom it is for,
    hand to the services what they answer in a router's stead, and drop the rest.
    """
    if verdicts is None:
        return _addresses(bridge, network, ways)
    met = [
        (rule.key, rule.steps, rule.goto)
        for number in range(ADDRESSING, SPREADING)
        if number in bridge.tables
        for rule in bridge.tables[number].candidates(cube(**{NETWORK: network.vni, ORIGIN: LOCAL}))
    ]
    own = tuple((*by, *numbers.items()) for by, numbers in ways.exits.items())
    routing = network.routers, tuple(ways.leads.items()), own
    key = (network.vni, network.multicast, network.ranges4, network.ranges6, routing, *sorted(met))
    found = verdicts.get(key)
    if found is None:
        found = verdicts[key] = _addresses(bridge, network, ways)
    return found


def _addresses(bridge: Bridge, network: NetworkIntent, ways: Ways) -> bool:
    from_open = cube(**{FROM_PROFILE: PROFILE_OPEN})
    starts = [(_untagged(kind)._replace(holes=(from_open,)), True) for kind in (ETH_ARP, ETH_IPV4, ETH_IPV6)]
    anything = cube(**{"vlan_vid": UNTAGGED, FROM_PROFILE: PROFILE_OPEN})
    for region, checked in (*starts, (Region(*anything), False)):
        start = _start(region, network, LOCAL)
        for leaf in bridge.run(start, ADDRESSING, stop_at=SPREADING):
            for part, way in explore(leaf.region, partial(_way, network, ways.exits, checked)):
                if not _addressed(leaf, start, network, ways.leads, way) and member(part) is not None:
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


def _addressed(leaf: Leaf, start: Frame, network: NetworkIntent, leads: Leads, way: Way) -> bool:
    if leaf.sent or leaf.copies:
        return False
    led = leads[way] if isinstance(way, RouteIntent) else Led(network.vni)
    if way is None or led.vni is None or leaf.stopped is None:
        return (way is None or led.vni is None) and leaf.stopped is None
    table, frame = leaf.stopped
    wanted, goes_to = start._replace(region=frame.region), FORWARD
    if isinstance(way, RouteIntent):
        aimed = "ipv4_dst" if way.prefix.version == 4 else "ipv6_dst"
        wanted = _on_wire(wanted, aimed) if led.mac is None else wanted.write(_ETH_DST, 48, led.mac)
        wanted = wanted.older()
    elif way == TO_ALL:
        wanted, goes_to = wanted.write(_ETH_DST, 48, TO_ALL_MAC), SPREADING
    elif isinstance(way, str):
        wanted = _on_wire(wanted, way)
    else:
        goes_to = METER
    placed = frame.field(NETWORK) == led.vni and frame.field(ORIGIN) == LOCAL
    return table == goes_to and placed and same_header(frame, wanted)


def same_header(frame: Frame, wanted: Frame) -> bool:
    """Tell whether two frames of one region have the same header; False if that needs a closer look."""
    if frame.aged != wanted.aged:
        return False
    if frame.written & HEADER_MASK != wanted.written & HEADER_MASK:
        return False
    mine, theirs = frame.known(), wanted.known()
    mask = mine[1] & HEADER_MASK
    if mask != theirs[1] & HEADER_MASK or (mine[0] ^ theirs[0]) & mask:
        return False
    open_bits = ~mask & HEADER_MASK & frame.written
    return not open_bits or _cut_slices(frame, open_bits) == _cut_slices(wanted, open_bits)


def _cut_slices(frame: Frame, bits: int) -> dict[int, int]:
    """For each of the bits, the bit of the input it is."""
    return {
        at + n: source + n for at, source, width in frame.slices for n in range(width) if bits >> (at + n) & 1
    }


class Place(NamedTuple):
    """One network on one host."""

    members: Members
    host: HostName
    network: NetworkIntent


def forwarding(bridge: Bridge, place: Place, macs: Iterable[int] | None = None) -> bool:
    """Tell whether FORWARD leads frames to the local port they are for, else from a local port to the device.

    macs: only frames that come to FORWARD with these destination MACs; None for all frames.
    """
    if macs is None:
        local = place.members.by_host.get(place.host, {})
        for aimed in KINDS:
            owners = {value: port for port in local.values() for value in addressed_by(port, aimed)}
            if not all(_forwards(bridge, place, kind, aimed, owners) for kind in KINDS[aimed]):
                return False
        return contained(bridge, place, ANYTHING) is None
    return all(_forwards_mac(bridge, place, mac) for mac in macs)


def _forwards_mac(bridge: Bridge, place: Place, mac: int) -> bool:
    port = place.members.by_frame_mac.get(mac)
    for aimed, value, bits in aims_of(mac):
        owners = {}
        if port is not None and port.host == place.host:
            owners = {v: port for v in addressed_by(port, aimed) if v & bits == value}
        for kind in KINDS[aimed]:
            region = within(kind, cube(**{aimed: (value, bits)}))
            if region is not None and not _forwards(bridge, place, region, aimed, owners):
                return False
    return contained(bridge, place, Region(*cube(eth_dst=mac))) is None


def aims_of(mac: int) -> tuple[tuple[str, int, int], ...]:
    """Return (field, value, mask) of the packets that come to FORWARD with a destination MAC."""
    low = mac & _LOW32
    if mac >> 32 == WIRE4_PREFIX:
        return ("ipv4_dst", low, _LOW32), ("arp_tpa", low, _LOW32)
    if mac >> 32 == WIRE6_PREFIX:
        return ("ipv6_dst", low, _LOW32), ("ipv6_nd_target", low, _LOW32)
    return (("eth_dst", mac, (1 << 48) - 1),)


def contained(bridge: Bridge, place: Place, region: Region) -> Region | None:
    """Return frames, of any kind, not from a local port, that do not stay with the network's local ports.

    None if there are none: not even another host, or the local services, can make this one reach further, or
    be taken for somebody with another profile.
    """
    here = {(port.ofport, port.profile) for port in place.members.by_host.get(place.host, {}).values()}
    for origin in (OVERLAY, FROM_SERVICE):
        for leaf in bridge.run(_start(region, place.network, origin), FORWARD, stop_at=FORWARD + 1):
            arrived = leaf.copies if leaf.stopped is None else (*leaf.copies, leaf.stopped)
            stays = all(table == DELIVER and _to(frame) in here for table, frame in arrived)
            if (leaf.sent or not stays) and member(leaf.region) is not None:
                return leaf.region
    return None


def _to(frame: Frame) -> tuple[int | None, int | None]:
    """The OpenFlow port and the profile that a frame is for."""
    return frame.bits(OFFSETS[TO_PORT], TO_PORT_BITS), frame.field(TO_PROFILE)


def addressed_by(port: PortIntent, aimed: str) -> tuple[int, ...]:
    """Return the values of a field that semantics.aim names by which frames are meant for a port."""
    if aimed == "eth_dst":
        return (port.mac,)
    return port.addresses4 if aimed in ("ipv4_dst", "arp_tpa") else port.addresses6


def _forwards(
    bridge: Bridge, place: Place, region: Region, aimed: str, owners: Mapping[int, PortIntent]
) -> bool:
    # The services use real MACs; what else they send is seen to in `contained`.
    for origin in (LOCAL, OVERLAY, FROM_SERVICE) if aimed == "eth_dst" else (LOCAL, OVERLAY):
        start = _on_wire(_start(region, place.network, origin), aimed)
        for leaf in bridge.run(start, FORWARD, stop_at=FORWARD + 1):
            for part, found in explore(leaf.region, lambda seen: seen.find(aimed, owners)):
                port = None if found is None else owners[found]
                good = _forwarded(place, leaf, start._replace(region=part), port, origin)
                if not good and member(part) is not None:
                    return False
    return True


def _forwarded(place: Place, leaf: Leaf, start: Frame, port: PortIntent | None, origin: int) -> bool:
    tunnel = place.network.tunnels.get(place.host)
    if port is None and (origin != LOCAL or tunnel is None):
        return _dropped(leaf)
    if leaf.stopped is None or leaf.sent or leaf.copies:
        return False
    table, frame = leaf.stopped[0], leaf.stopped[1]._replace(region=start.region)
    if port is None:
        return (table, _to(frame)[0]) == (EXIT, tunnel) and same_header(frame, start)
    wanted = start.write(_ETH_DST, 48, port.mac)
    return (table, _to(frame)) == (DELIVER, (port.ofport, port.profile)) and same_header(frame, wanted)
