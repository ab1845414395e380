"""From a frame to the service that answers it. Pure but for counting: one frame in, its answers out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.services import dhcp4, dhcp6, neighbours, packets, routers
from agent.services.arp import Arp
from agent.services.claims import Claims
from agent.services.echo import Echo, answers
from agent.services.oversize import Oversize
from agent.services.seams import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    IP_ICMP,
    IP_ICMP6,
    IP_UDP,
    Packet,
    Service,
    ServicePort,
    ServicePorts,
)
from agent.services.undelivered import Undelivered
from cloison.service_link import SERVICE_ADDRESSES


@dataclass(frozen=True, slots=True)
class Route:
    """A service, and which packets are for it. `name` is what they are counted under."""

    name: str
    matches: Callable[[ServicePort, Packet], bool]
    service: Service


def _udp(packet: Packet, eth_type: int, source_port: int, target_port: int) -> bool:
    return (packet.protocol, packet.eth_type, packet.source_port, packet.target_port) == (
        IP_UDP, eth_type, source_port, target_port
    )  # fmt: skip


def _icmp6(packet: Packet, kind: int) -> bool:
    return packet.protocol == IP_ICMP6 and packet.payload[0] == kind


def _echo(port: ServicePort, packet: Packet) -> bool:
    icmp = packet.protocol in (IP_ICMP, IP_ICMP6)
    return icmp and packet.target is not None and answers(port, packet.target)


def base_routes() -> list[Route]:
    """Return the services that need nothing but the packet and the plan."""
    return [
        Route("arp", lambda _, p: p.eth_type == ETH_ARP, Arp()),
        Route("nd", lambda _, p: _icmp6(p, neighbours.SOLICITATION), neighbours.Neighbours()),
        Route("ra", lambda _, p: _icmp6(p, routers.SOLICITATION), routers.Routers()),
        Route(
            "dhcp4",
            lambda _, p: _udp(p, ETH_IPV4, dhcp4.CLIENT_PORT, dhcp4.SERVER_PORT),
            dhcp4.Dhcp4(),
        ),
        Route(
            "dhcp6",
            lambda _, p: _udp(p, ETH_IPV6, dhcp6.CLIENT_PORT, dhcp6.SERVER_PORT),
            dhcp6.Dhcp6(),
        ),
        Route("echo", _echo, Echo()),
    ]


def last_routes() -> list[Route]:
    """Return what comes after all others: packets for somebody else that do not get there.

    Those that are too large for the way, and those that a router does not send on.
    """
    return [Route("oversize", _too_large, Oversize()), Route("undelivered", _routed, Undelivered())]


def _too_large(port: ServicePort, packet: Packet) -> bool:
    return packet.target not in SERVICE_ADDRESSES and len(packet.network) > port.mtu


def _routed(port: ServicePort, packet: Packet) -> bool:
    return bool(port.routers) and packet.target is not None and packet.target not in SERVICE_ADDRESSES


class Dispatcher:
    """The first route that matches answers. `counts` says what became of frames, by service or reason."""

    def __init__(self, ports: ServicePorts, routes: Sequence[Route], claims: Claims | None = None) -> None:
        """claims hears of every packet first; what it takes may still be for a service as well."""
        self._ports, self._routes, self._claims = ports, tuple(routes), claims
        self.counts: Counter[str] = Counter()

    def handle(self, frame: bytes) -> list[bytes]:
        """Return the answers to a frame; none, and a reason counted, to one that gets none."""
        number = packets.port_number(frame)
        if number is None:
            return self._refuse("unknown_port")
        port, packet = self._ports.get(number), packets.parse(frame)
        if self._claims is not None and self._claims.arrived(number, port, frame, packet):
            return self._refuse("arrivals")
        if port is None:
            return self._refuse("unknown_port")
        if packet is None:
            return self._refuse("malformed")
        claimed = self._claims is not None and self._claims.see(port, packet)
        for route in self._routes:
            if route.matches(port, packet):
                answers = list(route.service.handle(port, packet))
                self.counts[route.name] += 1
                self.counts[f"{route.name}_answers"] += len(answers)
                return answers
        return self._refuse("claims" if claimed else "unserved")

    def _refuse(self, reason: str) -> list[bytes]:
        self.counts[reason] += 1
        return []
