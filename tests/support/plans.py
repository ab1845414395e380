"""Random operations of a plan, and what it takes to carry them out one by one or together."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import replace
from ipaddress import IPv4Address
from random import Random
from typing import Any

import grpc
import pytest

from cloison.errors import CloisonError
from cloison.model import PortBinding, Reservation, Resource, Revision, Stored, TunnelPort
from cloison.names import HostName, NetworkName, TenantName
from cloison.v1 import host_pb2, network_pb2, plan_pb2, port_pb2, subnet_pb2, tenant_pb2
from controller.api.planning.draft import CHANCE_BYTES, Seed, draft, steps_of
from controller.api.planning.operations import Circumstances, Step, carry_out
from controller.reconcile.registration import Registration, registration_txn
from controller.store.hypothesis import Hypothesis
from controller.store.memory import MemoryEtcd, MemoryStore
from controller.store.state import State
from controller.store.txn import Limits, Txn
from tests.support.api import Api, Refusal, refusal_of
from tests.support.group_operations import MEMBERSHIP, GroupOperations
from tests.support.outside_operations import OutsideOperations
from tests.support.store_world import content

SEED = Seed(1_700_000_000_000_000_000, bytes(range(CHANCE_BYTES)))
Operation = plan_pb2.Operation
CIDRS = ("10.0.0.0/28", "10.0.1.0/24", "10.0.1.0/26", "2001:db8::/64", "2001:db8:1::/120")


def of(*requests: Any) -> plan_pb2.PlanRequest:
    """A plan request of the requests of single methods."""
    made = plan_pb2.PlanRequest()
    for request in requests:
        words = type(request).__name__.removesuffix("Request")
        field = re.sub(r"(?<!^)(?=[A-Z])", "_", words).lower()
        made.operations.append(Operation(**{field: request}))
    return made


def apply_request(request: plan_pb2.PlanRequest, plan: plan_pb2.ChangePlan) -> plan_pb2.ApplyRequest:
    """What carries out the plan that was shown."""
    return plan_pb2.ApplyRequest(
        request=request, digest=plan.digest, seed=plan.seed, base_revision=plan.base_revision
    )


def told(plan: plan_pb2.ChangePlan) -> list[tuple[str, str]]:
    """What becomes of which object, by its last id."""
    action = plan_pb2.ObjectChange.Action.Name
    return [(action(change.action), change.name.rsplit("/", 1)[-1]) for change in plan.changes]


async def both(api: Api, request: plan_pb2.PlanRequest) -> plan_pb2.ApplyResponse:
    """Plan and apply."""
    return await api.plans.Apply(apply_request(request, await api.plans.Plan(request)))


async def refused(call: Any) -> Refusal:
    """The call fails; return what it told."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal_of(caught.value)


def meant(state: State) -> dict[object, Stored]:
    """Everything in a state, whenever it was written."""
    return {key: _timeless(stored) for key, stored in content(state).items()}


def _timeless(stored: Stored) -> Stored:
    if isinstance(stored, Resource):
        return replace(stored, meta=replace(stored.meta, revision=Revision(0)))
    return replace(stored, revision=Revision(0))


def references(etcd: MemoryEtcd) -> set[str]:
    """The keys that the mirror does not hold."""
    return {key for key in etcd.values if "/refs/" in key}


async def twin(store: MemoryStore) -> MemoryStore:
    """A store on an etcd of its own that holds the same."""
    etcd = MemoryEtcd(
        store.etcd.revision, store.etcd.compacted, dict(store.etcd.values), deepcopy(store.etcd.history)
    )
    made = MemoryStore(etcd)
    await made.start()
    return made


async def alone(store: MemoryStore, request: plan_pb2.PlanRequest, step: Step) -> None:
    """Carry out one step of a plan as the single method would, with the uid that the plan gives."""
    raw = request.SerializeToString(deterministic=True)
    given = Circumstances(SEED.stamp(raw, step.identity, operator=True), ())
    await store.transact(lambda state: (carry_out(state, step, given), None))


