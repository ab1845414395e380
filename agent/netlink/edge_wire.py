"""Bytes of the rtnetlink messages of an edge's namespace: devices, addresses, routes, permanent neighbours.
Pure.

Layouts are those of linux/rtnetlink.h, linux/if_addr.h, linux/if_link.h and linux/neighbour.h. Sequence
numbers are left 0; the sender of a batch fills them in.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from agent.netlink.wire import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REPLACE,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWNEIGH,
    RTM_SETLINK,
    attributes,
    message,
    pack_attributes,
)
from agent.plan import Address, Neighbour, Route
from cloison.addresses import IpNetwork, Mac

_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26
_AF = {4: 2, 6: 10}
_LINK, _ADDRESS = struct.Struct("=BxHiII"), struct.Struct("=BBBBI")
_ROUTE, _NEIGHBOUR = struct.Struct("=BBBBBBBBI"), struct.Struct("=BxxxiHBB")
_U32 = struct.Struct("=I")
_IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_LINKINFO = 1, 3, 4, 5, 18
_IFLA_NET_NS_FD, _INFO_KIND, _INFO_DATA, _VETH_INFO_PEER = 28, 1, 2, 1
_RTM_NEWLINK, _NLM_F_EXCL = 16, 0x200
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
# Usable at once, and no route follows from it.
_IFA_F_NODAD, _IFA_F_NOPREFIXROUTE = 0x02, 0x200
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_MULTIPATH, _RTA_TABLE = 1, 4, 5, 9, 15
_TABLE_MAIN, _PROTO_KERNEL, _PROTO_STATIC = 254, 2, 4
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_NOWHERE = 0, 253, 255
_TYPE_UNICAST = 1
_RTNH_F_ONLINK, _RTM_F_CLONED = 0x4, 0x200
_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_PERMANENT = 0x80


@dataclass(frozen=True, slots=True)
class Device:
    """A device as it is. peer: index of the other end where it is a veth, else 0."""

    ifindex: int
    name: str
    kind: str
    mac: Mac
    mtu: int
    up: bool
    peer: int


def _message(kind: int, flags: int, body: bytes, values: Iterable[tuple[int, bytes]] = ()) -> bytes:
    return message(kind, flags, body + pack_attributes(*values))


def set_link(ifindex: int, *, mac: Mac | None = None, mtu: int = 0, up: bool | None = None) -> bytes:
    """Return the message that alters a device; what is not given stays."""
    values = []
    if mac is not None:
        values.append((_IFLA_ADDRESS, mac.to_bytes(6, "big")))
    if mtu:
        values.append((_IFLA_MTU, _U32.pack(mtu)))
    change = 0 if up is None else _IFF_UP
    return _message(RTM_SETLINK, 0, _LINK.pack(0, 0, ifindex, _IFF_UP if up else 0, change), values)


def new_pair(name: str, mtu: int, netns: int, peer: str, peer_mac: Mac) -> bytes:
    """Return the message that makes a pair of devices.

    name is here, peer in the namespace of that descriptor.
    """
    there = _LINK.pack(0, 0, 0, 0, 0) + pack_attributes(
        (_IFLA_IFNAME, peer.encode() + b"\0"),
        (_IFLA_MTU, _U32.pack(mtu)),
        (_IFLA_ADDRESS, peer_mac.to_bytes(6, "big")),
        (_IFLA_NET_NS_FD, _U32.pack(netns)),
    )
    data = pack_attributes((_VETH_INFO_PEER, there))
    info = pack_attributes((_INFO_KIND, b"veth"), (_INFO_DATA, data))
    values = [(_IFLA_IFNAME, name.encode() + b"\0"), (_IFLA_MTU, _U32.pack(mtu)), (_IFLA_LINKINFO, info)]
    return _message(_RTM_NEWLINK, NLM_F_CREATE | _NLM_F_EXCL, _LINK.pack(0, 0, 0, 0, 0), values)


def delete_link(ifindex: int) -> bytes:
    """Return the message that deletes a device, and with it the other end of its pair."""
    return _message(RTM_DELLINK, 0, _LINK.pack(0, 0, ifindex, 0, 0))


def device(body: memoryview) -> Device:
    """Read the body of RTM_NEWLINK."""
    _, _, ifindex, flags, _ = _LINK.unpack_from(body)
    found = dict(attributes(body, _LINK.size))
    info = dict(attributes(found.get(_IFLA_LINKINFO, memoryview(b"")), 0))
    kind = _text(info.get(_INFO_KIND))
    return Device(
        ifindex=ifindex,
        name=_text(found.get(_IFLA_IFNAME)),
        kind=kind,
        mac=Mac(int.from_bytes(found.get(_IFLA_ADDRESS, b""), "big")),
        mtu=_number(found.get(_IFLA_MTU)),
        up=bool(flags & _IFF_UP),
        peer=_number(found.get(_IFLA_LINK)),
    )


def put_address(address: Address, ifindex: int) -> bytes:
    """Return the message that gives a device an address."""
    return _message(_RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, *_address(address, ifindex, is_new=True))


def delete_address(address: Address, ifindex: int) -> bytes:
    """Return the message that takes an address from a device."""
    return _message(_RTM_DELADDR, 0, *_address(address, ifindex, is_new=False))


def _address(address: Address, ifindex: int, *, is_new: bool) -> tuple[bytes, list[tuple[int, bytes]]]:
    packed, version = address.address.packed, address.address.version
    values = [(_IFA_LOCAL, packed), (_IFA_ADDRESS, packed)]
    if is_new:
        values.append((_IFA_FLAGS, _U32.pack(_IFA_F_NODAD | _IFA_F_NOPREFIXROUTE)))
    return _ADDRESS.pack(_AF[version], address.prefix_length, 0, _SCOPE_UNIVERSE, ifindex), values


def dump_addresses() -> bytes:
    """Return the request for all addresses."""
    return _message(_RTM_GETADDR, NLM_F_DUMP, _ADDRESS.pack(0, 0, 0, 0, 0))


def address(body: memoryview, legs: Mapping[int, str]) -> Address | None:
    """Read the body of RTM_NEWADDR.

    None for a link-local one, which is the kernel's, and for other devices.
    """
    _, length, _, _, ifindex = _ADDRESS.unpack_from(body)
    found = dict(attributes(body, _ADDRESS.size))
    at = ip_address(bytes(found.get(_IFA_LOCAL) or found[_IFA_ADDRESS]))
    if ifindex not in legs or (at.version == 6 and at.is_link_local):
        return None
    return Address(legs[ifindex], at, length)


def put_route(route: Route, ifindex: int) -> bytes:
    """Return the message that makes a route.

    There is another one to the same destination at most for a moment.
    """
    flags = 0 if route.via is None else _RTNH_F_ONLINK
    scope = _SCOPE_LINK if route.via is None and route.destination.version == 4 else _SCOPE_UNIVERSE
    head = (_AF[route.destination.version], route.destination.prefixlen, 0, 0, _TABLE_MAIN)
    body = _ROUTE.pack(*head, _PROTO_STATIC, scope, _TYPE_UNICAST, flags)
    return _message(_RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body, _route(route, ifindex))


def delete_route(route: Route, ifindex: int) -> bytes:
    """Return the message that takes a route away; ifindex 0: of whatever device."""
    head = (_AF[route.destination.version], route.destination.prefixlen, 0, 0, _TABLE_MAIN)
    return _message(_RTM_DELROUTE, 0, _ROUTE.pack(*head, 0, _SCOPE_NOWHERE, 0, 0), _route(route, ifindex))


def _route(route: Route, ifindex: int) -> list[tuple[int, bytes]]:
    values = [(_RTA_DST, route.destination.network_address.packed)] if route.destination.prefixlen else []
    if route.via is not None:
        values.append((_RTA_GATEWAY, route.via.packed))
    return [*values, (_RTA_OIF, _U32.pack(ifindex))] if ifindex else values


def dump_routes(version: int) -> bytes:
    """Return the request for the routes of a family."""
    return _message(_RTM_GETROUTE, NLM_F_DUMP, _ROUTE.pack(_AF[version], 0, 0, 0, 0, 0, 0, 0, 0))


def route(body: memoryview, legs: Mapping[int, str]) -> Route | None:
    """Read the body of RTM_NEWROUTE; None for what is not in the main table, or the kernel's own.

    One that is not to a device of ours, and by no other means, has leg ''.
    """
    family, length, _, _, table, protocol, _, kind, flags = _ROUTE.unpack_from(body)
    found = dict(attributes(body, _ROUTE.size))
    table = _number(found.get(_RTA_TABLE)) or table
    if table != _TABLE_MAIN or protocol == _PROTO_KERNEL or flags & _RTM_F_CLONED:
        return None
    destination = _network(family, bytes(found.get(_RTA_DST, b"")), length)
    via = found.get(_RTA_GATEWAY)
    plain = kind == _TYPE_UNICAST and _RTA_MULTIPATH not in found
    leg = legs.get(_number(found.get(_RTA_OIF)), "") if plain else ""
    return Route(destination, None if via is None else ip_address(bytes(via)), leg)


def put_neighbour(neighbour: Neighbour, ifindex: int) -> bytes:
    """Return the message that makes a neighbour permanent."""
    body = _NEIGHBOUR.pack(_AF[neighbour.address.version], ifindex, _NUD_PERMANENT, 0, 0)
    values = [(_NDA_DST, neighbour.address.packed), (_NDA_LLADDR, neighbour.mac.to_bytes(6, "big"))]
    return _message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, body, values)


def delete_neighbour(neighbour: Neighbour, ifindex: int) -> bytes:
    """Return the message that forgets a neighbour."""
    body = _NEIGHBOUR.pack(_AF[neighbour.address.version], ifindex, 0, 0, 0)
    return _message(RTM_DELNEIGH, 0, body, [(_NDA_DST, neighbour.address.packed)])


def dump_neighbours(version: int) -> bytes:
    """Return the request for the neighbours of a family."""
    return _message(RTM_GETNEIGH, NLM_F_DUMP, _NEIGHBOUR.pack(_AF[version], 0, 0, 0, 0))


def neighbour(body: memoryview, legs: Mapping[int, str]) -> Neighbour | None:
    """Read the body of RTM_NEWNEIGH; None for those that are not permanent, and for other devices."""
    _, ifindex, state, _, _ = _NEIGHBOUR.unpack_from(body)
    found = dict(attributes(body, _NEIGHBOUR.size))
    if not state & _NUD_PERMANENT or ifindex not in legs or _NDA_DST not in found:
        return None
    mac = Mac(int.from_bytes(found.get(_NDA_LLADDR, b""), "big"))
    return Neighbour(legs[ifindex], ip_address(bytes(found[_NDA_DST])), mac)


def _network(family: int, packed: bytes, length: int) -> IpNetwork:
    if family == _AF[4]:
        return IPv4Network((IPv4Address(packed) if packed else 0, length))
    return IPv6Network((IPv6Address(packed) if packed else 0, length))


def _number(value: memoryview | None) -> int:
    return 0 if value is None else int(_U32.unpack(value)[0])


def _text(value: memoryview | None) -> str:
    return "" if value is None else bytes(value).rstrip(b"\0").decode("utf-8", "replace")
