"""Watch: a snapshot, its end, then revisions whole; resumable; and the status beside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from cloison.names import HostName, PortName
from cloison.v1 import host_pb2, network_pb2, port_pb2, tenant_pb2, watch_pb2
from controller.api.state_service import SLICE_S
from controller.reconcile.tracker import Condition, HostStatus
from tests.support.api import AS, Api, refusal_of
from tests.support.requests import port

NET = "tenants/acme/networks/web"
DEFAULT = "tenants/acme/securityGroups/default"
UPSERT, DELETE = watch_pb2.WatchEvent.UPSERT, watch_pb2.WatchEvent.DELETE
SNAPSHOT_COMPLETE = watch_pb2.WatchEvent.SNAPSHOT_COMPLETE
REVISION_COMPLETE = watch_pb2.WatchEvent.REVISION_COMPLETE


@pytest.fixture
async def world(api: Api) -> Api:
    await api.tenants.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id="acme"))
    await api.hosts.CreateHost(host_pb2.CreateHostRequest(host_id="h1"))
    await api.networks.CreateNetwork(
        network_pb2.CreateNetworkRequest(parent="tenants/acme", network_id="web")
    )
    await new_port(api, "p1", requested_hosts=["hosts/h1"])
    return api


async def new_port(api: Api, port_id: str, **fields: Any) -> port_pb2.Port:
    return await api.ports.CreatePort(
        port_pb2.CreatePortRequest(parent=NET, port_id=port_id, port=port_pb2.Port(**fields))
    )


@asynccontextmanager
async def watching(api: Api, identity: str = "operator/a", **fields: Any) -> AsyncIterator[Any]:
    stream = api.state.Watch(watch_pb2.WatchRequest(**fields), metadata=((AS, identity),))
    try:
        yield stream
    finally:
        stream.cancel()


async def read(stream: Any) -> watch_pb2.WatchEvent:
    async with asyncio.timeout(10):
        event: watch_pb2.WatchEvent = await stream.read()
        return event


async def until(stream: Any, kind: Any) -> list[watch_pb2.WatchEvent]:
    """Read up to and including the first event of a kind."""
    events = [await read(stream)]
    while events[-1].kind != kind:
        events.append(await read(stream))
    return events


def names(events: list[watch_pb2.WatchEvent]) -> list[str]:
    return [getattr(e, e.WhichOneof("resource")).name for e in events if e.WhichOneof("resource")]


async def test_a_snapshot_has_parents_before_children(world: Api) -> None:
    async with watching(world) as stream:
        events = await until(stream, SNAPSHOT_COMPLETE)
    assert names(events) == ["tenants/acme", "hosts/h1", DEFAULT, NET, f"{NET}/ports/p1"]
    assert {e.revision for e in events} == {world.store.state.revision}
    assert {e.kind for e in events[:-1]} == {UPSERT}


async def test_changes_follow_by_revision(world: Api) -> None:
    async with watching(world) as stream:
        await until(stream, SNAPSHOT_COMPLETE)
        made = await new_port(world, "p2")
        created, complete = await until(stream, REVISION_COMPLETE)
        assert (created.kind, created.port, created.revision) == (UPSERT, made, made.revision)
        assert complete.revision == made.revision
        await world.ports.DeletePort(port_pb2.DeletePortRequest(name=made.name))
        deleted, complete = await until(stream, REVISION_COMPLETE)
        assert (deleted.kind, deleted.port) == (DELETE, port_pb2.Port(name=made.name))
        assert complete.revision > made.revision


async def test_a_binding_shows_in_its_network(world: Api) -> None:
    async with watching(world) as stream:
        await until(stream, SNAPSHOT_COMPLETE)
        await world.bind(f"{NET}/ports/p1", "hosts/h1")
        events = await until(stream, REVISION_COMPLETE)
    assert names(events) == [f"{NET}/ports/p1/binding", NET]
    assert list(events[1].network.hosts) == ["hosts/h1"]


async def test_a_binding_says_where_its_port_stands_by(world: Api) -> None:
    await world.hosts.CreateHost(host_pb2.CreateHostRequest(host_id="h2"))
    await new_port(world, "p2", requested_hosts=["hosts/h1", "hosts/h2"])
    async with watching(world) as stream:
        await until(stream, SNAPSHOT_COMPLETE)
        shown = []
        for host in ("hosts/h1", "hosts/h2"):
            await world.bind(f"{NET}/ports/p2", host)
            binding = (await until(stream, REVISION_COMPLETE))[0].port_binding
            shown.append((binding.host, list(binding.standby_hosts)))
    assert shown == [("hosts/h1", []), ("hosts/h1", ["hosts/h2"])]
    async with watching(world) as stream:
        events = await until(stream, SNAPSHOT_COMPLETE)
    assert [e.port_binding.host for e in events if e.port_binding.name] == ["hosts/h1"]


async def test_resume(world: Api) -> None:
    async with watching(world) as stream:
        since = (await until(stream, SNAPSHOT_COMPLETE))[-1].revision
    await new_port(world, "p2")
    await new_port(world, "p3")
    async with watching(world, start_revision=since) as stream:
        first, second = await until(stream, REVISION_COMPLETE), await until(stream, REVISION_COMPLETE)
        assert (names(first), names(second)) == ([f"{NET}/ports/p2"], [f"{NET}/ports/p3"])
        await new_port(world, "p4")
        assert names(await until(stream, REVISION_COMPLETE)) == [f"{NET}/ports/p4"]


@pytest.mark.parametrize("revision", [10**9, -1])
async def test_resume_from_what_is_not_known(world: Api, revision: int) -> None:
    async with watching(world, start_revision=revision) as stream:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(stream)
    assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE
    assert "snapshot" in refusal_of(caught.value).message


async def test_status_changes_are_sent(world: Api) -> None:
    name = PortName.parse(f"{NET}/ports/p1")
    async with watching(world) as stream:
        await until(stream, SNAPSHOT_COMPLETE)
        world.tracker.set_port(name, port_pb2.Port.ACTIVE, HostName("h1"))
        event = await read(stream)
    assert (event.kind, event.port.state, event.port.host) == (UPSERT, port_pb2.Port.ACTIVE, "hosts/h1")


async def test_one_tenant_only(world: Api) -> None:
    await world.tenants.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id="beta"))
    for identity, parent in (("operator/a", "tenants/acme"), ("tenant/acme/admin", "")):
        async with watching(world, identity, parent=parent) as stream:
            snapshot = names(await until(stream, SNAPSHOT_COMPLETE))
            assert snapshot == ["tenants/acme", DEFAULT, NET, f"{NET}/ports/p1"]
            await world.networks.CreateNetwork(
                network_pb2.CreateNetworkRequest(parent="tenants/beta", network_id=f"n{len(identity)}")
            )
            await world.ports.UpdatePort(
                port_pb2.UpdatePortRequest(port=port_pb2.Port(name=f"{NET}/ports/p1", display_name=identity))
            )
            # Of the other tenant's revision not even the number is sent.
            assert names(await until(stream, REVISION_COMPLETE)) == [f"{NET}/ports/p1"]


async def test_an_unknown_tenant(world: Api) -> None:
    async with watching(world, parent="tenants/nope") as stream:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(stream)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_watcher_that_leaves_is_forgotten(world: Api) -> None:
    async with watching(world) as stream:
        await until(stream, SNAPSHOT_COMPLETE)
        assert len(world.tracker.subscribers) == 1
    async with asyncio.timeout(5):
        while world.tracker.subscribers:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_many_objects_and_a_change_meanwhile(world: Api) -> None:
    """The snapshot is of one revision, whatever happens while it is sent."""
    for i in range(400):
        await new_port(world, f"x{i}")
    at = world.store.state.revision
    async with watching(world) as stream:
        first = await read(stream)
        await new_port(world, "late")
        events = [first, *await until(stream, SNAPSHOT_COMPLETE)]
        assert f"{NET}/ports/late" not in names(events)
        assert len(names(events)) == 405
        assert events[-1].revision == at
        assert names(await until(stream, REVISION_COMPLETE)) == [f"{NET}/ports/late"]


async def test_wait_realized(world: Api) -> None:
    answer = await world.state.WaitRealized(watch_pb2.WaitRealizedRequest(name=f"{NET}/ports/p1"))
    assert (answer.realized, answer.revision) == (True, world.store.state.revision)
    world.tracker.missing = (Condition("HOST_UNREACHABLE", "hosts/h1 is away", ("hosts/h1",)),)
    answer = await world.state.WaitRealized(watch_pb2.WaitRealizedRequest())
    assert [(c.reason, list(c.subjects)) for c in answer.missing] == [("HOST_UNREACHABLE", ["hosts/h1"])]
    own = await world.state.WaitRealized(
        watch_pb2.WaitRealizedRequest(name=NET), metadata=((AS, "tenant/acme/viewer"),)
    )
    assert [(c.message, list(c.subjects)) for c in own.missing] == [("a host is away", [])]


async def test_status(world: Api) -> None:
    world.tracker.hosts[HostName("h1")] = HostStatus(agent_connected=True, switch_connected=False)
    world.tracker.set_port(PortName.parse(f"{NET}/ports/p1"), port_pb2.Port.ACTIVE)
    status = await world.state.GetStatus(watch_pb2.GetStatusRequest())
    assert (status.controller, status.epoch, status.version) == ("c1", 7, "test")
    assert (status.tenants, status.networks, status.ports, status.ports_active) == (1, 1, 1, 1)
    assert (status.hosts, status.hosts_connected) == (1, 1)
    assert (status.gate, status.gate_checked, status.gate_refused) == ("enforce", 12, 3)
    assert [(c.reason, list(c.subjects)) for c in status.conditions] == [("HOST_UNREACHABLE", ["hosts/h1"])]


async def test_the_status_of_many_ports_leaves_others_their_turn(
    world: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each port is looked at; others are served in between, and who asks meanwhile costs nothing more."""
    for number in range(30):
        await world.ports.CreatePort(port(f"n{number}"))
    turns, seen = 0, list[int]()

    def slow(one: object) -> tuple[int, tuple[()], None]:
        seen.append(turns)
        time.sleep(SLICE_S / 2)
        return port_pb2.Port.ACTIVE, (), None

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(world.tracker, "port_state", slow)
    beside = asyncio.create_task(others())
    request = watch_pb2.GetStatusRequest()
    answers = await asyncio.gather(*(world.state.GetStatus(request) for _ in range(5)))
    beside.cancel()
    ports = len(world.store.state.ports)
    assert {answer.ports_active for answer in answers} == {ports}
    assert len(seen) < 5 * ports
    assert len(set(seen)) > ports / 10
