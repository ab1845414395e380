"""What rules say with roles in the place of whose they are: the shapes that known.py goes by.

A rule's shape is its form and its own values; a value that has a role, because it is the MAC, an address, the
number of the port or network in question, is replaced by it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping

from cloison.names import HostName
from controller.verify.forms import Shelf, Step
from controller.verify.intent import NetworkIntent, PortIntent
from controller.verify.packet import OFFSETS
from controller.verify.policy import PROFILE_OPEN
from controller.verify.rules import Once, Rule, Table, all_of
from controller.verify.semantics import LINK_LOCAL6, SERVICES6
from controller.verify.stages import (
    ADMISSION,
    CLAIMED,
    CLAIMED_HIGH,
    CLAIMED_IP,
    CLAIMED_LOW,
    CLAIMS_IPV4,
    FROM_PORT,
    FROM_PROFILE,
    METERED,
    NETWORK,
    ORIGIN,
    TENANT,
    TRACK,
)
from controller.verify.symbolic import Bridge
from controller.verify.world import World

Shape = Hashable
Names = Mapping[str, Mapping[int, Shape]]
"""For each field in which something has a role: the role of each own value."""
Write = Callable[[int, int, int], Shape]
"""The shape of writing (at, bits, value); raises Shapeless."""
Written = Mapping[Step, Shape]
"""The same for values that are somebody's own: to be looked up first."""

OWN_PORT, OWN_NETWORK, OWN_SENDER = (True, False, False), (False, True, False), (False, False, True)
COMMON = (False, False, False)
MAC, VNI, NUMBER, OFPORT, DEVICE = "own MAC", "own VNI", "own number", "own port", "own device"
PROFILE, OWN_TENANT = "own profile", "own tenant"
_REG0, _REG1, _REG3 = (OFFSETS[name] for name in (NETWORK, FROM_PORT, ORIGIN))
_FROM_PROFILE = OFFSETS[FROM_PROFILE]
LOW32 = 0xFFFFFFFF
# Fields of a packet in which `admission.admission` compares with what is the port's own.
_CLAIMS = (
    "eth_src",
    "arp_sha",
    "arp_spa",
    "ipv4_src",
    "ipv6_src",
    "ipv6_nd_target",
    "ipv6_nd_sll",
    "ipv6_nd_tll",
)
# What a rule for every port may say of these: that a link-layer option is absent, that the target is one of
# the local services (no port with such an address has a shape), that the sender has no port security.
_NEUTRAL: dict[str, dict[int, Shape]] = {
    "ipv6_nd_sll": {0: 0},
    "ipv6_nd_tll": {0: 0},
    "ipv6_nd_target": {address: address for address in SERVICES6},
    FROM_PROFILE: {PROFILE_OPEN: PROFILE_OPEN},
}
# And that the source is link-local, or not; whether an own address is belongs to its role.
_NEUTRAL_RANGE = ("ipv6_src", *LINK_LOCAL6)
# What IPv4 and ARP claim, as ADMISSION notes it for CLAIMED: whole values, which keep their roles there. And
# by what a device's rule says who sent a frame: nothing has a role there that the copy could carry.
_NOTED: Written = {
    step: step
    for step in (
        *(("copy", OFFSETS[name], OFFSETS[CLAIMED_IP], 32) for name in ("ipv4_src", "arp_spa")),
        *(("copy", OFFSETS[name], OFFSETS[CLAIMED_LOW], 32) for name in ("eth_src", "arp_sha")),
        *(("copy", OFFSETS[name] + 32, OFFSETS[CLAIMED_HIGH], 16) for name in ("eth_src", "arp_sha")),
        ("write", OFFSETS[CLAIMED_HIGH] + 16, 1, 1),
        ("copy", OFFSETS["eth_src"], OFFSETS[FROM_PROFILE], 32),
    )
}
_NOTES = (CLAIMED_IP, CLAIMED_LOW, CLAIMED_HIGH)
NOTHING: Mapping[Step, Shape] = {}


class Shapeless(Exception):
    """These rules have no shape: look at them."""


def of_rules(rules: Iterable[Rule], names: Names, write: Write, written: Written = NOTHING) -> Shape:
    """The shape of some rules together."""
    return frozenset([of_rule(rule, names, write, written) for rule in rules])


