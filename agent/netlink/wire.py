"""Bytes of the rtnetlink messages that go in large numbers: FDB entries, reads of links,
acknowledgements. Pure.

Layouts are those of linux/netlink.h, linux/rtnetlink.h, linux/neighbour.h and linux/if_link.h. Sequence
numbers are left 0; the sender of a batch fills them in.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from agent.plan import Link, link_vni

NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK, NLM_F_DUMP_INTR = 0x1, 0x2, 0x4, 0x10
NLM_F_DUMP, NLM_F_REPLACE, NLM_F_CREATE = 0x300, 0x100, 0x400
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200
NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
AF_BRIDGE = 7

NTF_SELF = 0x02
STATIC_STATE = 0x80 | 0x40
"""NUD_PERMANENT and NUD_NOARP: an entry that never ages."""

HEADER = struct.Struct("=IHHII")
NETFILTER = 12
"""The netlink protocol of connection tracking and nftables; each of its messages begins with NFGENMSG."""
NFGENMSG = struct.Struct("=BBH")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_LINK = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")
_PUT4 = struct.Struct("=IHHII BxxxiHBB HH6sxx HH4s")
_PUT6 = struct.Struct("=IHHII BxxxiHBB HH6sxx HH16s")
_KEY = struct.Struct("=IHHII BxxxiHBB HH6sxx")
_LISTED4 = struct.Struct("=BxxxiHBx HH6sxx HH4s HH16x")
_U32 = struct.Struct("=I")

_NDA_DST, _NDA_LLADDR, _NDA_CACHEINFO, _NDA_LINK_NETNSID = 1, 2, 3, 10
_PLAIN_ATTRIBUTES = frozenset((_NDA_DST, _NDA_LLADDR, _NDA_CACHEINFO, _NDA_LINK_NETNSID))
_LISTED4_HEADS = (10, _NDA_LLADDR, 8, _NDA_DST, 20, _NDA_CACHEINFO)
_IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_GROUP, _IFLA_EXT_MASK = 3, 4, 18, 27, 29
_IFLA_INFO_KIND, _IFLA_INFO_DATA = 1, 2
_SKIP_STATS = 1 << 3
_IFF_UP = 1
_VXLAN_ID, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT, _VXLAN_LOCAL6 = 1, 4, 7, 15, 17
# What we never set: group, link, limit, proxy, rsc, l2miss, l3miss, group6, remcsum (tx, rx), gbp,
# remcsum_nopartial, collect_metadata, gpe, vnifilter.
_VXLAN_UNWANTED = (2, 3, 9, 11, 12, 13, 14, 16, 21, 22, 23, 24, 25, 27, 30)

VXLAN_PORT = 4789
"""RFC 7348, section 8."""
DOOMED_GROUP = 0x636C6F69
"""Device group used for deleting many at once; no other device may be in it."""
_DOOMED = (_IFLA_GROUP, _U32.pack(DOOMED_GROUP))


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An FDB entry as the kernel tells it; vtep is None if the entry has a form that we never write."""

    ifindex: int
    mac: int
    vtep: bytes | None


@dataclass(frozen=True, slots=True)
class LinkSeen:
    """A device with a name of ours; link is None if it is not a VXLAN device."""

    vni: int
    link: Link | None


def fdb_put(ifindex: int, mac: int, vtep: bytes) -> bytes:
    """Return the message that creates or replaces a static FDB entry."""
    template, length = (_PUT4, 8) if len(vtep) == 4 else (_PUT6, 20)
    flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE
    return template.pack(
        template.size, RTM_NEWNEIGH, flags, 0, 0, AF_BRIDGE, ifindex, STATIC_STATE, NTF_SELF, 0,
        10, _NDA_LLADDR, mac.to_bytes(6, "big"), length, _NDA_DST, vtep,
    )  # fmt: skip


def fdb_delete(ifindex: int, mac: int) -> bytes:
    """Return the message that deletes the entry of a MAC, with all its destinations."""
    return _key(RTM_DELNEIGH, ifindex, mac)


def fdb_get(ifindex: int, mac: int) -> bytes:
    """Return the message that asks for the entry of a MAC."""
    return _key(RTM_GETNEIGH, ifindex, mac)


def _key(kind: int, ifindex: int, mac: int) -> bytes:
    return _KEY.pack(
        _KEY.size, kind, NLM_F_REQUEST, 0, 0, AF_BRIDGE, ifindex, 0, NTF_SELF, 0,
        10, _NDA_LLADDR, mac.to_bytes(6, "big"),
    )  # fmt: skip


def fdb_dump(ifindex: int = 0) -> bytes:
    """Return the request for all FDB entries of one device (0: of all)."""
    return message(RTM_GETNEIGH, NLM_F_DUMP, _NEIGHBOUR.pack(AF_BRIDGE, ifindex, 0, 0, 0))


def link_dump() -> bytes:
    """Return the request for all devices, without their counters."""
    return _of_link(RTM_GETLINK, 0, (_IFLA_EXT_MASK, _U32.pack(_SKIP_STATS)), flags=NLM_F_DUMP)


def link_get(name: str) -> bytes:
    """Return the request for the device of that name."""
    return _of_link(RTM_GETLINK, 0, (_IFLA_IFNAME, name.encode() + b"\0"))


def link_group(ifindex: int) -> bytes:
    """Return the message that puts a device into the group of those to be deleted together."""
    return _of_link(RTM_SETLINK, ifindex, _DOOMED)


def group_delete() -> bytes:
    """Return the message that deletes all devices of that group."""
    return _of_link(RTM_DELLINK, 0, _DOOMED)


