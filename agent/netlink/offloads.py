"""Whether a device leaves checksums and segments to somebody after it (ethtool ioctls, linux/ethtool.h).

The userspace datapath takes frames as they are: what is left undone stays undone.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct

_SIOCETHTOOL = 0x8946
# Get and set: checksums when sending, segments.
_FEATURES = ((0x16, 0x17), (0x23, 0x24))


def finished(name: str) -> bool:
    """Tell whether a device of the calling thread's namespace finishes frames itself; raises OSError."""
    return not any(_ask(name, get, 0) for get, _ in _FEATURES)


def finish(name: str, *, is_wanted: bool) -> None:
    """Let a device finish frames itself, or leave that to what comes after it; raises OSError."""
    for _, put in _FEATURES:
        _ask(name, put, int(not is_wanted))


def _ask(name: str, command: int, value: int) -> int:
    data = ctypes.create_string_buffer(struct.pack("=II", command, value))
    request = struct.pack("@16sP16x", name.encode(), ctypes.addressof(data))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCETHTOOL, request)
    return int(struct.unpack_from("=I", data, 4)[0])