def of_rule(rule: Rule, names: Names, write: Write, written: Written, meter: int | None = None) -> Shape:
    """What a rule does, with roles in the place of own values; meter: one that has a role.

    Its form says the rest, and which values these are.
    """
    form, match = rule.form, rule.flow.match
    for n, name in form.kind.masked:
        if name in names and (name, *match[n][1:]) != _NEUTRAL_RANGE:
            raise Shapeless
    noted = _NOTED if rule.table == ADMISSION else NOTHING
    if not all(step in noted for step in form.others):
        raise Shapeless
    if rule.flow.meter != meter:
        raise Shapeless
    values = []
    for n, name in form.kind.own:
        value = match[n][1]
        own = names.get(name)
        values.append(value if own is None else own.get(value, value))
    steps: list[Shape] = []
    for step in rule.steps:
        if step[0] == "write":
            role = written.get(step, noted.get(step))
            steps.append(write(*step[1:]) if role is None else role)
    return form, tuple(values), tuple(steps)


def no_write(at: int, bits: int, value: int) -> Shape:
    """Of rules that are to write nothing."""
    raise Shapeless


def filed(table: Table, allowed: Shelf, value: int) -> list[Rule]:
    """The rules of a table filed under one value; raises Shapeless if others are filed in other ways."""
    key = tuple(value if filed else None for filed in allowed)
    found: list[Rule] = []
    for shape, shelf in table.shelves.items():
        if shape == allowed:
            found += all_of(shelf.get(key, ()))
        elif shape != COMMON:
            raise Shapeless
    return found


def common_shape(table: Table) -> Shape:
    """The shape of the rules for every port; kept in the table until one of them changes."""
    if table.common is None:
        rules = [rule for filed in table.shelves.get(COMMON, {}).values() for rule in all_of(filed)]
        table.common = (_shape_of_common(rules),)
    shape = table.common[0]
    if shape is None:
        raise Shapeless
    return shape


def _shape_of_common(rules: Iterable[Rule]) -> Shape | None:
    """None unless they say nothing that could be about one port in particular."""
    names = {
        name: _NEUTRAL.get(name, {}) for name in (*_CLAIMS, *_NOTES, "in_port", NETWORK, FROM_PORT, *_OTHERS)
    }
    for rule in rules:
        for field, value, mask in rule.flow.match:
            known = (field.name, value, mask) == _NEUTRAL_RANGE
            if field.name in names and value not in names[field.name] and not known:
                return None
    try:
        return Once(of_rules(rules, names, no_write))
    except Shapeless:
        return None


_OTHERS = (FROM_PROFILE, TENANT)


def meters_shape(bridge: Bridge, number: int, ofport: int) -> Shape:
    """The shape of what a port meets where there are meters, in tables that know it by its number alone."""
    names = {FROM_PORT: {number: NUMBER}}
    parts: list[Shape] = []
    for at, first in METERED.items():
        table = bridge.tables.get(at)
        if table is not None and table.rules:
            met = filed(table, OWN_SENDER, number)
            own = [of_rule(rule, names, no_write, NOTHING, meter=first + ofport) for rule in met]
            parts.append((at, common_shape(table), frozenset(own)))
    return tuple(parts)


# --- admission ---------------------------------------------------------------------------------------------


def entry_shape(bridge: Bridge, world: World, host: HostName, ofport: int) -> Shape:
    """The shape of what enters by an OpenFlow port: a device's, a port's or nobody's."""
    device = world.by_tunnel.get((host, ofport))
    if device is not None:
        return _arrival_shape(bridge, device, ofport, world.tenant_number(device.name.tenant))
    port = world.by_ofport.get((host, ofport))
    network = world.networks.get(port.name.parent) if port is not None else None
    if port is None or network is None:
        return _nobodys_shape(bridge, ofport)
    return _admission_shape(bridge, port, network, world.tenant_number(port.name.tenant))


def _nobodys_shape(bridge: Bridge, ofport: int) -> Shape:
    tables = [bridge.tables[number] for number in (ADMISSION, CLAIMED) if number in bridge.tables]
    if any(filed(table, OWN_PORT, ofport) for table in tables):
        raise Shapeless
    return "nobody", *map(common_shape, tables)


