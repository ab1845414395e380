"""The API over TLS with real certificates: who gets in, as whom, and what any gRPC client finds there."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from cloison.identity import Identity
from cloison.v1 import host_sync_pb2, host_sync_pb2_grpc, tenant_pb2, tenant_pb2_grpc
from controller.api.auth import current_caller
from controller.api.server import ApiServer, Config, Tls
from controller.cli.pki import Issued, init_ca, issue
from controller.store.memory import MemoryStore
from tests.support.api import SteeredTracker

DEADLINE_S = 10


@dataclass(frozen=True)
class Pki:
    """An authority of ours, and one of somebody else."""

    ours: Path
    other: Path

    def issue(self, identity: str, **options: Any) -> Issued:
        return issue(self.ours, Identity.parse(identity), force=True, **options)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    made = Pki(tmp_path_factory.mktemp("ours"), tmp_path_factory.mktemp("other"))
    init_ca(made.ours)
    init_ca(made.other)
    return made


class WhoCalls(host_sync_pb2_grpc.HostSyncServicer):
    """Answers an agent with the name that its certificate gives it."""

    async def Sync(self, requests: Any, context: Any) -> AsyncIterator[host_sync_pb2.ControllerMessage]:
        async for _ in requests:
            name = str(current_caller().identity)
            yield host_sync_pb2.ControllerMessage(welcome=host_sync_pb2.Welcome(controller_id=name))


@dataclass
class Served:
    server: ApiServer
    store: MemoryStore
    pki: Pki

    def channel(
        self, who: Issued | None, address: str = "", ca: Path | None = None, name: str = "controller.c1"
    ) -> grpc.aio.Channel:
        pair = (who.key.read_bytes(), who.cert.read_bytes()) if who else (None, None)
        credentials = grpc.ssl_channel_credentials((ca or self.pki.ours / "ca.crt").read_bytes(), *pair)
        options = [("grpc.ssl_target_name_override", name)]
        return grpc.aio.secure_channel(address or self.server.addresses[0], credentials, options)


def config(pki: Pki, *listen: str) -> Config:
    made = pki.issue("controller/c1", ips=["127.0.0.1"])
    return Config(listen=listen, tls=Tls.read(pki.ours / "ca.crt", made.cert, made.key))


@asynccontextmanager
async def serving(pki: Pki, *listen: str) -> AsyncIterator[Served]:
    store = MemoryStore()
    await store.start()
    server = ApiServer(config(pki, *listen), store, SteeredTracker(), WhoCalls())
    await server.start()
    try:
        yield Served(server, store, pki)
    finally:
        await server.stop(0)
        await store.stop()


@pytest.fixture
async def served(pki: Pki) -> AsyncIterator[Served]:
    with TemporaryDirectory(prefix="cl-") as directory:
        async with serving(pki, "127.0.0.1:0", f"unix:{directory}/api.sock") as made:
            yield made


async def list_tenants(channel: grpc.aio.Channel) -> grpc.StatusCode:
    stub = tenant_pb2_grpc.TenantServiceStub(channel)
    try:
        await stub.ListTenants(tenant_pb2.ListTenantsRequest(), timeout=DEADLINE_S)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


IN, DENIED = grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("listener", [0, 1], ids=["tcp", "unix"])
@pytest.mark.parametrize(
    ("identity", "code"),
    [
        ("operator/alice", IN),
        ("controller/c2", IN),
        ("tenant/acme/admin", IN),
        ("tenant/acme/viewer", IN),
        ("host/h1", DENIED),
        ("etcd/e1", DENIED),
    ],
)
async def test_the_certificate_says_who(served: Served, listener: int, identity: str, code: Any) -> None:
    who = served.pki.issue(identity)
    async with served.channel(who, served.server.addresses[listener]) as channel:
        assert await list_tenants(channel) is code


@pytest.mark.parametrize("listener", [0, 1], ids=["tcp", "unix"])
@pytest.mark.parametrize("kind", ["none", "of another authority", "expired", "plain text"])
async def test_who_does_not_get_in(served: Served, listener: int, kind: str) -> None:
    address = served.server.addresses[listener]
    long_ago = datetime.now(UTC) - timedelta(days=800)
    who = {
        "none": lambda: None,
        "plain text": lambda: None,
        "of another authority": lambda: issue(served.pki.other, Identity.parse("operator/alice"), force=True),
        "expired": lambda: served.pki.issue("operator/alice", days=1, now=long_ago),
    }[kind]()
    channel = grpc.aio.insecure_channel(address) if kind == "plain text" else served.channel(who, address)
    async with channel:
        assert await list_tenants(channel) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("wrong", [{"name": "controller.c2"}, {"ca": "other"}], ids=["name", "authority"])
async def test_the_client_checks_the_server(served: Served, wrong: dict[str, Any]) -> None:
    if "ca" in wrong:
        wrong = {"ca": served.pki.other / "ca.crt"}
    async with served.channel(served.pki.issue("operator/alice"), **wrong) as channel:
        assert await list_tenants(channel) is grpc.StatusCode.UNAVAILABLE


async def test_an_agent_is_who_its_certificate_says(served: Served) -> None:
    async with served.channel(served.pki.issue("host/h7")) as channel:
        stream = host_sync_pb2_grpc.HostSyncStub(channel).Sync()
        await stream.write(host_sync_pb2.AgentMessage(hello=host_sync_pb2.Hello(host_id="h1")))
        answer = await stream.read()
        assert answer.welcome.controller_id == "host/h7"
        stream.cancel()


def read_files(answer: Any) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    raw = answer.file_descriptor_response.file_descriptor_proto
    files = [descriptor_pb2.FileDescriptorProto.FromString(one) for one in raw]
    return {file.name: file for file in files}


def add_with_dependencies(pool: Any, files: dict[str, Any], name: str, added: set[str]) -> None:
    if name not in added:
        added.add(name)
        for dependency in files[name].dependency:
            add_with_dependencies(pool, files, dependency, added)
        pool.Add(files[name])


async def test_a_client_without_our_code(served: Served) -> None:
    """By reflection alone: find a service, its messages, and call it."""
    async with served.channel(served.pki.issue("operator/alice")) as channel:
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()

        async def ask(**question: Any) -> Any:
            await reflection.write(reflection_pb2.ServerReflectionRequest(**question))
            return await reflection.read()

        listed = await ask(list_services="")
        names = {service.name for service in listed.list_services_response.service}
        assert {"cloison.v1.TenantService", "cloison.v1.StateService", "grpc.health.v1.Health"} <= names
        found = await ask(file_containing_symbol="cloison.v1.TenantService")
        files = read_files(found)
        while missing := {d for file in files.values() for d in file.dependency} - files.keys():
            files.update(read_files(await ask(file_by_filename=missing.pop())))
        reflection.cancel()
        pool = descriptor_pool.DescriptorPool()
        added: set[str] = set()
        for name in files:
            add_with_dependencies(pool, files, name, added)
        method = pool.FindMethodByName("cloison.v1.TenantService.CreateTenant")
        request: Any = message_factory.GetMessageClass(method.input_type)(tenant_id="acme")
        answer = message_factory.GetMessageClass(method.output_type)
        call = channel.unary_unary(
            "/cloison.v1.TenantService/CreateTenant",
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        assert (await call(request)).name == "tenants/acme"


async def test_health_follows_the_store(served: Served) -> None:
    serving_, not_serving = (
        health_pb2.HealthCheckResponse.SERVING,
        health_pb2.HealthCheckResponse.NOT_SERVING,
    )
    async with served.channel(served.pki.issue("operator/alice")) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "cloison.v1.TenantService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == serving_
        watch = health.Watch(health_pb2.HealthCheckRequest())
        async with asyncio.timeout(DEADLINE_S):
            assert (await watch.read()).status == serving_
            served.store._healthy = False
            assert (await watch.read()).status == not_serving
            served.store._healthy = True
            assert (await watch.read()).status == serving_
        watch.cancel()


async def test_a_port_is_one_controllers(served: Served) -> None:
    """By default gRPC lets two processes share a TCP port, and replaces any Unix socket."""
    for address in served.server.addresses:
        second = ApiServer(config(served.pki, address), served.store, SteeredTracker())
        with pytest.raises(OSError, match=r"another process serves on|cannot listen on"):
            await second.start()
        await second.stop(0)
        async with served.channel(served.pki.issue("operator/alice"), address) as channel:
            assert await list_tenants(channel) is IN


async def test_a_socket_left_by_a_crash_is_replaced(pki: Pki) -> None:
    with TemporaryDirectory(prefix="cl-") as directory:
        path = Path(directory) / "api.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        async with (
            serving(pki, f"unix:{path}") as made,
            made.channel(made.pki.issue("operator/a")) as channel,
        ):
            assert await list_tenants(channel) is IN
        path.write_text("not a socket")
        server = ApiServer(config(pki, f"unix:{path}"), MemoryStore(), SteeredTracker())
        with pytest.raises(OSError, match="is no socket"):
            await server.start()
        assert path.read_text() == "not a socket"
        await server.stop(0)


async def test_insecure_is_for_the_owner_of_the_socket(pki: Pki, capsys: pytest.CaptureFixture[str]) -> None:
    with TemporaryDirectory(prefix="cl-") as directory:
        path = Path(directory) / "api.sock"
        store = MemoryStore()
        await store.start()
        server = ApiServer(Config(listen=[f"unix:{path}"], tls=None), store, SteeredTracker())
        await server.start()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "INSECURE" in "".join(capsys.readouterr())
        async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
            stub = tenant_pb2_grpc.TenantServiceStub(channel)
            await stub.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id="acme"))
        await server.stop(0)
        await store.stop()


async def test_page_tokens_outlive_a_restart(pki: Pki) -> None:
    """And are good on another replica: same authority, same tokens."""
    tokens = []
    for _ in range(2):
        async with serving(pki, "127.0.0.1:0") as made, made.channel(pki.issue("operator/a")) as channel:
            stub = tenant_pb2_grpc.TenantServiceStub(channel)
            for name in ("a", "b", "c"):
                await stub.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id=name))
            token = tokens[0] if tokens else ""
            page = await stub.ListTenants(tenant_pb2.ListTenantsRequest(page_size=1, page_token=token))
            tokens.append(page.next_page_token)
    assert [t.name for t in page.tenants] == ["tenants/b"]


@pytest.mark.slow
class TestCommandLine:
    """`cloison` with a context that has certificates."""

    async def run(self, directory: Path, *args: str) -> tuple[int, str, str]:
        import sys

        env = {
            "CLOISON_CONFIG": str(directory / "config.yaml"),
            "PATH": "/usr/bin:/bin",
            "HOME": str(directory),
        }
        code = "from controller.cli.main import main; main()"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", code, *args),
            env=env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async def set_context(self, directory: Path, served: Served, who: Issued, *more: str) -> None:
        files = ("--ca", str(served.pki.ours / "ca.crt"), "--cert", str(who.cert), "--key", str(who.key))
        endpoint = ("--endpoint", served.server.addresses[0])
        code, _, err = await self.run(directory, "context", "set", "demo", *endpoint, *files, *more)
        assert code == 0, err

    async def test_as_operator(self, served: Served, tmp_path: Path) -> None:
        await self.set_context(tmp_path, served, served.pki.issue("operator/alice"))
        code, out, err = await self.run(tmp_path, "tenant", "create", "acme")
        assert (code, err) == (0, "")
        assert "acme" in out

    async def test_as_viewer(self, served: Served, tmp_path: Path) -> None:
        await self.set_context(tmp_path, served, served.pki.issue("tenant/acme/viewer"))
        code, _, err = await self.run(tmp_path, "tenant", "create", "acme")
        assert code == 5
        assert "tenant/acme/viewer may not call CreateTenant: that takes being an operator" in err

    @pytest.mark.parametrize(
        ("what", "said"),
        [
            ("name", "does not name controller.c9"),
            ("authority", "was not issued by the authority in"),
            ("client", "it may not accept the certificate"),
        ],
    )
    async def test_what_is_wrong_with_a_certificate(
        self, served: Served, tmp_path: Path, what: str, said: str
    ) -> None:
        who = served.pki.issue("operator/alice")
        if what == "client":
            who = issue(served.pki.other, Identity.parse("operator/alice"), force=True)
        more = {
            "name": ("--server-name", "controller.c9"),
            "authority": ("--ca", str(served.pki.other / "ca.crt")),
            "client": (),
        }[what]
        await self.set_context(tmp_path, served, who, *more)
        code, _, err = await self.run(tmp_path, "tenant", "list")
        assert code == 4, err
        assert f"cannot reach the controller at {served.server.addresses[0]}" in err
        assert said in err
        assert "Traceback" not in err
        assert len(err.splitlines()) <= 4
