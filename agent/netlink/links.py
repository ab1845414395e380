"""VXLAN devices through pyroute2: create, alter, delete. And what the underlay's MTU is.

A device carries frames of its tenant only: learning off, no flooding group, no addresses, IPv6 off, so
that the kernel never says anything on it by itself.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agent.netlink.route import AsyncIPRoute, NetlinkError
from agent.netlink.wire import VXLAN_PORT
from agent.plan import LinkSpec, Vtep, link_name, link_vni
from cloison.errors import Unavailable
from cloison.model import Vni

_SYSCTL = Path("/proc/sys/net/ipv6/conf")
_TTL_HOPS = 64
_ENODEV = 19
_SCOPE_GLOBAL = 0


class Links:
    """The command socket of pyroute2; one user at a time."""

    def __init__(self) -> None:
        self._route: Any = None

    async def __aenter__(self) -> Self:
        self._route = await AsyncIPRoute(ext_ack=True).__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._route.__aexit__(kind, error, trace)

    async def create(self, spec: LinkSpec, local: Vtep) -> None:
        """Make the device of a network and set it up; raises Unavailable with the kernel's words."""
        name = link_name(spec.vni)
        key = "vxlan_local" if len(local) == 4 else "vxlan_local6"
        options = {
            "kind": "vxlan",
            "vxlan_id": int(spec.vni),
            "vxlan_port": VXLAN_PORT,
            "vxlan_learning": 0,
            "vxlan_ttl": _TTL_HOPS,
            "mtu": spec.mtu,
            key: str(ipaddress.ip_address(local)),
        }
        await self._link("add", ifname=name, **options)
        # Down until IPv6 is off: a device that comes up with it speaks (DAD, MLD, router solicitations).
        hush(name)
        await self._link("set", ifname=name, state="up")

    async def update(self, spec: LinkSpec) -> None:
        """Put MTU, learning and state of an existing device right."""
        name = link_name(spec.vni)
        await self._link("set", ifname=name, kind="vxlan", vxlan_learning=0)
        hush(name)
        await self._link("set", ifname=name, mtu=spec.mtu, state="up")

    async def delete(self, vni: Vni) -> None:
        """Delete the device of a network; one that is gone already is fine."""
        try:
            await self._route.link("del", ifname=link_name(vni))
        except NetlinkError as err:
            if err.code != _ENODEV:
                raise Unavailable(f"{link_name(vni)} cannot be deleted: {err.args[-1]}") from err

    async def _link(self, command: str, **options: Any) -> None:
        try:
            await self._route.link(command, **options)
        except NetlinkError as err:
            raise Unavailable(f"{options['ifname']}: {command} refused: {err.args[-1]}") from err

    async def underlay_mtu(self, local: Vtep) -> int:
        """Return the MTU, in bytes, of the interface that has the VTEP address.

        If that is the loopback interface, the smallest MTU of the other interfaces that are up and have a
        global address; raises Unavailable if the address is nowhere.
        """
        wanted = str(ipaddress.ip_address(local))
        links = {link["index"]: link async for link in await self._route.link("dump")}
        owner, addressed = None, set()
        async for address in await self._route.addr("dump"):
            if address["scope"] == _SCOPE_GLOBAL:
                addressed.add(address["index"])
            if wanted in (address.get("IFA_LOCAL"), address.get("IFA_ADDRESS")):
                owner = links.get(address["index"])
        if owner is None:
            raise Unavailable(f"no interface has the VTEP address {wanted}")
        if owner.get("IFLA_IFNAME") != "lo":
            return int(owner.get("IFLA_MTU"))
        others = [
            int(link.get("IFLA_MTU"))
            for index, link in links.items()
            if index in addressed and link["flags"] & 1 and link.get("IFLA_IFNAME") != "lo"
            and link_vni(str(link.get("IFLA_IFNAME"))) is None
        ]  # fmt: skip
        return min(others, default=int(owner.get("IFLA_MTU")))


def hush(name: str) -> bool:
    """Keep the kernel's IPv6 off an interface.

    False if the interface is not there (or IPv6 is not compiled in).
    """
    if "/" in name or name in (".", "..", "all", "default"):
        return False
    try:
        for key, value in (("addr_gen_mode", "1"), ("disable_ipv6", "1")):
            path = _SYSCTL / name / key
            if path.read_text().strip() != value:
                path.write_text(value)
    except FileNotFoundError:
        return False
    except OSError as err:
        raise Unavailable(f"IPv6 cannot be turned off on {name}: {err.strerror}") from err
    return True
