"""The pair of devices between the bridge and the local services, through pyroute2.

One end is a port of the bridge; on the other the services read and write frames. Nothing of the kernel
speaks on either: no addresses, IPv6 off.
"""

from __future__ import annotations

from typing import Any

from agent.netlink.links import hush
from agent.netlink.route import AsyncIPRoute, IoctlEthtool, NetlinkError
from agent.plan import SERVICE_AGENT_LINK, ServiceLink
from cloison.errors import Unavailable
from cloison.service_link import SERVICE_LINK

MTU_BYTES = 9216
"""What a guest may send to be told that it is too large; no packet of the overlay comes near it."""
_IFF_UP = 1
_ENODEV = 19
_OFFLOADS = ("tx-checksumming", "generic-segmentation-offload")


async def ensure() -> ServiceLink:
    """Return the pair, made or put right if need be; raises Unavailable with the kernel's words."""
    try:
        async with AsyncIPRoute(ext_ack=True) as route:
            return await _ensure(route)
    except NetlinkError as err:
        raise Unavailable(f"{SERVICE_LINK}: refused: {err.args[-1]}") from err
    except OSError as err:
        raise Unavailable(f"{SERVICE_LINK}: {err.strerror or err}") from err


async def _ensure(route: Any) -> ServiceLink:
    near, far = await _look(route, SERVICE_LINK), await _look(route, SERVICE_AGENT_LINK)
    if near is None or far is None or near.get("IFLA_LINK") != far["index"]:
        for name, link in ((SERVICE_LINK, near), (SERVICE_AGENT_LINK, far)):
            if link is not None:
                await _delete(route, name)
        await route.link("add", ifname=SERVICE_LINK, kind="veth", peer={"ifname": SERVICE_AGENT_LINK})
        near, far = await _look(route, SERVICE_LINK), await _look(route, SERVICE_AGENT_LINK)
        if near is None or far is None:
            raise Unavailable(f"{SERVICE_LINK} is gone as soon as it was made")
    for name, link in ((SERVICE_LINK, near), (SERVICE_AGENT_LINK, far)):
        hush(name)
        if link.get("IFLA_MTU") != MTU_BYTES or not link["flags"] & _IFF_UP:
            _no_offloads(name)
            await route.link("set", ifname=name, mtu=MTU_BYTES, state="up")
    return ServiceLink(near["index"], far["index"])


async def _look(route: Any, name: str) -> Any:
    """Return the device of that name, None if there is none; raises Unavailable if it is no veth."""
    try:
        found = await route.link("get", ifname=name)
    except NetlinkError as err:
        if err.code == _ENODEV:
            return None
        raise
    info = found[0].get("IFLA_LINKINFO")
    if info is None or info.get("IFLA_INFO_KIND") != "veth":
        raise Unavailable(f"{name} is the name of a device that is not a veth")
    return found[0]


async def _delete(route: Any, name: str) -> None:
    try:
        await route.link("del", ifname=name)
    except NetlinkError as err:
        if err.code != _ENODEV:  # one end takes the other along
            raise


def _no_offloads(name: str) -> None:
    """Let the kernel finish checksums and cut segments before a frame goes in: nobody would do it later."""
    device = IoctlEthtool(name)
    try:
        for feature in _OFFLOADS:
            device.set_offload_flag(feature, False)
    finally:
        device.close()
