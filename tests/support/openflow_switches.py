"""Switches under test, real and fake: what others do to them, flows for them, what they are seen to hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from controller.flows import Flow, FlowKey, Load, OutputField, SetField, field, match
from controller.flows.delta import ForeignFlow, InstalledFlows
from controller.flows.text import flow_text, match_text
from controller.openflow.fake import FakeSwitch
from controller.openflow.statistics import PortCounters
from controller.openflow.switch import Drift, Switch
from tests.support.openflow_site import DEADLINE_S
from tests.support.ovs import Ovs


class Backdoor(Protocol):
    """What others do to the switch."""

    async def add(self, flow: Flow) -> None: ...
    async def add_foreign(self) -> None: ...
    async def delete(self, key: FlowKey) -> None: ...
    async def count_packets(self) -> None: ...
    async def disconnect(self) -> None: ...


class FakeBackdoor:
    def __init__(self, switch: FakeSwitch) -> None:
        self._switch = switch

    async def add(self, flow: Flow) -> None:
        self._switch.tamper(add=(flow,))

    async def add_foreign(self) -> None:
        self._switch.tamper_foreign(ForeignFlow(9, 5, 0, b"\x00\x01\x00\x04\x00\x00\x00\x00"))

    async def delete(self, key: FlowKey) -> None:
        self._switch.tamper(delete=(key,))

    async def count_packets(self) -> None:
        self._switch.tamper(count=1)
        self._switch.port_counters[1] = PortCounters(1, 0, 14, 0, 0, 0, 0, 0)

    async def disconnect(self) -> None:
        self._switch.disconnect()


class OvsBackdoor:
    """Does it with ovs-ofctl and ovs-appctl, in a thread: the loop must go on."""

    def __init__(self, ovs: Ovs, bridge: str) -> None:
        self._ovs, self._bridge = ovs, bridge

    async def add(self, flow: Flow) -> None:
        await asyncio.to_thread(self._ovs.ofctl, "add-flow", self._bridge, flow_text(flow))

    async def add_foreign(self) -> None:
        text = "table=9,priority=5,idle_timeout=100,mpls,mpls_label=7,actions=normal"
        await asyncio.to_thread(self._ovs.ofctl, "add-flow", self._bridge, text)

    async def delete(self, key: FlowKey) -> None:
        text = f"table={key.table},priority={key.priority},{match_text(key.match)}"
        await asyncio.to_thread(self._ovs.ofctl, "del-flows", self._bridge, "--strict", text)

    async def count_packets(self) -> None:
        packet = "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x1234)"
        await asyncio.to_thread(self._ovs.appctl, "netdev-dummy/receive", f"{self._bridge}-p1", packet)

    async def disconnect(self) -> None:
        await asyncio.to_thread(self._ovs.connect, self._bridge)


ADMIT = Flow(
    table=0,
    priority=100,
    match=match(in_port=1, eth_type=0x800, vlan_vid=0, ipv4_src=0x0A000001, eth_src=0x02AABBCCDDEE),
    actions=(Load(field("reg0"), 0, 24, 5001),),
    goto=10,
    cookie=0x11,
)
FORWARD = Flow(
    table=20,
    priority=50,
    match=match(reg0=(5001, 0xFFFFFF), eth_dst=0x0AF00A000002),
    actions=(SetField(field("eth_dst"), 0x02AABBCCDDEE), Load(field("reg1"), 0, 16, 1)),
    goto=30,
    cookie=0x22,
)
OUTPUT = Flow(table=30, priority=10, match=(), actions=(OutputField(field("reg1"), 0, 16),), cookie=1)
FLOWS = (ADMIT, FORWARD, OUTPUT)
ALL = Flow(table=0, priority=1, match=(), cookie=7)


def flows_of(installed: InstalledFlows) -> dict[FlowKey, Flow]:
    return {key: entry.flow for key, entry in installed.flows.items()}


async def until(condition: Callable[[InstalledFlows], bool], switch: Switch) -> InstalledFlows:
    async with asyncio.timeout(DEADLINE_S):
        while not condition(installed := await switch.read_flows()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return installed


async def drift_of(watch: AsyncIterator[Drift]) -> Drift:
    return await asyncio.wait_for(anext(watch), DEADLINE_S)
