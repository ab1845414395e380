"""From a tenant as it should be to the operations that make it so. Pure.

In such an order that each can follow the ones before it: ports that go, then what hangs on nothing any more,
then what is new from the top down; and last the subnets that ports had to be moved out of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from cloison.errors import InvalidIntent
from cloison.model import Network, Port, Resource, Subnet
from cloison.names import NetworkName, PortName, SubnetName, TenantName
from cloison.v1 import network_pb2, plan_pb2, port_pb2, subnet_pb2, tenant_pb2
from controller.api.planning.operations import STEPS_MAX, Step
from controller.store.state import State

N = TypeVar("N", NetworkName, SubnetName, PortName)

_COMMON = ("display_name", "labels")
# What an object keeps, when a file says nothing of it: these are chosen for it, or by somebody else.
_KEPT = ("mac_address", "fixed_ips", "requested_hosts", "iface_id")


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
        yield from map(_delete_port, ports)
        yield from (_delete_subnet(subnet) for subnet in subnets if subnet not in staying)
        # Nothing is left in a network that goes: what is wanted in it would keep it.
        yield from map(_delete_network, networks)
        yield self._tenant()
        yield from self._ordered(self._networks, self._network)
        yield from self._ordered(self._subnets, self._subnet)
        yield from self._ordered(self._ports, self._port)
        yield from map(_delete_subnet, staying)

    def _superfluous(self) -> tuple[list[Port], list[Subnet], list[Network]]:
        """Return what is there and should not be."""
        if not self._wanted.prune:
            return [], [], []
        networks = sorted(self._state.networks_of(self.name), key=lambda network: network.name)
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
        update.update_mask.paths.extend(_COMMON)
        return Step("update_network", update, field, str(name))

    def _subnet(self, name: SubnetName, message: subnet_pb2.Subnet, field: str) -> Step:
        if name not in self._state.subnets:
            create = subnet_pb2.CreateSubnetRequest(
                parent=str(name.parent), subnet_id=name.subnet, subnet=message
            )
            return Step("create_subnet", create, field, str(name))
        update = subnet_pb2.UpdateSubnetRequest(subnet=message)
        update.update_mask.paths.extend((*_COMMON, "cidr", "gateway_ip", "no_gateway", "allocation_pools"))
        return Step("update_subnet", update, field, str(name))

    def _port(self, name: PortName, message: port_pb2.Port, field: str) -> Step:
        if name not in self._state.ports:
            create = port_pb2.CreatePortRequest(parent=str(name.parent), port_id=name.port, port=message)
            return Step("create_port", create, field, str(name))
        update = port_pb2.UpdatePortRequest(port=message)
        update.update_mask.paths.extend((*_COMMON, "disabled", *(f for f in _KEPT if getattr(message, f))))
        return Step("update_port", update, field, str(name))


def _delete_port(port: Port) -> Step:
    return _delete("port", port_pb2.DeletePortRequest(name=str(port.name)), port)


def _delete_subnet(subnet: Subnet) -> Step:
    return _delete("subnet", subnet_pb2.DeleteSubnetRequest(name=str(subnet.name)), subnet)


def _delete_network(network: Network) -> Step:
    return _delete("network", network_pb2.DeleteNetworkRequest(name=str(network.name)), network)


def _delete(noun: str, request: Any, resource: Resource) -> Step:
    return Step(f"delete_{noun}", request, str(resource.name), str(resource.name))
