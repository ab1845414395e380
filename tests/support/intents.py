"""Random but valid states, and histories of them, for tests of compiler, reconciler and verifier.

Everything comes from one random.Random, so that a failing seed is a reproduction.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from cloison.addresses import Mac, link_local, wire_mac
from cloison.model import (
    PROFILE_FIRST,
    PROFILE_NONE,
    PROFILE_OPEN,
    AddressGroup,
    AddressPair,
    AllocationPool,
    AllowedService,
    Direction,
    EtherType,
    FixedIp,
    Host,
    Meta,
    Network,
    Peering,
    PolicyProfile,
    Port,
    PortBinding,
    Reservation,
    Router,
    RouterInterface,
    RouterRoute,
    SecurityGroup,
    SecurityGroupRule,
    Stored,
    Subnet,
    Tenant,
    TunnelPort,
    Vni,
)
from cloison.names import (
    AddressGroupName,
    HostName,
    NetworkName,
    PeeringName,
    PortName,
    RouterName,
    SecurityGroupName,
    SubnetName,
    TenantName,
)
from controller.store.changes import Event, RevisionChanges
from controller.store.ids import ip
from controller.store.keys import BindingKey, ProfileKey, StoredKey, TunnelPortKey, stored_key
from controller.store.state import State

# The same for every tenant, on purpose: overlapping addresses are the normal case.
CIDR4 = ip_network("10.0.0.0/24")
CIDR6 = ip_network("2001:db8::/64")
CIDR4_2, CIDR6_2 = ip_network("10.9.0.0/24"), ip_network("2001:db8:9::/64")
# What ports of a network may list and claim.
VIP4, VIP6 = ip_address("10.0.0.250"), ip_address("2001:db8::250")


class World:
    """A state that is changed step by step, each step as one revision."""

    def __init__(self, seed: int, tenants: int = 2, hosts: int = 3) -> None:
        self.random = random.Random(seed)
        self.state = State()
        self._revision = 0
        self._numbers = iter(range(1, 1_000_000))
        self._tenants = [TenantName(f"t{n}") for n in range(tenants)]
        self._hosts = [HostName(f"h{n}") for n in range(hosts)]

    def commit(self, *events: Event) -> RevisionChanges:
        """Apply events as one transaction."""
        self._revision += 1
        return self.state.apply(self._revision, events)

    def put(self, *stored: Stored) -> RevisionChanges:
        """Store objects in one transaction."""
        return self.commit(*(Event(stored_key(s), self._stamped(s)) for s in stored))

    def drop(self, *keys: StoredKey) -> RevisionChanges:
        """Delete what is found under the keys, in one transaction."""
        return self.commit(*(Event(key, None) for key in keys))

    def _stamped(self, stored: Stored) -> Stored:
        revision = self._revision + 1
        if isinstance(stored, PortBinding | TunnelPort | PolicyProfile | Reservation):
            return replace(stored, revision=revision)  # type: ignore[arg-type]
        return replace(stored, meta=replace(stored.meta, revision=revision))  # type: ignore[union-attr,arg-type,type-var]

    def _meta(self) -> Meta:
        return Meta(uid=f"uid-{next(self._numbers)}")

    # --- building blocks ----------------------------------------------------------------------------

    def add_base(self) -> list[RevisionChanges]:
        """Every host, and for every tenant one dual-stack network: where a history begins."""
        made = []
        for n, name in enumerate(self._hosts):
            host = Host(
                name=name,
                meta=self._meta(),
                vtep=IPv4Address(f"192.0.2.{n + 1}"),
                datapath_id=n + 1,
                underlay_mtu=1500 + 10 * n,
            )
            made.append(self.put(host))
        for n, tenant in enumerate(self._tenants):
            made.append(self.put(Tenant(name=tenant, meta=self._meta(), number=n + 1)))
            network = NetworkName(tenant.tenant, "web")
            shared = Network(name=network, meta=self._meta(), vni=Vni(5000 + n), multicast=n % 2 == 1)
            made.append(self.put(shared))
            made.append(self.put(self.subnet(network, CIDR4), self.subnet(network, CIDR6)))
            if self.random.random() < 0.7:
                second = NetworkName(tenant.tenant, "db")
                made.append(self.put(Network(name=second, meta=self._meta(), vni=Vni(6000 + n))))
                made.append(self.put(self.subnet(second, CIDR4_2), self.subnet(second, CIDR6_2)))
        return made

    def subnet(self, network: NetworkName, cidr: IPv4Network | IPv6Network) -> Subnet:
        """A subnet whose pool is everything but its first address."""
        pool = AllocationPool(cidr[2], cidr[-2])
        name = SubnetName(*network, f"v{cidr.version}-{int(cidr.network_address) & 0xFFFF:x}")
        return Subnet(name=name, meta=self._meta(), cidr=cidr, gateway_ip=cidr[1], allocation_pools=(pool,))

    def port(self, network: NetworkName, number: int, hosts: tuple[HostName, ...]) -> Port:
        """Port p<number>, with the same MAC and addresses in each tenant's network."""
        offset = 10 + number
        four, six = (CIDR4, CIDR6) if network.network == "web" else (CIDR4_2, CIDR6_2)
        ips = (
            FixedIp(SubnetName(*network, "v4-0"), IPv4Address(int(four.network_address) + offset)),
            FixedIp(SubnetName(*network, "v6-0"), IPv6Address(int(six.network_address) + offset)),
        )
        return Port(
            name=PortName(*network, f"p{number}"),
            meta=self._meta(),
            number=next(self._numbers),
            mac=Mac(0x020000000000 + offset),
            fixed_ips=ips[: self.random.choice((1, 2, 2))],
            requested_hosts=hosts,
            disabled=False,
            iface_id=f"if-{network.tenant}-{number}-{next(self._numbers)}",
        )

    def plug(self, port: Port, host: HostName) -> PortBinding:
        """A binding of a port; ofports on a host are never given twice."""
        return PortBinding(
            port=port.name,
            port_uid=port.meta.uid,
            host=host,
            interface=f"tap{next(self._numbers)}",
            ofport=next(self._numbers) % 60000 + 1,
        )

    # --- histories ----------------------------------------------------------------------------------

    def history(self, steps: int) -> Iterator[RevisionChanges]:
        """Random steps, each leaving a valid state."""
        yield from self.add_base()
        for _ in range(steps):
            yield self._step()

    def _step(self) -> RevisionChanges:
        choice = self.random.random
        ports = list(self.state.ports.values())
        if not ports or choice() < 0.35:
            return self._create_port()
        port = self.random.choice(ports)
        bindings = self.state.bindings_of(port.name)
        return self.random.choice(
            [
                lambda: self._create_port(),
                lambda: self._plug_somewhere(port),
                lambda: self._plug_somewhere(port),
                lambda: self.drop(*(BindingKey(b.port, b.host) for b in bindings[:1])),
                lambda: self._delete_port(port),
                lambda: self.put(replace(port, disabled=not port.disabled)),
                lambda: self.put(replace(port, requested_hosts=(self.random.choice(self._hosts),))),
                lambda: self._tunnel(),
                lambda: self._tunnel(),
                lambda: self._change_host(),
                lambda: self._change_subnet(port.name.parent),
                lambda: self._change_network(port.name.parent),
                lambda: self._change_group(port.name.parent.parent),
                lambda: self._change_addresses(port.name.parent.parent),
                lambda: self._change_profile(port),
                lambda: self._change_profile(port),
                lambda: self._change_router(port.name.parent.parent),
                lambda: self._change_router(port.name.parent.parent),
                lambda: self._change_peering(),
                lambda: self._change_peering(),
                lambda: self._change_peering(),
                lambda: self._claim(port),
                lambda: self._claim(port),
                lambda: self._change_pairs(port),
                lambda: self.put(replace(port, dns_name=self.random.choice(("", "www", "db")))),
            ]
        )()

    def _create_port(self) -> RevisionChanges:
        network = self.random.choice(sorted(self.state.networks))
        taken = {p.name.port for p in self.state.ports_of(network)}
        number = next(n for n in range(200) if f"p{n}" not in taken)
        host = self.random.choice(self._hosts)
        port = self.port(network, number, (host,))
        taken_now = [
            Reservation(key=ip(network, one.address), owner=str(port.name), owner_uid=port.meta.uid)
            for one in port.fixed_ips
        ]
        plugged = [self.plug(port, host)] if self.random.random() < 0.5 else []
        return self.put(port, *plugged, *taken_now)

    def _delete_port(self, port: Port) -> RevisionChanges:
        bindings = (BindingKey(b.port, b.host) for b in self.state.bindings_of(port.name))
        reserved = (ip(port.name.parent, one.address) for one in port.fixed_ips)
        return self.drop(port.name, *bindings, *reserved)

    def _plug_somewhere(self, port: Port) -> RevisionChanges:
        host = self.random.choice((*port.requested_hosts, self.random.choice(self._hosts)))
        return self.put(self.plug(port, host))

    def _change_pairs(self, port: Port) -> RevisionChanges:
        chosen = self.random.sample((VIP4, VIP6), self.random.randint(0, 2))
        pairs = tuple(AddressPair(ip_network(address)) for address in chosen)
        return self.put(replace(port, allowed_address_pairs=pairs))

    def _claim(self, port: Port) -> RevisionChanges:
        """An address comes to live at a port that lists it, and leaves where it was."""
        bindings = self.state.bindings_of(port.name)
        address = self.random.choice((VIP4, VIP6))
        if not bindings or all(address not in pair.prefix for pair in port.allowed_address_pairs):
            return self._change_pairs(port)
        before = [b for b in self.state.claimants(port.name.parent, wire_mac(address)) if b.port != port.name]
        left = (replace(b, claimed=tuple(a for a in b.claimed if a != address)) for b in before)
        return self.put(replace(bindings[0], claimed=tuple({*bindings[0].claimed, address})), *left)

    def _tunnel(self) -> RevisionChanges:
        host = self.random.choice(self._hosts)
        network = self.random.choice(list(self.state.networks.values()))
        if (host, network.vni) in self.state.tunnel_ports and self.random.random() < 0.4:
            return self.drop(TunnelPortKey(host, network.vni))
        return self.put(TunnelPort(host=host, vni=network.vni, ofport=next(self._numbers) % 60000 + 1))

    def _change_host(self) -> RevisionChanges:
        host = self.state.hosts[self.random.choice(self._hosts)]
        vtep = IPv4Address(f"198.51.100.{self.random.randrange(1, 250)}")
        return self.put(replace(host, vtep=vtep, underlay_mtu=self.random.choice((1500, 1600, 9000))))

    def _change_subnet(self, network: NetworkName) -> RevisionChanges:
        extra = SubnetName(*network, "v4-100")
        if extra in self.state.subnets:
            return self.drop(extra)
        return self.put(self.subnet(network, ip_network("10.0.1.0/24")))

    def _change_router(self, tenant: TenantName) -> RevisionChanges:
        """A router over some subnets of the tenant, by way of ports and of nobody, or none."""
        name = RouterName(tenant.tenant, "r")
        if name in self.state.routers and self.random.random() < 0.3:
            return self.drop(name)
        subnets = [s for n in self.state.networks_of(tenant) for s in self.state.subnets_of(n.name)]
        if self.random.random() < 0.7:
            # There is room for peerings.
            only = "web" if self._tenants.index(tenant) % 2 else "db"
            subnets = [s for s in subnets if s.name.network == only and s.name.subnet.endswith("-0")]
        chosen: list[Subnet] = []
        for subnet in sorted(subnets, key=lambda s: s.name):
            alike = (s.cidr for s in chosen if s.cidr.version == subnet.cidr.version)
            if self.random.random() < 0.7 and not any(cidr.overlaps(subnet.cidr) for cidr in alike):
                chosen.append(subnet)
        interfaces = tuple(RouterInterface(s.name, s.cidr[1]) for s in chosen)
        routes = []
        for text in ("0.0.0.0/0", "2001:db8:f::/48"):
            destination = ip_network(text)
            hops = [s.cidr[n] for s in chosen for n in (10, 11, 250) if s.cidr.version == destination.version]
            if hops and self.random.random() < 0.6:
                routes.append(RouterRoute(destination, (self.random.choice(hops),)))
        meta = self.state.routers[name].meta if name in self.state.routers else self._meta()
        return self.put(Router(name=name, meta=meta, interfaces=interfaces, routes=tuple(routes)))

    def _change_peering(self) -> RevisionChanges:
        """Halves of a peering of two tenants come and go; both at once, or one after the other."""
        one, other = self.random.sample(self._tenants, 2)
        pair = [
            half for half in (PeeringName(one.tenant, "p"), PeeringName(other.tenant, "p"))
            if self.random.random() < 0.9
        ]  # fmt: skip
        there = [name for name in pair if name in self.state.peerings]
        if there and self.random.random() < 0.3:
            return self.drop(*there)
        return self.put(*(self._half(name, other if name.tenant == one.tenant else one) for name in pair))

    def _half(self, name: PeeringName, other: TenantName) -> Peering:
        """A half that fits its router and the other half, or does not quite."""
        mine, theirs = (
            [self.state.subnets[i.subnet].cidr for i in router.interfaces if i.subnet in self.state.subnets]
            if (router := self.state.routers.get(RouterName(tenant, "r"))) is not None
            else []
            for tenant in (name.tenant, other.tenant)
        )
        free = [
            cidr for cidr in theirs if not any(c.version == cidr.version and c.overlaps(cidr) for c in mine)
        ]
        own = [c for c in mine if not any(t.version == c.version and t.overlaps(c) for t in theirs)]
        if self.random.random() < 0.1:
            own, free = mine, theirs
        services = (
            AllowedService(6, 22, 80),
            AllowedService(17, 53, 53),
            AllowedService(1),
            AllowedService(),
        )
        before = self.state.peerings.get(name)
        return Peering(
            name=name,
            meta=before.meta if before is not None else self._meta(),
            router=RouterName(name.tenant, "r"),
            peer_router=RouterName(other.tenant, "r"),
            number=before.number if before is not None else PROFILE_FIRST + next(self._numbers),
            prefixes=tuple(own),
            peer_prefixes=tuple(free),
            services=tuple(self.random.sample(services, self.random.randint(0, 2))),
        )

    # --- policy -------------------------------------------------------------------------------------

    def _group(self, tenant: TenantName, name: str) -> SecurityGroup:
        """A group, as it is or new and empty; the same numbers for the same names, globally unique."""
        found = self.state.security_groups.get(SecurityGroupName(tenant.tenant, name))
        number = 100 * self.state.tenants[tenant].number + ord(name[-1])
        return found or SecurityGroup(
            name=SecurityGroupName(tenant.tenant, name), meta=self._meta(), number=number
        )

    def _change_group(self, tenant: TenantName) -> RevisionChanges:
        group = self._group(tenant, self.random.choice(("ga", "gb", "gc")))
        if group.name in self.state.security_groups and self.random.random() < 0.2:
            return self.drop(group.name)
        remote = self._group(tenant, self.random.choice(("ga", "gb", "gc"))).name
        rules = tuple(
            SecurityGroupRule(
                id=f"r{n}",
                number=n,
                direction=self.random.choice(list(Direction)),
                ether_type=self.random.choice(list(EtherType)),
                protocol=6,
                port_min=self.random.choice((22, 80)),
                port_max=self.random.choice((80, 443)),
                **self.random.choice(
                    (
                        {},
                        {"remote_group": remote},
                        {"remote_address_group": AddressGroupName(tenant.tenant, "office")},
                        {"remote_prefix": ip_network("10.0.0.0/25")},
                    )
                ),
            )
            for n in range(1, self.random.randint(1, 4))
        )
        return self.put(replace(group, rules=rules))

    def _change_addresses(self, tenant: TenantName) -> RevisionChanges:
        name = AddressGroupName(tenant.tenant, "office")
        if name in self.state.address_groups and self.random.random() < 0.3:
            return self.drop(name)
        ranges = ("10.0.0.16/28", "10.0.0.0/30", "2001:db8::/80", "192.0.2.0/24")
        chosen = self.random.sample(ranges, self.random.randint(0, 3))
        return self.put(
            AddressGroup(name=name, meta=self._meta(), prefixes=tuple(ip_network(n) for n in sorted(chosen)))
        )

    def _change_profile(self, port: Port) -> RevisionChanges:
        """Another set of groups, sometimes with the profile that is the first to have it."""
        tenant = port.name.parent.parent
        groups = tuple(sorted(g.name for g in self.state.groups_of(tenant) if self.random.random() < 0.5))
        if not groups:
            profile = self.random.choice((PROFILE_NONE, PROFILE_OPEN))
            return self.put(replace(port, security_groups=(), profile=profile))
        found = self.state.profile_for(tenant, groups)
        number = found.number if found else PROFILE_FIRST + next(self._numbers)
        changed = replace(port, security_groups=groups, profile=number)
        unused = [p for p in self.state.profiles_of(tenant) if not self.state.ports_with_profile(p.number)]
        if unused and self.random.random() < 0.5:
            return self.drop(ProfileKey(tenant, unused[0].number))
        if found is not None:
            return self.put(changed)
        return self.put(PolicyProfile(tenant=tenant, number=number, groups=groups), changed)

    def _change_network(self, name: NetworkName) -> RevisionChanges:
        network = self.state.networks[name]
        return self.put(
            replace(
                network,
                mtu_limit=self.random.choice((0, 1280, 9000)),
                dns_domain=self.random.choice(("", "example.test")),
                multicast=self.random.random() < 0.5,
            )
        )


def own_link_local(port: Port) -> IPv6Address:
    """The link-local address a guest on this port makes for itself."""
    return link_local(port.mac)
