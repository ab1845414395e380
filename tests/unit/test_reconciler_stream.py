"""The agents' stream and what they may say on it; and a controller that has no store yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cloison.errors import InvalidIntent
from cloison.identity import Identity, Role
from cloison.v1 import host_sync_pb2
from controller.__main__ import Options, serve
from controller.api.auth import Caller, set_current_caller
from controller.api.host_sync import HostSyncServicer
from controller.reconcile.gate import GateMode
from controller.store.txn import Limits
from tests.support.reconciling import (
    Controller,
    controller,
)


async def said(*messages: host_sync_pb2.AgentMessage) -> AsyncIterator[host_sync_pb2.AgentMessage]:
    """What an agent says, and then nothing more, without going away."""
    for message in messages:
        yield message
    await asyncio.Event().wait()


def hello(**fields: Any) -> host_sync_pb2.AgentMessage:
    given = {"host_id": "h1", "vtep_address": "192.0.2.1", "datapath_id": 1, "underlay_mtu": 1500} | fields
    return host_sync_pb2.AgentMessage(hello=host_sync_pb2.Hello(**given))


def reported(**fields: Any) -> host_sync_pb2.AgentMessage:
    return host_sync_pb2.AgentMessage(inventory=host_sync_pb2.Inventory(complete=True, **fields))


async def stream(made: Controller, *messages: host_sync_pb2.AgentMessage) -> None:
    """Be an agent, until the controller ends it."""
    set_current_caller(Caller(Identity(Role.HOST, "h1")))
    servicer = HostSyncServicer(made.reconciler, "ssl:192.0.2.9:6653")
    async with asyncio.timeout(5):
        async for _ in servicer.Sync(said(*messages), None):
            pass


def tunnels(count: int) -> list[host_sync_pb2.TunnelPort]:
    return [host_sync_pb2.TunnelPort(vni=n + 1, ofport=n % 60000 + 1) for n in range(count)]


@pytest.mark.parametrize(
    "messages",
    [
        (hello(vtep_address="fe80::1%eth0"),),
        (hello(vtep_address="fe80::1"),),
        (hello(vtep_address="::ffff:192.0.2.1"),),
        (hello(vtep_address="255.255.255.255"),),
        (hello(), reported(interfaces=[{"name": "x" * 300, "iface_id": "if1", "ofport": 5}])),
        (hello(), reported(interfaces=[{"name": "", "iface_id": "if1", "ofport": 5}])),
        (hello(), reported(tunnel_ports=tunnels(40_000))),
        (hello(), reported(), reported(tunnel_ports=tunnels(20_000)), reported(tunnel_ports=tunnels(20_000))),
    ],
    ids=["scoped", "link-local", "mapped", "broadcast", "long name", "no name", "tunnels", "more tunnels"],
)
async def test_what_no_agent_says_ends_the_stream(messages: tuple[host_sync_pb2.AgentMessage, ...]) -> None:
    async with controller() as made:
        with pytest.raises(InvalidIntent):
            await stream(made, *messages)


async def test_a_stream_that_nobody_reads_any_more_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async with controller() as made:

        def broken(*args: Any) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(made.reconciler, "inventory", broken)
        with pytest.raises(RuntimeError):
            await stream(made, hello(), reported())


async def test_labels_of_an_agent_take_no_more_than_some_room() -> None:
    async with controller() as made:
        with pytest.raises(InvalidIntent):
            await stream(made, hello(labels={"k" * 5000: "v" * 5000}), host_sync_pb2.AgentMessage())
        (labels,) = [dict(host.agent_labels) for host in made.store.state.hosts.values()]
        assert all(len(key) <= 255 and len(value) <= 255 for key, value in labels.items())


async def test_a_controller_that_waits_for_etcd_can_be_stopped() -> None:
    options = Options(
        name="c1",
        etcd=("http://127.0.0.1:9",),
        etcd_tls=None,
        etcd_limits=Limits(),
        grpc_listen=(),
        openflow_listen=("127.0.0.1", 0),
        openflow_advertise="tcp:127.0.0.1:0",
        tls=None,
        gate=GateMode.ENFORCE,
    )
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(options, stop))
    await asyncio.sleep(0.05)
    assert not serving.done()
    stop.set()
    async with asyncio.timeout(5):
        await serving
