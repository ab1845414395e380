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

from collections.abc import Callable, Iterable
from functools import partial

from cloison.names import HostName
from controller.verify import addressing, admission, forwarding, metering, stations
from controller.verify.forwarding import Place
from controller.verify.intent import NetworkIntent, PortIntent
from controller.verify.roles import (
    Shape,
    Shapeless,
    entry_shape,
    meters_shape,
)
from controller.verify.roles_forward import Own, mac_shape
from controller.verify.symbolic import Bridge, Undefined
from controller.verify.world import Members, World

SHAPES_MAX, ADDRESSED_MAX, STATIONS_MAX = 10_000, 2_000, 1_000


class Known:
    """Verdicts by shape. Holds no reference to what they were found on."""

    def __init__(self) -> None:
        self._verdicts: dict[Shape, bool] = {}
        self._addressed: addressing.Addressed = {}
        self._stations: dict[Shape, str] = {}
        self._metered: dict[Shape, str] = {}

    def admission(
        self, bridge: Bridge, world: World, host: HostName, ofport: int, *, loss: bool = False
    ) -> bool:
        """As admission.admission."""
        prove = partial(admission.admission, bridge, world, host, ofport, loss=loss)
        if ofport == world.service_of(host):
            return prove()
        try:
            # (Nothing more is asked where it does not hold: for who has this shape, too, it does not.)
            return self._known((loss, entry_shape(bridge, world, host, ofport)), prove)
        except Shapeless:
            return prove()

    def misled(self, bridge: Bridge, port: PortIntent, number: int, *, multicast: bool) -> str:
        """As metering.misled."""
        prove = partial(
            metering.misled, bridge, number, port.ofport, multicast=multicast, stands_by=port.stands_by
        )
        try:
            own = meters_shape(bridge, number, port.ofport)
        except Shapeless:
            return prove()
        shape = own, multicast, port.stands_by
        found = self._metered.get(shape)
        if found is None:
            if len(self._metered) >= SHAPES_MAX:
                self._metered.clear()
            found = self._metered[shape] = prove()
        return found

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
            own = Own(bridge, place)
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

    def _forwards_mac(self, bridge: Bridge, place: Place, own: Own, mac: int) -> bool:
        port = place.members.by_frame_mac.get(mac)
        if port is not None and port.host != place.host:
            port = None
        try:
            shape = mac_shape(own, mac, port)

            def proved() -> bool:
                alone = place._replace(members=_only(port))
                return forwarding.forwarding(bridge, alone, (mac,))

            if self._known(shape, proved):
                return True
        except Shapeless:
            pass
        return forwarding.forwarding(bridge, place, (mac,))

    def _forwards_rest(self, place: Place, own: Own) -> bool:
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
