"""What users do meanwhile: guests come, go and move, and change groups. A call may fail: its end is unknown.

Nothing here remembers what was asked for. What is wanted is read from the API when all is quiet (judge.py).
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from cloison.v1 import floating_ip_pb2 as floating_pb
from cloison.v1 import network_pb2, port_pb2, router_pb2, security_group_pb2, subnet_pb2
from tests.lab.policies import Policies, both
from tests.lab.spine import Site
from tests.lab.ways_out import EXTERNAL, add_external, drop_floating, move_floating
from topologies.client import CALL_S, PAGE_MAX
from topologies.lab import LabError
from topologies.nodes import NodeError
from topologies.workload import Workload

TENANTS = ("red", "blue")
SLOTS = range(1, 7)
IN_DB = frozenset((5, 6))
"""The slots of the second network, which a router joins to the first one, when there is one."""
NETWORKS = {"web": ("10.0.0", "fd00:10:"), "db": ("10.1.0", "fd00:11:")}
GROUPS = ("default", "open", "closed")
"""`default` admits its members, `open` pings from anywhere (while it has that rule), `closed` nothing."""
OPENING = ("open4", "open6")
REFUSED = (grpc.RpcError, NodeError, LabError, LookupError)


def opening() -> list[security_group_pb2.SecurityGroupRule]:
    """The rules that open `open`."""
    rules = both("ingress")
    for rule, identity in zip(rules, OPENING, strict=True):
        rule.id = identity
    return rules


class Changes:
    """Does one thing after another, of those that a user of this site may do."""

    def __init__(self, site: Site, dice: random.Random) -> None:
        """Makes the groups that ports are put into."""
        self._site, self._dice = site, dice
        self.done: dict[str, int] = {}
        self.failed: dict[str, int] = {}
        add_external(site, *sorted(site.lab.hosts)[:2], tenants=TENANTS)
        for guest in site.guests.values():
            _route_all(guest, NETWORKS["web"][0])
        for tenant in TENANTS:
            for subnet, cidr in (("v4", "10.1.0.0/24"), ("v6", "fd00:11::/64")):
                _add_to_db(site, tenant, subnet, cidr)
            policies = Policies(site, tenant)
            policies.group("open", *opening(), *both("egress"))
            policies.group("closed", *both("egress"))

    def one(self) -> None:
        """Do something, whatever comes of it."""
        actions: list[Callable[[str, str], None]] = [
            self._come,
            self._come,
            self._come,
            self._go,
            self._regroup,
            self._toggle,
            self._open,
            self._join,
            self._float,
            self._float,
        ]
        action = self._dice.choice(actions)
        tenant, port = self._dice.choice(TENANTS), f"p{self._dice.choice(SLOTS)}"
        name = action.__name__.strip("_")
        try:
            action(tenant, port)
            self.done[name] = self.done.get(name, 0) + 1
        except REFUSED as error:
            why = error.code().name if isinstance(error, grpc.RpcError) else type(error).__name__
            self.failed[f"{name}: {why}"] = self.failed.get(f"{name}: {why}", 0) + 1

    def _come(self, tenant: str, port: str) -> None:
        """A guest that is there goes and comes back elsewhere, which is another port of the same address."""
        if f"{tenant}/{port}" in self._site.guests:
            self._go(tenant, port)
        name, number = port_name(tenant, port), port[1:]
        network = name.partition("/ports/")[0]
        of_four, of_six = NETWORKS[network.rpartition("/")[2]]
        host = self._dice.choice(sorted(self._site.lab.hosts))
        addresses = [f"{of_four}.1{number}", f"{of_six}:1{number}"]
        try:
            mac = f"52:54:00:00:00:1{number}"
            made = self._site.create_port(network, port, host, mac=mac, addresses=addresses)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise
            made = self._site.port(name)
        guest = self._site.lab.plug_port(made)
        self._site.adopt(made, guest)
        _route_all(guest, of_four)

    def _go(self, tenant: str, port: str) -> None:
        guest = self._site.guests[f"{tenant}/{port}"]
        self._site.lab.unplug(guest)
        del self._site.guests[f"{tenant}/{port}"]
        self._site.ports.pop(f"{tenant}/{port}", None)
        self._site.delete_port(port_name(tenant, port))

    def _regroup(self, tenant: str, port: str) -> None:
        groups = self._dice.sample(GROUPS, self._dice.randint(1, len(GROUPS)))
        Policies(self._site, tenant).put(port_name(tenant, port), groups)

    def _toggle(self, tenant: str, port: str) -> None:
        self._site.disable(port_name(tenant, port), self._dice.random() < 0.3)

    def _open(self, tenant: str, _: str) -> None:
        policies = Policies(self._site, tenant)
        if self._dice.random() < 0.5:
            policies.add("open", *opening())
        else:
            policies.remove("open", *OPENING)

    def _join(self, tenant: str, _: str) -> None:
        """A router between the two networks comes, most often with a way out, or goes."""
        routers = self._site.client.routers
        if self._dice.random() < 0.6:
            subnets = [f"tenants/{tenant}/networks/{n}/subnets/v4" for n in NETWORKS]
            body = router_pb2.Router(interfaces=[router_pb2.RouterInterface(subnet=name) for name in subnets])
            if self._dice.random() < 0.8:
                body.gateway.external_network = EXTERNAL
                body.gateway.distributed_snat = self._dice.random() < 0.3
            request = router_pb2.CreateRouterRequest(parent=f"tenants/{tenant}", router_id="r1", router=body)
            routers.CreateRouter(request, timeout=CALL_S)
        else:
            routers.DeleteRouter(
                router_pb2.DeleteRouterRequest(name=f"tenants/{tenant}/routers/r1"), timeout=CALL_S
            )

    def _float(self, tenant: str, port: str) -> None:
        """A floating IP comes, moves to another port, or goes."""
        floating_ips, name = self._site.client.floating_ips, f"tenants/{tenant}/floatingIps/f{port[1:]}"
        choice = self._dice.random()
        if choice < 0.5:
            body = floating_pb.FloatingIp(
                external_network=EXTERNAL, port=port_name(tenant, port), distributed=self._dice.random() < 0.5
            )
            request = floating_pb.CreateFloatingIpRequest(
                parent=f"tenants/{tenant}", floating_ip_id=f"f{port[1:]}", floating_ip=body
            )
            floating_ips.CreateFloatingIp(request, timeout=CALL_S)
        elif choice < 0.75:
            other = f"{tenant}/p{self._dice.choice(SLOTS)}"
            move_floating(self._site, name, other)
        else:
            drop_floating(self._site, name)


def _route_all(guest: Workload, prefix: str) -> None:
    guest.ip([f"route replace default via {prefix}.1"])


def port_name(tenant: str, port: str) -> str:
    """The full name of the port of a slot."""
    network = "db" if int(port[1:]) in IN_DB else "web"
    return f"tenants/{tenant}/networks/{network}/ports/{port}"


def _add_to_db(site: Site, tenant: str, subnet: str, cidr: str) -> None:
    parent = f"tenants/{tenant}"
    with contextlib.suppress(grpc.RpcError):
        made = network_pb2.CreateNetworkRequest(parent=parent, network_id="db")
        site.client.networks.CreateNetwork(made, timeout=CALL_S)
    body = subnet_pb2.Subnet(cidr=cidr)
    request = subnet_pb2.CreateSubnetRequest(parent=f"{parent}/networks/db", subnet_id=subnet, subnet=body)
    site.client.subnets.CreateSubnet(request, timeout=CALL_S)


@dataclass(frozen=True)
class Wanted:
    """What the API says of a tenant: its ports by short name; is `open` open; is there a router; has it a way
    out; the ports' full names by floating IP.
    """

    ports: dict[str, port_pb2.Port]
    opened: bool
    joined: bool
    leads_out: bool
    floating: dict[str, str]


def wanted(site: Site, tenant: str) -> Wanted:
    """Ask the API. Raises grpc.RpcError."""
    ports: list[port_pb2.Port] = []
    for network in NETWORKS:
        listing = port_pb2.ListPortsRequest(parent=f"tenants/{tenant}/networks/{network}", page_size=PAGE_MAX)
        ports += site.client.ports.ListPorts(listing, timeout=CALL_S).ports
    asked = security_group_pb2.GetSecurityGroupRequest(name=Policies(site, tenant).name("open"))
    group = site.client.security_groups.GetSecurityGroup(asked, timeout=CALL_S)
    asked_routers = router_pb2.ListRoutersRequest(parent=f"tenants/{tenant}", page_size=PAGE_MAX)
    routers = site.client.routers.ListRouters(asked_routers, timeout=CALL_S).routers
    asked_ips = floating_pb.ListFloatingIpsRequest(parent=f"tenants/{tenant}", page_size=PAGE_MAX)
    floating = site.client.floating_ips.ListFloatingIps(asked_ips, timeout=CALL_S).floating_ips
    return Wanted(
        ports={f"{tenant}/{port.name.rpartition('/')[2]}": port for port in ports},
        opened=any(rule.id in OPENING for rule in group.rules),
        joined=bool(routers),
        leads_out=any(router.HasField("gateway") for router in routers),
        floating={one.ip_address: one.port for one in floating if one.port},
    )
