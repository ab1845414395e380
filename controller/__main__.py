"""The controller process: knows every part, decides nothing. Starts them in order, ends them in reverse.

Order matters for safety: the store is complete before anything is served or compiled, and everything is
compiled and proved before any host has a session.
"""

from __future__ import annotations

import controller.libraries  # noqa: F401  # before anything imports one

# isort: split
import asyncio
import gc
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click
import structlog

from cloison.errors import CloisonError, InvalidIntent
from cloison.lean import share_memory
from controller.api.edge_changes import ApiEdgeChanges
from controller.api.host_sync import HostSyncServicer
from controller.api.loading import LoadingServer
from controller.api.plan_service import NO_PROOF, Proof
from controller.api.server import ApiServer, Config, Tls
from controller.api.verify_service import VerifyService
from controller.logs import LEVELS, configure
from controller.openflow.server import SwitchServer, TlsFiles
from controller.reconcile.gate import GateMode
from controller.reconcile.meters import CONNECTIONS_PER_S
from controller.reconcile.reading import Observer
from controller.reconcile.reconciler import Reconciler
from controller.reconcile.statistics import CounterReader
from controller.signing import Signer
from controller.store.etcd import Tls as EtcdTls
from controller.store.etcd_store import EtcdStore, Settings
from controller.store.txn import DEFAULT_LIMITS, Limits

# Nearly all that is made while the state is read and compiled stays: no garbage to look for there.
GC_THRESHOLDS = (50_000, 20, 100)