def _admission_shape(bridge: Bridge, port: PortIntent, network: NetworkIntent, tenant: int) -> Shape:
    local = {value: value & LINK_LOCAL6[1] == LINK_LOCAL6[0] for value in port.addresses6}
    addresses4 = {value: (4, n) for n, value in enumerate(port.addresses4)}
    addresses6 = {value: (6, n, local[value]) for n, value in enumerate(port.addresses6)}
    once = (len(addresses4), len(addresses6)) == (len(port.addresses4), len(port.addresses6))
    paired = port.pairs or port.claimed or port.stands_by
    if not port.mac or paired or not once or 0 in addresses4 or not local.keys().isdisjoint(SERVICES6):
        raise Shapeless
    mac = {port.mac: MAC}
    names: dict[str, Mapping[int, Shape]] = {
        "eth_src": mac, "arp_sha": mac, "ipv6_nd_sll": mac, "ipv6_nd_tll": mac,
        "ipv4_src": addresses4, "arp_spa": addresses4, "ipv6_src": addresses6, "ipv6_nd_target": addresses6,
        CLAIMED_IP: addresses4, CLAIMED_LOW: {port.mac & LOW32: MAC},
        CLAIMED_HIGH: {CLAIMS_IPV4 | port.mac >> 32: MAC},
        "in_port": {port.ofport: OFPORT}, NETWORK: {network.vni: VNI}, FROM_PORT: {port.number: NUMBER},
        FROM_PROFILE: {port.profile: PROFILE} if port.checked else {}, TENANT: {tenant: OWN_TENANT},
    }  # fmt: skip
    written = _registers(network.vni, port.number, port.profile if port.checked else None, tenant)
    roles = frozenset(addresses6.values())
    parts: list[Shape] = ["admission", (len(addresses4), roles), port.checked]
    for number, table in bridge.tables.items():
        if number >= TRACK or not table.rules:
            continue
        if number > CLAIMED:
            own = filed(table, OWN_SENDER, port.number)
        else:
            own = filed(table, OWN_PORT, port.ofport)
            _check_notes(own, port.mac)
        parts.append((number, common_shape(table), of_rules(own, names, _to_register, written)))
    return _in_order(parts)


def _check_notes(rules: Iterable[Rule], mac: int) -> None:
    """A MAC noted in two registers has a role only as a whole."""
    whole = {CLAIMED_LOW: mac & LOW32, CLAIMED_HIGH: CLAIMS_IPV4 | mac >> 32}
    for rule in rules:
        noted = {field.name: value for field, value, _ in rule.flow.match if field.name in whole}
        if noted and noted != whole:
            raise Shapeless


def _arrival_shape(bridge: Bridge, network: NetworkIntent, ofport: int, tenant: int) -> Shape:
    tables = [bridge.tables[number] for number in (ADMISSION, CLAIMED) if number in bridge.tables]
    names: dict[str, Mapping[int, Shape]] = {
        "in_port": {ofport: DEVICE}, NETWORK: {network.vni: VNI}, FROM_PORT: {}, TENANT: {tenant: OWN_TENANT},
    }  # fmt: skip
    written = _registers(network.vni, None, None, tenant)
    own = (of_rules(filed(t, OWN_PORT, ofport), names, _to_register, written) for t in tables)
    return "arrival", *zip(map(common_shape, tables), own, strict=True)


def _in_order(parts: list[Shape]) -> Shape:
    head, tables = parts[:3], parts[3:]
    return (*head, frozenset(tables))


def _registers(vni: int, number: int | None, profile: int | None, tenant: int) -> Written:
    """What is somebody's own among what ADMISSION and CLAIMED write."""
    found: dict[Step, Shape] = {
        ("write", _REG0, 32, vni): (NETWORK, VNI),
        ("write", OFFSETS[TENANT], 32, tenant): (TENANT, OWN_TENANT),
    }
    if number is not None:
        found["write", _REG1, 32, number] = FROM_PORT, NUMBER
    if profile is not None:
        found["write", _FROM_PROFILE, 32, profile] = FROM_PROFILE, PROFILE
    return found


def _to_register(at: int, bits: int, value: int) -> Shape:
    """The shape of writing what is nobody's own."""
    if (bits == 32 and at in _REGISTERS) or (at == _REG3 and bits <= 32):
        return at, value
    raise Shapeless


_REGISTERS = frozenset((_REG0, _REG1, _FROM_PROFILE, OFFSETS[TENANT]))