def _of_link(kind: int, ifindex: int, value: tuple[int, bytes], flags: int = 0) -> bytes:
    return message(kind, flags, _LINK.pack(0, 0, ifindex, 0, 0) + pack_attributes(value))


def message(kind: int, flags: int, body: bytes) -> bytes:
    """Return a request with that body and the sequence number 0."""
    return HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | flags, 0, 0) + body


def pack_attributes(*values: tuple[int, bytes]) -> bytes:
    """Return attributes of those (type, value), each filled up to four bytes."""
    return b"".join(
        _ATTRIBUTE.pack(4 + len(value), attribute) + value + b"\0" * (-len(value) % 4)
        for attribute, value in values
    )


def messages(data: bytes) -> Iterator[tuple[int, int, int, memoryview]]:
    """Yield (type, flags, sequence number, body) of every message in a datagram."""
    view, at = memoryview(data), 0
    while at + HEADER.size <= len(data):
        length, kind, flags, seq, _ = HEADER.unpack_from(data, at)
        if length < HEADER.size:
            return
        yield kind, flags, seq, view[at + HEADER.size : at + length]
        at += (length + 3) & ~3


def attributes(body: memoryview, at: int) -> Iterator[tuple[int, memoryview]]:
    """Yield (type, value) of the attributes from offset at; the nesting and byte order bits are cut off."""
    while at + 4 <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < 4:
            return
        yield kind & 0x3FFF, body[at + 4 : at + length]
        at += (length + 3) & ~3


def neighbour(body: memoryview) -> Neighbour | None:
    """Read the body of RTM_NEWNEIGH or RTM_DELNEIGH; None if it is not an FDB entry."""
    return _listed4(body) or _any_neighbour(body)


def _listed4(body: memoryview) -> Neighbour | None:
    """Read an entry in the very form in which the kernel tells what `fdb_put` made (IPv4): at once."""
    if len(body) != _LISTED4.size:
        return None
    family, ifindex, state, flags, *heads = _LISTED4.unpack_from(body)
    mac, vtep = heads.pop(2), heads.pop(4)
    if (family, state, flags) != (AF_BRIDGE, STATIC_STATE, NTF_SELF) or tuple(heads) != _LISTED4_HEADS:
        return None
    return Neighbour(ifindex, int.from_bytes(mac, "big"), vtep)


def _any_neighbour(body: memoryview) -> Neighbour | None:
    family, ifindex, state, flags, _ = _NEIGHBOUR.unpack_from(body)
    if family != AF_BRIDGE:
        return None
    mac, vtep, plain = -1, None, state == STATIC_STATE and flags == NTF_SELF
    for kind, value in attributes(body, _NEIGHBOUR.size):
        if kind == _NDA_LLADDR:
            mac = int.from_bytes(value, "big")
        elif kind == _NDA_DST:
            vtep = bytes(value)
        elif kind not in _PLAIN_ATTRIBUTES:
            plain = False
    return None if mac < 0 else Neighbour(ifindex, mac, vtep if plain else None)


def link(body: memoryview) -> LinkSeen | None:
    """Read the body of RTM_NEWLINK or RTM_DELLINK; None if the name is not one of ours."""
    return _link(bytes(body))


# Without its counters the kernel tells a device in the same bytes in every audit, 1.4 kB each.
@lru_cache(maxsize=1024)
def _link(told: bytes) -> LinkSeen | None:
    body = memoryview(told)
    _, _, ifindex, flags, _ = _LINK.unpack_from(body)
    mtu, kind, data, vni = 0, b"", memoryview(b""), None
    for attribute, value in attributes(body, _LINK.size):
        if attribute == _IFLA_IFNAME:
            vni = link_vni(bytes(value).rstrip(b"\0").decode("ascii", "replace"))
            if vni is None:
                return None
        elif attribute == _IFLA_MTU:
            mtu = _U32.unpack(value)[0]
        elif attribute == _IFLA_LINKINFO:
            info = dict(attributes(value, 0))
            kind, data = bytes(info.get(_IFLA_INFO_KIND, b"")), info.get(_IFLA_INFO_DATA, data)
    if vni is None:
        return None
    if kind.rstrip(b"\0") != b"vxlan":
        return LinkSeen(vni, None)
    fields = {key: bytes(value) for key, value in attributes(data, 0)}
    sound = (
        fields.get(_VXLAN_ID) == _U32.pack(vni)
        and fields.get(_VXLAN_PORT) == VXLAN_PORT.to_bytes(2, "big")
        and not any(any(fields.get(key, b"")) for key in _VXLAN_UNWANTED)
        and not any(key in fields and not fields[key] for key in _VXLAN_UNWANTED)
    )
    local = fields.get(_VXLAN_LOCAL) or fields.get(_VXLAN_LOCAL6) or b""
    learning = any(fields.get(_VXLAN_LEARNING, b""))
    return LinkSeen(vni, Link(vni, ifindex, mtu, bool(flags & _IFF_UP), learning, local, sound))


def error(flags: int, body: memoryview) -> tuple[int, str]:
    """Read the body of NLMSG_ERROR: (errno or 0, the kernel's own words if it gave any)."""
    number = -int(struct.unpack_from("=i", body)[0])
    if not flags & NLM_F_ACK_TLVS:
        return number, ""
    original = HEADER.unpack_from(body, 4)[0]
    start = 4 + (HEADER.size if flags & NLM_F_CAPPED else (original + 3) & ~3)
    words = dict(attributes(body, start)).get(1, memoryview(b""))
    return number, bytes(words).rstrip(b"\0").decode("utf-8", "replace")
