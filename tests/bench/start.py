"""A controller's start on a full etcd: how long until it serves, what a client notices, what a port takes.

The records are written to etcd as they are, without a controller. Then the controller runs as a process, as
`python -m controller` does, with a heartbeat in its event loop; somebody asks it all the time meanwhile.
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
from itertools import islice
from pathlib import Path
from typing import Any

import grpc

from cloison.codec import record_to_bytes
from cloison.model import Port, Reservation
from cloison.v1 import watch_pb2, watch_pb2_grpc
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
from tests.bench.simulated import GOAL, Region, Size
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
PAUSES_FILE = "pauses.json"


def measure(rows: Rows, directory: Path, size: Size = GOAL) -> None:
    """Fill the rows of this module."""
    bare = _start(directory, Size(1, 0, 0))
    full = _start(directory, size)
    what = "start from 100,000 ports"
    rows.fill(f"{what}: until served", ours=full["served_s"], samples=full)
    rows.fill(f"{what}: longest wait for an answer", ours=full["answer_ms"])
    rows.fill(f"{what}: longest pause of the loop", ours=full["pauses_ms"][0][0])
    each_kib = (full["rss_mib"] - bare["rss_mib"]) * 1024 / size.ports
    rows.fill(f"{what}: memory a port", ours=each_kib, samples={"rss_mib": full["rss_mib"]})


def _start(directory: Path, size: Size) -> dict[str, Any]:
    with EtcdCluster(options=ETCD_OPTIONS) as etcd:
        asyncio.run(fill(etcd, size))
        socket, tls = directory / "api.sock", etcd.tls
        argv = (sys.executable, "-m", "tests.bench.start", str(directory), etcd.endpoints[0])
        with (directory / "controller.log").open("wb") as log:
            start = time.perf_counter()
            process = subprocess.Popen([*argv, *map(str, (tls.ca, tls.cert, tls.key))], stderr=log)
            try:
                noticed = _ask(f"unix:{socket}", process, start)
                noticed["rss_mib"] = rss_mib(process.pid)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(ANSWER_S)
    pauses = json.loads((directory / PAUSES_FILE).read_text(encoding="ascii"))
    return noticed | {"pauses_ms": pauses}


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
    """Ask all the time; return when it was first answered, when served, and the longest wait."""
    first_s, longest_s, asked = 0.0, 0.0, 0
    with grpc.insecure_channel(address, [("grpc.initial_reconnect_backoff_ms", 100)]) as channel:
        stub = watch_pb2_grpc.StateServiceStub(channel)
        while time.perf_counter() - start < START_S:
            if process.poll() is not None:
                raise RuntimeError(f"the controller ended with {process.returncode}")
            begun = time.perf_counter()
            code = _answer(stub)
            now = time.perf_counter()
            if code is not None:
                first_s, asked = first_s or now - start, asked + 1
                longest_s = max(longest_s, now - begun)
            if code is grpc.StatusCode.OK:
                return {
                    "first_answer_s": first_s,
                    "served_s": now - start,
                    "answer_ms": longest_s * 1e3,
                    "asked": asked,
                }
            time.sleep(ASK_S)
    raise RuntimeError(f"not served within {START_S} s")


def _answer(stub: Any) -> grpc.StatusCode | None:
    """What the controller answers; None: nobody does."""
    try:
        stub.GetStatus(watch_pb2.GetStatusRequest(), timeout=ANSWER_S)
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()  # type: ignore[attr-defined]  # it is a call as well
        said = str(error.details())  # type: ignore[attr-defined]
        told = code is not grpc.StatusCode.UNAVAILABLE or "just started" in said
        return code if told else None
    return grpc.StatusCode.OK


# -- the controller's process ----------------------------------------------------------------------


async def _run(options: Options, directory: Path) -> None:
    stop, pauses = asyncio.Event(), list[tuple[float, float]]()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    begun_s = loop.time()

    async def beat() -> None:
        while True:
            asleep_s = loop.time()
            await asyncio.sleep(BEAT_S)
            late_s = loop.time() - asleep_s - BEAT_S
            pauses.append((round(late_s * 1e3, 1), round(asleep_s - begun_s, 1)))

    heart = asyncio.create_task(beat())
    await serve(options, stop)
    heart.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await heart
    longest = sorted(pauses, reverse=True)[:20]
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
