"""A switch in memory, for tests of what stands above the seam. Passes the test suite of the real one.

Knows as much of Open vSwitch as decides whether a delta is refused: prerequisites of fields and actions, that
goto leads on, and that meters are there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Container, Iterable

from cloison.errors import Unavailable
from controller.flows import CT_STATE, Conjunction, Ct, Flow, FlowKey, Match
from controller.flows.conntrack import has_connection
from controller.flows.delta import FlowDelta, ForeignFlow, InstalledFlow, InstalledFlows
from controller.flows.meters import Meter, MeterDelta, Meters
from controller.openflow import wire
from controller.openflow.refusal import FlowError, SwitchRefused
from controller.openflow.statistics import MeterCounters, PortCounters
from controller.openflow.switch import Change, Drift, DriftBuffer

_IPV4, _IPV6, _ARP = 0x0800, 0x86DD, 0x0806
# Which exact value of which field each family of fields needs (ovs-fields(7)).
_NEEDS: dict[str, tuple[str, tuple[int, ...]]] = {
    "ipv4_": ("eth_type", (_IPV4,)),
    "ipv6_nd": ("icmpv6_type", (135, 136)),
    "ipv6_": ("eth_type", (_IPV6,)),
    "arp_": ("eth_type", (_ARP,)),
    "ip_": ("eth_type", (_IPV4, _IPV6)),
    "tcp_": ("ip_proto", (6,)),
    "udp_": ("ip_proto", (17,)),
    "icmpv4_": ("ip_proto", (1,)),
    "icmpv6_": ("ip_proto", (58,)),
    "ct_nw_src": ("eth_type", (_IPV4,)),
    "ct_nw_dst": ("eth_type", (_IPV4,)),
    "ct_ipv6_": ("eth_type", (_IPV6,)),
}
_TUPLE = ("ct_nw_", "ct_ipv6_", "ct_tp_")


def _exact(match: Match) -> dict[str, int]:
    return {term.field.name: term.value for term in match if term.mask == term.field.all_ones}


def _prerequisites_met(match: Match) -> bool:
    exact = _exact(match)
    for term in match:
        need = next((need for prefix, need in _NEEDS.items() if term.field.name.startswith(prefix)), None)
        if need is not None and exact.get(need[0]) not in need[1]:
            return False
    if any(term.field.name.startswith(_TUPLE) for term in match):
        return any(t.field.name == "ct_state" and has_connection(t.value, t.mask) for t in match)
    return True


def _is_invalid(match: Match) -> bool:
    return any(t.field.name == "ct_state" and t.value & CT_STATE["inv"] for t in match)


def _refusal(flow: Flow, meters: Container[int]) -> tuple[int, int, str] | None:
    """Type, code and text of the error that Open vSwitch answers with, None if it takes the flow."""
    conjunctions = sum(isinstance(action, Conjunction) for action in flow.actions)
    tracks = [action for action in flow.actions if isinstance(action, Ct)]
    if not _prerequisites_met(flow.match):
        return 4, 9, "OFPET_BAD_MATCH(4) OFPBMC_BAD_PREREQ(9)"
    if flow.goto is not None and flow.goto <= flow.table:
        return 3, 2, "OFPET_BAD_INSTRUCTION(3) OFPBIC_BAD_TABLE_ID(2)"
    untrackable = _exact(flow.match).get("eth_type") not in (_IPV4, _IPV6)
    if tracks and (untrackable or (_is_invalid(flow.match) and any(action.commit for action in tracks))):
        return 2, 10, "OFPET_BAD_ACTION(2) OFPBAC_MATCH_INCONSISTENT(10)"
    alone = len(flow.actions) == conjunctions and flow.goto is None and flow.meter is None
    if conjunctions and not alone:
        return 3, 1, "OFPET_BAD_INSTRUCTION(3) OFPBIC_UNSUP_INST(1)"
    if flow.meter is not None and flow.meter not in meters:
        return 12, 3, "OFPET_METER_MOD_FAILED(12) OFPMMFC_UNKNOWN_METER(3)"
    return None


class FakeSwitch:
    """Implements Switch. deltas: what was applied, in order; flushed: the zones that were forgotten, in
    order; port_counters, meter_counters: what is told when they are read.
    """

    def __init__(self, dpid: int, host_id: str | None = None) -> None:
        self.dpid = dpid
        self.host_id = host_id
        self.deltas: list[FlowDelta] = []
        self.ports: dict[int, str] = {}
        self.on_port_changed: Callable[[int], None] | None = None
        self.flows: dict[FlowKey, InstalledFlow] = {}
        self.foreign: list[ForeignFlow] = []
        self.meters: dict[int, Meter | None] = {}
        self.flushed: list[int] = []
        self.port_counters: dict[int, PortCounters] = {}
        self.meter_counters: dict[int, MeterCounters] = {}
        self._connected = True
        self._drift = DriftBuffer(dpid)

    async def read_flows(
        self,
        *,
        expected: Iterable[Flow] = (),
        table: int = wire.ALL_TABLES,
        cookie: int = 0,
        cookie_mask: int = 0,
    ) -> InstalledFlows:
        """See Switch."""
        self._check_connected()

        def wanted(flow: Flow | ForeignFlow) -> bool:
            return table in (wire.ALL_TABLES, flow.table) and not (flow.cookie ^ cookie) & cookie_mask

        flows = {key: installed for key, installed in self.flows.items() if wanted(installed.flow)}
        return InstalledFlows(flows, tuple(f for f in self.foreign if wanted(f)))

    async def read_ports(self) -> None:
        """See Switch."""
        self._check_connected()

    def set_port(self, ofport: int, name: str | None) -> None:
        """An interface comes, is renamed, or (None) goes."""
        if name is None:
            self.ports.pop(ofport, None)
        else:
            self.ports[ofport] = name
        if self.on_port_changed is not None:
            self.on_port_changed(ofport)

    async def apply(self, delta: FlowDelta) -> None:
        """See Switch."""
        self._check_connected()
        errors = []
        for flow in (*delta.add, *delta.modify):
            refusal = _refusal(flow, self.meters)
            if refusal is not None:
                errors.append(FlowError(flow, *refusal))
        if errors:
            raise SwitchRefused(errors)
        self.foreign = [flow for flow in self.foreign if flow not in delta.purge]
        for key in delta.delete:
            self.flows.pop(key, None)
        for flow in (*delta.add, *delta.modify):
            self._put(flow)
        if delta:
            self.deltas.append(delta)

    async def carry_out(self, change: Change) -> tuple[FlowError, ...]:
        """See Switch."""
        errors: tuple[FlowError, ...] = ()
        if change.meters:
            try:
                await self.apply_meters(change.meters)
            except SwitchRefused as refused:
                errors = refused.errors
        if change.zones:
            await self.flush_zones(change.zones)
        if change.flows:
            await self.apply(change.flows)
        return errors

    async def read_meters(self) -> Meters:
        """See Switch."""
        self._check_connected()
        return dict(self.meters)

    async def apply_meters(self, delta: MeterDelta) -> None:
        """See Switch."""
        self._check_connected()
        errors = []
        for number in delta.delete:
            self._delete_meter(number)
        for meter in delta.add:
            if meter.id in self.meters:
                errors.append(FlowError(meter, 12, 2, "OFPET_METER_MOD_FAILED(12) OFPMMFC_METER_EXISTS(2)"))
            self.meters.setdefault(meter.id, meter)
        for meter in delta.modify:
            if meter.id in self.meters:
                self.meters[meter.id] = meter
            else:
                errors.append(FlowError(meter, 12, 3, "OFPET_METER_MOD_FAILED(12) OFPMMFC_UNKNOWN_METER(3)"))
        if errors:
            raise SwitchRefused(errors)

    async def flush_zones(self, zones: Iterable[int]) -> None:
        """See Switch."""
        self._check_connected()
        self.flushed += zones

    async def ping(self) -> None:
        """See Switch."""
        self._check_connected()

    async def read_port_counters(self) -> dict[int, PortCounters]:
        """See Switch."""
        self._check_connected()
        return dict(self.port_counters)

    async def read_meter_counters(self) -> dict[int, MeterCounters]:
        """See Switch."""
        self._check_connected()
        return {number: MeterCounters(0, 0) for number in self.meters} | self.meter_counters

    def watch_drift(self) -> AsyncIterator[Drift]:
        """See Switch."""
        return self._drift.watch()

    def tamper(self, *, add: tuple[Flow, ...] = (), delete: tuple[FlowKey, ...] = (), count: int = 0) -> None:
        """What ovs-ofctl does behind our back; count packets are counted by every flow."""
        for key in delete:
            self.flows.pop(key, None)
        for flow in add:
            self._put(flow)
        if add or delete:
            self._drift.add({flow.key for flow in add} | set(delete), complete=True)
        if count:
            self.flows = {k: InstalledFlow(i.flow, i.packets + count, i.bytes) for k, i in self.flows.items()}

    def tamper_foreign(self, flow: ForeignFlow) -> None:
        """Add a flow that can't be ours."""
        self.foreign.append(flow)
        self._drift.add(set(), complete=False)

    def disconnect(self) -> None:
        """Lose the switch."""
        self._connected = False
        self._drift.end()

    def _delete_meter(self, number: int) -> None:
        """A meter's flows go with it, which the flow monitor tells."""
        keys = {key for key, installed in self.flows.items() if installed.flow.meter == number}
        for key in keys:
            del self.flows[key]
        if keys:
            self._drift.add(keys, complete=True)
        self.meters.pop(number, None)

    def _put(self, flow: Flow) -> None:
        before = self.flows.get(flow.key)
        self.flows[flow.key] = InstalledFlow(
            flow, before.packets if before else 0, before.bytes if before else 0
        )

    def _check_connected(self) -> None:
        if not self._connected:
            raise Unavailable(f"the switch {self.dpid:#018x} is not connected")
