"""The cache of flows of a real userspace datapath: what the agent's receipt says of it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from agent.ovsdb import OvsBridge
from tests.support.ovs import Ovs

pytestmark = pytest.mark.system

BRIDGE = "br-int"
DEADLINE_S = 15.0
DATAPATH = "dummy@ovs-dummy"
PACKET = (
    "in_port(1),eth(src=50:54:00:00:00:01,dst=50:54:00:00:00:02),eth_type(0x0800),"
    "ipv4(src=10.0.0.1,dst=10.0.0.2,proto=17,tos=0,ttl=64,frag=no),udp(src=1,dst=2)"
)


@pytest.fixture
def ovs() -> Iterator[Ovs]:
    with Ovs() as running:
        running.add_bridge(BRIDGE, dpid=1, ports=2)
        yield running


def cached(ovs: Ovs) -> list[tuple[str, str]]:
    """The cached flows of the first interface's packets, and what they do."""
    dump = ovs.appctl("dpctl/dump-flows", "-m", DATAPATH).splitlines()
    found = [line for line in dump if "in_port(br-int-p1)" in line]
    return [
        (line.partition(", packets:")[0], line.rpartition("actions:")[2].partition(",")[0]) for line in found
    ]


def actions(ovs: Ovs) -> list[str]:
    return [done for _, done in cached(ovs)]


@pytest.mark.parametrize("taken_away", [False, True])
async def test_no_cached_flow_outlives_a_receipt(ovs: Ovs, taken_away: bool) -> None:
    """Also one that the switch itself takes for new, since it changed another one in its place."""
    woken = asyncio.Event()
    bridge = OvsBridge(ovs.db, BRIDGE, woken.set, ovs.run_dir / "switch.ctl")
    bridge.open()
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not bridge.view.datapath_type:
                woken.clear()
                await woken.wait()
        ovs.ofctl("add-flow", BRIDGE, "ip,nw_src=10.0.0.1,actions=output:2")
        ovs.appctl("netdev-dummy/receive", f"{BRIDGE}-p1", PACKET)
        ((flow, done),) = cached(ovs)
        assert done == "br-int-p2"
        # As if an older answer had been left in the place of this one.
        ovs.appctl("dpctl/mod-flow", DATAPATH, flow, "drop")
        assert actions(ovs) == ["drop"]
        ovs.appctl("revalidator/wait")
        assert actions(ovs) == ["drop"], "the switch does not see it by itself"
        await bridge.revalidate(taken_away=taken_away)
        assert cached(ovs) == []
        ovs.appctl("netdev-dummy/receive", f"{BRIDGE}-p1", PACKET)
        assert actions(ovs) == ["br-int-p2"]
    finally:
        bridge.close()
