"""A controller's start on a real etcd: it serves while everything is worked out, and loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest

from cloison.names import NetworkName, PortName
from cloison.v1 import port_pb2, port_pb2_grpc, tenant_pb2, tenant_pb2_grpc, watch_pb2, watch_pb2_grpc
from controller.__main__ import Options, serve
from controller.api.host_sync import HostSyncServicer
from controller.api.server import ApiServer, Config
from controller.reconcile import taking_turns
from controller.reconcile.gate import GateMode
from controller.reconcile.realized import NOTHING
from controller.reconcile.reconciler import Reconciler
from controller.store.etcd_store import EtcdStore, Settings
from tests.bench.simulated import Size
from tests.bench.start import ETCD_OPTIONS, LIMITS, fill
from tests.support.etcd import EtcdCluster
from tests.support.loaded import meant
from tests.support.store_world import eventually

pytestmark = pytest.mark.system

SIZE = Size(hosts=10, tenants=5, ports=250)
DELETED = PortName("t1", "n", "p3")


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdCluster]:
    with EtcdCluster(options=ETCD_OPTIONS) as cluster:
        asyncio.run(fill(cluster, SIZE))
        yield cluster


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short enough for sockets."""
    with TemporaryDirectory(prefix="cl-") as made:
        yield Path(made)


@pytest.fixture
async def store(etcd: EtcdCluster) -> AsyncIterator[EtcdStore]:
    made = EtcdStore(etcd.endpoints, etcd.tls, Settings(limits=LIMITS))
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Everybody else's turn, after the first piece of work, is as long as this event is not set."""
    over = asyncio.Event()

    async def give_way() -> None:
        await over.wait()

    monkeypatch.setattr(taking_turns, "SLICE_S", 0.0)
    monkeypatch.setattr(taking_turns, "give_way", give_way)
    return over


async def test_it_serves_meanwhile_and_what_is_written_is_worked_out_after_it(
    store: EtcdStore, directory: Path, turn: asyncio.Event
) -> None:
    reconciler = Reconciler(store, "c1", await store.next_epoch("c1"))
    config = Config(listen=[f"unix:{directory}/api.sock"], tls=None)
    api = ApiServer(config, store, reconciler.tracker, HostSyncServicer(reconciler, "tcp:127.0.0.1:6653"))
    await api.start()
    starting = asyncio.create_task(reconciler.start())
    async with grpc.aio.insecure_channel(config.listen[0]) as channel:
        tenants, state = tenant_pb2_grpc.TenantServiceStub(channel), watch_pb2_grpc.StateServiceStub(channel)
        await tenants.GetTenant(tenant_pb2.GetTenantRequest(name="tenants/t1"))
        status = await state.GetStatus(watch_pb2.GetStatusRequest())
        assert status.revision == store.state.revision
        await tenants.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id="late"))
        await port_pb2_grpc.PortServiceStub(channel).DeletePort(port_pb2.DeletePortRequest(name=str(DELETED)))
        written = store.state.revision
        request = watch_pb2.WaitRealizedRequest(revision=written)
        request.timeout.FromNanoseconds(0)
        answer = await state.WaitRealized(request)
        assert not answer.realized
        assert {condition.reason for condition in answer.missing} == {"COMPILING"}
        assert reconciler.revision == NOTHING, "all of that while everything was worked out"
        turn.set()
        await starting
        assert reconciler.revision >= written
    after = Reconciler(store, "c2", reconciler.epoch + 1)
    await after.start()
    assert DELETED not in store.state.ports
    assert meant(reconciler) == meant(after)
    for made in (reconciler, after):
        await made.stop()
    await api.stop(0)


async def test_a_controller_that_is_stopped_meanwhile_ends_cleanly(
    etcd: EtcdCluster, directory: Path, turn: asyncio.Event
) -> None:
    address = f"unix:{directory}/api.sock"
    options = Options(
        name="c1",
        etcd=tuple(etcd.endpoints),
        etcd_tls=etcd.tls,
        etcd_limits=LIMITS,
        grpc_listen=(address,),
        openflow_listen=("127.0.0.1", 0),
        openflow_advertise="tcp:127.0.0.1:6653",
        tls=None,
        gate=GateMode.ENFORCE,
    )
    before = asyncio.all_tasks()
    for _ in range(2):
        stop = asyncio.Event()
        serving = asyncio.create_task(serve(options, stop))
        async with grpc.aio.insecure_channel(address) as channel:
            state = watch_pb2_grpc.StateServiceStub(channel)
            await eventually_served(state)
            request = watch_pb2.WaitRealizedRequest(name=str(NetworkName("t1", "n")))
            request.timeout.FromNanoseconds(0)
            answer = await state.WaitRealized(request)
            assert {condition.reason for condition in answer.missing} == {"COMPILING"}
        stop.set()
        await serving
        assert not turn.is_set()
        await eventually(lambda: asyncio.all_tasks() <= before)


async def eventually_served(state: watch_pb2_grpc.StateServiceStub) -> None:
    """Ask until somebody else answers than who says that etcd is being read."""
    while True:
        try:
            await state.GetStatus(watch_pb2.GetStatusRequest(), wait_for_ready=True, timeout=10)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        else:
            return
