"""The shapes of what FORWARD does, MAC by MAC (roles.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cloison.addresses import WIRE4_PREFIX, WIRE6_PREFIX
from controller.verify.forwarding import Place
from controller.verify.grammar import OFPORT_MAX
from controller.verify.intent import PortIntent
from controller.verify.packet import FIELD_MASKS, OFFSETS
from controller.verify.roles import (
    COMMON,
    DEVICE,
    LOW32,
    MAC,
    OFPORT,
    OWN_NETWORK,
    PROFILE,
    VNI,
    Names,
    Shape,
    Shapeless,
    Write,
    of_rules,
)
from controller.verify.rules import Once, Rule, by_mac
from controller.verify.stages import (
    FORWARD,
    NETWORK,
    TO_PORT,
    TO_PORT_BITS,
    TO_PROFILE,
)
from controller.verify.symbolic import Bridge

_AIMS = ("eth_dst", "ipv4_dst", "arp_tpa", "ipv6_dst", "ipv6_nd_target")
_ETH_DST, _REG2, _TO_PROFILE = OFFSETS["eth_dst"], OFFSETS[TO_PORT], OFFSETS[TO_PROFILE]


class Own:
    """What FORWARD of one host holds for one network. Raises Shapeless if it is not filed as expected."""

    def __init__(self, bridge: Bridge, place: Place) -> None:
        vni, tunnel = place.network.vni, place.network.tunnels.get(place.host)
        if tunnel is not None and not 1 <= tunnel <= OFPORT_MAX:
            raise Shapeless
        self.tunnel = tunnel
        self.names: Names = {name: {} for name in _AIMS} | {
            NETWORK: {vni: VNI},
            TO_PORT: {},
            TO_PROFILE: {},
            "in_port": {},
        }
        self.by_mac: list[Mapping[int | None, list[Rule]]] = []
        table = bridge.tables.get(FORWARD)
        for shape, shelf in table.shelves.items() if table is not None else ():
            if shape not in (COMMON, OWN_NETWORK):
                raise Shapeless
            filed = shelf.get((None, vni if shape == OWN_NETWORK else None, None))
            if filed is not None:
                self.by_mac.append(by_mac(filed))
        self.nameless = [rule for filed in self.by_mac for rule in filed.get(None, ())]
        for rule in self.nameless:
            if rule.cube[1] & _RULED_OUT:
                raise Shapeless
        # The same for whatever MAC: these rules deliver to no port, and look at nothing that has a role.
        self.shape = Once((tunnel is not None, of_rules(self.nameless, self.names, self.write)))

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
                    return "reg2", OFPORT
                return "reg2", DEVICE if value == self.tunnel else value
            if (at, bits) == (_ETH_DST, 48) and port is not None:
                return "eth_dst", MAC if value == port.mac else value
            if (at, bits) == (_TO_PROFILE, 32) and port is not None:
                return TO_PROFILE, PROFILE if value == port.profile else value
            raise Shapeless

        return write


# A rule for all frames of a network looks at none of these: they are not the same for two networks.
_RULED_OUT = sum(FIELD_MASKS[name] for name in (*_AIMS, TO_PORT, TO_PROFILE, "in_port"))


def mac_shape(own: Own, mac: int, port: PortIntent | None) -> Shape:
    """The shape of what comes under a MAC, which is of a port here, or of nobody here (None)."""
    if port is not None and (port.ofport == own.tunnel or not 1 <= port.ofport <= OFPORT_MAX):
        raise Shapeless
    role = {WIRE4_PREFIX: 4, WIRE6_PREFIX: 6}.get(mac >> 32, 0)
    if not role and (mac >> 40 & 1 or (port is not None and mac != port.mac)):
        raise Shapeless
    names: dict[str, Mapping[int, Shape]] = {**own.names, "eth_dst": {mac: "wanted MAC"}}
    owned = 0
    if role == 4:
        names["ipv4_dst"] = names["arp_tpa"] = {mac & LOW32: "wanted address"}
        owned = port is not None and mac & LOW32 in port.addresses4
    elif role == 6 and port is not None:
        addresses = [a for a in port.addresses6 if a & LOW32 == mac & LOW32]
        owned = len(addresses)
        names["ipv6_dst"] = names["ipv6_nd_target"] = {a: (6, n) for n, a in enumerate(addresses)}
    rules = [rule for filed in own.by_mac for rule in filed.get(mac, ())]
    if role == 6:
        _check_addresses(rules, mac & LOW32, names["ipv6_dst"])
    here = of_rules(rules, names, own.write_for(port))
    return "MAC", role, owned, port is not None, own.shape, here


def _check_addresses(rules: Iterable[Rule], low: int, own: Mapping[int, Shape]) -> None:
    """An address with the same low bits that is not the port's own would keep its name in no exchange."""
    for rule in rules:
        for field, value, _ in rule.flow.match:
            if field.name in ("ipv6_dst", "ipv6_nd_target") and value & LOW32 == low and value not in own:
                raise Shapeless
