"""Edges for real: a kernel, an Open vSwitch, an agent process; inside and outside are namespaces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.edge_site import (
    FAR4,
    FAR6,
    FLOAT4,
    FLOAT6,
    GUEST4,
    GUEST6,
    PHYSNET,
    SNAT4,
    SNAT6,
    EdgeSite,
    edge,
    edge_site,
    floating,
    reaches,
    settled,
)
from tests.support.sync_peer import SyncPeer

pytestmark = pytest.mark.system
BOTH = ((GUEST4, FAR4, SNAT4), (GUEST6, FAR6, SNAT6))
FLOATING = floating((FLOAT4, GUEST4), (FLOAT6, GUEST6))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[EdgeSite]:
    with edge_site(tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def peer(tmp_path: Path) -> AsyncIterator[SyncPeer]:
    async with SyncPeer(tmp_path / "c1.sock") as running:
        yield running


async def test_guests_go_out_under_the_routers_address(site: EdgeSite, peer: SyncPeer) -> None:
    session = await settled(site, peer, edge())
    assert list(session.hello.physical_networks) == [PHYSNET]
    for guest, far, own in BOTH:
        await reaches(site.inside.netns, guest, far)
        site.serve(site.outside, far)
        assert site.talk(site.inside.netns, guest, far) == own
    assert not session.drifts()
