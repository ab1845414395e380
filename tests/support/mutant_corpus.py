"""Packets of all who may send in a world, and what they come to in its right state: where sampling begins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple

from cloison.names import HostName
from controller.flows import Flow, Resubmit
from controller.verify.intent import PortIntent, RouteIntent
from controller.verify.packet import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ND_ADVERTISEMENT,
    ND_ROUTER_SOLICITATION,
    ND_SOLICITATION,
    PROTO_ICMPV6,
    PROTO_TCP,
    PROTO_UDP,
    Packet,
    replied,
)
from controller.verify.path import Fabric
from controller.verify.semantics import SERVICES4, SERVICES6
from controller.verify.switch import act, entry_state
from controller.verify.world import World
from tests.support.worlds import Packets

RANDOM_PACKETS, STRANGE_PACKETS, TARGETS_MAX = 400, 8, 3
# An OpenFlow port that nothing has (worlds.py numbers them up to 199).
STRANGER = 250
ARRIVALS_MAX = 6
# What the bridge keeps beside the packet, or has rewritten when the packet comes to FORWARD and later tables.
KEPT = (*(f"reg{n}" for n in range(14)), "in_port")
FORWARD = 20
KINDS = (ETH_ARP, ETH_IPV4, ETH_IPV6)
# Addresses in no subnet: there the destination MAC decides.
ELSEWHERE = {ETH_ARP: 0x08080808, ETH_IPV4: 0x08080808, ETH_IPV6: 0x20014860 << 96 | 8}
Probe = tuple[HostName, int, Packet]


class Arrival(NamedTuple):
    """A probe as it comes to a table of a host. flow: the one it meets there; kept: what no header says.

    heard: somebody gets it.
    """

    probe: Probe
    flow: Flow | None
    kept: dict[str, int]
    heard: bool


class Corpus:
    """Probes by the table they come to, at most ARRIVALS_MAX for each flow there and each last one."""

    def __init__(self, rng: Random, world: World, fabric: Fabric) -> None:
        self.rng, self.world = rng, world
        self.packets = Packets(rng, world)
        self.arrivals: dict[tuple[HostName, int], list[Arrival]] = defaultdict(list)
        self._met: dict[tuple[object, ...], int] = defaultdict(int)
        self._end = 0, False
        for probe in self._all():
            self._follow(fabric, probe)

    def pairs(self) -> Iterator[tuple[PortIntent, PortIntent]]:
        """Plugged ports of one network, as sender and receiver."""
        plugged = sorted((p for p in self.world.ports.values() if p.host is not None), key=lambda p: p.name)
        for sender in plugged:
            for receiver in plugged:
                if sender is not receiver and sender.name.parent == receiver.name.parent:
                    yield sender, receiver

    def between(self, sender: PortIntent, receiver: PortIntent, kind: int) -> Packet | None:
        """A packet that a port may send to another, of one protocol; None if it may send none such."""
        own, its = _said(sender, kind), _addresses(receiver, kind)
        if not own:
            return None
        by_mac = not its or (kind != ETH_ARP and self.rng.random() < 0.2)
        return self._packet(
            kind, self.rng.choice(own), receiver.mac, ELSEWHERE[kind] if by_mac else self.rng.choice(its)
        )

    def _packet(self, kind: int, source: tuple[int, int, int], mac: int, target: int) -> Packet:
        """source: MAC, address and mask, as a port may claim them."""
        rng, width = self.rng, 128 if kind == ETH_IPV6 else 32
        free = ~source[2] & (1 << width) - 1
        address = source[1] | rng.getrandbits(width) & free & 15
        packet = Packet(eth_src=source[0], eth_dst=mac, eth_type=kind)
        if kind == ETH_ARP:
            return replace(
                packet, arp_op=rng.choice((1, 2)), arp_sha=source[0], arp_spa=address, arp_tpa=target
            )
        fields: dict[str, int] = {"ip_ttl": 64, "ip_proto": rng.choice((PROTO_TCP, PROTO_UDP))}
        family = "ipv4" if kind == ETH_IPV4 else "ipv6"
        fields |= {f"{family}_src": address, f"{family}_dst": target}
        fields |= {"tcp_src": 40000, "tcp_dst": rng.choice((22, 80, 443)), "udp_src": 40000, "udp_dst": 53}
        return replace(packet, **fields).canonical()

    def _all(self) -> Iterator[Probe]:
        for _ in range(RANDOM_PACKETS):
            host, ofport = self.packets.sender()
            yield host, ofport, self.packets.make(host, ofport)
        for sender, receiver in self.pairs():
            assert sender.host is not None, sender
            for packet in self._between(sender, receiver):
                yield sender.host, sender.ofport, packet
        for (host, ofport), port in sorted(self.world.by_ofport.items()):
            for packet in (*self._alone(port), *self._routed(port)):
                yield host, ofport, packet
        yield from self._from_elsewhere()

    def _between(self, sender: PortIntent, receiver: PortIntent) -> Iterator[Packet]:
        for kind in KINDS:
            for source in _said(sender, kind):
                for target in (*_addresses(receiver, kind), ELSEWHERE[kind]):
                    packet = self._packet(kind, source, receiver.mac, target)
                    yield packet
                    if kind != ETH_ARP:
                        yield replied(packet)
                        yield replace(packet, ct_state=0x30)
                        yield replace(packet, oversize=1)
                    if kind == ETH_IPV6:
                        yield from self._discovery(packet)
        yield Packet(eth_src=sender.mac, eth_dst=receiver.mac, eth_type=0x88CC)

    def _alone(self, sender: PortIntent) -> Iterator[Packet]:
        """What a port sends to the services, to where nobody is, and what is too long."""
        for kind in KINDS:
            served = SERVICES6 if kind == ETH_IPV6 else SERVICES4
            for source in _said(sender, kind):
                for target in (*served, source[1] ^ 3, ELSEWHERE[kind]):
                    packet = self._packet(kind, source, 0x02AABBCCDD01, target)
                    yield replace(packet, arp_op=1) if kind == ETH_ARP else packet
                    if kind != ETH_ARP:
                        yield replace(packet, oversize=1)
                    if kind == ETH_IPV6:
                        yield from self._discovery(packet)
                        yield replace(packet, ip_proto=PROTO_ICMPV6, ip_ttl=255, ct_state=0,
                                      icmpv6_type=ND_ROUTER_SOLICITATION).canonical()  # fmt: skip

    def _routed(self, sender: PortIntent) -> Iterator[Packet]:
        """What a port sends to routers: to whom each route leads, whatever is asked for and answered there.

        Of several next hops each is to have its share, so such a route gets more packets.
        """
        for router in self.world.networks[sender.name.parent].routers:
            own = [way.route for way in sender.exits if way.router_mac == router.mac]
            for route in (*router.routes, *own):
                kind = ETH_IPV4 if route.prefix.version == 4 else ETH_IPV6
                targets = [route.range[0] | 1, *self._within(route)]
                for source in _said(sender, kind):
                    for target in targets * (1 + 3 * bool(route.others)):
                        packet = replace(
                            self._packet(kind, source, router.mac, target),
                            ip_ttl=self.rng.choice((64, 64, 2, 1)),
                        )
                        yield packet
                        yield replied(packet)
                        yield replace(packet, ct_state=self.rng.choice((0x30, 0x22)))

    def _within(self, route: RouteIntent) -> list[int]:
        """Addresses of the ports that a route leads to."""
        value, mask = route.range
        family = ETH_IPV4 if route.prefix.version == 4 else ETH_IPV6
        ports = sorted(self.world.members_of(route.network).ports.values(), key=lambda p: p.name)
        found = [a for port in ports for a in _addresses(port, family) if a & mask == value]
        return self.rng.sample(found, min(len(found), TARGETS_MAX))

    def _discovery(self, packet: Packet) -> Iterator[Packet]:
        asks = {
            "ipv6_nd_target": packet.ipv6_dst,
            "icmpv6_type": ND_SOLICITATION,
            "ipv6_nd_sll": packet.eth_src,
        }
        tells = {"ipv6_nd_target": packet.ipv6_src, "icmpv6_type": ND_ADVERTISEMENT}
        for message in (asks, tells):
            yield replace(packet, ip_proto=PROTO_ICMPV6, ip_ttl=255, ct_state=0, **message).canonical()

    def _from_elsewhere(self) -> Iterator[Probe]:
        """What the services, another host through the overlay, and what nobody knows send."""
        rng = self.rng
        for host, service in self.packets.services:
            for name in sorted(self.world.on_host.get(host, ())):
                for port in self.world.ports_on(host, name).values():
                    source = 0x0AF3 << 32 | self.world.networks[name].vni
                    for kind in (*KINDS, 0x88CC):
                        packet = Packet(
                            eth_src=source, eth_dst=0, eth_type=kind, ip_proto=PROTO_UDP
                        ).canonical()
                        for mac in sorted({port.mac, *port.answer_macs}):
                            yield host, service, replace(packet, eth_dst=mac)
        for (host, ofport), network in sorted(self.world.by_tunnel.items()):
            members = sorted(self.world.members_of(network.name).ports.values(), key=lambda p: p.name)
            for receiver in self.world.ports_on(host, network.name).values():
                for sender in members:
                    for packet in self._between(sender, receiver):
                        mac = rng.choice(sorted(receiver.frame_macs))
                        tag = 0x0AF4 << 32 | rng.choice((1, 2, sender.profile, rng.choice(members).profile))
                        yield host, ofport, replace(packet, eth_dst=mac, eth_src=tag)
        for host in sorted(self.world.hosts):
            for _ in range(STRANGE_PACKETS if self.packets.entries else 0):
                yield host, STRANGER, self.packets.make(*rng.choice(self.packets.entries))

    def _follow(self, fabric: Fabric, probe: Probe) -> None:
        journey = fabric.walk(*probe)
        last = journey.hops[-1].run.flows
        self._end = id(last[-1]) if last else 0, bool(journey.deliveries)
        for hop in journey.hops:
            state, packet = entry_state(hop.in_port), hop.packet
            for flow in hop.run.flows:
                self._arrive(hop.host, flow.table, probe, flow, state, packet)
                for action in flow.actions:
                    if isinstance(action, Resubmit):
                        # The copies meet the next flows, each with its own registers: near enough.
                        continue
                    packet = act(flow, action, packet, state, [])
            if hop.run.missed_table is not None:
                self._arrive(hop.host, hop.run.missed_table, probe, None, state, packet)

    def _arrive(
        self,
        host: HostName,
        table: int,
        probe: Probe,
        flow: Flow | None,
        state: dict[str, int],
        packet: Packet,
    ) -> None:
        self._met[host, table, id(flow), *self._end] += 1
        if self._met[host, table, id(flow), *self._end] > ARRIVALS_MAX:
            return
        kept = {name: state[name] for name in KEPT}
        if table >= FORWARD:
            kept |= {"eth_dst": packet.eth_dst, "eth_src": packet.eth_src}
        self.arrivals[host, table].append(Arrival(probe, flow, kept, self._end[1]))


def _said(port: PortIntent, kind: int) -> Sequence[tuple[int, int, int]]:
    """MAC, address and mask of what a port may claim to be; something, if it may claim anything."""
    claims = tuple(port.claims6 if kind == ETH_IPV6 else port.claims4)
    return claims if claims or port.checked else ((port.mac, ELSEWHERE[kind], -1),)


def _addresses(port: PortIntent, kind: int) -> Sequence[int]:
    return port.addresses6 if kind == ETH_IPV6 else port.addresses4
