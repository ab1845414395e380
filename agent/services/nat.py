"""Guests' TCP to the services, translated: each guest address gets an internal one of its own. Pure.

Guests of different tenants may have the same address at the same time, and the kernel's TCP, which serves
them all, tells connections apart by address. So the source of a guest's packet is replaced by an address
that only stands for (port, guest address), and put back on the way to the guest. Checksums are adjusted
(RFC 1624), never computed: a packet that was damaged on its way stays damaged, and the kernel notices.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

INTERNAL4 = IPv4Network("100.64.0.0/10")
"""RFC 6598. Used in a network namespace that is connected to nothing, so it collides with nobody's."""
INTERNAL6 = IPv6Network("fd0c:1015:0000:5e41::/64")
"""RFC 4193; of the same kind. The low 22 bits number the guest address, as those of INTERNAL4 do."""

ADDRESSES_PER_PORT_MAX = 64
"""A guest without port security may send from any address: of its addresses the latest are kept."""
_INDEX_LIMIT = 1 << (32 - INTERNAL4.prefixlen)
_BASE = {4: int(INTERNAL4.network_address), 16: int(INTERNAL6.network_address)}

_TCP = 6
_TCP_HEADER_BYTES, _TCP_SUM_AT = 20, 16
_IP4_HEADER_BYTES, _IP4_SUM_AT, _IP4_SOURCE_AT = 20, 10, 12
_IP6_HEADER_BYTES, _IP6_SOURCE_AT = 40, 8
_IP4_FRAGMENT = 0x3FFF
"""More fragments, or an offset."""

Door = tuple[bytes, int]
"""A service: packed address, TCP port."""


@dataclass(frozen=True, slots=True)
class Guest:
    """Whom an internal address stands for: number of the port, packed address of the guest."""

    port: int
    address: bytes


