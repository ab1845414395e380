"""From a tenant as it should be to the operations that make it so. Pure.

In such an order that each can follow the ones before it: floating IPs that let go, ports that go, then what
hangs on nothing any more, then what is new from the top down; and last what others had to be changed for:
subnets that ports were moved out of, and groups. Groups may name each other, so new ones come without rules
at first, and those that go lose theirs before any of them goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from cloison.errors import InvalidIntent
from cloison.model import AddressGroup, Network, Peering, Port, Resource, Router, SecurityGroup, Subnet
from cloison.names import (
    AddressGroupName,
    FloatingIpName,
    NetworkName,
    PeeringName,
    PortName,
    RouterName,
    SecurityGroupName,
    SubnetName,
    TenantName,
)
from cloison.v1 import (
    address_group_pb2,
    network_pb2,
    peering_pb2,
    plan_pb2,
    port_pb2,
    router_pb2,
    security_group_pb2,
    subnet_pb2,
    tenant_pb2,
)
from controller.api.intents.security_group import DEFAULT
from controller.api.planning import desired_outside
from controller.api.planning.operations import STEPS_MAX, Step
from controller.store import transit
from controller.store.state import State

N = TypeVar(
    "N",
    NetworkName,
    SubnetName,
    PortName,
    RouterName,
    FloatingIpName,
    PeeringName,
    SecurityGroupName,
    AddressGroupName,
)

_COMMON = ("display_name", "labels")
# What an object keeps, when a file says nothing of it: these are chosen for it, or by somebody else.
_KEPT = ("mac_address", "fixed_ips", "requested_hosts", "iface_id", "device_id", "project_id")
_NETWORK_FIELDS = ("mtu_limit", "dns_domain", "multicast")
_SUBNET_FIELDS = (
    *("cidr", "gateway_ip", "no_gateway", "allocation_pools"),
    *("no_dhcp", "dns_servers", "routes", "ntp_servers"),
)
_PEERING_FIELDS = ("router", "peer_router", "prefixes", "peer_prefixes", "services")
_ROUTER_FIELDS = ("mac_address", "interfaces", "routes", "gateway")
_PORT_FIELDS = (
    *("disabled", "security_groups", "no_security_groups", "no_port_security"),
    *("allowed_address_pairs", "dns_name", "dhcp_options"),
)


def steps_of(state: State, desired: Iterable[plan_pb2.DesiredTenant]) -> list[Step]:
    """Return what makes the tenants what they should be; raises InvalidIntent naming the field."""
    steps: list[Step] = []
    seen: set[TenantName] = set()
    for index, wanted in enumerate(desired):
        tenant = _Desired(state, wanted, f"desired[{index}]")
        if tenant.name in seen:
            raise InvalidIntent.of(f"desired[{index}].tenant.name", tenant.name, "each tenant once")
        seen.add(tenant.name)
        steps += tenant.steps()
    if len(steps) > STEPS_MAX:
        raise InvalidIntent.of("desired", f"{len(steps)} objects", f"at most {STEPS_MAX} that are touched")
    return steps


class _Desired:
    """One tenant: the messages by name, and where in the request each is."""

    def __init__(self, state: State, wanted: plan_pb2.DesiredTenant, field: str) -> None:
        self._state, self._wanted, self._field = state, wanted, field
        self.name = TenantName.parse(wanted.tenant.name, f"{field}.tenant.name")
        self._networks = self._named(wanted.networks, "networks", NetworkName.parse)
        self._subnets = self._named(wanted.subnets, "subnets", SubnetName.parse)
        self._ports = self._named(wanted.ports, "ports", PortName.parse)
        self._routers = self._named(wanted.routers, "routers", RouterName.parse)
        self._floating = self._named(wanted.floating_ips, "floating_ips", FloatingIpName.parse)
        self._peerings = self._named(wanted.peerings, "peerings", PeeringName.parse)
        self._groups = self._named(wanted.security_groups, "security_groups", SecurityGroupName.parse)
        self._addresses = self._named(wanted.address_groups, "address_groups", AddressGroupName.parse)

    def _named(
        self, messages: Iterable[Any], plural: str, parse: Callable[[str, str], N]
    ) -> dict[N, tuple[Any, str]]:
        found: dict[N, tuple[Any, str]] = {}
        for index, message in enumerate(messages):
            field = f"{self._field}.{plural}[{index}]"
            name = parse(message.name, f"{field}.name")
            if name.tenant != self.name.tenant:
                raise InvalidIntent.of(f"{field}.name", name, f"a name under {self.name}")
            if name in found:
                raise InvalidIntent.of(f"{field}.name", name, f"each name once: {found[name][1]} has it")
            found[name] = message, field
        return found

    def steps(self) -> Iterator[Step]:
        """Yield the operations, in order."""
        ports, subnets, networks = self._superfluous()
        staying = [subnet for subnet in subnets if self._still_used(subnet, ports)]
        there = self._state.floating_ips_of(self.name)
        yield from desired_outside.letting_go(there, self._floating, prune=self._wanted.prune)
        yield from map(_delete_port, ports)
        yield from map(_delete_peering, self._unwanted_peerings())
        yield from self._router_deletions({subnet.name for subnet in subnets})
        yield from (_delete_subnet(subnet) for subnet in subnets if subnet not in staying)
        # Nothing is left in a network that goes: what is wanted in it would keep it.
        yield from map(_delete_network, networks)
        yield self._tenant()
        yield from self._ordered(self._addresses, self._address_group)
        yield from map(self._bare_group, self._new_groups())
        yield from self._ordered(self._groups, self._group)
        yield from self._ordered(self._networks, self._network)
        yield from self._ordered(self._subnets, self._subnet)
        yield from self._ordered(self._routers, self._router)
        yield from self._ordered(self._peerings, self._peering)
        yield from self._ordered(self._ports, self._port)
        yield from desired_outside.standing(self._state, self._floating)
        yield from map(_delete_subnet, staying)
        yield from self._group_deletions()

    def _unwanted_peerings(self) -> list[Peering]:
        if not self._wanted.prune:
            return []
        there = (p for p in self._state.peerings_of(self.name) if p.name not in self._peerings)
        return sorted(there, key=lambda peering: peering.name)

    def _router_deletions(self, subnets: set[SubnetName]) -> Iterator[Step]:
        """Yield what takes away the routers that are not wanted, and others out of subnets that go."""
        routers = sorted(self._state.routers_of(self.name), key=lambda router: router.name)
        for router in routers:
            if router.name not in self._routers and self._wanted.prune:
                request = router_pb2.DeleteRouterRequest(name=str(router.name))
                yield _delete("router", request, router)
            elif router.name in self._routers and not subnets.isdisjoint(i.subnet for i in router.interfaces):
                yield _detached(router, subnets)

    def _group_deletions(self) -> Iterator[Step]:
        """Yield what takes away the groups that are not wanted; the default group stays as it is."""
        if not self._wanted.prune:
            return
        going = [g for g in self._state.groups_of(self.name) if g.name not in self._groups]
        going = sorted((g for g in going if g.name.group != DEFAULT), key=lambda group: group.name)
        yield from (_emptied(group) for group in going if group.rules)
        yield from map(_delete_group, going)
        addresses = self._state.address_groups_of(self.name)
        unwanted = [g for g in addresses if g.name not in self._addresses]
        yield from map(_delete_address_group, sorted(unwanted, key=lambda group: group.name))

    def _new_groups(self) -> list[SecurityGroupName]:
        return sorted(
            name for name in self._groups if name not in self._state.security_groups and name.group != DEFAULT
        )

    def _superfluous(self) -> tuple[list[Port], list[Subnet], list[Network]]:
        """Return what is there and should not be."""
        if not self._wanted.prune:
            return [], [], []
        own = (n for n in self._state.networks_of(self.name) if not transit.is_transit(n.name))
        networks = sorted(own, key=lambda network: network.name)
        ports = [p for n in networks for p in self._state.ports_of(n.name) if p.name not in self._ports]
        subnets = [s for n in networks for s in self._state.subnets_of(n.name) if s.name not in self._subnets]
        ports.sort(key=lambda port: port.name)
        subnets.sort(key=lambda subnet: subnet.name)
        needed = {*self._networks, *(n.parent for n in self._subnets), *(n.parent for n in self._ports)}
        return ports, subnets, [network for network in networks if network.name not in needed]

    def _still_used(self, subnet: Subnet, going: Iterable[Port]) -> bool:
        names = {port.name for port in going}
        return any(port.name not in names for port in self._state.ports_using(subnet.name))

    def _ordered(
        self, wanted: dict[N, tuple[Any, str]], step: Callable[[N, Any, str], Step]
    ) -> Iterator[Step]:
        """Yield updates before creates: what they give up, others may want."""
        for there in (True, False):
            for name, (message, field) in sorted(wanted.items()):
                if (self._state.get(name) is not None) is there:
                    yield step(name, message, field)

    # -- one object ------------------------------------------------------------------------------------

    def _tenant(self) -> Step:
        message, field = self._wanted.tenant, f"{self._field}.tenant"
        if self.name not in self._state.tenants:
            create = tenant_pb2.CreateTenantRequest(tenant_id=self.name.tenant, tenant=message)
            return Step("create_tenant", create, field, str(self.name))
        update = tenant_pb2.UpdateTenantRequest(tenant=message)
        update.update_mask.paths.extend(_COMMON)
        return Step("update_tenant", update, field, str(self.name))

    def _network(self, name: NetworkName, message: network_pb2.Network, field: str) -> Step:
        if name not in self._state.networks:
            create = network_pb2.CreateNetworkRequest(
                parent=str(name.parent), network_id=name.network, network=message
            )
            return Step("create_network", create, field, str(name))
        update = network_pb2.UpdateNetworkRequest(network=message)
        update.update_mask.paths.extend((*_COMMON, *_NETWORK_FIELDS))
        return Step("update_network", update, field, str(name))

    def _subnet(self, name: SubnetName, message: subnet_pb2.Subnet, field: str) -> Step:
        if name not in self._state.subnets:
            create = subnet_pb2.CreateSubnetRequest(
                parent=str(name.parent), subnet_id=name.subnet, subnet=message
            )
            return Step("create_subnet", create, field, str(name))
        update = subnet_pb2.UpdateSubnetRequest(subnet=message)
        kept = ("ipv6_mode",) if message.ipv6_mode else ()
        update.update_mask.paths.extend((*_COMMON, *_SUBNET_FIELDS, *kept))
        return Step("update_subnet", update, field, str(name))

    def _port(self, name: PortName, message: port_pb2.Port, field: str) -> Step:
        if name not in self._state.ports:
            create = port_pb2.CreatePortRequest(parent=str(name.parent), port_id=name.port, port=message)
            return Step("create_port", create, field, str(name))
        update = port_pb2.UpdatePortRequest(port=message)
        kept = (f for f in _KEPT if getattr(message, f))
        update.update_mask.paths.extend((*_COMMON, *_PORT_FIELDS, *kept))
        return Step("update_port", update, field, str(name))

    def _router(self, name: RouterName, message: router_pb2.Router, field: str) -> Step:
        if name not in self._state.routers:
            create = router_pb2.CreateRouterRequest(
                parent=str(name.parent), router_id=name.router, router=message
            )
            return Step("create_router", create, field, str(name))
        update = router_pb2.UpdateRouterRequest(router=message)
        update.update_mask.paths.extend((*_COMMON, *_ROUTER_FIELDS))
        return Step("update_router", update, field, str(name))

    def _peering(self, name: PeeringName, message: peering_pb2.Peering, field: str) -> Step:
        if name not in self._state.peerings:
            create = peering_pb2.CreatePeeringRequest(
                parent=str(name.parent), peering_id=name.peering, peering=message
            )
            return Step("create_peering", create, field, str(name))
        update = peering_pb2.UpdatePeeringRequest(peering=message)
        update.update_mask.paths.extend((*_COMMON, *_PEERING_FIELDS))
        return Step("update_peering", update, field, str(name))

    def _bare_group(self, name: SecurityGroupName) -> Step:
        """Return what makes a group without its rules, which may name one that is made only after it."""
        message, field = self._groups[name]
        create = security_group_pb2.CreateSecurityGroupRequest(
            parent=str(name.parent), security_group_id=name.group, security_group=message
        )
        del create.security_group.rules[:]
        return Step("create_security_group", create, field, str(name))

    def _group(self, name: SecurityGroupName, message: security_group_pb2.SecurityGroup, field: str) -> Step:
        update = security_group_pb2.UpdateSecurityGroupRequest(security_group=message)
        update.update_mask.paths.extend((*_COMMON, "rules"))
        return Step("update_security_group", update, field, f"{name} rules")

    def _address_group(
        self, name: AddressGroupName, message: address_group_pb2.AddressGroup, field: str
    ) -> Step:
        if name not in self._state.address_groups:
            create = address_group_pb2.CreateAddressGroupRequest(
                parent=str(name.parent), address_group_id=name.group, address_group=message
            )
            return Step("create_address_group", create, field, str(name))
        update = address_group_pb2.UpdateAddressGroupRequest(address_group=message)
        update.update_mask.paths.extend((*_COMMON, "prefixes"))
        return Step("update_address_group", update, field, str(name))


def _delete_port(port: Port) -> Step:
    return _delete("port", port_pb2.DeletePortRequest(name=str(port.name)), port)


def _delete_subnet(subnet: Subnet) -> Step:
    return _delete("subnet", subnet_pb2.DeleteSubnetRequest(name=str(subnet.name)), subnet)


def _delete_network(network: Network) -> Step:
    return _delete("network", network_pb2.DeleteNetworkRequest(name=str(network.name)), network)


def _delete_peering(peering: Peering) -> Step:
    return _delete("peering", peering_pb2.DeletePeeringRequest(name=str(peering.name)), peering)


def _detached(router: Router, subnets: set[SubnetName]) -> Step:
    """Return what takes a router out of some subnets; its routes come back with all else that is wanted."""
    update = router_pb2.UpdateRouterRequest()
    update.router.name = str(router.name)
    for interface in router.interfaces:
        if interface.subnet not in subnets:
            update.router.interfaces.add(subnet=str(interface.subnet), ip_address=str(interface.address))
    update.update_mask.paths.extend(("interfaces", "routes"))
    return Step("update_router", update, str(router.name), f"{router.name} interfaces")


def _emptied(group: SecurityGroup) -> Step:
    update = security_group_pb2.UpdateSecurityGroupRequest()
    update.security_group.name = str(group.name)
    update.update_mask.paths.append("rules")
    return Step("update_security_group", update, str(group.name), f"{group.name} rules")


def _delete_group(group: SecurityGroup) -> Step:
    return _delete(
        "security_group", security_group_pb2.DeleteSecurityGroupRequest(name=str(group.name)), group
    )


def _delete_address_group(group: AddressGroup) -> Step:
    return _delete("address_group", address_group_pb2.DeleteAddressGroupRequest(name=str(group.name)), group)


def _delete(noun: str, request: Any, resource: Resource) -> Step:
    return Step(f"delete_{noun}", request, str(resource.name), str(resource.name))
