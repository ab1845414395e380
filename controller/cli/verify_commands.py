"""`cloison verify` and `cloison trace`: ask for the proof, and show it as a page. Judges nothing itself."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from datetime import UTC
from pathlib import Path
from typing import Any

import click
from google.protobuf.json_format import ParseDict, ParseError

from cloison.errors import CloisonError
from cloison.v1 import verify_pb2, verify_pb2_grpc
from controller.cli import completion, output, session
from controller.cli.failures import Exit
from controller.cli.names import full_name
from controller.cli.pki import Signed, check_signature

VERIFY_TIMEOUT_S = 300.0
TRACE_TIMEOUT_S = 60.0
_FORMAT = "cloison attestation 1"
_FILE = click.Path(dir_okay=False, path_type=Path)


def _stub() -> verify_pb2_grpc.VerifyServiceStub:
    return verify_pb2_grpc.VerifyServiceStub(session.current().channel)


@click.command()
@click.option("--live", is_flag=True, help="Read what switches and kernels really hold.")
@click.option("--out", type=_FILE, metavar="FILE", help="Save the signed attestation.")
@click.option("--check", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Check the signature of a saved one; asks no controller.")  # fmt: skip
@click.option("--ca", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="With --check: the authority.  [default: the context's]")  # fmt: skip
@output.option
def verify(live: bool, out: Path | None, check: Path | None, ca: Path | None, output: str) -> None:
    """Prove that tenants are kept apart: that the hosts do with every packet what the intent means.

    Exit status 1 if it does not hold.
    """
    if check is not None:
        if live or out is not None:
            raise click.UsageError("--check looks at a file alone: leave out --live and --out")
        attestation, signed = _check(check, ca)
        _show(attestation, output, f"signed by {signed.signer.uri}")
    else:
        answer = session.current().call(_stub().Verify, verify_pb2.VerifyRequest(live=live), VERIFY_TIMEOUT_S)
        if out is not None:
            out.write_text(saved(answer), encoding="utf-8")
        attestation = answer.attestation
        note = "signed" if answer.signature else "not signed: the controller runs without certificates"
        _show(attestation, output, f"{note}{f', saved in {out}' if out else ''}")
    if not attestation.holds:
        raise click.exceptions.Exit(int(Exit.REFUSED))


# -- the file --------------------------------------------------------------------------------------


def saved(answer: verify_pb2.VerifyResponse) -> str:
    """Return the text of the file: the payload as it was signed, and what vouches for it."""
    content = {
        "format": _FORMAT,
        "payload": answer.payload.decode(),
        "signature": base64.b64encode(answer.signature).decode(),
        "certificate": answer.certificate.decode(),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _check(path: Path, ca: Path | None) -> tuple[verify_pb2.Attestation, Signed]:
    if ca is None:
        named = session.current().context.ca
        if not named:
            raise click.UsageError("--ca FILE: the authority that the signer's certificate must come from")
        ca = Path(named).expanduser()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        payload = str(content["payload"]).encode()
        signature = base64.b64decode(content["signature"], validate=True)
        attestation = ParseDict(json.loads(payload), verify_pb2.Attestation())
        certificates, authority = str(content["certificate"]).encode(), ca.read_bytes()
    except (OSError, ValueError, KeyError, TypeError, ParseError, binascii.Error) as error:
        raise click.ClickException(f"{path} is no saved attestation: {error}") from error
    if not signature:
        raise click.ClickException(f"{path} is not signed: its controller ran without certificates")
    made = attestation.create_time.ToDatetime(tzinfo=UTC)
    try:
        signed = check_signature(payload, signature, certificates, authority, made)
    except CloisonError as error:
        raise click.ClickException(f"{path} is not to be believed: {error}") from error
    if signed.signer.name != attestation.controller:
        raise click.ClickException(
            f"{path} is not to be believed: it says controller {attestation.controller!r}, but "
            f"{signed.signer} signed it"
        )
    return attestation, signed


# -- the page --------------------------------------------------------------------------------------


def _show(attestation: verify_pb2.Attestation, how: str, note: str) -> None:
    if how != "table":
        output.data(output.to_dict(attestation), how)
        return
    holds = attestation.holds
    verdict = "HOLDS" if holds else "DOES NOT HOLD"
    click.secho(f"Isolation {verdict}", fg="green" if holds else "red", bold=True)
    what = "what switches and kernels held" if attestation.live else "what was compiled"
    made = attestation.create_time.ToDatetime(tzinfo=UTC)
    click.echo(f"{what}, at revision {attestation.revision}, {made:%Y-%m-%d %H:%M:%S} UTC")
    click.echo(
        f"{attestation.tenants} tenants, {attestation.networks} networks, {attestation.ports} ports; "
        f"controller {attestation.controller} (epoch {attestation.epoch}), "
        f"{attestation.verify_s:.3f} s; {note}"
    )
    click.secho("\nChecked, for every packet:", bold=True)
    for line in attestation.invariants:
        click.echo(f"- {line}")
    click.secho("\nHosts", bold=True)
    output.table([_host_row(h) for h in attestation.hosts], _HOST_HEADERS)
    _show_violations(attestation)


_HOST_HEADERS = ("HOST", "AS COMPILED", "FLOWS", "FLOWS SHA-256", "FDB", "FDB AND DEVICES SHA-256")


def _host_row(host: verify_pb2.HostAttestation) -> tuple[object, ...]:
    name = host.host.removeprefix("hosts/")
    if host.HasField("unread"):
        return name, "NOT READ", "-", host.unread.message, "-", "-"
    same = "yes" if host.matches_compiled else "no"
    return name, same, host.flows, host.flows_digest.hex(), host.fdb_entries, host.fdb_digest.hex()


def _show_violations(attestation: verify_pb2.Attestation) -> None:
    if not attestation.violations_total:
        return
    click.secho(f"\nViolations: {attestation.violations_total}", fg="red", bold=True)
    for violation in attestation.violations:
        where = f" ({violation.host})" if violation.host else ""
        click.echo(f"\n{click.style(violation.kind, fg='red')}{where}: {violation.message}")
        for subject in violation.subjects:
            click.echo(f"  concerns {subject}")
        if violation.packet:
            click.echo(f"  packet   {violation.packet}")
        _show_path(violation.path, "  ")
    left = attestation.violations_total - len(attestation.violations)
    if left > 0:
        click.echo(f"\nand {left} more")


def _show_path(path: Iterable[verify_pb2.TraceStep], indent: str = "") -> None:
    host = ""
    for step in path:
        if step.host and step.host != host:
            click.secho(f"{indent}{step.host}", bold=True)
            host = step.host
        click.echo(f"{indent}  {click.style(f'{step.stage:<10}', fg='cyan')} {step.rule or step.resource}")
        if step.rule and step.resource:
            click.echo(f"{indent}  {'':<10} serves {step.resource}")
        if step.note:
            click.echo(f"{indent}  {'':<10} {step.note}")


# -- trace -----------------------------------------------------------------------------------------


@click.command()
@click.argument("port", metavar="PORT", shell_complete=completion.names_of("port"))
@click.argument("packet", nargs=-1)
@click.option(
    "--to", "to_port", metavar="PORT", help="The receiving port.", shell_complete=completion.names_of("port")
)
@click.option("--live", is_flag=True, help="Use the switches' own flows, and ask them too (ofproto/trace).")
@click.option("-t", "--tenant", envvar="CLOISON_TENANT", metavar="NAME", help="The tenant of short names.")
@click.option("-n", "--network", envvar="CLOISON_NETWORK", metavar="NAME", help="The network of short names.")
@output.option
def trace(
    port: str,
    packet: tuple[str, ...],
    to_port: str | None,
    live: bool,
    tenant: str | None,
    network: str | None,
    output: str,
) -> None:
    """Follow a PACKET that PORT sends, table by table and host by host.

    PACKET is what tcpdump would call it: "icmp to 10.0.0.6", "arp who-has 10.0.0.6",
    "tcp to 2001:db8::6 port 80", "icmp type 3 code 4 to 10.0.0.6", "from 10.0.0.9 to 10.0.0.6",
    "udp fragment later to 10.0.0.6", or fields as in ovs-ofctl: "ip,nw_src=10.0.0.9,nw_dst=10.0.0.6".

    What is left out is what an honest guest would send: an echo request; of TCP port 50000 to 80, of
    UDP 50000 to 53.

    It opens a connection, unless it is "established" (one that PORT opened), a "reply" (one that the
    other side opened: "tcp src port 80 reply to 10.0.0.6"), or of ct_state=est|rpl, ct_nw_src=..., as
    connection tracking would say. What can open none, such as an ICMP error, is invalid then.

    "oversize" is too long for the overlay, "size N" has N bytes of IP.

    Exit status 1 if meaning and flows, or with --live the switches, do not say the same.
    """
    scope = {"tenant": tenant or session.current().context.tenant or None, "network": network}

    def named(text: str) -> str:
        return full_name("port", ("tenant", "network"), text, scope)

    request = verify_pb2.TraceRequest(port=named(port), packet=" ".join(packet), live=live)
    if to_port:
        request.to_port = named(to_port)
    answer = session.current().call(_stub().Trace, request, TRACE_TIMEOUT_S)
    _show_trace(answer, output)
    if not answer.agree:
        raise click.exceptions.Exit(int(Exit.REFUSED))


def _show_trace(answer: verify_pb2.TraceResponse, how: str) -> None:
    if how != "table":
        output.data(output.to_dict(answer), how)
        return
    _show_path(answer.path)
    for host, text in sorted(answer.switch_traces.items()):
        click.secho(f"\nofproto/trace on {host}", bold=True)
        click.echo(text.rstrip())
    click.echo("")
    rows: tuple[tuple[str, Any], ...] = (
        ("packet", answer.packet),
        ("meant for", ", ".join(answer.meant) or "nobody"),
        ("reaches", ", ".join(answer.delivered) or "nobody"),
        ("dropped", answer.drop_reason),
    )
    for label, value in rows:
        if value:
            click.echo(f"{click.style(f'{label:<10}', bold=True)} {value}")
    verdict = "as meant" if answer.agree else "NOT AS MEANT"
    click.secho(verdict, fg="green" if answer.agree else "red", bold=True)
