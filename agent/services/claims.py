"""Hears a guest announce an address of its allowed address pairs, and says so. Pure.

The switch sends here what speaks for such an address, ARP or a neighbour advertisement, as long as the port
is not known to have it. Whether it comes to have it is decided by the controller: it must be heard of soon,
and a guest that repeats itself must cost little.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv6Address

from agent.services.answers import HOPS_ND
from agent.services.buckets import Buckets
from agent.services.seams import ETH_ARP, IP_ICMP6, Packet, ServicePort
from cloison.addresses import IpAddress

ADVERTISEMENT = 136
_ADVERTISEMENT_BYTES_MIN = 24
CLAIMS_PER_S, BURST_CLAIMS = 4.0, 32.0
"""Of one port; a burst is all the addresses that it may have, twice."""
QUIET_S = 0.02
"""Guests announce an address a few times in a row: so long nothing is made of that. Shorter than an address
takes to move away: who announces it then, after it was taken away, must be heard."""
_REMEMBERED_MAX = 1024

Tell = Callable[[int, IpAddress], None]
"""Takes the number of a port and the address that it says lives there."""


class Claims:
    """Looks at every frame of a guest before it is served."""

    def __init__(self, tell: Tell, clock: Callable[[], float]) -> None:
        """clock: seconds that never go back."""
        self._tell, self._clock = tell, clock
        self._buckets = Buckets(CLAIMS_PER_S, BURST_CLAIMS)
        self._told_s: dict[tuple[int, IpAddress], float] = {}

    def see(self, port: ServicePort, packet: Packet) -> bool:
        """Tell whether a packet announces an address that the port may claim; say so, if not too often."""
        address = announced(packet)
        if address is None or address in port.addresses or not _lists(port, address):
            return False
        now_s, key = self._clock(), (port.number, address)
        last_s = self._told_s.get(key)
        if last_s is not None and now_s - last_s < QUIET_S:
            return True
        if self._buckets.take(port.number, now_s):
            if len(self._told_s) >= _REMEMBERED_MAX:
                self._told_s.clear()
            self._told_s[key] = now_s
            self._tell(port.number, address)
        return True

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


def _lists(port: ServicePort, address: IpAddress) -> bool:
    return any(address.version == p.version and address in p for p in port.allowed_prefixes)
