"""The error tree of the contract as google.rpc.Status: code, sentence, and details a program can act on.

What is not in that tree is our own fault: it is logged with its traceback under an id, and the caller
learns the id and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import uuid4

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from cloison import errors as tree
from cloison.errors import CallerError, CloisonError

DOMAIN = "cloison"
STATUS_METADATA_KEY = "grpc-status-details-bin"
# Trailers are limited to 8 KiB by default on the other side (message and details, base64 included).
DETAILS_MAX = 20
DETAILS_BYTES_MAX = 3000
MESSAGE_CHARS_MAX = 1500

log = structlog.get_logger(__name__)


class Unauthenticated(CallerError):
    """The peer showed no certificate that names it."""


class OutOfRange(CallerError):
    """The revision asked for is no longer (or not yet) known: begin with a snapshot."""


class PlanMoved(CallerError):
    """The plan that was shown is not what would be done now. Nothing was changed; plan again."""

    def __init__(self, reason: str, subjects: Sequence[str] = ()) -> None:
        self.subjects = tuple(subjects)
        super().__init__(f"the plan does not hold any more, nothing was changed: {reason}")


_CODES: dict[type[CloisonError], tuple[grpc.StatusCode, str]] = {
    tree.InvalidIntent: (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
    tree.NotFound: (grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    tree.AlreadyExists: (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS"),
    tree.Conflict: (grpc.StatusCode.ABORTED, "ETAG_MISMATCH"),
    tree.Precondition: (grpc.StatusCode.FAILED_PRECONDITION, "PRECONDITION"),
    tree.PermissionDenied: (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
    tree.Exhausted: (grpc.StatusCode.RESOURCE_EXHAUSTED, "EXHAUSTED"),
    tree.Unavailable: (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
    Unauthenticated: (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
    OutOfRange: (grpc.StatusCode.OUT_OF_RANGE, "REVISION_TOO_OLD"),
    PlanMoved: (grpc.StatusCode.ABORTED, "PLAN_MOVED"),
}


def _code_and_reason(error: CloisonError) -> tuple[grpc.StatusCode, str]:
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    return grpc.StatusCode.UNKNOWN, "UNKNOWN"


def _clip(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else text[: chars_max - 3] + "..."


def _resource_info(name: str, description: str) -> error_details_pb2.ResourceInfo:
    collections = name.split("/")[::2]
    kind = collections[-1].removesuffix("s").capitalize() if collections else ""
    return error_details_pb2.ResourceInfo(
        resource_type=f"cloison.v1/{kind}",
        resource_name=_clip(name, 300),
        description=_clip(description, 300),
    )


def _bad_request(violations: Sequence[tree.FieldViolation]) -> error_details_pb2.BadRequest:
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field=_clip(v.field, 120), description=_clip(f"{v.value!r} is wrong: {v.expected}", 400)
            )
            for v in violations[:DETAILS_MAX]
        ]
    )


def _precondition(error: tree.Precondition) -> error_details_pb2.PreconditionFailure:
    subjects = error.subjects[:DETAILS_MAX] or (error.name,)
    return error_details_pb2.PreconditionFailure(
        violations=[
            error_details_pb2.PreconditionFailure.Violation(
                type=error.kind, subject=subject, description=_clip(error.description, 400) if i == 0 else ""
            )
            for i, subject in enumerate(subjects)
        ]
    )


def _details(error: CloisonError) -> Iterable[Message]:
    if isinstance(error, tree.InvalidIntent):
        yield _bad_request(error.violations)
    elif isinstance(error, tree.Precondition):
        yield _precondition(error)
    elif isinstance(error, tree.NotFound | tree.AlreadyExists | tree.Conflict):
        yield _resource_info(error.name, str(error))
    elif isinstance(error, tree.Unavailable):
        seconds, fraction = divmod(error.retry_delay_s, 1)
        yield error_details_pb2.RetryInfo(
            retry_delay=Duration(seconds=int(seconds), nanos=int(fraction * 1_000_000_000))
        )


def _error_info(error: CloisonError, reason: str) -> error_details_pb2.ErrorInfo:
    metadata: dict[str, str] = {}
    if isinstance(error, tree.Precondition):
        reason = error.kind
        metadata["name"] = error.name
        if len(error.subjects) > DETAILS_MAX:
            metadata["subjects"] = str(len(error.subjects))
    elif isinstance(error, tree.Conflict):
        metadata = {"etag": _clip(error.etag, 120), "current_etag": error.current}
    elif isinstance(error, PlanMoved):
        metadata = {"moved": _clip(" ".join(error.subjects), 1000)}
    if error.place:
        metadata["operation"] = error.place
    return error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)


def to_status(error: CloisonError) -> tuple[grpc.StatusCode, status_pb2.Status]:
    """Return code and google.rpc.Status of an error of ours; always small enough for the trailers."""
    code, reason = _code_and_reason(error)
    # (Fields that are wrong say where they are.)
    place = "" if isinstance(error, tree.InvalidIntent) or not error.place else f"{error.place}: "
    status = status_pb2.Status(code=code.value[0], message=_clip(f"{place}{error}", MESSAGE_CHARS_MAX))
    for detail in (_error_info(error, reason), *_details(error)):
        packed = AnyMessage()
        packed.Pack(detail)
        if status.ByteSize() + packed.ByteSize() > DETAILS_BYTES_MAX + MESSAGE_CHARS_MAX:
            detail = _halved(detail)
            packed.Pack(detail)
        status.details.append(packed)
    return code, status


def _halved(detail: Any) -> Any:
    """Keep the first few entries of a detail that is too long; the sentence still says how many there are."""
    if isinstance(detail, error_details_pb2.BadRequest):
        return error_details_pb2.BadRequest(field_violations=detail.field_violations[:4])
    if isinstance(detail, error_details_pb2.PreconditionFailure):
        return error_details_pb2.PreconditionFailure(violations=detail.violations[:4])
    return detail


def unexpected(error: BaseException, method: str) -> tuple[grpc.StatusCode, status_pb2.Status]:
    """Log an error that is ours to mend under a new id; return a status that tells the id only."""
    incident = uuid4().hex[:12]
    log.error("unexpected error", method=method, incident=incident, exc_info=error)
    code = grpc.StatusCode.INTERNAL
    message = f"internal error {incident}: it is in the controller's log under this id"
    return code, status_pb2.Status(code=code.value[0], message=message)


def unimplemented(method: str) -> tuple[grpc.StatusCode, status_pb2.Status]:
    """Return the status of a method that is declared and not (yet) served."""
    code = grpc.StatusCode.UNIMPLEMENTED
    return code, status_pb2.Status(code=code.value[0], message=f"{method} is not served here")


async def abort(context: grpc.aio.ServicerContext, code: grpc.StatusCode, status: status_pb2.Status) -> None:  # type: ignore[type-arg] # generic in the stubs only
    """End the call with this status (raises, always)."""
    await context.abort(code, status.message, ((STATUS_METADATA_KEY, status.SerializeToString()),))
