"""A list that a switch tells in parts (OpenFlow 1.4.1, 7.3.5): asked for, collected, decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from controller.openflow import wire
from controller.openflow.decode import Malformed, decode_error
from controller.openflow.exchange import control_message
from controller.openflow.framing import Message
from controller.openflow.refusal import SwitchRefused, flow_error

T = TypeVar("T")


class MultipartExchange(Generic[T]):
    """One multipart request; result has what decode made of the bodies of all parts, in order."""

    xids = 1

    def __init__(
        self, kind: int, request: bytes, decode: Callable[[bytes], Iterable[T]], *, allowed_s: float = 10.0
    ) -> None:
        self.allowed_s = allowed_s
        self.done = False
        self.result: list[T] = []
        self._kind = kind
        self._request = request
        self._decode = decode
        self._failure: Exception | None = None

    def start(self, xid: int) -> Iterator[bytes]:
        """The request."""
        body = wire.MULTIPART.pack(self._kind, 0) + self._request
        yield control_message(wire.MULTIPART_REQUEST, xid, body)

    def receive(self, message: Message) -> Iterable[bytes]:
        """One part of the answer."""
        if message.type == wire.ERROR:
            self._failure = SwitchRefused([flow_error(None, decode_error(message.body))])
            self.done = True
        elif message.type == wire.MULTIPART_REPLY:
            if len(message.body) < wire.MULTIPART.size:
                raise Malformed("a multipart reply without its header")
            kind, flags = wire.MULTIPART.unpack_from(message.body)
            if kind != self._kind:
                raise Malformed(f"a multipart reply of type {kind} to a request of type {self._kind}")
            self.result += self._decode(message.body[wire.MULTIPART.size :])
            self.done = not flags & wire.MP_MORE
        return ()

    def failure(self) -> Exception | None:
        """What the switch said instead of an answer."""
        return self._failure
