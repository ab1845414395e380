"""A tenant of many routed networks, as a state: what its size costs one of its hosts, and one change.

Network i has the subnets 10.<i>.0.0/16 and fd00:<i>::/64. All but the last few (apart) are on one router.
The first ten ports are on h0, whatever the size, each in a network of its own; the others are spread over the
other hosts.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from cloison.addresses import ROUTER_MAC, IpNetwork, Mac
from cloison.model import (
    PROFILE_FIRST,
    AllocationPool,
    Direction,
    FixedIp,
    Host,
    Meta,
    Network,
    PolicyProfile,
    Port,
    PortBinding,
    Router,
    RouterInterface,
    SecurityGroup,
    SecurityGroupRule,
    Stored,
    Subnet,
    Tenant,
    TunnelPort,
    Vni,
)
from cloison.names import (
    HostName,
    NetworkName,
    PortName,
    RouterName,
    SecurityGroupName,
    SubnetName,
    TenantName,
)
from controller.reconcile.impact import Impact, impact_of
from controller.store.changes import Event
from controller.store.keys import stored_key
from controller.store.state import State

TENANT = TenantName("t")
GROUP = SecurityGroupName("t", "all")
LOCAL = 10
FIRST_VNI, FIRST_TUNNEL, FIRST_OFPORT, FIRST_ADDRESS = 5000, 1, 1000, 256


class RoutedTenant:
    """The state; every port plugged, every device there."""

    def __init__(self, ports: int, routed: int = 20, apart: int = 0, hosts: int = 100) -> None:
        self.networks = [NetworkName("t", f"n{i}") for i in range(routed + apart)]
        self.routed = self.networks[:routed]
        self.hosts = [HostName(f"h{n}") for n in range(hosts)]
        self.state, self._uid = State(), 0
        for stored in self._base():
            self.state.load(stored, stored_key(stored))
        for number in range(ports):
            for stored in self.port(number):
                self.state.load(stored, stored_key(stored))
        self.revision = 1
        self.state.apply(self.revision, ())

    def commit(self, *things: Stored) -> Impact:
        """Take in one transaction."""
        self.revision += 1
        events = [Event(stored_key(stored), stored) for stored in things]
        return impact_of(self.state.apply(self.revision, events).changes, self.state)

    def host_of(self, number: int) -> HostName:
        """Where port number is."""
        return self.hosts[0] if number < LOCAL else self.hosts[1 + number % (len(self.hosts) - 1)]

    def port(self, number: int) -> tuple[Port, PortBinding]:
        """A port, plugged."""
        network, host = self.networks[number % len(self.networks)], self.host_of(number)
        at = FIRST_ADDRESS + number
        port = Port(
            name=PortName(*network, f"p{number}"),
            meta=self._meta(),
            number=number + 1,
            mac=Mac(0x020000000000 + number),
            fixed_ips=tuple(
                FixedIp(SubnetName(*network, name), cidr[at]) for name, cidr in _cidrs(network).items()
            ),
            requested_hosts=(host,),
            disabled=False,
            iface_id=f"if{number}",
            security_groups=(GROUP,),
            profile=PROFILE_FIRST,
        )
        ofport = FIRST_OFPORT + number // (1 if number < LOCAL else len(self.hosts) - 1)
        binding = PortBinding(
            port=port.name, port_uid=port.meta.uid, host=host, interface=f"tap{number}", ofport=ofport
        )
        return port, binding

    def _base(self) -> Iterator[Stored]:
        for n, host in enumerate(self.hosts):
            vtep = IPv4Address(0xC0000200 + n)
            yield Host(name=host, meta=self._meta(), vtep=vtep, datapath_id=n + 1, underlay_mtu=1500)
        yield Tenant(name=TENANT, meta=self._meta(), number=1)
        rules = tuple(
            SecurityGroupRule(id=f"r{n}", number=n, direction=direction)
            for n, direction in enumerate(Direction, 1)
        )
        yield SecurityGroup(name=GROUP, meta=self._meta(), number=1, rules=rules)
        yield PolicyProfile(tenant=TENANT, number=PROFILE_FIRST, groups=(GROUP,))
        interfaces = []
        for i, network in enumerate(self.networks):
            yield Network(name=network, meta=self._meta(), vni=Vni(FIRST_VNI + i))
            for name, cidr in _cidrs(network).items():
                subnet = Subnet(
                    name=SubnetName(*network, name),
                    meta=self._meta(),
                    cidr=cidr,
                    gateway_ip=cidr[1],
                    allocation_pools=(AllocationPool(cidr[2], cidr[60_000]),),
                )
                if network in self.routed:
                    interfaces.append(RouterInterface(subnet.name, cidr[1]))
                yield subnet
            for host in self.hosts:
                yield TunnelPort(host=host, vni=Vni(FIRST_VNI + i), ofport=FIRST_TUNNEL + i)
        yield Router(
            name=RouterName("t", "r"), meta=self._meta(), mac=ROUTER_MAC, interfaces=tuple(interfaces)
        )

    def _meta(self) -> Meta:
        self._uid += 1
        return Meta(uid=f"uid-{self._uid}")


def _cidrs(network: NetworkName) -> dict[str, IpNetwork]:
    number = int(network.network[1:])
    return {"v4": IPv4Network((0x0A000000 | number << 16, 16)), "v6": IPv6Network(f"fd00:{number:x}::/64")}
