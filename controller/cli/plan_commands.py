"""`cloison plan`, `apply`, `export`: a tenant as files. And --dry-run of all other commands, the same way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from cloison.v1 import plan_pb2, plan_pb2_grpc, tenant_pb2, tenant_pb2_grpc, watch_pb2, watch_pb2_grpc
from controller.cli import completion, manifest, output, plan_view, realized, session
from controller.cli.failures import Exit, Failure
from controller.cli.manifest_fields import document_of
from controller.cli.manifest_outside import is_transit

F = TypeVar("F", bound=Callable[..., Any])
PLAN_TIMEOUT_S = 120.0
DRY_RUN = "dry run: nothing was changed; this is what would be"
_FORMAT = "cloison plan 1"
_KINDS = {
    "tenant": "Tenant",
    "address_group": "AddressGroup",
    "security_group": "SecurityGroup",
    "network": "Network",
    "subnet": "Subnet",
    "router": "Router",
    "peering": "Peering",
    "port": "Port",
    "floating_ip": "FloatingIp",
}


def _stub() -> plan_pb2_grpc.PlanServiceStub:
    return plan_pb2_grpc.PlanServiceStub(session.current().channel)


def _files(*, required: bool) -> Callable[[F], F]:
    return click.option(
        "-f",
        "--file",
        "files",
        multiple=True,
        required=required,
        type=click.Path(exists=True, allow_dash=True, path_type=Path),
        metavar="DIR|FILE",
        help="YAML, or a directory of it; - for standard input; repeatable.",
    )


dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Show what it would do, everywhere; change nothing."
)
_prune = click.option("--prune", is_flag=True, help="Delete what is there and in no file.")


# -- commands --------------------------------------------------------------------------------------


@click.command()
@_files(required=True)
@_prune
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Save it.")
@click.option("--detailed-exitcode", is_flag=True, help=f"Exit with {Exit.CHANGES:d} if there are changes.")
@output.option
def plan(
    files: tuple[Path, ...], prune: bool, out: Path | None, detailed_exitcode: bool, output: str
) -> None:
    """Show what it takes to make tenants what files say, and what that means everywhere. Changes nothing."""
    wanted = _read(files, prune)
    planned = _plan(wanted)
    plan_view.show(planned, output)
    if out is not None:
        _save(out, wanted.request, planned)
    if detailed_exitcode and planned.changes:
        raise click.exceptions.Exit(int(Exit.CHANGES))


@click.command()
@_files(required=False)
@_prune
@click.option(
    "--plan",
    "saved",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Apply this saved plan, and no other.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@dry_run_option
@realized.options
def apply(
    files: tuple[Path, ...],
    prune: bool,
    saved: Path | None,
    yes: bool,
    dry_run: bool,
    wait: bool,
    timeout: float,
) -> None:
    """Make tenants what files say: show the plan, ask, and do exactly that, all of it or nothing."""
    if not files and saved is None:
        raise click.UsageError("name the files with -f, or a saved plan with --plan")
    wanted = _read(files, prune) if files else None
    if saved is not None:
        request, planned = _saved(saved)
        if wanted is not None and wanted.request != request:
            raise Failure(f"the files say something else than the plan in {saved}", [], Exit.REFUSED)
    else:
        assert wanted is not None
        request, planned = wanted.request, _plan(wanted)
    if dry_run:
        click.echo(DRY_RUN, err=True)
    plan_view.show(planned, "table")
    if dry_run or not planned.changes:
        return
    if not yes:
        click.confirm("Do this?", abort=True)
    answer = session.current().call(
        _stub().Apply,
        plan_pb2.ApplyRequest(
            request=request, digest=planned.digest, seed=planned.seed, base_revision=planned.base_revision
        ),
        PLAN_TIMEOUT_S,
    )
    click.echo(f"Done: {len(answer.changes)} objects, at revision {answer.revision}.")
    if wait:
        _wait(request, answer.revision, timeout)


@click.command()
@click.argument("tenant", shell_complete=completion.names_of("tenant"))
def export(tenant: str) -> None:
    """Write a tenant as it is, as the YAML that `plan` and `apply` read."""
    documents = [document_of(kind, message) for kind, message in _snapshot(tenant.removeprefix("tenants/"))]
    click.echo(
        yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, default_flow_style=None), nl=False
    )


def dry_run(requests: Sequence[Any], how: str) -> None:
    """Show what requests of single methods would do, together."""
    wanted = plan_pb2.PlanRequest()
    for request in requests:
        words = type(request).__name__.removesuffix("Request")
        # CreateSecurityGroup -> create_security_group
        field = re.sub(r"(?<!^)(?=[A-Z])", "_", words).lower()
        wanted.operations.append(plan_pb2.Operation(**{field: request}))
    click.echo(DRY_RUN, err=True)
    # An error is told as without --dry-run, where the request is not part of a larger one.
    planned = _call(wanted, lambda text: re.sub(r"operations\[\d+\]\.\w+\.", "", text))
    plan_view.show(planned, how)


# -- parts -----------------------------------------------------------------------------------------


def _read(files: Sequence[Path], prune: bool) -> manifest.Manifest:
    """Read files; for a tenant without a document of its own, take it as it is."""
    read = manifest.load(files, session.current().context.tenant, prune=prune)
    stub = tenant_pb2_grpc.TenantServiceStub(session.current().channel)
    for index, tenant in read.unnamed.items():
        found = session.current().call(stub.GetTenant, tenant_pb2.GetTenantRequest(name=f"tenants/{tenant}"))
        message = read.request.desired[index].tenant
        message.name, message.display_name = found.name, found.display_name
        message.labels.update(found.labels)
    return read


def _plan(wanted: manifest.Manifest) -> plan_pb2.ChangePlan:
    return _call(wanted.request, wanted.located)


def _call(request: plan_pb2.PlanRequest, located: Callable[[str], str]) -> plan_pb2.ChangePlan:
    try:
        planned: plan_pb2.ChangePlan = session.current().call(_stub().Plan, request, PLAN_TIMEOUT_S)
    except Failure as failure:
        lines = [located(line) for line in failure.lines]
        raise Failure(located(failure.message), lines, Exit(failure.exit_code)) from failure
    return planned


def _save(path: Path, request: plan_pb2.PlanRequest, planned: plan_pb2.ChangePlan) -> None:
    content = {"format": _FORMAT, "request": MessageToDict(request), "plan": MessageToDict(planned)}
    try:
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}", [], Exit.REFUSED) from error


def _saved(path: Path) -> tuple[plan_pb2.PlanRequest, plan_pb2.ChangePlan]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        return (
            ParseDict(content["request"], plan_pb2.PlanRequest()),
            ParseDict(content["plan"], plan_pb2.ChangePlan()),
        )
    except (OSError, ValueError, KeyError, TypeError, ParseError) as error:
        raise Failure(
            f"{path} holds no plan saved by `cloison plan --out`: {error}", [], Exit.REFUSED
        ) from error


def _wait(request: plan_pb2.PlanRequest, revision: int, timeout_s: float) -> None:
    for desired in request.desired:
        realized.wait(desired.tenant.name, revision, timeout_s)
    click.echo(f"in force at revision {revision}")


def _snapshot(tenant: str) -> list[tuple[str, Any]]:
    """Return everything of a tenant at one revision, parents first."""
    stub = watch_pb2_grpc.StateServiceStub(session.current().channel)
    found: dict[str, list[Any]] = {field: [] for field in _KINDS}
    request = watch_pb2.WatchRequest(parent=f"tenants/{tenant}")
    for event in session.current().stream(stub.Watch, request):
        if event.kind == watch_pb2.WatchEvent.SNAPSHOT_COMPLETE:
            break
        field = event.WhichOneof("resource")
        if field in found and not is_transit(getattr(event, field).name):
            found[field].append(getattr(event, field))
    return [
        (_KINDS[field], message)
        for field, messages in found.items()
        for message in sorted(messages, key=lambda message: message.name)
    ]
