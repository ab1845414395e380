"""Bytes of a stream -> OpenFlow messages, each checked before anything else looks at it. Pure.

os-ken's parsers believe every length they are told: an element of length 0 in a Hello makes one loop for
ever (OpenFlow 1.4.1, 7.5.1 leaves the check to the receiver). So what goes to os-ken is checked here, byte
for byte where it must be, and everything that os-ken need not see never gets there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from controller.openflow import wire
from controller.openflow.decode import Malformed

_FEATURES_REPLY_SIZE = 32
_HELLO_ELEMENT_SIZE_MIN = 8


class Message(NamedTuple):
    """One message: what its header says, and all its bytes, the header included."""

    version: int
    type: int
    xid: int
    data: bytes

    @property
    def body(self) -> bytes:
        """What follows the header."""
        return self.data[wire.HEADER.size :]


class Framer:
    """Cuts a stream into messages. After Malformed the stream has no meaning any more: close it."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are complete now; raises Malformed. At most 64 KiB are kept for the next call."""
        rest = self._rest + data if self._rest else data
        at, end = 0, len(rest)
        try:
            while end - at >= wire.HEADER.size:
                version, kind, length, xid = wire.HEADER.unpack_from(rest, at)
                if length < wire.HEADER.size:
                    raise Malformed(f"a message of {length} bytes")
                if version != wire.VERSION and kind not in (wire.HELLO, wire.ERROR):
                    raise Malformed(f"a message of version {version:#x} and type {kind}")
                if end - at < length:
                    break
                message = Message(version, kind, xid, rest[at : at + length])
                at += length
                yield message
        finally:
            self._rest = rest[at:]


def check_for_os_ken(message: Message) -> None:
    """Raise Malformed unless os-ken's parser is safe with this message; only four types ever are."""
    size = len(message.data)
    if message.type == wire.HELLO:
        _check_hello(message.data)
    elif message.type == wire.FEATURES_REPLY:
        if size != _FEATURES_REPLY_SIZE:
            raise Malformed(f"a features reply of {size} bytes")
    elif message.type not in (wire.ECHO_REQUEST, wire.ECHO_REPLY):
        raise Malformed(f"a message of type {message.type} before the session is admitted")


def _check_hello(data: bytes) -> None:
    """Hello elements (7.5.1): inside the message, longer than nothing, and aligned, as os-ken skips no
    padding.
    """
    at, end = wire.HEADER.size, len(data)
    while at < end:
        if end - at < _HELLO_ELEMENT_SIZE_MIN:
            raise Malformed("a hello element is cut off")
        _, length = wire.TYPE_LENGTH.unpack_from(data, at)
        if length < _HELLO_ELEMENT_SIZE_MIN or length % 8 or length > end - at:
            raise Malformed(f"a hello element of {length} bytes where {end - at} are left")
        at += length
