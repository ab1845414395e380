"""Hears a guest announce an address of its allowed address pairs, and says so. Pure.

The switch sends here what speaks for such an address, ARP or a neighbour advertisement, as long as the port
is not known to have it. Whether it comes to have it is decided by the controller: it must be heard of soon,
and a guest that repeats itself must cost little. Of a port that lives on another host it sends what says that
the guest runs here now (live migration), and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv6Address

from agent.services.answers import HOPS_ND
from agent.services.buckets import Buckets
from agent.services.seams import ETH_ARP, ETH_RARP, IP_ICMP6, Packet, ServicePort
from cloison.addresses import IpAddress

ADVERTISEMENT = 136
_ADVERTISEMENT_BYTES_MIN = 24
CLAIMS_PER_S, BURST_CLAIMS = 4.0, 32.0
"""Of one port; a burst is all the addresses that it may have, twice."""
QUIET_S = 0.02
"""Guests announce an address a few times in a row: so long nothing is made of that. Shorter than an address
takes to move away: who announces it then, after it was taken away, must be heard."""
_REMEMBERED_MAX = 1024
_ETH_TYPE, _RARP = slice(12, 14), ETH_RARP.to_bytes(2, "big")
_SOLICITED = 0x40

Tell = Callable[[int, IpAddress | None], None]
"""Takes the number of a port and the address that it says lives there; None: that the port itself does."""


class Claims:
    """Looks at every frame of a guest before it is served."""

    def __init__(self, tell: Tell, clock: Callable[[], float]) -> None:
        """clock: seconds that never go back."""
        self._tell, self._clock = tell, clock
        self._buckets = Buckets(CLAIMS_PER_S, BURST_CLAIMS)
        self._told_s: dict[tuple[int, IpAddress | None], float] = {}

    def see(self, port: ServicePort, packet: Packet) -> bool:
        """Tell whether a packet announces an address that the port may claim; say so, if not too often."""
        address = announced(packet)
        if address is None or address in port.addresses or not _lists(port, address):
            return False
        self._say(port.number, address)
        return True

    def arrived(self, number: int, port: ServicePort | None, frame: bytes, packet: Packet | None) -> bool:
        """Tell whether a frame says that a port, which is not known to, lives here; say so, if not too often.

        port: as it is served here, None (most often) if it is not.
        """
        if frame[_ETH_TYPE] != _RARP and not (packet is not None and _announces_itself(port, packet)):
            return False
        self._say(number, None)
        return True

    def _say(self, number: int, address: IpAddress | None) -> None:
        now_s, key = self._clock(), (number, address)
        last_s = self._told_s.get(key)
        if last_s is not None and now_s - last_s < QUIET_S:
            return
        if self._buckets.take(number, now_s):
            if len(self._told_s) >= _REMEMBERED_MAX:
                self._told_s.clear()
            self._told_s[key] = now_s
            self._tell(number, address)

    def keep(self, numbers: Collection[int]) -> None:
        """Forget all other ports."""
        self._buckets.keep(numbers)


def announced(packet: Packet) -> IpAddress | None:
    """Return the address that a packet speaks for, None if it is neither ARP nor an advertisement."""
    if packet.eth_type == ETH_ARP:
        return IPv4Address(packet.network[14:18])
    said = packet.payload
    if packet.protocol != IP_ICMP6 or len(said) < _ADVERTISEMENT_BYTES_MIN or said[0] != ADVERTISEMENT:
        return None
    return IPv6Address(said[8:24]) if packet.hops == HOPS_ND and said[1] == 0 else None


def _announces_itself(port: ServicePort | None, packet: Packet) -> bool:
    """A gratuitous ARP or an unsolicited advertisement (RFC 4861, 7.2.6), not for an address of pairs."""
    address = announced(packet)
    if address is None or (port is not None and address not in port.addresses):
        return False
    if packet.eth_type == ETH_ARP:
        return packet.network[24:28] == address.packed
    return not packet.payload[4] & _SOLICITED


def _lists(port: ServicePort, address: IpAddress) -> bool:
    return any(address.version == p.version and address in p for p in port.allowed_prefixes)
