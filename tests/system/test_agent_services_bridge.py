"""The port of the local services on a real Open vSwitch: nobody's guest, and it keeps its number."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from agent.netlink import service_link
from cloison.service_link import SERVICE_LINK
from tests.support.netns import network_namespace, sh
from tests.support.ovs import Ovs
from tests.system.test_agent_ovsdb import Watched, watched

pytestmark = pytest.mark.system


@pytest.fixture
def ovs() -> Iterator[Ovs]:
    with network_namespace(), Ovs(dummy=False) as running:
        yield running


async def shown(seam: Watched) -> int:
    view = await seam.shows(
        lambda view: view.service and view.service.ofport > 0 and not view.service.error, "the service port"
    )
    assert SERVICE_LINK not in view.interfaces, "it is no guest"
    assert view.service is not None
    return view.service.ofport


async def test_the_port_is_made_left_alone_and_made_anew_with_its_number(ovs: Ovs) -> None:
    link = await service_link.ensure()
    async with watched(ovs) as seam:
        assert "bridge" in await seam.apply(tunnels={}, service=link.ifindex)
        ofport = await shown(seam)
        assert await seam.apply(tunnels={}, service=link.ifindex) == []
        assert await seam.apply(tunnels={}) == [], "not known is not unwanted"
        sh("ip link add tap1 type veth peer name vm1")
        ovs.vsctl("add-port", "br-int", "tap1")
        sh(f"ip link del {SERVICE_LINK}")
        fresh = await service_link.ensure()
        assert await seam.apply(tunnels={}, service=fresh.ifindex) == ["service"]
        await seam.shows(
            lambda view: view.service and view.service.ifindex == fresh.ifindex, "the new device"
        )
        assert await shown(seam) == ofport
        assert socket.if_nametoindex(SERVICE_LINK) == fresh.ifindex


async def test_each_port_has_a_limit_of_connections(ovs: Ovs) -> None:
    async with watched(ovs) as seam:
        await seam.apply(tunnels={})
        await seam.shows(lambda view: view.datapath_id, "the bridge")
        await seam.bridge.limit_connections(1234)
        assert ovs.appctl("dpctl/ct-get-limits", "netdev@ovs-netdev").split() == ["default", "limit=1234"]
        fragments = ovs.appctl("dpctl/ipf-get-status", "netdev@ovs-netdev")
        assert re.search(r"min v4 frag size: 400\b", fragments), fragments
        assert re.search(r"max num frags \(v4/v6\): 5000\b", fragments), fragments
