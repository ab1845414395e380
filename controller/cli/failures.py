"""What went wrong, for a person: which field, which value, what would be right, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Any

import click
import grpc
from google.rpc import error_details_pb2, status_pb2

from controller.cli.contexts import Context

_DETAILS_KEY = "grpc-status-details-bin"


class Exit(IntEnum):
    """Exit codes; 2 is click's for a wrong command line."""

    REFUSED = 1
    NOT_REALIZED = 3
    UNREACHABLE = 4
    NOT_PERMITTED = 5
    # Of `plan --detailed-exitcode` only.
    CHANGES = 6


class Failure(click.ClickException):
    """A failed call, told line by line."""

    def __init__(self, message: str, lines: list[str], code: Exit) -> None:
        super().__init__(message)
        self.lines = lines
        self.exit_code = int(code)  # type: ignore[misc] # click means it to be set so

    def show(self, file: object = None) -> None:
        """Write it to standard error."""
        click.secho("error: ", fg="red", bold=True, nl=False, err=True)
        click.echo(self.message, err=True)
        for line in self.lines:
            click.echo(f"  {line}", err=True)


# What gRPC's own sentence holds -> what it means.
_CONNECTION_CAUSES: tuple[tuple[str, str], ...] = (
    (
        "Hostname Verification Check failed",
        "its certificate does not name {server_name}: set the right one with "
        "`cloison context set NAME --server-name controller.NAME`",
    ),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate was not issued by the authority in {ca}"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS: was it started with --insecure?"),
    ("Connection refused", "nobody listens there: is the controller running?"),
    ("No such file or directory", "there is no such socket: is the controller running?"),
    ("Permission denied", "you may not open that socket"),
    ("DNS resolution failed", "the name cannot be resolved"),
    ("Name resolution", "the name cannot be resolved"),
    ("Deadline Exceeded", "there was no answer in time"),
    (
        "Socket closed",
        "it closed the connection at once: it may not accept the certificate {cert} (expired, or of another "
        "authority), or it speaks another protocol (TLS or not) than this context",
    ),
    ("Connection reset", "it broke off the connection: it may not accept the certificate {cert}"),
)

_NEXT: dict[grpc.StatusCode, str] = {
    grpc.StatusCode.NOT_FOUND: "`list` shows what there is",
    grpc.StatusCode.ALREADY_EXISTS: "choose another name, or use `update`",
    grpc.StatusCode.ABORTED: "`get` shows it as it is now; decide again, with the new etag",
    grpc.StatusCode.UNAUTHENTICATED: "`cloison context show` tells which certificate is used",
    grpc.StatusCode.PERMISSION_DENIED: "another context may be allowed to: `cloison context list`",
    grpc.StatusCode.UNIMPLEMENTED: "controller and command line are of different versions: `cloison status`",
    grpc.StatusCode.INTERNAL: "report it with the controller's log",
}


_NEXT_BY_REASON = {
    "PLAN_MOVED": "`cloison plan` (or `apply`) shows what it would be now",
    "VIOLATION": "`cloison plan` shows the packet and its way; report it, the compiler must be wrong",
}


def status_of(error: Any) -> status_pb2.Status | None:
    """Return the google.rpc.Status of a grpc.RpcError of the controller; None if gRPC itself failed."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY:
            return status_pb2.Status.FromString(value)
    return None


def _detail_lines(status: status_pb2.Status) -> Iterator[str]:
    bad, failure = error_details_pb2.BadRequest(), error_details_pb2.PreconditionFailure()
    retry, info = error_details_pb2.RetryInfo(), error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(bad):
            yield from (f"{v.field}: {v.description}" for v in bad.field_violations)
        elif detail.Unpack(failure):
            yield from (f"in the way: {v.subject}" for v in failure.violations)
        elif detail.Unpack(retry):
            seconds = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
            yield f"next: try again in {seconds:g} s"
        elif detail.Unpack(info) and info.metadata.get("current_etag"):
            yield f"its etag is now {info.metadata['current_etag']}"


def _unreachable(text: str, context: Context) -> Failure:
    names = {"server_name": context.server_name, "ca": context.ca or "-", "cert": context.cert or "-"}
    causes = [meaning.format(**names) for sign, meaning in _CONNECTION_CAUSES if sign in text]
    return Failure(
        f"cannot reach the controller at {context.endpoint}",
        [causes[0] if causes else text, "next: `cloison context show` tells how it is dialled"],
        Exit.UNREACHABLE,
    )


def _reason(status: status_pb2.Status | None) -> str:
    """Return the stable word for why, if there is one."""
    info = error_details_pb2.ErrorInfo()
    found = [info.reason for detail in (status.details if status else ()) if detail.Unpack(info)]
    return found[0] if found else ""


def explain(error: Any, context: Context) -> Failure:
    """Return the failure to show for a grpc.RpcError."""
    code, text = error.code(), str(error.details() or "")
    status = status_of(error)
    if status is None and code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return _unreachable(f"{text} {error.debug_error_string() or ''}" if text else code.name, context)
    lines = list(_detail_lines(status)) if status is not None else []
    message = text
    # One violation is the whole sentence already.
    lines = [line for line in lines if line != text]
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and status is None:
        lines.append("next: make the request smaller")
    elif next_step := _NEXT_BY_REASON.get(_reason(status)) or _NEXT.get(code):
        lines.append(f"next: {next_step}")
    exits = {
        grpc.StatusCode.UNAVAILABLE: Exit.UNREACHABLE,
        grpc.StatusCode.PERMISSION_DENIED: Exit.NOT_PERMITTED,
        grpc.StatusCode.UNAUTHENTICATED: Exit.NOT_PERMITTED,
    }
    if code is grpc.StatusCode.INVALID_ARGUMENT and len(lines) > 1:
        message = "the request is wrong in several places"
    return Failure(message or code.name, lines, exits.get(code, Exit.REFUSED))
