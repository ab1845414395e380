"""Random intents with overlapping tenants, what the compiler makes of them, and packets for the edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from random import Random
from typing import Any

from cloison.addresses import ROUTER_MAC, IpAddress, IpNetwork, Mac, link_local, wire_mac
from cloison.model import AddressPair, Vni
from cloison.names import HostName, NetworkName, PortName, TenantName
from controller.compiler import HostView, NetworkView, PortView, compile_host
from controller.compiler.view import Everyone, HostUnitView
from controller.verify.intent import HostIntent, Intent, NetworkIntent, PairIntent, PortIntent
from controller.verify.packet import (
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_RARP,
    FRAGMENT,
    FRAGMENT_LATER,
    HEADER_FIELDS,
    PROTO_ICMPV4,
    PROTO_ICMPV6,
    PROTO_IPV6_FRAGMENT,
    PROTO_TCP,
    PROTO_UDP,
    Packet,
    present_fields,
    replied,
)
from controller.verify.path import HostState
from controller.verify.policy import PROFILE_NONE, PROFILE_OPEN, PolicyIntent
from controller.verify.world import World
from tests.support.peered import Peerings
from tests.support.policies import policy_view, random_policy
from tests.support.routed import Routers, exit_views, router_views

BROADCAST = 0xFFFFFFFFFFFF
SUBNETS4 = [IPv4Network(n) for n in ("10.0.0.0/24", "10.0.1.0/26", "192.168.7.0/28", "10.0.0.0/8")]
# The last one has low 32 bits that may be those of another subnet's addresses.
SUBNETS6 = [IPv6Network(n) for n in ("2001:db8::/64", "2001:db8:0:1::/64", "fd00:1::/120", "2001:db8:2::/48")]


def random_intent(
    rng: Random, *, tenants: int = 3, hosts: int = 4, ports: int = 4, peered: bool | None = None
) -> Intent:
    """At most so many tenants, hosts, and ports of a network; all tenants use the same addresses.

    peered: each tenant has addresses of its own, so that there is room for peerings; None: sometimes.
    """
    host_names = [HostName(f"h{n}") for n in range(1, rng.randint(1, hosts) + 1)]
    apart = rng.random() < 0.25 if peered is None else peered
    maker = _Maker(rng, host_names, apart=apart)
    count = max(2, rng.randint(1, tenants)) if apart else rng.randint(1, tenants)
    for t in range(1, count + 1):
        maker.policies[f"t{t}"] = random_policy(rng, f"t{t}", t)
        for n in range(1 if apart else rng.choice((1, 1, 2, 3))):
            maker.network(NetworkName(f"t{t}", f"n{n}"), rng.randint(0, ports))
        if apart or rng.random() < 0.7:
            Routers(rng, maker).make(f"t{t}")
    # Their addresses are mostly the same, so there is often no room for it.
    pairs = [(f"t{a}", f"t{b}") for a in range(1, count + 1) for b in range(1, a)]
    peerings = Peerings(rng, maker)
    for one, other in pairs * 4:
        peerings.make(one, other)
    for t in range(1, count + 1):
        Routers(rng, maker).stretch(f"t{t}")
    return maker.intent()


class _Maker:
    def __init__(self, rng: Random, hosts: list[HostName], *, apart: bool = False) -> None:
        self.rng, self.host_names, self.apart = rng, hosts, apart
        self.vteps = {
            h: IPv4Address(f"172.16.0.{i}") if rng.random() < 0.97 else None for i, h in enumerate(hosts, 1)
        }
        self.ofports = {h: list(range(1, 200)) for h in hosts}
        for numbers in self.ofports.values():
            rng.shuffle(numbers)
        self.networks: dict[NetworkName, NetworkIntent] = {}
        self.ports: dict[PortName, PortIntent] = {}
        self.policies: dict[str, PolicyIntent] = {}
        self.number = 0

    def network(self, name: NetworkName, ports: int) -> None:
        rng = self.rng
        kind = rng.choice(("v4", "v6", "both", "both"))
        subnets: list[IpNetwork] = []
        if kind != "v6":
            subnets += rng.sample(SUBNETS4[:3], rng.choice((1, 1, 2))) if rng.random() < 0.9 else SUBNETS4[3:]
        if kind != "v4":
            subnets += rng.sample(SUBNETS6, rng.choice((1, 2)))
        if self.apart:
            at = int(name.tenant[1:]) % 3
            subnets = [SUBNETS4[at], SUBNETS6[at]]
        used: set[object] = set()
        made = [self._port(PortName(*name, f"p{i}"), subnets, used) for i in range(ports)]
        self.ports.update({p.name: p for p in made})
        present = {p.host for p in made if p.host is not None} | {h for p in made for h, _ in p.standby}
        tunnels = self.tunnels(present)
        self.networks[name] = NetworkIntent(
            name=name,
            vni=4096 + len(self.networks) * rng.choice((1, 7)),
            subnets=tuple(subnets),
            tunnels=tunnels,
            multicast=rng.random() < 0.4,
        )
        while sum(n.vni == self.networks[name].vni for n in self.networks.values()) > 1:
            self.networks[name] = replace(self.networks[name], vni=self.networks[name].vni + 1)

    def tunnels(self, hosts: set[HostName]) -> dict[HostName, int]:
        """Nearly always a device on each host that can have one."""
        rng = self.rng
        return {h: self.ofports[h].pop() for h in sorted(hosts) if self.vteps[h] and rng.random() < 0.95}

    def _port(self, name: PortName, subnets: list[IpNetwork], used: set[object]) -> PortIntent:
        rng = self.rng
        self.number += 1
        while True:
            mac = 0x020000000000 | rng.choice((rng.randrange(1, 6), rng.getrandbits(32)))
            if rng.random() < 0.2:
                mac = rng.getrandbits(48) & ~(1 << 40) | 1 << 45
            chosen = rng.sample(subnets, rng.randint(1, len(subnets)))
            addresses = tuple(_address(rng, s) for s in chosen)
            claims: set[object] = {mac, *map(wire_mac, addresses)}
            if any(a.version == 6 for a in addresses):
                claims.add(wire_mac(link_local(mac)))
            if claims & used or mac >> 32 in (0x0AF0, 0x0AF6, 0x0AF5):
                continue
            used |= claims
            pairs = self._pairs()
            claimed = self._claimed(pairs, addresses, used)
            host = rng.choice(self.host_names) if rng.random() < 0.9 else None
            ofport = self.ofports[host].pop() if host else 0
            return PortIntent(
                name=name, number=self.number, mac=mac, addresses=addresses, host=host, ofport=ofport,
                profile=self._profile(name.tenant), pairs=pairs, claimed=claimed, standby=self._standby(host),
            )  # fmt: skip

    def _standby(self, host: HostName | None) -> tuple[tuple[HostName, int], ...]:
        """Where a port is plugged besides."""
        others = [other for other in self.host_names if other != host and self.rng.random() < 0.12]
        return tuple((other, self.ofports[other].pop()) for other in others)

    def _profile(self, tenant: str) -> int:
        own = list(self.policies[tenant].profiles)
        return self.rng.choice([*own * 3, PROFILE_OPEN, PROFILE_NONE])

    def _pairs(self) -> tuple[PairIntent, ...]:
        prefixes: list[IpNetwork] = [
            *SUBNETS4[1:3],
            IPv4Network("10.0.0.9/32"),
            SUBNETS6[2],
            IPv6Network("2001:db8::9/128"),
        ]
        count = self.rng.choice((0, 0, 0, 0, 1, 2))
        return tuple(
            PairIntent(prefix, self.rng.choice((None, 0x02AABBCCDDEE)))
            for prefix in self.rng.sample(prefixes, count)
        )

    def _claimed(
        self, pairs: tuple[PairIntent, ...], own: tuple[IpAddress, ...], used: set[object]
    ) -> tuple[IpAddress, ...]:
        """Some addresses of its pairs that nobody has yet."""
        claimed: list[IpAddress] = []
        for pair in pairs:
            address = pair.prefix[self.rng.randrange(min(pair.prefix.num_addresses, 12))]
            if self.rng.random() < 0.6 and wire_mac(address) not in used and address not in own:
                claimed.append(address)
                used.add(wire_mac(address))
        return tuple(claimed)

    def intent(self) -> Intent:
        hosts = {h: self._host(h, vtep) for h, vtep in self.vteps.items()}
        return Intent(hosts=hosts, networks=self.networks, ports=self.ports, policies=self.policies)

    def _host(self, name: HostName, vtep: IpAddress | None) -> HostIntent:
        mtu = 1450 if vtep is not None and self.rng.random() < 0.97 else 0
        service = self.ofports[name].pop() if mtu and self.rng.random() < 0.95 else None
        return HostIntent(name=name, vtep=vtep, service_ofport=service, mtu=mtu)


def _address(rng: Random, subnet: IpNetwork) -> IpAddress:
    offset = rng.randrange(2, min(subnet.num_addresses - 1, rng.choice((7, 16))))
    return subnet.network_address + offset


def compile_intent(intent: Intent) -> dict[HostName, HostState]:
    """What every host would hold: the compiler's flows, and forwarding databases."""
    world = World(intent)
    return {host: compile_on(world, host) for host in intent.hosts}


