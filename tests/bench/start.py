"""A controller's start on a full etcd: how long until it serves, what a client notices, what a port takes.

The records are written to etcd as they are, without a controller. Then the controller runs as a process, as
`python -m controller` does, with a heartbeat in its event loop; somebody asks it all the time meanwhile, and
makes tenants, until all that hosts should hold is worked out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc

from cloison.codec import record_to_bytes
from cloison.model import Port, Reservation
from cloison.v1 import tenant_pb2, tenant_pb2_grpc, watch_pb2, watch_pb2_grpc
from controller.__main__ import Options, serve
from controller.api.intents.port import identifiers
from controller.logs import configure
from controller.reconcile.gate import GateMode
from controller.store import ids, keys
from controller.store.etcd import Client, Endpoint, Tls
from controller.store.keys import ProfileKey
from controller.store.txn import Limits, Write
from tests.bench.catalogue import Rows
from tests.bench.procs import rss_mib
from tests.bench.simulated import Region, Size
from tests.support.etcd import EtcdCluster

BATCH_KEYS = 2_000
LIMITS = Limits(ops=20_000, request_bytes=10 << 20)
ETCD_OPTIONS = (
    f"--max-txn-ops={LIMITS.ops}",
    f"--max-request-bytes={LIMITS.request_bytes}",
    f"--quota-backend-bytes={8 << 30}",
)
BEAT_S, ASK_S, ANSWER_S = 0.005, 0.05, 30.0
START_S = 900.0
# How many reads there are to a write.
READS_TO_A_WRITE = 10
PAUSES_FILE = "pauses.json"


def measure(rows: Rows, ports: int) -> None:
    """Fill the rows of this module for a size; a hundred ports are on a host, and of a tenant."""
    bare, full = _start(Size(1, 0, 0)), _start(Size(ports // 100, ports // 100, ports))
    what = f"start from {ports:,} ports"
    rows.fill(f"{what}: until served", ours=full["served_s"], samples=full)
    rows.fill(f"{what}: until hosts are served", ours=full["ready_s"])
    rows.fill(f"{what}: longest wait for a read", ours=full["read_ms"])
    rows.fill(f"{what}: longest wait for a write", ours=full["write_ms"])
    rows.fill(f"{what}: longest pause of the loop", ours=full["pauses_ms"][0][0])
    rows.fill(f"{what}: longest hold of the loop, by its CPU", ours=full["held_ms"][0][1])
    for key, of in (("served", "the state"), ("ready", "with all that hosts should hold")):
        each_kib = (full[f"{key}_mib"] - bare[f"{key}_mib"]) * 1024 / ports
        rows.fill(f"{what}: memory a port, {of}", ours=each_kib)


def _start(size: Size) -> dict[str, Any]:
    with EtcdCluster(options=ETCD_OPTIONS) as etcd, TemporaryDirectory(prefix="cl-") as made:
        asyncio.run(fill(etcd, size))
        directory, tls = Path(made), etcd.tls
        argv = (sys.executable, "-m", "tests.bench.start", made, etcd.endpoints[0])
        with (directory / "controller.log").open("wb") as log:
            start = time.perf_counter()
            process = subprocess.Popen(
                [*argv, *map(str, (tls.ca, tls.cert, tls.key))], stdout=log, stderr=subprocess.STDOUT
            )
            try:
                noticed = _ask(f"unix:{directory}/api.sock", process, start)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(ANSWER_S)
        pauses = json.loads((directory / PAUSES_FILE).read_text(encoding="ascii"))
    return noticed | pauses


async def fill(etcd: EtcdCluster, size: Size) -> None:
    """Write everything that is stored of a region."""
    client = Client(Endpoint.parse(etcd.endpoints[0]), etcd.tls, timeout_s=ANSWER_S)
    await client.connect()
    rest = _records(size)
    while batch := tuple(islice(rest, BATCH_KEYS)):
        await client.txn((), batch)
    await client.close()


def _records(size: Size) -> Iterator[Write]:
    """Everything that is in etcd of a region; of identifiers those of ports, of which there are the most."""
    for stored in Region.records(size):
        yield Write(keys.key_of(stored), record_to_bytes(stored))
        if not isinstance(stored, Port):
            continue
        for key in sorted(identifiers(stored) | {ids.iface(stored.iface_id)}):
            held = Reservation(key=key, owner=str(stored.name), owner_uid=stored.meta.uid)
            yield Write(keys.key_of(held), record_to_bytes(held))
        profile = ProfileKey(stored.name.parent.parent, stored.profile)
        subnets = (fixed_ip.subnet for fixed_ip in stored.fixed_ips)
        for referred in (*subnets, *stored.requested_hosts, profile):
            yield Write(keys.reference_key(referred, stored.name), b"")


def _ask(address: str, process: subprocess.Popen[bytes], start: float) -> dict[str, Any]:
    """Read all the time, write now and then, until hosts are served; return when what was, and the waits."""
    told: dict[str, Any] = {"read_ms": 0.0, "write_ms": 0.0, "asked": 0, "written": 0}
    with grpc.insecure_channel(address, [("grpc.max_reconnect_backoff_ms", 100)]) as channel:
        tenants, state = tenant_pb2_grpc.TenantServiceStub(channel), watch_pb2_grpc.StateServiceStub(channel)
        read = partial(tenants.ListTenants, tenant_pb2.ListTenantsRequest(page_size=1))
        while "ready_s" not in told:
            if process.poll() is not None or time.perf_counter() - start > START_S:
                raise RuntimeError(f"not ready within {START_S} s, or ended: {process.returncode}")
            begun = time.perf_counter()
            code = _answer(read)
            now = time.perf_counter()
            if code is not None:
                told["asked"] += 1
                told["read_ms"] = max(told["read_ms"], (now - begun) * 1e3)
                told.setdefault("first_answer_s", now - start)
            if code is grpc.StatusCode.OK:
                if "served_s" not in told:
                    told |= {"served_s": now - start, "served_mib": rss_mib(process.pid)}
                if told["asked"] % READS_TO_A_WRITE == 0:
                    told["written"] += 1
                    begun = time.perf_counter()
                    tenants.CreateTenant(_new_tenant(told["written"]), timeout=ANSWER_S)
                    told["write_ms"] = max(told["write_ms"], (time.perf_counter() - begun) * 1e3)
                    if not _is_compiling(state):
                        told |= {"ready_s": time.perf_counter() - start, "ready_mib": rss_mib(process.pid)}
            time.sleep(ASK_S)
    return told


def _new_tenant(number: int) -> tenant_pb2.CreateTenantRequest:
    return tenant_pb2.CreateTenantRequest(tenant_id=f"late{number}")


def _is_compiling(state: Any) -> bool:
    """Ask whether what hosts should hold is being worked out."""
    request = watch_pb2.WaitRealizedRequest()
    request.timeout.FromNanoseconds(0)
    missing = state.WaitRealized(request, timeout=ANSWER_S).missing
    return any(condition.reason == "COMPILING" for condition in missing)


def _answer(call: Any) -> grpc.StatusCode | None:
    """What the controller answers; None: nobody does."""
    try:
        call(timeout=ANSWER_S)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()  # type: ignore[attr-defined]  # it is a call as well
        said = str(error.details())  # type: ignore[attr-defined]
        told = code is not grpc.StatusCode.UNAVAILABLE or "just started" in said
        return code if told else None
    return grpc.StatusCode.OK


# -- the controller's process ----------------------------------------------------------------------


async def _run(options: Options, directory: Path) -> None:
    stop, pauses = asyncio.Event(), list[tuple[float, float, float]]()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    begun_s = loop.time()

    async def beat() -> None:
        while True:
            asleep_s, used_s = loop.time(), time.thread_time()
            await asyncio.sleep(BEAT_S)
            late_s, cpu_s = loop.time() - asleep_s - BEAT_S, time.thread_time() - used_s
            pauses.append((round(late_s * 1e3, 1), round(cpu_s * 1e3, 1), round(asleep_s - begun_s, 1)))

    heart = asyncio.create_task(beat())
    await serve(options, stop)
    heart.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await heart
    longest = {
        "pauses_ms": sorted(pauses, reverse=True)[:20],
        "held_ms": sorted(pauses, key=lambda pause: pause[1], reverse=True)[:20],
    }
    (directory / PAUSES_FILE).write_text(json.dumps(longest), encoding="ascii")


def main() -> None:
    """DIRECTORY ENDPOINT CA CERT KEY: a controller with a heartbeat, until SIGTERM."""
    directory, endpoint, *files = sys.argv[1:]
    configure("info", "console")
    options = Options(
        name="c1",
        etcd=(endpoint,),
        etcd_tls=Tls(*map(Path, files)),
        etcd_limits=LIMITS,
        grpc_listen=(f"unix:{directory}/api.sock",),
        openflow_listen=("127.0.0.1", 0),
        openflow_advertise="tcp:127.0.0.1:6653",
        tls=None,
        gate=GateMode.ENFORCE,
    )
    asyncio.run(_run(options, Path(directory)))


if __name__ == "__main__":
    main()
