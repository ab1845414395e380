"""Command line of the agent: reads flags, puts the parts together, runs them until SIGTERM. Knows every
module.

Ending the agent changes nothing in the data plane: whatever runs goes on.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import signal
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click
import structlog

from agent.edges import Edges
from agent.inspect import Inspector
from agent.netlink import EdgeKernel, LinuxKernel, kernel_datapath_works
from agent.outbox import Outbox
from agent.ovsdb import OvsBridge, TlsFiles
from agent.plan import Vtep
from agent.reconcile import Reconciler
from agent.seams import HostSettings
from agent.services.dns_forward import parse_resolver
from agent.services.metadata_http import parse_upstream
from agent.services.runtime import Services, ServiceSettings
from agent.session import Session
from agent.state import PlanLog, StateDirectory
from agent.stream import Dial, Identity, Stream
from cloison.errors import CloisonError
from cloison.lean import share_memory
from cloison.names import ID_PATTERN, check_id

_log = structlog.get_logger("agent")


@dataclass(frozen=True, slots=True)
class Options:
    """The flags, checked."""

    settings: HostSettings
    dial: Dial
    state_dir: Path
    ovsdb: str
    control: Path | None
    labels: dict[str, str]
    underlay_mtu: int | None
    services: ServiceSettings


class Agent:
    """The parts of one running agent."""

    def __init__(self, options: Options) -> None:
        self._options = options
        settings = options.settings
        self._state = StateDirectory(options.state_dir)
        self._plan_log = PlanLog(self._state.plan_path)
        self._outbox = Outbox()
        self._kernel = LinuxKernel(settings.vtep, self._wake)
        self._bridge = OvsBridge(options.ovsdb, settings.bridge, self._bridge_changed, options.control)
        self._services = Services(options.services, self._services_lost, self._outbox.claim)
        self._edge_kernel = EdgeKernel(self._state.edges_path)
        edges = Edges(self._edge_kernel, settings.bridge_mappings, settings.bridge)
        self._reconciler = Reconciler(
            settings, self._kernel, self._bridge, self._plan_log, self._outbox, self._services, edges
        )
        self._inspector = Inspector(self._kernel, self._bridge, self._outbox, settings.vtep)
        identity = Identity(settings.host, settings.vtep, _version(), options.labels)
        self._stream = Stream(
            options.dial, identity, self._outbox, lambda: self._bridge.view, self._session,
            self._underlay_mtu, settings.bridge_mappings,
        )  # fmt: skip

    def _wake(self) -> None:
        self._reconciler.wake()

    def _services_lost(self) -> None:
        self._reconciler.audit()

    def _bridge_changed(self) -> None:
        self._outbox.inventory(self._bridge.view)
        self._reconciler.wake()

    def _session(self) -> tuple[Session, int]:
        plan = self._reconciler.plan
        fence = self._state.read_fence()
        self._inspector.forget()
        session = Session(
            self._options.settings.host, self._state, self._plan_log, self._reconciler, fence,
            self._inspector.ask,
        )  # fmt: skip
        return session, 0 if plan is None else plan.revision

    async def _underlay_mtu(self) -> int:
        return self._options.underlay_mtu or await self._kernel.underlay_mtu()

    def _recall(self) -> None:
        """Begin with what is on disk: the plan, and the controller the bridge may dial."""
        self._reconciler.set_target(self._state.read_fence().openflow_target)
        plan = self._plan_log.load()
        if plan is not None:
            self._reconciler.set_plan(plan)
            _log.info("plan recalled from disk", revision=plan.revision, networks=len(plan.networks))
        elif self._plan_log.trouble:
            _log.error("plan on disk not used; nothing is changed until a controller sends one",
                       error=self._plan_log.trouble)  # fmt: skip

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT."""
        self._state.open()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await self._kernel.open()
        self._bridge.open()
        tasks = []
        try:
            self._recall()
            parts = (self._reconciler, self._stream, self._inspector, self._services)
            tasks = [asyncio.create_task(part.run()) for part in parts]
            _log.info("ready", host=self._options.settings.host)
            stopping = asyncio.create_task(stop.wait())
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()  # a part that ended is a defect of ours: fall, and be started again
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._bridge.close()
            self._edge_kernel.close()
            await self._kernel.close()
            self._plan_log.close()
            self._state.close()
        _log.info("stopped, data plane left as it is", host=self._options.settings.host)


def _version() -> str:
    try:
        return version("cloison")
    except PackageNotFoundError:
        return "unknown"


def _labels(pairs: tuple[str, ...]) -> dict[str, str]:
    labels = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--label")
        labels[key] = value
    return labels


def _mappings(text: str, integration: str) -> dict[str, str]:
    """Return the bridge of each physical network; raises BadParameter."""
    mappings: dict[str, str] = {}

    def refuse(words: str) -> click.BadParameter:
        return click.BadParameter(words, param_hint="--bridge-mappings")

    for part in filter(None, (part.strip() for part in text.split(","))):
        network, colon, bridge = part.partition(":")
        if not colon or not ID_PATTERN.fullmatch(network) or not _BRIDGE_NAME.fullmatch(bridge):
            raise refuse(f"{part!r} is not PHYSNET:BRIDGE, such as physnet1:br-ex")
        if bridge == integration:
            raise refuse(f"{part!r}: {bridge} is the integration bridge; a physical network has its own")
        if network in mappings or bridge in mappings.values():
            raise refuse(f"{part!r}: each physical network and each bridge once")
        mappings[network] = bridge
    return mappings