class Operations:
    """Random operations that have a fair chance on a state."""

    def __init__(self, seed: int, *, outside: bool = False) -> None:
        """outside: with routers, and ways out."""
        self.random = Random(seed)
        self._groups = GroupOperations(self.random)
        self._outside = OutsideOperations(self.random) if outside else None

    def next(self, state: State) -> Any:
        """Return the request of a single method."""
        rng = self.random
        kinds = [self._tenant, self._network, self._subnet, self._subnet, self._host]
        kinds += [self._groups.next_group, self._groups.next_group, self._groups.next_addresses]
        if (out := self._outside) is not None:
            kinds += [out.next_external, *[out.next_router] * 5, *[out.next_floating] * 5]
        return rng.choice(kinds + [self._port] * 8)(state)

    def _id(self, prefix: str, count: int) -> str:
        return f"{prefix}{self.random.randrange(count)}"

    def _common(self) -> dict[str, Any]:
        return {"display_name": self.random.choice(("", "a", "b"))}

    def _verb(self, exists: bool) -> str:
        if not exists:
            return "create" if self.random.random() < 0.95 else "delete"
        return self.random.choice(("update", "update", "update", "delete", "delete"))

    def _tenant(self, state: State) -> Any:
        name = self._id("t", 2)
        match self._verb(TenantName(name) in state.tenants):
            case "create":
                return tenant_pb2.CreateTenantRequest(tenant_id=name)
            case "update":
                message = tenant_pb2.Tenant(name=f"tenants/{name}", **self._common())
                return self._masked(tenant_pb2.UpdateTenantRequest(tenant=message), "display_name")
        return tenant_pb2.DeleteTenantRequest(name=f"tenants/{name}")

    def _network(self, state: State) -> Any:
        name = NetworkName(self._id("t", 2), self._id("n", 2))
        match self._verb(name in state.networks):
            case "create":
                message = network_pb2.Network(multicast=self.random.random() < 0.3)
                return network_pb2.CreateNetworkRequest(
                    parent=str(name.parent), network_id=name.network, network=message
                )
            case "update":
                wanted = self.random.random() < 0.4
                message = network_pb2.Network(name=str(name), multicast=wanted, **self._common())
                request = network_pb2.UpdateNetworkRequest(network=message)
                return self._masked(request, "display_name", "multicast")
        return network_pb2.DeleteNetworkRequest(name=str(name))

    def _host(self, state: State) -> Any:
        name = self._id("h", 3)
        match self._verb(HostName(name) in state.hosts):
            case "create":
                return host_pb2.CreateHostRequest(host_id=name)
            case "update":
                message = host_pb2.Host(name=f"hosts/{name}", **self._common())
                return self._masked(host_pb2.UpdateHostRequest(host=message), "display_name")
        return host_pb2.DeleteHostRequest(name=f"hosts/{name}")

    def _parent(self, state: State) -> NetworkName:
        if state.networks and self.random.random() < 0.95:
            return self.random.choice(sorted(state.networks))
        return NetworkName(self._id("t", 2), self._id("n", 2))

    def _subnet(self, state: State) -> Any:
        rng, parent, which = self.random, self._parent(state), self._id("s", 3)
        name = f"{parent}/subnets/{which}"
        match self._verb(any(str(s.name) == name for s in state.subnets_of(parent))):
            case "create":
                message = subnet_pb2.Subnet(cidr=rng.choice(CIDRS), no_gateway=rng.random() < 0.2)
                if message.cidr.endswith("::/64") and rng.random() < 0.3:
                    message.ipv6_mode = subnet_pb2.SLAAC
                return subnet_pb2.CreateSubnetRequest(parent=str(parent), subnet_id=which, subnet=message)
            case "update":
                message = subnet_pb2.Subnet(name=name, **self._common())
                if rng.random() < 0.5:
                    message.gateway_ip = rng.choice(("10.0.0.1", "10.0.1.7", "10.0.1.1", "2001:db8::1"))
                return self._masked(
                    subnet_pb2.UpdateSubnetRequest(subnet=message),
                    *rng.choice((("display_name",), ("gateway_ip", "allocation_pools"))),
                )
        return subnet_pb2.DeleteSubnetRequest(name=name)

    def _port(self, state: State) -> Any:
        parent, which = self._parent(state), self._id("p", 4)
        name = f"{parent}/ports/{which}"
        match self._verb(any(str(p.name) == name for p in state.ports_of(parent))):
            case "create":
                return port_pb2.CreatePortRequest(
                    parent=str(parent), port_id=which, port=self._fields(state, parent)
                )
            case "update":
                message = self._fields(state, parent)
                message.name = name
                mask = [f.name for f, _ in message.ListFields() if f.name not in ("name", "iface_id")]
                mask += self.random.sample(("requested_hosts", "disabled", "labels", *MEMBERSHIP), 1)
                return self._masked(port_pb2.UpdatePortRequest(port=message), *sorted(set(mask)))
        return port_pb2.DeletePortRequest(name=name)

    def _fields(self, state: State, parent: NetworkName) -> port_pb2.Port:
        rng = self.random
        message = port_pb2.Port(disabled=rng.random() < 0.2, **self._common())
        self._groups.fill_port(state, parent.tenant, message)
        hosts = sorted(state.hosts)
        message.requested_hosts.extend(map(str, rng.sample(hosts, rng.randrange(min(3, len(hosts) + 1)))))
        if rng.random() < 0.4:
            message.mac_address = f"52:54:00:00:00:{rng.randrange(8):02x}"
        if rng.random() < 0.3:
            message.iface_id = f"vm{rng.randrange(6)}"
        subnets = sorted(state.subnets_of(parent), key=lambda s: s.name)
        for subnet in rng.sample(subnets, rng.randrange(min(2, len(subnets)) + 1)):
            if rng.random() < 0.5:
                message.fixed_ips.add(subnet=str(subnet.name))
            else:
                message.fixed_ips.add(ip_address=str(subnet.cidr[rng.randrange(2, 9)]))
        return message

    def replacement(self, state: State) -> list[Any]:
        """Return what deletes a network with all that is in it, and makes it again with something else."""
        networks = sorted(state.networks)
        if not networks:
            return []
        name = self.random.choice(networks)
        return [
            *(port_pb2.DeletePortRequest(name=str(port.name)) for port in state.ports_of(name)),
            *(subnet_pb2.DeleteSubnetRequest(name=str(subnet.name)) for subnet in state.subnets_of(name)),
            network_pb2.DeleteNetworkRequest(name=str(name)),
            network_pb2.CreateNetworkRequest(parent=str(name.parent), network_id=name.network),
            subnet_pb2.CreateSubnetRequest(
                parent=str(name), subnet_id="s0", subnet=subnet_pb2.Subnet(cidr="10.0.0.0/28")
            ),
            port_pb2.CreatePortRequest(
                parent=str(name),
                port_id="p0",
                port=port_pb2.Port(requested_hosts=[str(host) for host in list(state.hosts)[:1]]),
            ),
        ]

    def _masked(self, request: Any, *paths: str) -> Any:
        request.update_mask.paths.extend(paths)
        return request

    async def plug(self, store: MemoryStore) -> None:
        """Report some ports as plugged, and some devices, as agents do."""
        rng, state = self.random, store.state
        for host in [host for host in state.hosts.values() if host.vtep is None]:
            hello = Registration(
                host=host.name,
                vtep=IPv4Address(0xAC100000 + int(host.name.host[1:])),
                datapath_id=1 + int(host.name.host[1:]),
                underlay_mtu=1500,
                agent_version="",
                datapath_type="",
            )
            await store.transact(
                lambda state, hello=hello: (registration_txn(state, hello, new_uid="", now_ns=1), None)  # type: ignore[misc]
            )
        for port in list(state.ports.values()):
            for host in port.requested_hosts:
                if rng.random() < 0.7 and (port.name, host) not in state.bindings:
                    await _store(
                        store,
                        PortBinding(
                            port=port.name,
                            port_uid=port.meta.uid,
                            host=host,
                            interface=f"tap{port.number}",
                            ofport=rng.randrange(1, 60000),
                        ),
                    )
                network = state.networks[port.name.parent]
                if rng.random() < 0.5 and (host, network.vni) not in state.tunnel_ports:
                    await _store(
                        store, TunnelPort(host=host, vni=network.vni, ofport=rng.randrange(1, 60000))
                    )


