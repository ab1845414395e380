"""The ports of a bridge by number and name: what the switch itself says, not what an agent reported.

A port number is only a number: after a restart of the bridge another interface may have it. So whoever is
about to name one in a flow can hold it against this.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.openflow import wire
from controller.openflow.decode import Malformed
from controller.openflow.multipart import MultipartExchange


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


def ports_exchange(*, allowed_s: float = 10.0) -> MultipartExchange[tuple[int, str]]:
    """All ports of a switch (7.3.5.8)."""
    return MultipartExchange(wire.MP_PORT_DESC, b"", decode_ports, allowed_s=allowed_s)
