"""`cloison status`, `cloison watch`, `cloison wait`: the state as a whole."""

from __future__ import annotations

import json
from typing import Any

import click

from cloison.v1 import port_pb2, watch_pb2, watch_pb2_grpc
from controller.cli import output, realized, session


def _stub() -> watch_pb2_grpc.StateServiceStub:
    return watch_pb2_grpc.StateServiceStub(session.current().channel)


@click.command()
@output.option
def status(output: str) -> None:
    """Show the controller, what there is, and what is not as it should be."""
    answer = session.current().call(_stub().GetStatus, watch_pb2.GetStatusRequest())
    _show_status(answer, output)


def _show_status(answer: watch_pb2.Status, how: str) -> None:
    if how != "table":
        output.data(output.to_dict(answer), how)
        return
    rows = (
        ("controller", f"{answer.controller} {answer.version} (epoch {answer.epoch})"),
        ("endpoint", session.current().context.endpoint),
        ("revision", f"{answer.revision}, enforced by all connected hosts: {answer.realized_revision}"),
        ("hosts", f"{answer.hosts_connected} of {answer.hosts} connected"),
        ("ports", f"{answer.ports_active} of {answer.ports} active"),
        ("networks", f"{answer.networks} of {answer.tenants} tenants"),
        ("gate", f"{answer.gate}: {answer.gate_checked} changes proved, {answer.gate_refused} refused"),
        ("self-check", f"{answer.units_compared} units compared, {answer.units_repaired} repaired"),
    )
    for name, value in rows:
        click.echo(f"{click.style(f'{name:<12}', bold=True)}{value}")
    for line in realized.lines_of(answer.conditions):
        click.secho(f"! {line}", fg="yellow")


@click.command()
@click.option("-t", "--tenant", metavar="NAME", help="Only this tenant's.")
@click.option("--since", "revision", type=int, default=0, help="Only what changed after this revision.")
@click.option(
    "-o", "--output", "how", type=click.Choice(["table", "json"]), default="table", show_default=True
)
def watch(tenant: str | None, revision: int, how: str) -> None:
    """Show what there is, then every change, until interrupted. -o json: one object a line."""
    parent = "" if not tenant else tenant if "/" in tenant else f"tenants/{tenant}"
    request = watch_pb2.WatchRequest(parent=parent, start_revision=revision)
    for event in session.current().stream(_stub().Watch, request):
        if how == "json":
            click.echo(json.dumps(output.to_dict(event), ensure_ascii=False))
        else:
            click.echo(_line(event))


def _line(event: watch_pb2.WatchEvent) -> str:
    kind: str = watch_pb2.WatchEvent.Kind.Name(event.kind)
    field = event.WhichOneof("resource")
    if field is None:
        return click.style(f"{event.revision:>8}  {kind.lower().replace('_', ' ')}", dim=True)
    resource: Any = getattr(event, field)
    sign = click.style("-", fg="red") if kind == "DELETE" else click.style("+", fg="green")
    return f"{event.revision:>8}  {sign} {resource.name}{_note(field, resource) if kind == 'UPSERT' else ''}"


def _note(field: str, resource: Any) -> str:
    """Return what matters most of a resource that was changed."""
    if field in ("port", "port_binding"):
        return f"  {port_pb2.Port.State.Name(resource.state)}"
    if field == "host":
        return "  connected" if resource.agent_connected else "  away"
    return ""


@click.command("wait")
@click.argument("name", default="")
@click.option("--revision", type=int, default=0, help="A revision of the store.  [default: the newest]")
@click.option(
    "--timeout",
    type=click.FloatRange(0, 600),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long.",
)
def wait(name: str, revision: int, timeout: float) -> None:
    """Wait until everything, or the resource of this full NAME, is in force on every host concerned."""
    reached = realized.wait(name, revision, timeout)
    click.echo(f"{name or 'everything'} is in force at revision {reached}")
