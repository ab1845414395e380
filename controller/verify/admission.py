"""Contract of admission: what enters a bridge gets to the right table, as it is, if it may be sent.

By a port, the VXLAN device of a network, the device of the local services, or a number that nobody has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from cloison.names import HostName
from controller.verify import semantics
from controller.verify.contracts import ANYTHING, dropped, untouched
from controller.verify.explore import Question, explore
from controller.verify.frame import entering
from controller.verify.intent import NetworkIntent, PortIntent
from controller.verify.packet import (
    FIELD_MASKS,
    HEADER_MASK,
    OFFSETS,
    UNTAGGED,
    WIDTHS,
    cube,
)
from controller.verify.rules import Rule
from controller.verify.shapes import PACKETS
from controller.verify.space import Region, member
from controller.verify.stages import (
    ADDRESSING,
    ADMISSION,
    CLAIMED,
    FORWARD,
    FROM_PORT,
    FROM_PROFILE,
    FROM_SERVICE,
    LOCAL,
    METER,
    NETWORK,
    ORIGIN,
    OVERLAY,
    SERVICE_MAC,
    TENANT,
    TO_SERVICE_PREFIX,
    TRACK,
)
from controller.verify.symbolic import Bridge, Leaf
from controller.verify.world import World

_ETH_SRC_MASK = FIELD_MASKS["eth_src"]


def admission(bridge: Bridge, world: World, host: HostName, ofport: int, *, loss: bool = False) -> bool:
    """Tell whether what enters by an OpenFlow port gets to the right table, as it is, if it may be sent.

    loss: tell whether it does, or nothing comes of it.
    """
    if ofport == world.service_of(host):
        return _from_services(bridge, ofport, loss)
    device = world.by_tunnel.get((host, ofport))
    if device is not None:
        return _arrival(bridge, world, device, ofport, loss)
    port = world.by_ofport.get((host, ofport))
    network = world.networks.get(port.name.parent) if port is not None else None
    if port is None or network is None:
        leaves = bridge.run(entering(ANYTHING, ofport), stop_at=CLAIMED + 1)
        return all(dropped(leaf) or member(leaf.region) is None for leaf in leaves)
    placed = {
        NETWORK: network.vni, ORIGIN: LOCAL, FROM_PORT: port.number, FROM_PROFILE: port.profile,
        TENANT: world.tenant_number(port.name.tenant),
    }  # fmt: skip
    for first in bridge.run(entering(ANYTHING, ofport), stop_at=CLAIMED + 1):
        if first.stopped is None:
            leaves = iter((first,))
        elif first.sent or first.stopped[1].field(FROM_PORT) != port.number:
            if member(first.region) is not None:
                return False
            continue
        else:
            table, frame = first.stopped
            leaves = bridge.run(frame, table, stop_at=TRACK)
        if not all((loss and dropped(leaf)) or _admission_leaf(leaf, port, placed) for leaf in leaves):
            return False
    return True


def _admission_leaf(leaf: Leaf, port: PortIntent, placed: Mapping[str, int]) -> bool:
    if dropped(leaf):
        got: int | None = None
    elif leaf.stopped is None or leaf.sent or not untouched(leaf.stopped[1], placed):
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


def _arrival(bridge: Bridge, world: World, network: NetworkIntent, ofport: int, loss: bool) -> bool:
    """Tell whether what a VXLAN device brings gets to FORWARD, as it is, in the device's network.

    It is of whom the low bits of its source MAC say; that is read of IP only, and there TAG has written it.
    """
    placed = {NETWORK: network.vni, ORIGIN: OVERLAY, TENANT: world.tenant_number(network.name.tenant)}
    profile = {OFFSETS[FROM_PROFILE] + n: OFFSETS["eth_src"] + n for n in range(WIDTHS[FROM_PROFILE])}
    for leaf in bridge.run(entering(ANYTHING, ofport), stop_at=CLAIMED + 1):
        passed = (
            leaf.stopped is not None
            and not leaf.sent
            and leaf.stopped[0] == FORWARD
            and untouched(leaf.stopped[1], placed)
            and leaf.stopped[1].origins(FROM_PROFILE) == profile
        )
        for region, untagged in explore(leaf.region, lambda seen: seen.has("vlan_vid", UNTAGGED)):
            good = passed if untagged and not (loss and dropped(leaf)) else dropped(leaf)
            if not good and member(region) is not None:
                return False
    return True


_SERVICE_SOURCES = (TO_SERVICE_PREFIX << 32, 0xFFFFFF << 24)
_VNI_BITS = 24


def _from_services(bridge: Bridge, ofport: int, loss: bool) -> bool:
    """Tell whether what the local services send gets to FORWARD in the network that their source MAC says."""
    vni = {OFFSETS[NETWORK] + n: OFFSETS["eth_src"] + n for n in range(_VNI_BITS)}
    for leaf in bridge.run(entering(ANYTHING, ofport), stop_at=CLAIMED + 1):
        passed = False
        if leaf.stopped is not None and not leaf.sent and leaf.stopped[0] == FORWARD:
            frame = leaf.stopped[1]
            high = frame.bits(OFFSETS[NETWORK] + _VNI_BITS, WIDTHS[NETWORK] - _VNI_BITS)
            named = high == 0 and frame.origins(NETWORK) == vni
            said = frame.written & HEADER_MASK == _ETH_SRC_MASK and frame.field("eth_src") == SERVICE_MAC
            passed = named and said and frame.field(ORIGIN) == FROM_SERVICE
        for region, sent in explore(leaf.region, _services_may_send):
            good = passed if sent and not (loss and dropped(leaf)) else dropped(leaf)
            if not good and member(region) is not None:
                return False
    return True


def _services_may_send(seen: Question) -> bool:
    return seen.has("vlan_vid", UNTAGGED) and seen.has("eth_src", *_SERVICE_SOURCES)


def strangers(bridge: Bridge, known: frozenset[int]) -> bool:
    """Tell whether nothing gets anywhere that enters by an OpenFlow port which no port or device has."""
    holes = tuple(cube(in_port=ofport) for ofport in known)
    # A rule for one of the known ports cannot see it: look only at the others.
    tables = (bridge.tables[number] for number in (ADMISSION, CLAIMED) if number in bridge.tables)
    rules = (rule for table in tables for rule in table.rules.values())
    if all(_only_for(rule.cube, holes) or rule.drops or _hands_on(rule) for rule in rules):
        return True
    leaves = bridge.run(entering(ANYTHING._replace(holes=holes), None), stop_at=CLAIMED + 1)
    return all(dropped(leaf) or member(leaf.region) is None for leaf in leaves)


def _hands_on(rule: Rule) -> bool:
    """Tell whether a rule of ADMISSION does no more than to note something for CLAIMED."""
    return rule.goto == CLAIMED and all(step[0] in ("copy", "write") for step in rule.steps)


def _only_for(match: tuple[int, int], ports: tuple[tuple[int, int], ...]) -> bool:
    at, ones = OFFSETS["in_port"], (1 << WIDTHS["in_port"]) - 1
    exact = match[1] >> at & ones == ones
    return exact and (match[0] & (ones << at), ones << at) in ports