class Nat:
    """The table of internal addresses, and the translation by it.

    Internal addresses are given out in turn, so that one comes back into use only after all others did:
    long after the kernel forgot the connections of its former owner.
    """

    def __init__(self, doors: Collection[Door]) -> None:
        self._doors = frozenset(doors)
        self._addresses = frozenset(address for address, _ in self._doors)
        self._guests: dict[int, Guest] = {}
        self._indexes: dict[int, OrderedDict[bytes, int]] = {}
        self._next = 1

    def __len__(self) -> int:
        """Return how many guest addresses are known."""
        return len(self._guests)

    @property
    def ports(self) -> Collection[int]:
        """The numbers of the ports that have internal addresses."""
        return self._indexes.keys()

    def guest(self, internal: bytes) -> Guest | None:
        """Return whom an internal address (packed) stands for, or None."""
        base = _BASE.get(len(internal))
        guest = None if base is None else self._guests.get(int.from_bytes(internal) - base)
        # One table for both families: an index given to an IPv4 address is nobody's in IPv6.
        return guest if guest is not None and len(guest.address) == len(internal) else None

    def forget(self, port: int) -> None:
        """Give back the internal addresses of a port that is gone."""
        for index in self._indexes.pop(port, {}).values():
            del self._guests[index]

    def inward(self, port: int, packet: bytes) -> bytes | None:
        """Return an IP packet of a port's guest as the services' kernel sees it; None if for no service.

        Also None for what a service's client has no need to send: fragments, IP options and extension
        headers, and packets from an address that cannot be answered.
        """
        if len(packet) < _IP4_HEADER_BYTES:
            return None
        if packet[0] == 0x45:
            end = int.from_bytes(packet[2:4])
            if int.from_bytes(packet[6:8]) & _IP4_FRAGMENT or packet[9] != _TCP:
                return None
            return self._inward(port, packet, end, _IP4_HEADER_BYTES, _IP4_SOURCE_AT, 4)
        if packet[0] >> 4 == 6 and len(packet) >= _IP6_HEADER_BYTES and packet[6] == _TCP:
            end = _IP6_HEADER_BYTES + int.from_bytes(packet[4:6])
            return self._inward(port, packet, end, _IP6_HEADER_BYTES, _IP6_SOURCE_AT, 16)
        return None

    def _inward(self, port: int, packet: bytes, end: int, header: int, at: int, size: int) -> bytes | None:
        if not header + _TCP_HEADER_BYTES <= end <= len(packet):
            return None
        source, target = packet[at : at + size], packet[at + size : at + 2 * size]
        if (target, int.from_bytes(packet[header + 2 : header + 4])) not in self._doors:
            return None
        if source in self._addresses or not _is_unicast(source):
            return None
        index = self._index(Guest(port, source))
        internal = (_BASE[size] + index).to_bytes(size)
        return _readdressed(packet[:end], at, internal)

    def outward(self, packet: bytes) -> tuple[Guest, bytes] | None:
        """Return a packet of the services' kernel as its guest must see it, and that guest.

        None for all that is no TCP of a service to a known guest: the kernel's own multicast, and the
        last words of connections of ports that are gone.
        """
        if len(packet) < _IP4_HEADER_BYTES + _TCP_HEADER_BYTES:
            return None
        if packet[0] == 0x45 and packet[9] == _TCP:
            at, size = _IP4_SOURCE_AT, 4
        elif (
            packet[0] >> 4 == 6 and packet[6] == _TCP and len(packet) >= _IP6_HEADER_BYTES + _TCP_HEADER_BYTES
        ):
            at, size = _IP6_SOURCE_AT, 16
        else:
            return None
        guest = self.guest(packet[at + size : at + 2 * size])
        if guest is None or packet[at : at + size] not in self._addresses:
            return None
        return guest, _readdressed(packet, at + size, guest.address)

    def _index(self, guest: Guest) -> int:
        """Return the index of a guest address, a new one if it is seen for the first time."""
        known = self._indexes.setdefault(guest.port, OrderedDict())
        index = known.get(guest.address)
        if index is not None:
            known.move_to_end(guest.address)
            return index
        if len(known) >= ADDRESSES_PER_PORT_MAX:
            _, oldest = known.popitem(last=False)
            del self._guests[oldest]
        index = self._free_index()
        known[guest.address] = index
        self._guests[index] = guest
        return index

    def _free_index(self) -> int:
        # The first and the last address of the range are left out: as a network's they could mean broadcast.
        while self._next in self._guests or not 0 < self._next < _INDEX_LIMIT - 1:
            self._next = 1 if self._next >= _INDEX_LIMIT - 1 else self._next + 1
        index, self._next = self._next, self._next + 1
        return index


def _is_unicast(address: bytes) -> bool:
    """Tell whether an answer can be sent there."""
    if len(address) == 4:
        return address[0] not in (0, 127) and address[0] < 224
    return address[0] != 0xFF and any(address[:15])


def _readdressed(packet: bytes, at: int, address: bytes) -> bytes:
    """Return a TCP packet with the address at `at` replaced, and its checksums adjusted."""
    size = len(address)
    # The ones' complement sum of 16-bit words is the number modulo 2^16 - 1.
    change = (int.from_bytes(address) - int.from_bytes(packet[at : at + size])) % 0xFFFF
    changed = bytearray(packet)
    changed[at : at + size] = address
    if size == 4:
        _adjust(changed, _IP4_SUM_AT, change)
        _adjust(changed, _IP4_HEADER_BYTES + _TCP_SUM_AT, change)
    else:
        _adjust(changed, _IP6_HEADER_BYTES + _TCP_SUM_AT, change)
    return bytes(changed)


def _adjust(packet: bytearray, at: int, change: int) -> None:
    """Adjust the checksum at `at` by RFC 1624, equation 3: HC' = ~(~HC + ~m + m')."""
    total = (int.from_bytes(packet[at : at + 2]) ^ 0xFFFF) + change
    if total > 0xFFFF:
        total -= 0xFFFF
    packet[at : at + 2] = (total ^ 0xFFFF).to_bytes(2)
