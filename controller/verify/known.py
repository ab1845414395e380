"""Contracts that were proved before under other names: most ports and networks differ by nothing else.

The shape of a contract is the rules it can meet, with what is the port's or network's own (MAC, addresses,
OpenFlow port, number, VNI) replaced by its role. Why a verdict may be used again: say two contracts have one
shape. Then, field by field, exchanging the own values of one for those of the other turns the rules, and
what is meant, of the one into those of the other; the exchange maps packets one to one. It is sound only
where rules compare such a field with whole values: a value that is nobody's own stays what it is in both, so
it is in the shape as it is. Whatever does not fit (a mask on such a field, an action not listed here) has no
shape, and contracts.py decides from the rules themselves, as it does for each shape once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial

from cloison.addresses import WIRE4_PREFIX, WIRE6_PREFIX
from cloison.names import HostName
from controller.verify import addressing, admission, forwarding, stations
from controller.verify.forwarding import Place
from controller.verify.grammar import OFPORT_MAX
from controller.verify.intent import NetworkIntent, PortIntent
from controller.verify.packet import FIELD_MASKS, OFFSETS
from controller.verify.policy import PROFILE_OPEN
from controller.verify.rules import Once, Rule, Table
from controller.verify.semantics import LINK_LOCAL6, SERVICES6
from controller.verify.stages import (
    ADMISSION,
    CLAIMED,
    CLAIMED_HIGH,
    CLAIMED_IP,
    CLAIMED_LOW,
    CLAIMS_IPV4,
    FORWARD,
    FROM_PORT,
    FROM_PROFILE,
    NETWORK,
    ORIGIN,
    TENANT,
    TO_PORT,
    TO_PORT_BITS,
    TO_PROFILE,
    TRACK,
)
from controller.verify.symbolic import Bridge, Undefined
from controller.verify.world import Members, World

SHAPES_MAX, ADDRESSED_MAX, STATIONS_MAX = 10_000, 2_000, 1_000
Shape = Hashable
Names = Mapping[str, Mapping[int, Shape]]
"""For each field in which something has a role: the role of each own value."""

_OWN_PORT, _OWN_NETWORK, _OWN_SENDER = (True, False, False), (False, True, False), (False, False, True)
_COMMON = (False, False, False)
_MAC, _VNI, _NUMBER, _OFPORT, _DEVICE = "own MAC", "own VNI", "own number", "own port", "own device"
_PROFILE, _TENANT = "own profile", "own tenant"
_REG0, _REG1, _REG2, _REG3 = (OFFSETS[name] for name in (NETWORK, FROM_PORT, TO_PORT, ORIGIN))
_PROFILES = {name: OFFSETS[name] for name in (FROM_PROFILE, TO_PROFILE)}
_ETH_DST, _LOW32 = OFFSETS["eth_dst"], 0xFFFFFFFF
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
_AIMS = ("eth_dst", "ipv4_dst", "arp_tpa", "ipv6_dst", "ipv6_nd_target")
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
# What IPv4 and ARP claim, as ADMISSION notes it for CLAIMED: whole values, which keep their roles there.
_NOTED = frozenset(
    [
        *(("copy", OFFSETS[name], OFFSETS[CLAIMED_IP], 32) for name in ("ipv4_src", "arp_spa")),
        *(("copy", OFFSETS[name], OFFSETS[CLAIMED_LOW], 32) for name in ("eth_src", "arp_sha")),
        *(("copy", OFFSETS[name] + 32, OFFSETS[CLAIMED_HIGH], 16) for name in ("eth_src", "arp_sha")),
        ("write", OFFSETS[CLAIMED_HIGH] + 16, 1, 1),
    ]
)
_NOTES = (CLAIMED_IP, CLAIMED_LOW, CLAIMED_HIGH)
# A device's rule says by this who sent a frame; nothing has a role there that the copy could carry.
_BY_SOURCE_MAC = ("copy", OFFSETS["eth_src"], OFFSETS[FROM_PROFILE], 32)


class Shapeless(Exception):
    """These rules have no shape: look at them."""


class Known:
    """Verdicts by shape. Holds no reference to what they were found on."""

    def __init__(self) -> None:
        self._verdicts: dict[Shape, bool] = {}
        self._addressed: addressing.Addressed = {}
        self._stations: dict[Shape, str] = {}

    def admission(
        self, bridge: Bridge, world: World, host: HostName, ofport: int, *, loss: bool = False
    ) -> bool:
        """As admission.admission."""
        prove = partial(admission.admission, bridge, world, host, ofport, loss=loss)
        device = world.by_tunnel.get((host, ofport))
        port = world.by_ofport.get((host, ofport))
        network = world.networks.get(port.name.parent) if port is not None and device is None else device
        if network is not None and ofport != world.service_of(host):
            try:
                if device is not None:
                    shape = _arrival_shape(bridge, device, ofport, world.tenant_number(device.name.tenant))
                else:
                    assert port is not None, (host, ofport)
                    number = world.tenant_number(port.name.tenant)
                    shape = _admission_shape(bridge, port, network, number)
                # That it drops what it should not is said to who knows that something is wrong: no need
                # to ask once more, for this very port.
                if self._known((loss, shape), prove) or loss:
                    return self._verdicts[loss, shape]
            except Shapeless:
                pass
        return prove()

    def broken_station(self, bridge: Bridge) -> str:
        """As stations.broken_station; by all that the tables do."""
        key = stations.content(bridge, stations.STATIC_TABLES)
        return self._broken(key, lambda: stations.broken_station(bridge))

    def broken_host_station(self, bridge: Bridge, mtu: int, service_ofport: int | None) -> str:
        """As stations.broken_host_station."""
        key = stations.content(bridge, stations.HOST_TABLES), mtu, service_ofport
        return self._broken(key, lambda: stations.broken_host_station(bridge, mtu, service_ofport))

    def _broken(self, key: Shape, prove: Callable[[], str]) -> str:
        found = self._stations.get(key)
        if found is None:
            if len(self._stations) >= STATIONS_MAX:
                self._stations.clear()
            try:
                found = prove()
            except Undefined as undefined:
                found = str(undefined)
            self._stations[key] = found
        return found

    def addressing(self, bridge: Bridge, network: NetworkIntent, ways: addressing.Ways) -> bool:
        """As addressing.addressing."""
        if len(self._addressed) >= ADDRESSED_MAX:
            self._addressed.clear()
        return addressing.addressing(bridge, network, ways, self._addressed)

    def forwarding(self, bridge: Bridge, place: Place, macs: Iterable[int] | None = None) -> bool:
        """As forwarding.forwarding. All frames: those of each MAC that a port or a rule has, and the rest."""
        try:
            own = _Own(bridge, place)
            if macs is not None:
                return all(self._forwards_mac(bridge, place, own, mac) for mac in macs)
            local = place.members.by_host.get(place.host, {}).values()
            named = own.macs.union(*(port.frame_macs for port in local))
            if self._forwards_rest(place, own) and all(
                self._forwards_mac(bridge, place, own, mac) for mac in named
            ):
                return True
        except Shapeless:
            pass
        return forwarding.forwarding(bridge, place, macs)

    def _forwards_mac(self, bridge: Bridge, place: Place, own: _Own, mac: int) -> bool:
        port = place.members.by_frame_mac.get(mac)
        if port is not None and port.host != place.host:
            port = None
        try:
            shape = _mac_shape(own, mac, port)

            def proved() -> bool:
                alone = place._replace(members=_only(port))
                return forwarding.forwarding(bridge, alone, (mac,))

            if self._known(shape, proved):
                return True
        except Shapeless:
            pass
        return forwarding.forwarding(bridge, place, (mac,))

    def _forwards_rest(self, place: Place, own: _Own) -> bool:
        """Frames whose MAC no rule names: they meet only the rules without one. Stricter than need be."""
        rules = own.nameless

        def proved() -> bool:
            bridge = Bridge()
            for rule in rules:
                bridge.add(rule)
            return forwarding.forwarding(bridge, place._replace(members=Members()))

        return self._known(("rest", own.shape), proved)

    def _known(self, shape: Shape, prove: Callable[[], bool]) -> bool:
        verdict = self._verdicts.get(shape)
        if verdict is None:
            if len(self._verdicts) >= SHAPES_MAX:
                self._verdicts.clear()
            verdict = self._verdicts[shape] = prove()
        return verdict


def _only(port: PortIntent | None) -> Members:
    members = Members()
    if port is not None:
        members.add(port)
    return members


# --- rules and their shapes --------------------------------------------------------------------------------

Write = Callable[[int, int, int], Shape]
"""The shape of writing (at, bits, value); raises Shapeless."""


def _of_rules(rules: Iterable[Rule], names: Names, write: Write) -> Shape:
    return frozenset([_of_rule(rule, names, write) for rule in rules])


def _of_rule(rule: Rule, names: Names, write: Write) -> Shape:
    terms: list[Shape] = []
    for field, value, mask in rule.flow.match:
        own = names.get(field.name)
        if own is None or (field.name, value, mask) == _NEUTRAL_RANGE:
            terms.append((field.name, value, mask))
        elif mask != field.all_ones:
            raise Shapeless
        else:
            terms.append((field.name, own.get(value, value)))
    steps: list[Shape] = []
    for verb, a, b, c in rule.steps:
        if (verb, a, b, c) in _NOTED and rule.table == ADMISSION:
            steps.append((verb, a, b, c))
        elif verb == "write":
            steps.append(write(a, b, c))
        elif (verb, a, b, c) == _BY_SOURCE_MAC and rule.table == ADMISSION:
            steps.append(_BY_SOURCE_MAC)
        else:
            raise Shapeless
    if rule.flow.meter is not None:
        raise Shapeless
    return rule.table, rule.priority, tuple(terms), tuple(steps), rule.goto


def _no_write(at: int, bits: int, value: int) -> Shape:
    raise Shapeless


def _filed(table: Table, allowed: tuple[bool, bool, bool], value: int) -> list[Rule]:
    """The rules of a table filed under one value; raises Shapeless if others are filed in other ways."""
    key = tuple(value if filed else None for filed in allowed)
    found: list[Rule] = []
    for shape, shelf in table.shelves.items():
        if shape == allowed:
            for rules in shelf.get(key, {}).values():
                found += rules
        elif shape != _COMMON:
            raise Shapeless
    return found


def _common_shape(table: Table) -> Shape:
    """The shape of the rules for every port; kept in the table until one of them changes."""
    if table.common is None:
        rules = [
            r
            for by_mac in table.shelves.get(_COMMON, {}).values()
            for rules in by_mac.values()
            for r in rules
        ]
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
        return Once(_of_rules(rules, names, _no_write))
    except Shapeless:
        return None


_OTHERS = (FROM_PROFILE, TENANT)


# --- admission ---------------------------------------------------------------------------------------------


def _admission_shape(bridge: Bridge, port: PortIntent, network: NetworkIntent, tenant: int) -> Shape:
    local = {value: value & LINK_LOCAL6[1] == LINK_LOCAL6[0] for value in port.addresses6}
    addresses4 = {value: (4, n) for n, value in enumerate(port.addresses4)}
    addresses6 = {value: (6, n, local[value]) for n, value in enumerate(port.addresses6)}
    once = (len(addresses4), len(addresses6)) == (len(port.addresses4), len(port.addresses6))
    paired = port.pairs or port.claimed or port.stands_by
    if not port.mac or paired or not once or 0 in addresses4 or not local.keys().isdisjoint(SERVICES6):
        raise Shapeless
    mac = {port.mac: _MAC}
    names: dict[str, Mapping[int, Shape]] = {
        "eth_src": mac, "arp_sha": mac, "ipv6_nd_sll": mac, "ipv6_nd_tll": mac,
        "ipv4_src": addresses4, "arp_spa": addresses4, "ipv6_src": addresses6, "ipv6_nd_target": addresses6,
        CLAIMED_IP: addresses4, CLAIMED_LOW: {port.mac & _LOW32: _MAC},
        CLAIMED_HIGH: {CLAIMS_IPV4 | port.mac >> 32: _MAC},
        "in_port": {port.ofport: _OFPORT}, NETWORK: {network.vni: _VNI}, FROM_PORT: {port.number: _NUMBER},
        FROM_PROFILE: {port.profile: _PROFILE} if port.checked else {}, TENANT: {tenant: _TENANT},
    }  # fmt: skip
    write = _registers(network.vni, port.number, port.profile if port.checked else None, tenant)
    roles = frozenset(addresses6.values())
    parts: list[Shape] = ["admission", (len(addresses4), roles), port.checked]
    for number, table in bridge.tables.items():
        if number >= TRACK or not table.rules:
            continue
        if number > CLAIMED:
            own = _filed(table, _OWN_SENDER, port.number)
        else:
            own = _filed(table, _OWN_PORT, port.ofport)
            _check_notes(own, port.mac)
        parts.append((number, _common_shape(table), _of_rules(own, names, write)))
    return _in_order(parts)


def _check_notes(rules: Iterable[Rule], mac: int) -> None:
    """A MAC noted in two registers has a role only as a whole."""
    whole = {CLAIMED_LOW: mac & _LOW32, CLAIMED_HIGH: CLAIMS_IPV4 | mac >> 32}
    for rule in rules:
        noted = {field.name: value for field, value, _ in rule.flow.match if field.name in whole}
        if noted and noted != whole:
            raise Shapeless


def _arrival_shape(bridge: Bridge, network: NetworkIntent, ofport: int, tenant: int) -> Shape:
    tables = [bridge.tables[number] for number in (ADMISSION, CLAIMED) if number in bridge.tables]
    names: dict[str, Mapping[int, Shape]] = {
        "in_port": {ofport: _DEVICE}, NETWORK: {network.vni: _VNI}, FROM_PORT: {}, TENANT: {tenant: _TENANT},
    }  # fmt: skip
    write = _registers(network.vni, None, None, tenant)
    met = ((_common_shape(t), _of_rules(_filed(t, _OWN_PORT, ofport), names, write)) for t in tables)
    return "arrival", *met


def _in_order(parts: list[Shape]) -> Shape:
    head, tables = parts[:3], parts[3:]
    return (*head, frozenset(tables))


def _registers(vni: int, number: int | None, profile: int | None, tenant: int) -> Write:
    roles: dict[int, tuple[str, int | None, Shape]] = {
        _REG0: (NETWORK, vni, _VNI),
        _REG1: (FROM_PORT, number, _NUMBER),
        _PROFILES[FROM_PROFILE]: (FROM_PROFILE, profile, _PROFILE),
        OFFSETS[TENANT]: (TENANT, tenant, _TENANT),
    }

    def write(at: int, bits: int, value: int) -> Shape:
        if bits == 32 and at in roles:
            name, own, role = roles[at]
            return name, role if value == own else value
        if at == _REG3 and bits <= 32:
            return ORIGIN, bits, value
        raise Shapeless

    return write


# --- forwarding --------------------------------------------------------------------------------------------


class _Own:
    """What FORWARD of one host holds for one network. Raises Shapeless if it is not filed as expected."""

    def __init__(self, bridge: Bridge, place: Place) -> None:
        vni, tunnel = place.network.vni, place.network.tunnels.get(place.host)
        if tunnel is not None and not 1 <= tunnel <= OFPORT_MAX:
            raise Shapeless
        self.tunnel = tunnel
        self.names: Names = {name: {} for name in _AIMS} | {
            NETWORK: {vni: _VNI},
            TO_PORT: {},
            TO_PROFILE: {},
            "in_port": {},
        }
        self.by_mac: list[Mapping[int | None, list[Rule]]] = []
        table = bridge.tables.get(FORWARD)
        for shape, shelf in table.shelves.items() if table is not None else ():
            if shape not in (_COMMON, _OWN_NETWORK):
                raise Shapeless
            filed = shelf.get((None, vni if shape == _OWN_NETWORK else None, None))
            if filed is not None:
                self.by_mac.append(filed)
        self.nameless = [rule for filed in self.by_mac for rule in filed.get(None, ())]
        for rule in self.nameless:
            if rule.cube[1] & _RULED_OUT:
                raise Shapeless
        # The same for whatever MAC: these rules deliver to no port, and look at nothing that has a role.
        self.shape = Once((tunnel is not None, _of_rules(self.nameless, self.names, self.write)))

    @property
    def macs(self) -> frozenset[int]:
        """The destination MACs that rules name."""
        return frozenset(mac for filed in self.by_mac for mac in filed if mac is not None)

    def write(self, at: int, bits: int, value: int) -> Shape:
        """Of a rule that concerns no port."""
        return self.write_for(None)(at, bits, value)

    def write_for(self, port: PortIntent | None) -> Write:
        """Of a rule that may deliver to a port."""

        def write(at: int, bits: int, value: int) -> Shape:
            if (at, bits) == (_REG2, TO_PORT_BITS):
                if port is not None and value == port.ofport:
                    return "reg2", _OFPORT
                return "reg2", _DEVICE if value == self.tunnel else value
            if (at, bits) == (_ETH_DST, 48) and port is not None:
                return "eth_dst", _MAC if value == port.mac else value
            if (at, bits) == (_PROFILES[TO_PROFILE], 32) and port is not None:
                return TO_PROFILE, _PROFILE if value == port.profile else value
            raise Shapeless

        return write


# A rule for all frames of a network looks at none of these: they are not the same for two networks.
_RULED_OUT = sum(FIELD_MASKS[name] for name in (*_AIMS, TO_PORT, TO_PROFILE, "in_port"))


def _mac_shape(own: _Own, mac: int, port: PortIntent | None) -> Shape:
    if port is not None and (port.ofport == own.tunnel or not 1 <= port.ofport <= OFPORT_MAX):
        raise Shapeless
    role = {WIRE4_PREFIX: 4, WIRE6_PREFIX: 6}.get(mac >> 32, 0)
    if not role and (mac >> 40 & 1 or (port is not None and mac != port.mac)):
        raise Shapeless
    names: dict[str, Mapping[int, Shape]] = {**own.names, "eth_dst": {mac: "wanted MAC"}}
    owned = 0
    if role == 4:
        names["ipv4_dst"] = names["arp_tpa"] = {mac & _LOW32: "wanted address"}
        owned = port is not None and mac & _LOW32 in port.addresses4
    elif role == 6 and port is not None:
        addresses = [a for a in port.addresses6 if a & _LOW32 == mac & _LOW32]
        owned = len(addresses)
        names["ipv6_dst"] = names["ipv6_nd_target"] = {a: (6, n) for n, a in enumerate(addresses)}
    rules = [rule for filed in own.by_mac for rule in filed.get(mac, ())]
    if role == 6:
        _check_addresses(rules, mac & _LOW32, names["ipv6_dst"])
    here = _of_rules(rules, names, own.write_for(port))
    return "MAC", role, owned, port is not None, own.shape, here


def _check_addresses(rules: Iterable[Rule], low: int, own: Mapping[int, Shape]) -> None:
    """An address with the same low bits that is not the port's own would keep its name in no exchange."""
    for rule in rules:
        for field, value, _ in rule.flow.match:
            if field.name in ("ipv6_dst", "ipv6_nd_target") and value & _LOW32 == low and value not in own:
                raise Shapeless
