"""The ports of a bridge by number and name: what the switch itself says, not what an agent reported.

A port number is only a number: after a restart of the bridge another interface may have it. So whoever is
about to name one in a flow can hold it against this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controller.openflow import wire
from controller.openflow.decode import Malformed, decode_error
from controller.openflow.exchange import control_message
from controller.openflow.framing import Message
from controller.openflow.refusal import SwitchRefused, flow_error


def decode_ports(body: bytes) -> Iterator[tuple[int, str]]:
    """Number and name of each port description (7.2.1); raises Malformed."""
    offset = 0
    while offset < len(body):
        if len(body) - offset < wire.PORT.size:
            raise Malformed("a port description is cut off")
        number, length, name = wire.PORT.unpack_from(body, offset)
        if length < wire.PORT.size or offset + length > len(body):
            raise Malformed(f"a port description of {length} bytes")
        yield number, name.rstrip(b"\0").decode("utf-8", "replace")
        offset += length


def decode_port_status(body: bytes) -> tuple[int, str | None]:
    """Number and name of a port that came or changed, name None if it is gone (7.4.3); raises Malformed."""
    if not body:
        raise Malformed("an empty port status")
    for number, name in decode_ports(body[wire.PORT_STATUS_HEAD_SIZE :]):
        return number, None if body[0] == wire.PORT_REASON_DELETE else name
    raise Malformed("a port status without a port")


class PortsExchange:
    """All ports of a switch (7.3.5.8)."""

    xids = 1

    def __init__(self, *, allowed_s: float = 10.0) -> None:
        self.allowed_s = allowed_s
        self.done = False
        self.ports: dict[int, str] = {}
        self._failure: Exception | None = None

    def start(self, xid: int) -> Iterator[bytes]:
        """The request."""
        yield control_message(wire.MULTIPART_REQUEST, xid, wire.MULTIPART.pack(wire.MP_PORT_DESC, 0))

    def receive(self, message: Message) -> Iterable[bytes]:
        """One part of the answer."""
        if message.type == wire.ERROR:
            self._failure = SwitchRefused([flow_error(None, decode_error(message.body))])
            self.done = True
        elif message.type == wire.MULTIPART_REPLY:
            if len(message.body) < wire.MULTIPART.size:
                raise Malformed("a multipart reply without its header")
            kind, flags = wire.MULTIPART.unpack_from(message.body)
            if kind != wire.MP_PORT_DESC:
                raise Malformed(f"a multipart reply of type {kind} to a request of type {wire.MP_PORT_DESC}")
            self.ports.update(decode_ports(message.body[wire.MULTIPART.size :]))
            self.done = not flags & wire.MP_MORE
        return ()

    def failure(self) -> Exception | None:
        """What the switch said instead of an answer."""
        return self._failure
