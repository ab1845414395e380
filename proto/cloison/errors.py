"""The one tree of errors; each kind says who must act.

    CloisonError
    ├── CallerError                    the caller must change something; a retry gives the same answer
    │   ├── InvalidIntent              a field is wrong (field, value, what would be right)
    │   ├── NotFound
    │   ├── AlreadyExists
    │   ├── Conflict                   stale etag, or the object changed meanwhile
    │   ├── Precondition               the state does not allow it (referrers, quarantine, ...)
    │   ├── PermissionDenied
    │   └── Exhausted                  no free address, VNI, number
    └── Unavailable                    time must pass; retry with backoff

Errors of outside libraries never cross a seam: they are chained as the cause of one of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One wrong field: its path in the request, the value sent, and what would be right."""

    field: str
    value: str
    expected: str

    def __str__(self) -> str:
        return f"{self.field}: {self.value!r} is wrong: {self.expected}"


class CloisonError(Exception):
    """Root of every error this project raises on purpose.

    place: which operation it is of, in a request with several; empty elsewhere.
    """

    place: str = ""


class CallerError(CloisonError):
    """The caller must act; retrying the same call is useless."""


class InvalidIntent(CallerError):
    """One or more fields are wrong. Nothing was stored."""

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(str(v) for v in self.violations))

    @classmethod
    def of(cls, field: str, value: object, expected: str) -> InvalidIntent:
        """Make the error for a single field; long values are cut for the message."""
        text = str(value)
        return cls([FieldViolation(field, text if len(text) <= 120 else text[:117] + "...", expected)])


class NotFound(CallerError):
    """The named resource does not exist (or may not be seen by the caller)."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name} does not exist")


class AlreadyExists(CallerError):
    """The chosen id is taken by another object."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name} exists already")


class Conflict(CallerError):
    """The object is not what the caller believed: read it again, decide again."""

    def __init__(self, name: str, etag: str, current: str) -> None:
        self.name, self.etag, self.current = name, etag, current
        super().__init__(f"{name} changed: its etag is {current!r}, not {etag!r}; read it again")


class Precondition(CallerError):
    """The state does not allow the call.

    kind is a stable upper-snake word (REFERENCED, AGENT_CONNECTED, ...); subjects are the resources
    that stand in the way.
    """

    def __init__(self, kind: str, name: str, description: str, subjects: Sequence[str] = ()) -> None:
        self.kind, self.name, self.subjects = kind, name, tuple(subjects)
        self.description = description
        super().__init__(description)


class PermissionDenied(CallerError):
    """The caller's certificate does not allow this."""


class Exhausted(CallerError):
    """No free identifier is left of the kind asked for."""


class Unavailable(CloisonError):
    """A part that is needed does not answer now, or an identifier is still being released; retry."""

    def __init__(self, message: str, retry_delay_s: float = 1.0) -> None:
        self.retry_delay_s = retry_delay_s
        super().__init__(message)
