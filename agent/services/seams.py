"""What the services of a host share: who is served, what came, what a service is. Pure.

Only for trusted plumbing: everything in a Packet was chosen by a guest, and only lengths have been checked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from agent.plan.service_port import Boot, ServicePort, ServiceRoute, ServiceRouter, ServiceSubnet
from cloison.addresses import IpAddress, Mac
from cloison.model import Ipv6Mode, Vni

__all__ = [
    "Boot",
    "Ipv6Mode",
    "Packet",
    "Service",
    "ServicePort",
    "ServicePorts",
    "ServiceRoute",
    "ServiceRouter",
    "ServiceSubnet",
    "Send",
]

ETH_IPV4, ETH_ARP, ETH_IPV6, ETH_RARP = 0x0800, 0x0806, 0x86DD, 0x8035
IP_ICMP, IP_TCP, IP_UDP, IP_ICMP6 = 1, 6, 17, 58


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """A frame of a guest, its headers read and all lengths found to agree.

    `frame` is all of it; `network` starts at the ARP or IP header and ends where that says; `payload` is
    what follows the IP header and its extensions (from the TCP, UDP or ICMP header on). A fragment has
    `protocol` None and no payload. Ports are 0 where there are none.
    """

    frame: bytes
    eth_src: Mac
    eth_type: int
    network: bytes
    source: IpAddress | None = None
    target: IpAddress | None = None
    protocol: int | None = None
    hops: int = 0
    payload: bytes = b""
    source_port: int = 0
    target_port: int = 0

    @property
    def data(self) -> bytes:
        """What a UDP datagram carries."""
        return self.payload[8:]


class Service(Protocol):
    """Answers one kind of packet.

    Pure where it can be. Never raises for anything a guest sends; what it cannot read gets no answer.
    """

    def handle(self, port: ServicePort, packet: Packet) -> Iterable[bytes]:
        """Return the frames for the guest of port, made by agent.services.answers."""


Send = Callable[[bytes], None]
"""Hands a frame (made by agent.services.answers) to the switch, from a service that answers later."""


class ServicePorts:
    """The ports served here, by number and by where their addresses are."""

    def __init__(self, ports: Iterable[ServicePort] = ()) -> None:
        self._by_number: dict[int, ServicePort] = {}
        # Of two that are said to have one address (they never should) the one with the highest number has it.
        self._by_address: dict[tuple[Vni, IpAddress], list[ServicePort]] = {}
        self.replace({port.number: port for port in ports})

    def replace(self, ports: Mapping[int, ServicePort]) -> None:
        """Serve these ports from now on, and no others."""
        self.change({**dict.fromkeys(self._by_number), **ports})

    def change(self, ports: Mapping[int, ServicePort | None]) -> None:
        """Serve these ports as given, or no longer (None), and all others as before."""
        for number in ports:
            old = self._by_number.pop(number, None)
            if old is None:
                continue
            for address in dict.fromkeys(old.addresses):
                holders = self._by_address[old.vni, address]
                holders[:] = [port for port in holders if port.number != number]
                if not holders:
                    del self._by_address[old.vni, address]
        for number, port in ports.items():
            if port is None:
                continue
            self._by_number[number] = port
            for address in dict.fromkeys(port.addresses):
                holders = self._by_address.setdefault((port.vni, address), [])
                holders.append(port)
                holders.sort(key=lambda holder: holder.number)

    @property
    def numbers(self) -> Collection[int]:
        """The numbers of all that are served."""
        return self._by_number.keys()

    def get(self, number: int) -> ServicePort | None:
        """Return the port with that number."""
        return self._by_number.get(number)

    def find(self, vni: Vni, address: IpAddress) -> ServicePort | None:
        """Return the port that has an address in a network."""
        holders = self._by_address.get((vni, address))
        return holders[-1] if holders else None

    def __iter__(self) -> Iterator[ServicePort]:
        return iter(self._by_number.values())

    def __len__(self) -> int:
        return len(self._by_number)