def network_view(world: World, network: NetworkIntent, host: HostName) -> NetworkView:
    return NetworkView(
        tenant_number=_tenant_number(network.name.tenant),
        vni=Vni(network.vni),
        subnets=network.subnets,
        tunnel_ofport=network.tunnels.get(host),
        routers=router_views(world, network) if world.ports_on(host, network.name) else (),
        everyone=_everyone(world, network, host)
        if network.multicast and world.ports_on(host, network.name)
        else None,
    )


def _everyone(world: World, network: NetworkIntent, host: HostName) -> Everyone:
    macs = {name: mac for mac, name in world.host_macs(network).items()}
    return Everyone(
        ports=tuple((p.ofport, p.profile, p.number) for p in world.ports_on(host, network.name).values()),
        own_mac=macs.get(host),
        other_macs=tuple(mac for name, mac in macs.items() if name != host),
    )


def port_view(world: World, port: PortIntent) -> PortView:
    return PortView(
        tenant_number=_tenant_number(port.name.tenant),
        port_number=port.number,
        vni=Vni(world.networks[port.name.parent].vni),
        ofport=port.ofport,
        mac=port.mac,
        addresses=port.addresses,
        profile=port.profile,
        allowed_address_pairs=tuple(
            AddressPair(p.prefix, None if p.mac is None else Mac(p.mac)) for p in port.pairs
        ),
        claimed=port.claimed,
        standby=port.stands_by,
        exits=exit_views(world, port),
    )


