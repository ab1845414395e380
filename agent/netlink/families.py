"""Which generic netlink families the kernel has: whether Open vSwitch's kernel datapath can work."""

from __future__ import annotations

import struct

from agent.netlink import wire
from agent.netlink.requests import open_socket

_NETLINK_GENERIC, _GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_NAME = 16, 16, 3, 2
_TIMEOUT_S = 2.0


def kernel_datapath_works() -> bool:
    """Tell whether the family ovs_datapath is there; asking for it makes the kernel load its module."""
    name = b"ovs_datapath\0"
    attribute = struct.pack("=HH", 4 + len(name), _CTRL_ATTR_FAMILY_NAME) + name + b"\0" * (-len(name) % 4)
    body = struct.pack("=BBH", _CTRL_CMD_GETFAMILY, 1, 0) + attribute
    request = wire.HEADER.pack(wire.HEADER.size + len(body), _GENL_ID_CTRL, wire.NLM_F_REQUEST, 1, 0) + body
    with open_socket(protocol=_NETLINK_GENERIC) as sock:
        sock.settimeout(_TIMEOUT_S)
        try:
            sock.send(request)
            answer = sock.recv(65536)
        except TimeoutError:
            return False
    return any(kind != wire.NLMSG_ERROR for kind, _, _, _ in wire.messages(answer))