_log = structlog.get_logger("controller")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says."""

    name: str
    etcd: tuple[str, ...]
    etcd_tls: EtcdTls | None
    etcd_limits: Limits
    grpc_listen: tuple[str, ...]
    openflow_listen: tuple[str, int]
    openflow_advertise: str
    tls: TlsFiles | None
    gate: GateMode
    connections_per_s: int = CONNECTIONS_PER_S


def package_version() -> str:
    """Return the version that is installed, or 'unknown' when run from a bare tree."""
    try:
        return version("cloison")
    except PackageNotFoundError:
        return "unknown"


async def serve(options: Options, stop: asyncio.Event) -> None:
    """Run until stop is set, which may be before all has started (etcd may not be there for long).

    Raises CloisonError or OSError if a part cannot start.
    """
    async with AsyncExitStack() as stack:
        starting = asyncio.create_task(_start(options, stack))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await stopping
        finally:
            for task in (starting, stopping):
                task.cancel()
            await asyncio.wait((starting, stopping))
        _log.info("stopping")


async def _start(options: Options, stack: AsyncExitStack) -> None:
    """Start every part; what ends them again is on the stack."""
    gc.set_threshold(*GC_THRESHOLDS)
    store = EtcdStore(options.etcd, options.etcd_tls, Settings(limits=options.etcd_limits))
    stack.push_async_callback(store.stop)
    tls = options.tls
    api_tls = Tls.read(tls.ca, tls.cert, tls.key) if tls else None
    loading = LoadingServer(options.grpc_listen, api_tls, lambda: _doing(store))
    stack.push_async_callback(loading.stop)
    loading.start()
    await store.start()
    epoch = await store.next_epoch(options.name)
    reconciler = Reconciler(
        store, options.name, epoch, options.gate, options.connections_per_s, ApiEdgeChanges()
    )
    stack.push_async_callback(reconciler.stop)
    api = _api(options, api_tls, store, reconciler)
    await loading.stop()
    await api.start()
    stack.push_async_callback(api.stop)
    # From here on everybody is served, but for hosts: they are when all that they are to hold is worked out.
    await reconciler.start()
    switches = SwitchServer(
        options.openflow_listen,
        options.tls,
        reconciler.may_connect,
        reconciler.switch_connected,
        reconciler.switch_gone,
        insecure=options.tls is None,
    )
    await switches.start()
    stack.push_async_callback(switches.stop)
    _spare_collections()
    _log.info("ready", controller=options.name, epoch=epoch, api=api.addresses, openflow=switches.address)


def _api(options: Options, tls: Tls | None, store: EtcdStore, reconciler: Reconciler) -> ApiServer:
    config = Config(listen=options.grpc_listen, tls=tls, version=package_version())
    sync = HostSyncServicer(reconciler, options.openflow_advertise)
    verify = VerifyService(Observer(store, reconciler), reconciler.tracker, _signer(tls))
    # A plan is held against its meaning before it is shown, and refused, as the gate would do later.
    proof = NO_PROOF if options.gate is GateMode.OFF else Proof(enforce=options.gate is GateMode.ENFORCE)
    counters = CounterReader(store, reconciler.hosts)
    return ApiServer(config, store, reconciler.tracker, sync, verify, proof, counters, reconciler.birth)


def _doing(store: EtcdStore) -> str:
    """What a start is about at this moment; asked from other threads."""
    ports = f"{len(store.state.ports):,} ports"
    return f"it is reading etcd ({ports} so far)"


def _spare_collections() -> None:
    """A full collection stops every thread for as long as the state is large; most of it lives for ever.

    Of a large state it is frozen by now, as it was made: what is collected here is little.
    """
    gc.collect()
    gc.freeze()


def _signer(tls: Tls | None) -> Signer | None:
    """What attestations are signed with, None if that cannot be: they are given all the same."""
    if tls is None:
        return None
    try:
        return Signer(tls.cert, tls.key)
    except InvalidIntent as error:
        _log.warning("attestations will not be signed", reason=str(error))
        return None


def _address(text: str, option: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise InvalidIntent.of(option, text, "ADDR:PORT")
    return host.strip("[]"), int(port)


# Beyond that a limit limits nothing: no switch handles as many new connections.
CONNECTIONS_PER_S_MAX = 10_000_000

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(context_settings={"show_default": True})
@click.option("--name", default="c1", help="Name of this controller.")
@click.option("--etcd", required=True, help="etcd endpoints, https://HOST:PORT[,...].")
@click.option("--etcd-ca", type=_FILE)
@click.option("--etcd-cert", type=_FILE)
@click.option("--etcd-key", type=_FILE)
@click.option("--etcd-server-name", default="", help="Name to expect in etcd's certificate.")
@click.option("--etcd-max-txn-ops", default=DEFAULT_LIMITS.ops, help="etcd's --max-txn-ops.")
@click.option(
    "--etcd-max-request-bytes", default=DEFAULT_LIMITS.request_bytes, help="etcd's --max-request-bytes."
)
@click.option("--grpc-listen", multiple=True, required=True, help="ADDR:PORT or unix:PATH; repeatable.")
@click.option("--openflow-listen", required=True, help="ADDR:PORT that switches dial.")
@click.option("--openflow-advertise", required=True, help="What switches are told to dial, ssl:ADDR:PORT.")
@click.option("--ca", type=_FILE, help="Authority of all certificates.")
@click.option("--cert", type=_FILE, help="This controller's certificate.")
@click.option("--key", type=_FILE)
@click.option("--insecure", is_flag=True, help="No TLS and no authentication. For nothing but trials.")
@click.option(
    "--gate",
    type=click.Choice([mode.value for mode in GateMode]),
    default=GateMode.ENFORCE.value,
    help="What to do with flows that would break isolation: not push them, or only say so, or not look.",
)
@click.option(
    "--new-connections-per-s",
    type=click.IntRange(1, CONNECTIONS_PER_S_MAX),
    default=CONNECTIONS_PER_S,
    help="How many connections a port may open, twice as many at once; what is more is dropped.",
)
@click.option("--log-level", type=click.Choice(LEVELS), default="info")
@click.option("--log-format", type=click.Choice(["console", "json"]), default="console")
def main(
    name: str,
    etcd: str,
    etcd_ca: Path | None,
    etcd_cert: Path | None,
    etcd_key: Path | None,
    etcd_server_name: str,
    etcd_max_txn_ops: int,
    etcd_max_request_bytes: int,
    grpc_listen: tuple[str, ...],
    openflow_listen: str,
    openflow_advertise: str,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    insecure: bool,
    gate: str,
    new_connections_per_s: int,
    log_level: str,
    log_format: str,
) -> None:
    """Run the Cloison controller."""
    share_memory()
    configure(log_level, log_format)
    try:
        options = Options(
            name=name,
            etcd=tuple(etcd.split(",")),
            etcd_tls=_etcd_tls(etcd_ca, etcd_cert, etcd_key, etcd_server_name),
            etcd_limits=Limits(etcd_max_txn_ops, etcd_max_request_bytes),
            grpc_listen=grpc_listen,
            openflow_listen=_address(openflow_listen, "--openflow-listen"),
            openflow_advertise=openflow_advertise,
            tls=_tls(ca, cert, key, insecure=insecure),
            gate=GateMode(gate),
            connections_per_s=new_connections_per_s,
        )
        asyncio.run(_run(options))
    except (CloisonError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _tls(ca: Path | None, cert: Path | None, key: Path | None, *, insecure: bool) -> TlsFiles | None:
    if insecure:
        return None
    if ca is None or cert is None or key is None:
        raise InvalidIntent.of(
            "--ca, --cert, --key",
            "not all given",
            "three files (`cloison pki issue controller/c1`), or --insecure",
        )
    return TlsFiles(key=key, cert=cert, ca=ca)


def _etcd_tls(ca: Path | None, cert: Path | None, key: Path | None, server_name: str) -> EtcdTls | None:
    if ca is None and cert is None and key is None:
        return None
    if ca is None or cert is None or key is None:
        raise InvalidIntent.of(
            "--etcd-ca, --etcd-cert, --etcd-key", "not all given", "all three files or none"
        )
    return EtcdTls(ca, cert, key, server_name)


async def _run(options: Options) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(options, stop)


if __name__ == "__main__":
    main()