def unit_view(world: World, host: HostName) -> HostUnitView | None:
    here = world.hosts[host]
    return HostUnitView(service_ofport=here.service_ofport, mtu=here.mtu) if here.mtu else None


def _tenant_number(tenant: str) -> int:
    return int(tenant[1:])


def compiled_view(world: World, host: HostName) -> HostView:
    """What the compiler is given for a host."""
    names = world.on_host.get(host, ())
    ports = {p.name: p for name in names for p in world.senders_on(host, name)}
    names = {reached for p in ports for reached in (p.parent, *world.networks[p.parent].reaches)}
    networks = {name: world.networks[name] for name in sorted(names)}
    return HostView(
        networks={Vni(n.vni): network_view(world, n, host) for n in networks.values()},
        ports={p.name: port_view(world, p) for p in ports.values()},
        unit=unit_view(world, host),
        policies={TenantName(t): policy_view(world.policy_of(t)) for t in {p.tenant for p in ports}},
    )


def compile_on(world: World, host: HostName) -> HostState:
    """What one host would hold."""
    view = compiled_view(world, host)
    networks = [world.by_vni[vni] for vni in view.networks]
    return HostState(
        flows=tuple(compile_host(view).values()),
        fdb={n.vni: fdb_of(world, n, host) for n in networks},
        devices={n.tunnels[host]: n.vni for n in networks if host in n.tunnels},
    )


def fdb_of(world: World, network: NetworkIntent, host: HostName) -> dict[int, IpAddress]:
    """The forwarding database of a network on a host."""
    fdb: dict[int, IpAddress] = {}
    for there, ports in world.members_of(network.name).by_host.items():
        vtep = world.hosts[there].vtep
        if there == host or vtep is None:
            continue
        for port in ports.values():
            addresses: list[IpAddress] = list(port.addresses)
            if any(a.version == 6 for a in addresses):
                addresses.append(link_local(port.mac))
            addresses += port.claimed
            real = (port.mac,) if port.by_mac else ()
            fdb.update(dict.fromkeys((*real, *map(wire_mac, addresses)), vtep))
    of_hosts = world.host_macs(network)
    fdb.update({mac: vtep for mac, at in of_hosts.items() if at != host and (vtep := world.hosts[at].vtep)})
    return fdb