async def random_world(operations: Operations, steps: int) -> MemoryStore:
    """A store after random operations, with most ports plugged."""
    store = MemoryStore(limits=Limits(ops=20_000))
    await store.start()
    for _ in range(steps):
        request = of(operations.next(store.state))
        try:
            await alone(store, request, steps_of(store.state, request)[0])
        except CloisonError:
            continue
        if operations.random.random() < 0.3:
            await operations.plug(store)
    return store


def random_request(operations: Operations, state: State, count: int) -> plan_pb2.PlanRequest:
    """Operations that can be carried out one after the other."""
    hypothesis, chosen = Hypothesis(state), []
    wanted: list[Any] = []
    for number in range(count):
        if not wanted and state.networks and operations.random.random() < 0.1:
            wanted = operations.replacement(hypothesis.after)
        request = wanted.pop(0) if wanted else operations.next(hypothesis.after)
        [step] = steps_of(state, of(request))
        try:
            hypothesis.carry_out(
                carry_out(
                    hypothesis.after, step, Circumstances(SEED.stamp(b"", str(number), operator=True), ())
                )
            )
        except CloisonError:
            continue
        chosen.append(request)
    # With the identifiers of that very request, one may be in the way of another after all.
    while True:
        made = of(*chosen)
        try:
            draft(state, made, SEED, operator=True)
        except CloisonError:
            chosen.pop()
        else:
            return made


async def _store(store: MemoryStore, stored: PortBinding | TunnelPort) -> None:
    def build(state: State) -> tuple[Txn, None]:
        txn = Txn()
        txn.create(stored)
        return txn, None

    await store.transact(build)


def is_given_back(stored: Stored) -> bool:
    """Tell whether it is an identifier that waits for hosts."""
    return isinstance(stored, Reservation) and stored.released
