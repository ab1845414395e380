"""What watchers learn of external networks, gateways and floating IPs."""

from __future__ import annotations

from typing import Any

import pytest

from cloison.v1 import router_pb2
from tests.support.api import Api
from tests.support.outside import (
    ACME,
    INET,
    R1,
    S4,
    TRANSIT,
    external,
    floating,
    gateway,
    make_outside,
    router,
    update_external,
)
from tests.support.requests import NET
from tests.unit.test_api_watch import (
    DELETE,
    REVISION_COMPLETE,
    SNAPSHOT_COMPLETE,
    UPSERT,
    names,
    until,
    watching,
)

TENANT = "tenant/acme/viewer"
F1 = f"{ACME}/floatingIps/f1"


@pytest.fixture
async def outside(api: Api) -> Api:
    await make_outside(api)
    await api.routers.CreateRouter(router("r1", S4, gateway=gateway()))
    await api.floating_ips.CreateFloatingIp(floating(port=f"{NET}/ports/p1"))
    return api


def resource(event: Any) -> Any:
    return getattr(event, event.WhichOneof("resource"))


async def test_a_snapshot_has_what_one_may_see(outside: Api) -> None:
    dark = external("dark", physical_network="physnet2", shared_with=[])
    await outside.external_networks.CreateExternalNetwork(dark)
    async with watching(outside, TENANT) as stream:
        seen = await until(stream, SNAPSHOT_COMPLETE)
    assert {INET, R1, F1, f"{TRANSIT}/ports/gw"} <= set(names(seen))
    assert "externalNetworks/dark" not in names(seen)
    [inet] = [resource(event) for event in seen if event.WhichOneof("resource") == "external_network"]
    assert not inet.gateway_hosts
    assert not inet.shared_with
    async with watching(outside) as stream:
        assert {INET, "externalNetworks/dark"} <= set(names(await until(stream, SNAPSHOT_COMPLETE)))


async def test_where_it_goes_out_follows_what_is_plugged(outside: Api) -> None:
    async with watching(outside) as stream:
        await until(stream, SNAPSHOT_COMPLETE)
        await outside.bind(f"{TRANSIT}/ports/gw", "hosts/g2")
        events = await until(stream, REVISION_COMPLETE)
        hosts = {}
        for found in map(resource, events[:-1]):
            at = found.gateway if isinstance(found, router_pb2.Router) else found
            hosts[found.name] = getattr(at, "host", "")
        assert hosts[R1] == "hosts/g2"
        assert hosts[F1] == "hosts/g2"
    async with watching(outside, TENANT) as stream:
        seen = await until(stream, SNAPSHOT_COMPLETE)
        [found] = [resource(event) for event in seen if names([event]) == [F1]]
        assert (found.host, list(found.conditions)) == ("", [])


async def test_what_is_shared_no_longer_is_gone_to_its_tenant(outside: Api) -> None:
    two = external("two", vlan=7)
    await outside.external_networks.CreateExternalNetwork(two)
    async with watching(outside, TENANT) as stream:
        await until(stream, SNAPSHOT_COMPLETE)
        for shared, kind in (([], DELETE), ([ACME], UPSERT)):
            request = update_external("shared_with", shared_with=shared)
            request.external_network.name = "externalNetworks/two"
            await outside.external_networks.UpdateExternalNetwork(request)
            events = await until(stream, REVISION_COMPLETE)
            assert [(event.kind, *names([event])) for event in events[:-1]] == [
                (kind, "externalNetworks/two")
            ]
