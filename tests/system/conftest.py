"""Fixtures of tests of OpenFlow sessions: bridges of a real Open vSwitch over TLS, and the fake."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from controller.openflow.fake import FakeSwitch
from controller.openflow.session_switch import SessionSwitch
from controller.openflow.switch import Switch
from tests.support.openflow_site import Pki, Site
from tests.support.openflow_switches import Backdoor, FakeBackdoor, OvsBackdoor
from tests.support.ovs import Ovs

_dpids = itertools.count(1)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def ovs(pki: Pki) -> Iterator[Ovs]:
    host = pki.issue("host/h1")
    with Ovs() as ovs:
        ovs.set_ssl(host.key, host.cert, host.ca)
        yield ovs


@pytest.fixture
async def site(pki: Pki) -> AsyncIterator[Site]:
    async with Site(pki.controller) as site:
        yield site


@pytest.fixture
def bridge(ovs: Ovs) -> Iterator[str]:
    dpid = next(_dpids)
    ovs.add_bridge(f"br{dpid}", dpid, ports=1)
    yield f"br{dpid}"
    ovs.vsctl("del-br", f"br{dpid}")


@pytest.fixture
async def real(site: Site, ovs: Ovs, bridge: str) -> SessionSwitch:
    await asyncio.to_thread(ovs.connect, bridge, site.target)
    return await site.switch()


@pytest.fixture(params=["fake", "ovs"])
async def both(
    request: pytest.FixtureRequest, pki: Pki, ovs: Ovs, bridge: str
) -> AsyncIterator[tuple[Switch, Backdoor]]:
    if request.param == "fake":
        fake = FakeSwitch(1, "h1")
        yield fake, FakeBackdoor(fake)
    else:
        async with Site(pki.controller) as site:
            await asyncio.to_thread(ovs.connect, bridge, site.target)
            yield await site.switch(), OvsBackdoor(ovs, bridge)
