"""A network stack apart: a TUN device and listening sockets in a network namespace that nobody else enters.

The namespace has no name and no process: the device and the sockets hold it, so it is gone with whoever
holds them, also after a crash, and there is never anything to clean up. It has no way out: what comes out
of it can only be read from the device. To look inside: `nsenter --net=/proc/PID/fd/N`, N that of `netns`.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.netlink.namespaces import apart, unshare
from agent.netlink.route import AsyncIPRoute, NetlinkError
from cloison.addresses import IpAddress, IpNetwork
from cloison.errors import Unavailable

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_IFF_NAME = "services"
_IFA_F_NODAD = 0x02
_SYSCTL = Path("/proc/sys/net")
_FAILURE = "no stack for the local services"

# Half-open and orphaned connections of hostile guests end soon, and no connection may hold much memory.
_SETTINGS = {
    "ipv4/tcp_fin_timeout": "10",
    "ipv4/tcp_synack_retries": "1",
    "ipv4/tcp_orphan_retries": "2",
    "ipv4/tcp_retries2": "6",
    "ipv4/tcp_syncookies": "1",
    "ipv4/tcp_max_syn_backlog": "4096",
    "core/somaxconn": "4096",
    "ipv4/tcp_max_tw_buckets": "4096",
    "ipv4/tcp_rmem": "4096 16384 65536",
    "ipv4/tcp_wmem": "4096 16384 65536",
    "ipv4/ip_forward": "0",
    "ipv6/conf/all/forwarding": "0",
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/default/accept_dad": "0",
    "ipv6/conf/default/addr_gen_mode": "1",
}


@dataclass(frozen=True, slots=True)
class Stack:
    """What was made. `tun` reads and takes whole IP packets without a header; all is non-blocking."""

    netns: int
    tun: int
    listeners: dict[tuple[IpAddress, int], socket.socket] = field(default_factory=dict)

    def close(self) -> None:
        """Close all of it: the namespace ends once the last accepted connection is closed too."""
        for listener in self.listeners.values():
            listener.close()
        for descriptor in (self.tun, self.netns):
            if descriptor >= 0:
                os.close(descriptor)


async def open_stack(
    mtu: int, routes: Sequence[IpNetwork], listen: Sequence[tuple[IpAddress, int]], backlog: int = 128
) -> Stack:
    """Make a namespace that has the addresses listened at, and the routes, on one TUN device of that MTU.

    Raises Unavailable with the kernel's words. Needs CAP_SYS_ADMIN and CAP_NET_ADMIN.
    """
    try:
        return await apart(lambda: _make(mtu, routes, listen, backlog), failure=_FAILURE)
    except NetlinkError as err:
        raise Unavailable(f"{_FAILURE}: {err}") from err


def _make(
    mtu: int, routes: Sequence[IpNetwork], listen: Sequence[tuple[IpAddress, int]], backlog: int
) -> Stack:
    """Do the work, in a thread that is thrown away."""
    netns = tun = -1
    listeners: dict[tuple[IpAddress, int], socket.socket] = {}
    try:
        unshare()
        netns = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        # The device is made in the namespace in which this file was opened.
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        _apply_settings()
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", _IFF_NAME.encode(), _IFF_TUN | _IFF_NO_PI))
        asyncio.run(_configure(mtu, {address for address, _ in listen}, routes))
        for address, port in listen:
            listeners[address, port] = _listener(address, port, backlog)
    except BaseException:
        Stack(netns, tun, listeners).close()
        raise
    return Stack(netns, tun, listeners)


def _apply_settings() -> None:
    """Write what is per namespace; what this kernel does not have, or does not let be written, stays."""
    for key, value in _SETTINGS.items():
        try:
            (_SYSCTL / key).write_text(value)
        except OSError as err:
            if err.errno not in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS):
                raise


async def _configure(mtu: int, addresses: set[IpAddress], routes: Sequence[IpNetwork]) -> None:
    async with AsyncIPRoute() as route:
        (index,) = await route.link_lookup(ifname=_IFF_NAME)
        await route.link("set", index=index, mtu=mtu, state="up")
        for address in sorted(addresses, key=str):
            # Without it an IPv6 address is tentative for a moment, and cannot be listened at.
            flags = {} if address.version == 4 else {"flags": _IFA_F_NODAD}
            await route.addr(
                "add", index=index, address=str(address), prefixlen=address.max_prefixlen, **flags
            )
        for network in routes:
            await route.route("add", dst=str(network), oif=index)


def _listener(address: IpAddress, port: int, backlog: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), port))
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return listener
