"""A switch in memory, for tests of what stands above the seam. Passes the test suite of the real one.

Knows as much of Open vSwitch as decides whether a delta is refused: prerequisites of fields, and that goto
leads on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable

from cloison.errors import Unavailable
from controller.flows import Flow, FlowKey, Match
from controller.flows.delta import FlowDelta, ForeignFlow, InstalledFlow, InstalledFlows
from controller.openflow import wire
from controller.openflow.refusal import FlowError, SwitchRefused
from controller.openflow.switch import Drift, DriftBuffer

_BAD_INSTRUCTION, _BAD_TABLE_ID = 3, 2
_BAD_MATCH, _BAD_PREREQ = 4, 9
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
}


def _prerequisites_met(match: Match) -> bool:
    exact = {term.field.name: term.value for term in match if term.mask == term.field.all_ones}
    for term in match:
        need = next((need for prefix, need in _NEEDS.items() if term.field.name.startswith(prefix)), None)
        if need is not None and exact.get(need[0]) not in need[1]:
            return False
    return True


def _error(flow: Flow) -> FlowError | None:
    if not _prerequisites_met(flow.match):
        return FlowError(flow, _BAD_MATCH, _BAD_PREREQ, "OFPET_BAD_MATCH(4) OFPBMC_BAD_PREREQ(9)")
    if flow.goto is not None and flow.goto <= flow.table:
        return FlowError(
            flow, _BAD_INSTRUCTION, _BAD_TABLE_ID, "OFPET_BAD_INSTRUCTION(3) OFPBIC_BAD_TABLE_ID(2)"
        )
    return None


class FakeSwitch:
    """Implements Switch. deltas: what was applied, in order."""

    def __init__(self, dpid: int, host_id: str | None = None) -> None:
        self.dpid = dpid
        self.host_id = host_id
        self.deltas: list[FlowDelta] = []
        self.ports: dict[int, str] = {}
        self.on_port_changed: Callable[[int], None] | None = None
        self.flows: dict[FlowKey, InstalledFlow] = {}
        self.foreign: list[ForeignFlow] = []
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
        errors = [error for flow in (*delta.add, *delta.modify) if (error := _error(flow)) is not None]
        if errors:
            raise SwitchRefused(errors)
        self.foreign = [flow for flow in self.foreign if flow not in delta.purge]
        for key in delta.delete:
            self.flows.pop(key, None)
        for flow in (*delta.add, *delta.modify):
            self._put(flow)
        if delta:
            self.deltas.append(delta)

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

    def _put(self, flow: Flow) -> None:
        before = self.flows.get(flow.key)
        self.flows[flow.key] = InstalledFlow(
            flow, before.packets if before else 0, before.bytes if before else 0
        )

    def _check_connected(self) -> None:
        if not self._connected:
            raise Unavailable(f"the switch {self.dpid:#018x} is not connected")