class Packets:
    """Packets that a port might send: mostly what some rule is about, with one or two things wrong."""

    def __init__(self, rng: Random, world: World) -> None:
        self.rng, self.world = rng, world
        self.entries = sorted(world.by_ofport)
        self.services = [(h.name, h.service_ofport) for h in world.hosts.values() if h.service_ofport]
        macs = [p.mac for p in world.ports.values()]
        ips = [a for p in world.ports.values() for a in (*p.addresses, *p.claimed)]
        local = [link_local(m) for m in macs]
        self.macs: list[int] = [*macs, *(wire_mac(a) for a in (*ips, *local)), BROADCAST, 0, 0x01005E000001]
        routers = [r for network in world.networks.values() for r in network.routers]
        self.router_macs = [r.mac for r in routers]
        self.macs += [*self.router_macs, ROUTER_MAC, 0x3333FF000005, 0x02AABBCCDDEE, 0x0AF00A000063]
        self.macs += [0x0AF600000063, 0x0BF000000001, *(0x0AF5AC100000 | n for n in range(1, 4))]
        ips += [a for r in routers for a in r.addresses]
        ips += [route.prefix[-1] for r in routers for route in r.routes]
        self.ips4 = [int(a) for a in ips if a.version == 4]
        self.ips4 += [
            int(IPv4Address(a))
            for a in ("10.0.0.99", "10.0.0.255", "8.8.8.8", "224.0.0.1", "239.1.2.3", "0.0.0.0")
        ]
        self.ips4 += [BROADCAST & 0xFFFFFFFF, 0xF0000001, 0x0A000009]
        self.ips4 += [int(IPv4Address(a)) for a in ("169.254.169.253", "169.254.169.254")]
        self.ips6 = [int(a) for a in (*ips, *local) if a.version == 6]
        # The low 32 bits of one address under the prefix of another.
        self.ips6 += [a & 0xFFFFFFFF | 0xFE80 << 112 for a in self.ips6]
        self.ips6 += [a & 0xFFFFFFFF | 0x20010DB8 << 96 for a in self.ips6]
        self.ips6 += [int(IPv6Address(a)) for a in ("fd00:ec2::253", "fe80::a9fe:a9fd", "2001:db8::9")]
        self.ips6 += [
            int(IPv6Address(a)) for a in ("2001:db8::99", "2001:4860::8", "ff02::1", "ff02::1:ff00:5", "::")
        ]

    def sender(self) -> tuple[HostName, int]:
        """A host and an OpenFlow port, most often one with a port behind."""
        rng = self.rng
        if self.entries and rng.random() < 0.97:
            return rng.choice(self.entries)
        return rng.choice(sorted(self.world.hosts)), rng.randrange(200, 300)

    def make(self, host: HostName, ofport: int) -> Packet:
        """A packet for that sender."""
        rng = self.rng
        port = self.world.by_ofport.get((host, ofport)) or rng.choice(
            sorted(self.world.ports.values(), key=str)
        )
        members = [p for p in self.world.ports.values() if p.name.parent == port.name.parent]
        routers = self.world.networks[port.name.parent].routers
        routed = bool(routers) and rng.random() < 0.6
        if routed:
            reached = {route.network for router in routers for route in router.routes}
            abroad = {name for name in reached if name.tenant != port.name.tenant}
            reached = abroad if abroad and rng.random() < 0.7 else reached
            others = [p for p in self.world.ports.values() if p.name.parent in reached]
            members = others or members
        peer = rng.choice(members)
        values = self._honest(port, peer)
        if routed and values["eth_type"] != ETH_ARP:
            values["eth_dst"] = rng.choice(routers).mac
            values["ip_ttl"] = rng.choice((0, 1, 2, 64, 64, 64, 255, 255))
        for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
            name = rng.choice([*values, "vlan_vid", "ip_frag"])
            values[name] = self._other(name)
        if values.get("ip_frag", 0) & FRAGMENT_LATER and values["eth_type"] == ETH_IPV6:
            values["ip_proto"] = PROTO_IPV6_FRAGMENT
        values["oversize"] = int(rng.random() < 0.1)
        return self._of_connection(Packet(**values).canonical())

    def from_services(self, host: HostName) -> Packet:
        """What the local services of a host may send: to one MAC, in some network, no solicitation."""
        rng = self.rng
        network = rng.choice(sorted(self.world.networks.values(), key=str))
        members = list(self.world.members_of(network.name).ports.values())
        mac = rng.choice([m for p in members for m in {p.mac, *p.answer_macs}] or [0x02AABBCCDDEE])
        vni = rng.choice((network.vni, network.vni, network.vni, rng.randrange(1, 1 << 24)))
        source = rng.choice((0x0AF300000000, 0x0AF300000000, 0x0AF300000000, 0x0AF301000000)) | vni
        kind, tag = rng.choice((ETH_ARP, ETH_IPV4, ETH_IPV6)), rng.choice((0, 0, 0, 0x1005))
        packet = Packet(eth_dst=mac, eth_src=source, eth_type=kind, vlan_vid=tag, ip_proto=17)
        return packet.canonical()

    def _of_connection(self, packet: Packet) -> Packet:
        """The packet as the first of its connection, as a later one, a reply, an error, or nonsense."""
        rng = self.rng
        if not packet.ct_state:
            return packet
        kind = rng.choice(("new", "new", "new", "established", "reply", "reply", "related", "invalid"))
        if kind == "new":
            return packet
        if kind == "reply":
            return replied(packet)
        state = {"established": 0x22, "invalid": 0x30, "related": rng.choice((0x24, 0x2C))}[kind]
        if kind != "related":
            return replace(packet, ct_state=state)
        tuple_of = {
            "ct_nw_proto": rng.choice((1, 6, 6, 17, 58)),
            "ct_tp_src": rng.choice((0, 8, 40000)),
            "ct_tp_dst": rng.choice((0, 22, 53, 80, 443, 8080)),
            "ct_nw_src": rng.choice(self.ips4),
            "ct_nw_dst": rng.choice(self.ips4),
            "ct_ipv6_src": rng.choice(self.ips6),
            "ct_ipv6_dst": rng.choice(self.ips6),
        }
        there = present_fields(packet)
        return replace(packet, ct_state=state, **{n: v for n, v in tuple_of.items() if n in there})

    def _honest(self, port: PortIntent, peer: PortIntent) -> dict[str, int]:
        rng = self.rng
        v: dict[str, int] = {"eth_src": port.mac, "eth_dst": rng.choice((peer.mac, peer.mac, *self.macs))}
        kinds = [
            k
            for k, a in ((ETH_IPV4, port.addresses4), (ETH_ARP, port.addresses4), (ETH_IPV6, port.addresses6))
            if a
        ]
        v["eth_type"] = rng.choice(kinds * 8 + [ETH_IPV4, ETH_ARP, ETH_IPV6, 0x88CC])
        if port.stands_by:
            v["eth_type"] = rng.choice((*kinds, ETH_RARP))
            peer = rng.choice((peer, port))
        target4 = rng.choice((*peer.addresses4, *peer.addresses4, rng.choice(self.ips4)))
        target6 = rng.choice((*peer.addresses6, *peer.addresses6, rng.choice(self.ips6)))
        if v["eth_type"] == ETH_ARP:
            v |= {
                "arp_op": rng.choice((1, 1, 2, 2, 3)),
                "arp_spa": _one(rng, port.addresses4),
                "arp_sha": port.mac,
            }
            v |= {"arp_tpa": target4, "arp_tha": rng.choice((0, peer.mac))}
        elif v["eth_type"] == ETH_IPV4:
            v |= {
                "ipv4_src": _one(rng, port.addresses4),
                "ipv4_dst": target4,
                "ip_proto": rng.choice((1, 6, 6, 17, 58)),
            }
            v |= {"ip_ttl": rng.choice((1, 64, 255))}
            v |= self._layer4(v["ip_proto"])
            if rng.random() < 0.05:
                v |= {"ipv4_src": 0, "ipv4_dst": 0xFFFFFFFF, "ip_proto": 17, "udp_src": 68, "udp_dst": 67}
        elif v["eth_type"] == ETH_IPV6:
            v |= {"ipv6_src": _one(rng, port.addresses6), "ipv6_dst": target6}
            v |= {"ip_ttl": 255, "ip_proto": rng.choice((6, 17, 58, 58, 58))}
            if rng.random() < 0.15:
                v["ip_frag"] = rng.choice((FRAGMENT, FRAGMENT | FRAGMENT_LATER))
            if v["ip_proto"] == PROTO_ICMPV6:
                v |= self._icmpv6(port, peer, target6)
            else:
                v |= self._layer4(v["ip_proto"])
        return v

    def _layer4(self, proto: int) -> dict[str, int]:
        rng = self.rng
        if proto == PROTO_TCP:
            return {"tcp_src": rng.choice((22, 80, 40000)), "tcp_dst": rng.choice((22, 80, 443, 8080, 40000))}
        if proto == PROTO_UDP:
            source, target = rng.choice(
                ((68, 67), (67, 68), (546, 547), (547, 546), (40000, 53), (53, 40000), (40000, 53), (0, 0))
            )
            return {"udp_src": source, "udp_dst": target}
        if proto == PROTO_ICMPV4:
            return {"icmpv4_type": rng.choice((0, 3, 8)), "icmpv4_code": rng.choice((0, 0, 4))}
        return {}

    def _icmpv6(self, port: PortIntent, peer: PortIntent, target: int) -> dict[str, int]:
        rng = self.rng
        v = {
            "icmpv6_type": rng.choice((0, 128, 128, 131, 133, 134, 135, 135, 135, 136, 136, 137, 143)),
            "icmpv6_code": 0,
        }
        if v["icmpv6_type"] == 135:
            v |= {"ipv6_nd_target": target, "ipv6_nd_sll": rng.choice((0, port.mac))}
            v["ipv6_dst"] = rng.choice(
                (target, 0xFF02 << 112 | 0x1FF000000 | target & 0xFFFFFF, *self.ips6[:4])
            )
        elif v["icmpv6_type"] in (131, 143):
            v["ipv6_dst"] = rng.choice((0xFF02 << 112 | 0x16, target))
        elif v["icmpv6_type"] == 136:
            v |= {"ipv6_nd_target": _one(rng, port.addresses6), "ipv6_nd_tll": rng.choice((0, port.mac))}
        return v

    def _other(self, name: str) -> int:
        rng = self.rng
        choose: dict[str, Callable[[], int]] = {
            "eth_type": lambda: rng.choice((ETH_IPV4, ETH_ARP, ETH_IPV6, 0x8100, 0x05FF)),
            "vlan_vid": lambda: rng.choice((0, 0x1000, 0x1005)),
            "ip_frag": lambda: rng.choice((0, FRAGMENT, FRAGMENT | FRAGMENT_LATER)),
            "ip_proto": lambda: rng.choice((0, 6, 17, 43, 44, 51, 58, 58, 60)),
            "ip_ttl": lambda: rng.choice((0, 64, 254, 255)),
            "icmpv6_type": lambda: rng.randrange(128, 140),
            "icmpv6_code": lambda: rng.choice((0, 1, 255)),
            "arp_op": lambda: rng.choice((0, 1, 2, 3, 9)),
        }
        if name in choose:
            return choose[name]()
        if name.startswith(("tcp", "udp", "icmpv4")):
            return rng.choice((0, 8, 22, 53, 67, 68, 80)) & (0xFF if name.startswith("icmp") else 0xFFFF)
        if name.startswith("eth") or name in ("arp_sha", "arp_tha", "ipv6_nd_sll", "ipv6_nd_tll"):
            return rng.choice(self.macs)
        if name.startswith(("ipv4", "arp")):
            return rng.choice(self.ips4)
        return rng.choice(self.ips6)


def _one(rng: Random, values: Sequence[int]) -> int:
    return rng.choice(values) if values else 0


def header_dict(packet: Packet) -> dict[str, Any]:
    return {name: getattr(packet, name) for name in HEADER_FIELDS}