def _vtep(text: str) -> Vtep:
    try:
        return Vtep(ipaddress.ip_address(text).packed)
    except ValueError as err:
        raise click.BadParameter(f"{text!r} is not an IPv4 or IPv6 address", param_hint="--vtep") from err


def _tls(insecure: bool, *files: Path | None) -> tuple[Path, Path, Path] | None:
    """Return (ca, cert, key), or None where plain text was asked for."""
    ca, cert, key = files
    if ca and cert and key:
        return ca.absolute(), cert.absolute(), key.absolute()
    if not insecure:
        raise click.UsageError("--ca, --cert and --key are needed (or --insecure, for plain text)")
    return None


def _services(resolvers: tuple[str, ...], metadata_url: str | None, secret: Path | None) -> ServiceSettings:
    return ServiceSettings(
        resolvers=[parse_resolver(text) for text in resolvers],
        metadata=None if metadata_url is None else parse_upstream(metadata_url),
        metadata_secret=b"" if secret is None else secret.read_bytes().strip(),
    )


def _configure_logs(log_format: str, level: str) -> None:
    render = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


_BRIDGE_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,15}")
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--host", required=True, help="Id of this host, as in hosts/ID; the certificate names it too.")
@click.option("--controller", required=True, help="ADDR:PORT[,ADDR:PORT...], tried in turn.")
@click.option(
    "--controller-name", default="controller.c1", show_default=True, help="Name in its certificate."
)
@click.option("--ca", type=_file, help="Certificate of the authority that signs controllers.")
@click.option("--cert", type=_file, help="Certificate of this host.")
@click.option("--key", type=_file, help="Private key of this host.")
@click.option("--insecure", is_flag=True, help="Plain text to the controller. Only for trying things out.")
@click.option("--vtep", required=True, help="Address of this host's end of the tunnels.")
@click.option("--state-dir", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--ovsdb", required=True, help="unix:PATH of ovsdb-server.")
@click.option("--vswitchd-ctl", type=click.Path(path_type=Path), help="Control socket of ovs-vswitchd.")
@click.option("--bridge", default="br-int", show_default=True)
@click.option(
    "--bridge-mappings", default="", help="PHYSNET:BRIDGE[,...]: Open vSwitch bridges of physical networks."
)
@click.option(
    "--datapath-type", type=click.Choice(["auto", "netdev", "system"]), default="auto", show_default=True
)
@click.option("--underlay-mtu", type=click.IntRange(576, 65535), help="Bytes; found out if not given.")
@click.option("--resolver", multiple=True, help="ADDRESS[:PORT] asked for guests' names; may be repeated.")
@click.option("--metadata-url", help="Where the IaaS answers metadata requests: http://HOST[:PORT][/PATH].")
@click.option(
    "--metadata-secret", type=_file, help="File with the secret that metadata requests are signed with."
)
@click.option(
    "--conntrack-limit",
    type=click.IntRange(1),
    default=65536,
    show_default=True,
    help="Connections of a port.",
)
@click.option("--label", multiple=True, help="KEY=VALUE, may be repeated.")
@click.option("--audit-interval", default=10.0, show_default=True, help="Seconds between full audits.")
@click.option("--log-format", type=click.Choice(["console", "json"]), default="console", show_default=True)
@click.option("--log-level", default="info", show_default=True)
def main(
    host: str, controller: str, controller_name: str, ca: Path | None, cert: Path | None, key: Path | None,
    insecure: bool, vtep: str, state_dir: Path, ovsdb: str, vswitchd_ctl: Path | None, bridge: str,
    bridge_mappings: str, datapath_type: str, underlay_mtu: int | None, resolver: tuple[str, ...],
    metadata_url: str | None, metadata_secret: Path | None, conntrack_limit: int, label: tuple[str, ...],
    audit_interval: float, log_format: str, log_level: str,
) -> None:  # fmt: skip
    """Carry out on this host what the controllers decide. Runs as root, one per host."""
    share_memory()
    _configure_logs(log_format, log_level)
    endpoints = tuple(filter(None, (part.strip() for part in controller.split(","))))
    if not endpoints:
        raise click.BadParameter("no address given", param_hint="--controller")
    tls = _tls(insecure, ca, cert, key)
    if tls is None:
        _log.warning("plain text to the controller (--insecure): anybody on the way can read and forge it")
    found = "system" if kernel_datapath_works() else "netdev"
    try:
        settings = HostSettings(
            host=check_id(host, "--host"),
            vtep=_vtep(vtep),
            bridge=bridge,
            datapath_type=None if datapath_type == "auto" else datapath_type,
            new_datapath_type=found if datapath_type == "auto" else datapath_type,
            tls=None if tls is None else TlsFiles(key=str(tls[2]), cert=str(tls[1]), ca=str(tls[0])),
            audit_interval_s=audit_interval,
            conntrack_limit=conntrack_limit,
            bridge_mappings=_mappings(bridge_mappings, bridge),
        )
        services = _services(resolver, metadata_url, metadata_secret)
        dial = Dial(endpoints, controller_name)
        if tls is not None:
            dial = Dial(endpoints, controller_name, key=tls[2], cert=tls[1], ca=tls[0])
        options = Options(
            settings, dial, state_dir, ovsdb, vswitchd_ctl, _labels(label), underlay_mtu, services
        )
        asyncio.run(Agent(options).run())
    except CloisonError as err:
        raise click.ClickException(str(err)) from err


if __name__ == "__main__":
    main()
