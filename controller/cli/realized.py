"""--wait: until hosts confirm that they run what was changed; who is missing if they don't."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

import click

from cloison.v1 import common_pb2, watch_pb2, watch_pb2_grpc
from controller.cli import session
from controller.cli.failures import Exit, Failure

F = TypeVar("F", bound=Callable[..., Any])
# Beyond what the controller is asked to wait: the way there and back.
GRACE_S = 10.0


def options(function: F) -> F:
    """Add --wait and --timeout to a command."""
    function = click.option(
        "--timeout",
        type=click.FloatRange(0, 600),
        default=30.0,
        show_default=True,
        metavar="SECONDS",
        help="How long --wait waits.",
    )(function)
    return click.option("--wait", is_flag=True, help="Return when every host concerned enforces it.")(
        function
    )


def lines_of(conditions: Iterable[common_pb2.Condition]) -> list[str]:
    """Return conditions as lines for people."""
    return [f"{c.reason}: {c.message}" for c in conditions]


def wait(name: str, revision: int, timeout_s: float) -> int:
    """Wait until a resource ("" for everything) is real at a revision; raises Failure saying what misses."""
    request = watch_pb2.WaitRealizedRequest(name=name, revision=revision)
    request.timeout.FromTimedelta(timedelta(seconds=timeout_s))
    stub = watch_pb2_grpc.StateServiceStub(session.current().channel)
    answer = session.current().call(stub.WaitRealized, request, timeout_s + GRACE_S)
    if answer.realized:
        return int(answer.revision)
    what = name or f"revision {answer.revision}"
    raise Failure(
        f"{what} is changed in the store, but not in force everywhere after {timeout_s:g} s",
        [*lines_of(answer.missing), "next: `cloison status`, `cloison host list`; it goes on by itself"],
        Exit.NOT_REALIZED,
    )
