"""Peerings over the API: what is refused and why, what both halves come to, and what of the other is told."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from cloison.model import PROFILE_FIRST
from cloison.names import NetworkName, PeeringName
from cloison.v1 import peering_pb2, router_pb2, tenant_pb2, verify_pb2
from controller.api.tracing import for_tenant
from controller.api.views import Views
from controller.api.watch import Events, Scope
from controller.store import ids, keys
from tests.support.api import AS, Api, refusal_of
from tests.support.requests import NET, Case, assert_refused, call, make_world, network, subnet

R1, R9 = "tenants/acme/routers/r1", "tenants/beta/routers/r9"
BETA = "tenants/beta/networks/db"
OURS, THEIRS = PeeringName("acme", "to-beta"), PeeringName("beta", "to-acme")
ACME, OTHER = ((AS, "tenant/acme/admin"),), ((AS, "tenant/beta/admin"),)
ACTIVE, PENDING = peering_pb2.Peering.ACTIVE, peering_pb2.Peering.PENDING
SSH = peering_pb2.AllowedService(protocol="tcp", port_min=22, port_max=22)


def half(name: PeeringName, **fields: Any) -> peering_pb2.CreatePeeringRequest:
    """What both sides would say, so that it is in effect; fields: what one says otherwise."""
    ours = name.tenant == "acme"
    sides = {"router": R1, "prefixes": ["10.0.0.0/24"]}, {"router": R9, "prefixes": ["10.9.0.0/24"]}
    own, other = sides if ours else sides[::-1]
    said = {
        "router": own["router"],
        "peer_router": other["router"],
        "prefixes": own["prefixes"],
        "peer_prefixes": other["prefixes"],
        "services": [SSH],
        **fields,
    }
    message = peering_pb2.Peering(**said)
    return peering_pb2.CreatePeeringRequest(parent=str(name.parent), peering_id=name.peering, peering=message)


def router(tenant: str, router_id: str, subnet_name: str) -> router_pb2.CreateRouterRequest:
    body = router_pb2.Router(interfaces=[router_pb2.RouterInterface(subnet=subnet_name)])
    return router_pb2.CreateRouterRequest(parent=f"tenants/{tenant}", router_id=router_id, router=body)


@pytest.fixture
async def world(api: Api) -> Api:
    """acme's 10.0.0.0/24 behind r1, beta's 10.9.0.0/24 behind r9."""
    await make_world(api)
    await api.routers.CreateRouter(router("acme", "r1", f"{NET}/subnets/s4"))
    await api.tenants.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id="beta"))
    await api.networks.CreateNetwork(network("db", "tenants/beta"))
    await api.subnets.CreateSubnet(subnet("v4", BETA, cidr="10.9.0.0/24"))
    await api.routers.CreateRouter(router("beta", "r9", f"{BETA}/subnets/v4"))
    return api


@pytest.fixture
async def joined(world: Api) -> Api:
    """Both have accepted."""
    await world.peerings.CreatePeering(half(OURS), metadata=ACME)
    await world.peerings.CreatePeering(half(THEIRS, services=[]), metadata=OTHER)
    return world


async def shown(api: Api, name: PeeringName = OURS) -> peering_pb2.Peering:
    return await api.peerings.GetPeering(peering_pb2.GetPeeringRequest(name=str(name)))


def why(peering: peering_pb2.Peering) -> list[str]:
    return [condition.reason for condition in peering.conditions]


def update(name: PeeringName, **fields: Any) -> peering_pb2.UpdatePeeringRequest:
    request = peering_pb2.UpdatePeeringRequest(peering=peering_pb2.Peering(name=str(name), **fields))
    request.update_mask.paths.extend(fields)
    return request


async def test_one_half_is_nothing_and_both_are_a_peering(world: Api) -> None:
    made = await world.peerings.CreatePeering(half(OURS), metadata=ACME)
    assert (made.state, why(made)) == (PENDING, ["PEER_NOT_ACCEPTED"])
    assert not made.reachable_prefixes
    assert not world.store.state.routed_with(NetworkName("acme", "web"))
    other = await world.peerings.CreatePeering(half(THEIRS, services=[]), metadata=OTHER)
    assert (other.state, list(other.reachable_prefixes)) == (ACTIVE, ["10.0.0.0/24"])
    assert list(other.reachable_services) == [SSH]
    ours = await shown(world)
    assert (ours.state, list(ours.reachable_prefixes), list(ours.reachable_services)) == (
        ACTIVE, ["10.9.0.0/24"], [],
    )  # fmt: skip
    assert ours.active_since == other.create_time
    assert world.store.state.routed_with(NetworkName("acme", "web")) == {NetworkName("beta", "db")}
    assert world.store.state.routed_with(NetworkName("beta", "db")) == {NetworkName("acme", "web")}


@pytest.mark.parametrize("side", [OURS, THEIRS])
async def test_either_side_withdraws(joined: Api, side: PeeringName) -> None:
    other = THEIRS if side == OURS else OURS
    await joined.peerings.DeletePeering(peering_pb2.DeletePeeringRequest(name=str(side)))
    left = await shown(joined, other)
    assert (left.state, why(left)) == (PENDING, ["PEER_NOT_ACCEPTED"])
    assert not left.reachable_prefixes
    assert not joined.store.state.routed_with(NetworkName("acme", "web"))


async def test_each_half_has_a_number_that_no_profile_has(joined: Api) -> None:
    state = joined.store.state
    numbers = {state.peerings[name].number for name in (OURS, THEIRS)}
    assert len(numbers) == 2
    assert min(numbers) >= PROFILE_FIRST
    for name in (OURS, THEIRS):
        held = state.reservations.get(ids.profile_number(state.peerings[name].number))
        assert held is not None
        assert held.owner == str(name)


async def test_a_side_that_says_something_else_ends_it(joined: Api) -> None:
    await joined.peerings.UpdatePeering(update(THEIRS, peer_prefixes=["10.0.0.0/25"]), metadata=OTHER)
    assert why(await shown(joined)) == ["PREFIXES_NOT_ACCEPTED"]
    assert why(await shown(joined, THEIRS)) == ["PEER_PREFIXES_NOT_ACCEPTED"]
    await joined.peerings.UpdatePeering(update(OURS, prefixes=["10.0.0.0/26"]), metadata=ACME)
    ours, theirs = await shown(joined), await shown(joined, THEIRS)
    assert (ours.state, theirs.state) == (ACTIVE, ACTIVE)
    assert list(theirs.reachable_prefixes) == ["10.0.0.0/26"]


async def test_whether_another_tenant_is_there_is_not_told(world: Api) -> None:
    nobody = half(OURS, peer_router="tenants/nobody/routers/r1")
    made = await world.peerings.CreatePeering(nobody, metadata=ACME)
    assert why(made) == ["PEER_NOT_ACCEPTED"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.peerings.GetPeering(peering_pb2.GetPeeringRequest(name=str(THEIRS)), metadata=ACME)
    assert refusal_of(caught.value).code is grpc.StatusCode.PERMISSION_DENIED


async def test_all_that_passes_between_tenants_is_one_list(joined: Api) -> None:
    request = peering_pb2.ListPeeringsRequest(parent="tenants/-")
    everything = await joined.peerings.ListPeerings(request)
    assert [p.name for p in everything.peerings] == [str(OURS), str(THEIRS)]
    own = await joined.peerings.ListPeerings(request, metadata=ACME)
    assert [p.name for p in own.peerings] == [str(OURS)]


async def test_a_router_keeps_the_room_that_its_peering_has(joined: Api) -> None:
    body = router_pb2.Router(name=R1)
    gone = router_pb2.UpdateRouterRequest(router=body)
    gone.update_mask.paths.append("interfaces")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await joined.routers.UpdateRouter(gone)
    assert f"{OURS} lists" in str(refusal_of(caught.value).fields)
    body.routes.add(destination="10.9.0.0/25", next_hops=["10.0.0.7"])
    taken = router_pb2.UpdateRouterRequest(router=body)
    taken.update_mask.paths.append("routes")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await joined.routers.UpdateRouter(taken)
    assert f"10.9.0.0/24, which {OURS} accepts" in str(refusal_of(caught.value).fields)
    del body.routes[:]
    body.routes.add(destination="0.0.0.0/0", next_hops=["10.0.0.7"])
    await joined.routers.UpdateRouter(
        router_pb2.UpdateRouterRequest(router=body, update_mask=taken.update_mask)
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await joined.routers.DeleteRouter(router_pb2.DeleteRouterRequest(name=R1))
    assert str(OURS) in str(caught.value)


def made(**fields: Any) -> Any:
    return call("peerings", "CreatePeering", half(OURS, **fields))


REFUSED: list[Case] = [
    ("another's router", made(router=R9), "peering.router", R9, "a router of tenants/acme"),
    ("no router", made(router="tenants/acme/routers/no"), "peering.router", "no", "a router that exists"),
    ("its own tenant", made(peer_router=R1), "peering.peer_router", R1, "a router of another tenant"),
    ("no prefix", made(prefixes=[]), "peering.prefixes", "", "at least one range"),
    (
        "a prefix elsewhere", made(prefixes=["10.0.1.0/24"]), "peering.prefixes", "10.0.1.0/24",
        f"within the subnet of an interface of {R1}: 10.0.0.0/24",
    ),
    (
        "its own range", made(peer_prefixes=["10.0.0.0/16"]), "peering.peer_prefixes", "10.0.0.0/16",
        f"does not overlap 10.0.0.0/24 of {NET}/subnets/s4",
    ),
    (
        "twice", made(peer_prefixes=["10.9.0.0/24", "10.9.0.0/25"]), "peering.peer_prefixes[1]",
        "10.9.0.0/25", "does not overlap 10.9.0.0/24",
    ),
    (
        "multicast", made(peer_prefixes=["239.0.0.0/8"]), "peering.peer_prefixes[0]", "239.0.0.0/8",
        "addresses that are routed",
    ),
    (
        "ports of icmp", made(services=[peering_pb2.AllowedService(protocol="icmp", port_min=1, port_max=2)]),
        "peering.services[0].port_min", "1", "only tcp and udp have ports",
    ),
    ("a service twice", made(services=[SSH, SSH]), "peering.services[1]", "tcp", "each service once"),
]  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0])
async def test_what_is_refused(world: Api, case: Case) -> None:
    await assert_refused(world, case)


async def test_two_peerings_of_a_router_accept_nothing_in_common(joined: Api) -> None:
    third = half(
        PeeringName("acme", "third"), peer_router="tenants/gamma/routers/r", peer_prefixes=["10.9.0.128/25"]
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await joined.peerings.CreatePeering(third)
    assert f"10.9.0.0/24, which {OURS} accepts" in str(refusal_of(caught.value).fields)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await joined.peerings.CreatePeering(half(PeeringName("acme", "again"), peer_prefixes=["10.8.0.0/24"]))
    assert f"{OURS} names this one" in str(refusal_of(caught.value).fields)


async def test_a_watcher_hears_when_the_other_side_accepts_and_of_no_other_networks(world: Api) -> None:
    await world.peerings.CreatePeering(half(OURS), metadata=ACME)
    revision = world.store.state.revision
    await world.peerings.CreatePeering(half(THEIRS), metadata=OTHER)
    (changes,) = world.store.changes_since(revision)
    seen = list(
        Events(
            world.store.state, Views(world.store.state, world.tracker), Scope("acme", tenant_view=True)
        ).of_revision(changes)
    )
    assert [(e.peering.name, e.peering.state) for e in seen if e.HasField("peering")] == [(str(OURS), ACTIVE)]
    names = [getattr(e, e.WhichOneof("resource")).name for e in seen if e.WhichOneof("resource")]
    assert all(name.startswith("tenants/acme/") for name in names)


def test_a_trace_tells_a_tenant_nothing_of_the_other_ones_rules() -> None:
    told = verify_pb2.TraceResponse(
        drop_reason="INGRESS: no flow: no ingress rule of tenants/beta/securityGroups/db admits tcp/22 from "
        "the other side of tenants/acme/peerings/to-beta",
    )
    told.path.add(
        resource="tenants/acme/securityGroups/default",
        note="admitted by rule a of tenants/acme/securityGroups/default; then admitted by rule secret of "
        "tenants/beta/securityGroups/db",
    )
    seen = for_tenant(told, "acme")
    assert "tenants/beta" not in str(seen)
    assert "secret" not in str(seen)
    assert "tenants/acme/peerings/to-beta" in seen.drop_reason


async def test_what_was_withdrawn_while_the_watch_was_lost_has_ended(joined: Api) -> None:
    """A new full list finds that it is gone; a peering that stayed in the mirror would stay in force."""
    store = joined.store
    store.pause()
    for key in [key for key in store.etcd.values if "/peerings/" in key]:
        store.etcd.put(key, None)
    store.etcd.compact()
    store.resume()
    await store._relist()
    assert not store.state.peerings
    assert not store.state.routed_with(NetworkName("acme", "web"))
    assert set(map(keys.locate, store.state.stored_keys)) == {
        key for key in store.etcd.values if keys.is_object(key)
    }
