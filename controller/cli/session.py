"""One run of the command line: the context chosen, and the connection made from it when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import grpc

from controller.cli import contexts, failures

T = TypeVar("T")
CALL_TIMEOUT_S = 30.0


@dataclass
class Session:
    """What all commands share; --context overrides the file's choice."""

    context_name: str | None = None
    _channel: grpc.Channel | None = None

    @property
    def context(self) -> contexts.Context:
        """The context in use; raises a click error if there is none."""
        return contexts.load().chosen(self.context_name)[1]

    @property
    def channel(self) -> grpc.Channel:
        """The connection; nothing is sent before the first call."""
        if self._channel is None:
            self._channel = connect(self.context)
        return self._channel

    def call(self, method: Callable[..., T], request: Any, timeout_s: float = CALL_TIMEOUT_S) -> T:
        """Call a method of a stub; raises Failure."""
        try:
            return method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise failures.explain(error, self.context) from error

    def stream(self, method: Callable[..., Iterator[T]], request: Any) -> Iterator[T]:
        """Iterate over the answers of a streaming method; raises Failure."""
        try:
            yield from method(request)
        except grpc.RpcError as error:
            raise failures.explain(error, self.context) from error

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._channel is not None:
            self._channel.close()


def _read(context: contexts.Context, what: str) -> bytes:
    name = getattr(context, what)
    if not name:
        raise click.ClickException(
            f"the context names no {what} file. Set it: cloison context set NAME --{what} FILE "
            "(or --insecure for a controller without TLS)"
        )
    try:
        return Path(name).expanduser().read_bytes()
    except OSError as error:
        raise click.ClickException(f"cannot read the context's {what} {name}: {error.strerror}") from error


def connect(context: contexts.Context) -> grpc.Channel:
    """Return a channel to the context's endpoint; raises a click error for missing certificates."""
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", 64 << 20),
        ("grpc.initial_reconnect_backoff_ms", 200),
    ]
    if context.insecure:
        return grpc.insecure_channel(context.endpoint, options)
    credentials = grpc.ssl_channel_credentials(
        _read(context, "ca"), _read(context, "key"), _read(context, "cert")
    )
    options.append(("grpc.ssl_target_name_override", context.server_name))
    return grpc.secure_channel(context.endpoint, credentials, options)


def current() -> Session:
    """Return the session of the running command."""
    session = click.get_current_context().find_object(Session)
    assert session is not None
    return session
