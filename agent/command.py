"""Command line of the agent: reads flags, begins, then imports the rest of the program and runs it."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import sys
from pathlib import Path

import click
import structlog

from agent.opening import Opening, Options
from agent.ovsdb import TlsFiles
from agent.plan import Vtep
from agent.seams import Dial, HostSettings
from cloison.errors import CloisonError
from cloison.names import ID_PATTERN, check_id

_log = structlog.get_logger("agent")


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


async def _run(options: Options) -> None:
    opening = Opening(options)
    await opening.begin()
    from agent.program import Agent

    await Agent(options, opening).run()


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
    _configure_logs(log_format, log_level)
    endpoints = tuple(filter(None, (part.strip() for part in controller.split(","))))
    if not endpoints:
        raise click.BadParameter("no address given", param_hint="--controller")
    tls = _tls(insecure, ca, cert, key)
    if tls is None:
        _log.warning("plain text to the controller (--insecure): anybody on the way can read and forge it")
    try:
        settings = HostSettings(
            host=check_id(host, "--host"),
            vtep=_vtep(vtep),
            bridge=bridge,
            datapath_type=None if datapath_type == "auto" else datapath_type,
            new_datapath_type="netdev" if datapath_type == "auto" else datapath_type,
            tls=None if tls is None else TlsFiles(key=str(tls[2]), cert=str(tls[1]), ca=str(tls[0])),
            audit_interval_s=audit_interval,
            conntrack_limit=conntrack_limit,
            bridge_mappings=_mappings(bridge_mappings, bridge),
        )
        dial = Dial(endpoints, controller_name)
        if tls is not None:
            dial = Dial(endpoints, controller_name, key=tls[2], cert=tls[1], ca=tls[0])
        options = Options(
            settings, dial, state_dir, ovsdb, vswitchd_ctl, _labels(label), underlay_mtu, resolver,
            metadata_url, metadata_secret,
        )  # fmt: skip
        asyncio.run(_run(options))
    except CloisonError as err:
        raise click.ClickException(str(err)) from err
