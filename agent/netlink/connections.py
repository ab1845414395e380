"""Connections that a namespace tracks: read, and forget those that may not go on (ctnetlink).

Layouts are those of linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h. A table of 100,000 takes about a
second.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from agent.netlink.requests import Requests
from agent.netlink.wire import NFGENMSG, NLM_F_DUMP, attributes, message, pack_attributes
from agent.plan import Connection
from cloison.addresses import IpAddress
from cloison.errors import Unavailable

_GET, _DELETE = 0x101, 0x102
_ORIGINAL, _REPLY, _TUPLE_IP = 1, 2, 1
_NESTED = 0x8000
# Source and destination of a tuple, by the attribute of the source.
_SOURCES: dict[int, type[IPv4Address] | type[IPv6Address]] = {1: IPv4Address, 3: IPv6Address}


async def forget(requests: Requests, holds: Callable[[Connection], bool]) -> int:
    """Forget every connection of the socket's namespace that does not hold; how many. Raises Unavailable."""
    doomed = []
    async for bodies in requests.dump(_message(_GET, NLM_F_DUMP, 0)):
        for body in bodies:
            found = _read(body)
            if found is not None and not holds(found[0]):
                doomed.append(_delete(body[0], found[1]))
    refusals, _ = await requests.batch(doomed)
    left = [refusal for refusal in refusals if refusal.errno != errno.ENOENT]
    if left:
        raise Unavailable(f"connections that may not go on cannot be forgotten: {left[0]}")
    return len(doomed)


def _read(body: memoryview) -> tuple[Connection, memoryview] | None:
    """Return a connection and its original tuple as it came; None for one of another family."""
    found = dict(attributes(body, NFGENMSG.size))
    if _ORIGINAL not in found or _REPLY not in found:
        return None
    begun, answered = _ends(found[_ORIGINAL]), _ends(found[_REPLY])
    if begun is None or answered is None:
        return None
    return Connection(*begun, *answered), found[_ORIGINAL]


def _ends(value: memoryview) -> tuple[IpAddress, IpAddress] | None:
    ips = dict(attributes(dict(attributes(value, 0)).get(_TUPLE_IP, memoryview(b"")), 0))
    for source, kind in _SOURCES.items():
        if source in ips and source + 1 in ips:
            return kind(bytes(ips[source])), kind(bytes(ips[source + 1]))
    return None


def _delete(family: int, original: memoryview) -> bytes:
    return _message(_DELETE, 0, family, pack_attributes((_ORIGINAL | _NESTED, bytes(original))))


def _message(kind: int, flags: int, family: int, values: bytes = b"") -> bytes:
    return message(kind, flags, NFGENMSG.pack(family, 0, 0) + values)
