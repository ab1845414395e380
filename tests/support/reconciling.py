"""A reconciler over a store in memory, and what tests of it need: tenants, ports, a pair of hosts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import Any

from cloison.addresses import Mac, wire_mac
from cloison.model import (
    AllocationPool,
    Direction,
    FixedIp,
    Meta,
    Network,
    Port,
    SecurityGroup,
    SecurityGroupRule,
    Stored,
    Subnet,
    Tenant,
    Vni,
)
from cloison.names import (
    HostName,
    NetworkName,
    PortName,
    ResourceName,
    SecurityGroupName,
    SubnetName,
    TenantName,
)
from cloison.v1 import host_sync_pb2, port_pb2
from controller.compiler.cookies import STATIC, CookieKind, unpack
from controller.flows import Flow
from controller.flows.delta import FlowDelta, InstalledFlows
from controller.openflow.fake import FakeSwitch
from controller.reconcile.gate import GateMode
from controller.reconcile.keeper import EdgeChanges
from controller.reconcile.reconciler import Reconciler
from controller.store import profiles
from controller.store.memory import MemoryEtcd, MemoryStore
from controller.store.state import State
from controller.store.txn import Txn
from tests.support.hosts import MemoryHost, eventually

NETWORK = NetworkName("acme", "web")
VNI = Vni(5001)
H1, H2 = HostName("h1"), HostName("h2")


@dataclass
class Controller:
    """A store and a reconciler on it."""

    store: MemoryStore
    reconciler: Reconciler

    async def commit(self, fill: object) -> int:
        def build(state: State) -> tuple[Txn, None]:
            txn = Txn()
            fill(txn, state)  # type: ignore[operator]
            return txn, None

        revision, _ = await self.store.transact(build)
        return revision

    async def create_port(self, number: int, *hosts: str, tenant: str = "acme", **fields: Any) -> PortName:
        """Port p<number>; ports of one last digit have the same MAC and address in their networks."""
        port = Port(
            name=PortName(tenant, "web", f"p{number}"),
            meta=Meta(uid=f"uid-p{number}"),
            number=number,
            mac=Mac(0x020000000000 + number % 10),
            fixed_ips=(FixedIp(SubnetName(tenant, "web", "v4"), ip_address(f"10.0.0.{number % 10}")),),
            requested_hosts=tuple(HostName(h) for h in hosts),
            disabled=False,
            iface_id=f"if{number}",
        )
        await self.commit(lambda txn, state: txn.create(replace(port, **fields)))
        return port.name

    async def change(self, name: ResourceName, **fields: Any) -> int:
        """Store a resource with other fields."""

        def fill(txn: Txn, state: State) -> None:
            old = state.get(name)
            assert old is not None
            txn.update(old, replace(old, **fields))  # type: ignore[type-var]

        return await self.commit(fill)

    async def create_group(
        self, group: str, *rules: SecurityGroupRule, tenant: str = "acme"
    ) -> SecurityGroup:
        """A security group with these rules."""
        name = SecurityGroupName(tenant, group)
        made = SecurityGroup(name=name, meta=Meta(uid=f"uid-{group}"), number=ord(group[-1]), rules=rules)
        await self.commit(lambda txn, state: txn.create(made))
        return made

    async def create_profile(self, number: int, *groups: SecurityGroup) -> int:
        """The profile of a set of groups, as the first port that has them makes it."""
        names = tuple(sorted(group.name for group in groups))
        tenant = names[0].parent

        def fill(txn: Txn, state: State) -> None:
            profiles.join(txn, state, tenant, names, number)

        await self.commit(fill)
        return number

    async def delete_port(self, name: PortName) -> int:
        def fill(txn: Txn, state: State) -> None:
            txn.delete(state.ports[name])
            for binding in state.bindings_of(name):
                txn.delete(binding)

        return await self.commit(fill)

    def status(self, name: PortName) -> int:
        tracker, port = self.reconciler.tracker, self.store.state.ports[name]
        state = tracker.port_state(port)[0]
        assert tracker.is_active(port) == (state == port_pb2.Port.ACTIVE)
        return state

    def reasons(self, name: PortName) -> set[tuple[str, tuple[str, ...]]]:
        conditions = self.reconciler.tracker.port_state(self.store.state.ports[name])[1]
        return {(c.reason, c.subjects) for c in conditions}

    async def active(self, name: PortName) -> None:
        await eventually(lambda: self.status(name) == port_pb2.Port.ACTIVE, f"{name} ACTIVE")


@asynccontextmanager
async def controller(
    etcd: MemoryEtcd | None = None,
    edge_changes: EdgeChanges | None = None,
    gate: GateMode = GateMode.ENFORCE,
) -> AsyncIterator[Controller]:
    store = MemoryStore(etcd)
    await store.start()
    reconciler = Reconciler(store, "c1", await store.next_epoch("c1"), gate, edge_changes=edge_changes)
    await reconciler.start()
    try:
        yield Controller(store, reconciler)
    finally:
        await reconciler.stop()
        await store.stop()


async def with_base(made: Controller, tenant: str = "acme", number: int = 1) -> None:
    """A tenant with a network and a subnet."""
    pool = AllocationPool(ip_address("10.0.0.2"), ip_address("10.0.0.254"))
    subnet = Subnet(
        name=SubnetName(tenant, "web", "v4"),
        meta=Meta(uid=f"uid-subnet-{tenant}"),
        cidr=ip_network("10.0.0.0/24"),
        gateway_ip=None,
        allocation_pools=(pool,),
    )
    owner = Tenant(name=TenantName(tenant), meta=Meta(uid=f"uid-{tenant}"), number=number)
    name = NetworkName(tenant, "web")
    network = Network(name=name, meta=Meta(uid=f"uid-web-{tenant}"), vni=Vni(VNI + number - 1))
    for thing in (owner, network, subnet):
        await made.commit(lambda txn, state, thing=thing: txn.create(thing))


async def all_allowed(made: Controller, number: int, tenant: str = "acme") -> int:
    """A profile under this number whose ports may have every connection."""
    rules = (
        SecurityGroupRule(id=f"r{n}", number=n, direction=direction)
        for n, direction in enumerate(Direction, 1)
    )
    return await made.create_profile(number, await made.create_group("all", *rules, tenant=tenant))


def beyond_static(host: MemoryHost) -> set[Flow]:
    """What a host has besides what it has with no port on it."""
    return {f for i in host.switch.flows.values() if (f := i.flow).cookie != STATIC}


def wire_of(number: int) -> int:
    return wire_mac(ip_address(f"10.0.0.{number}"))


def ack(revision: int) -> host_sync_pb2.Ack:
    return host_sync_pb2.Ack(revision=revision)


def port_flows_of(host: MemoryHost, number: int) -> list[Flow]:
    flows = [i.flow for i in host.switch.flows.values()]
    return [f for f in flows if (c := unpack(f.cookie)) and (c.kind, c.object) == (CookieKind.PORT, number)]


async def pair(made: Controller) -> tuple[MemoryHost, MemoryHost, PortName, PortName]:
    """Port 1 on h1 and port 2 on h2, both ACTIVE and everything confirmed."""
    await with_base(made)
    h1, h2 = MemoryHost(made.reconciler, 1), MemoryHost(made.reconciler, 2)
    await h1.connect("if1")
    await h2.connect("if2")
    p1, p2 = await made.create_port(1, "h1"), await made.create_port(2, "h2")
    await made.active(p1)
    await made.active(p2)
    await eventually(lambda: len(made.store.state.tunnel_ports) == 2, "both devices reported")
    await settled(made)
    return h1, h2, p1, p2


async def come_back(made: Controller, *hosts: tuple[Any, ...]) -> list[MemoryHost]:
    """Agents dial again, with the interfaces named, in the order in which they had them."""
    again = []
    for old, *plugged in hosts:
        host = MemoryHost(made.reconciler, old._number, old.switch)
        host._ofport = 100
        await host.connect(*plugged)
        again.append(host)
    return again


async def settled(made: Controller) -> None:
    """Everything is realized, and nothing that hosts report of it waits to be followed."""
    realized, _, missing = await made.reconciler.tracker.wait_realized(None, made.store.state.revision, 5.0)
    assert realized, missing
    await eventually(lambda: made.reconciler.revision == made.store.state.revision, "followed")


def at_once(made: Controller, *things: Iterable[Stored]) -> int:
    """Commit several transactions before anybody here can look; return the last revision."""
    for thing in things:
        txn = Txn()
        for stored in thing:
            txn.create(stored)
        made.store.etcd.write(txn.writes)
    return made.store.etcd.revision


def port_like(made: Controller, name: PortName, number: int, tenant: str = "acme", *hosts: str) -> Any:
    like = made.store.state.ports[name]
    subnet = SubnetName(tenant, "web", "v4")
    fixed = tuple(replace(f, subnet=subnet, address=ip_address(f"10.0.0.{number}")) for f in like.fixed_ips)
    return replace(
        like,
        name=PortName(tenant, "web", f"p{number}"),
        meta=Meta(uid=f"uid-p{number}"),
        number=number,
        mac=0x020000000000 + number,
        fixed_ips=fixed,
        iface_id=f"if{number}",
        requested_hosts=tuple(map(HostName, hosts)) or like.requested_hosts,
    )


def relabelled(stored: Any) -> tuple[Any, Any]:
    return stored, replace(
        stored, meta=replace(stored.meta, display_name=stored.meta.display_name[-40:] + "x")
    )


class SlowSwitch(FakeSwitch):
    """Waits with an answer until it is let."""

    def __init__(self, dpid: int, host_id: str | None = None) -> None:
        super().__init__(dpid, host_id)
        self.may_read, self.may_apply = asyncio.Event(), asyncio.Event()
        self.may_apply.set()
        self.reading = self.asked = False

    async def read_flows(self, **how: Any) -> InstalledFlows:
        self.reading = True
        await self.may_read.wait()
        return await super().read_flows(**how)

    async def apply(self, delta: FlowDelta) -> None:
        self.asked = not self.may_apply.is_set()
        await self.may_apply.wait()
        await super().apply(delta)


async def with_slow(made: Controller) -> tuple[SlowSwitch, MemoryHost]:
    """The base, and h1 with a switch that reads at once and applies at once until it is told to wait."""
    await with_base(made)
    slow = SlowSwitch(1, "h1")
    slow.may_read.set()
    return slow, MemoryHost(made.reconciler, 1, slow)


async def delete_host(made: Controller, name: HostName) -> None:
    def fill(txn: Txn, state: State) -> None:
        host = state.hosts[name]
        txn.delete(host)
        for key in [k for k, r in state.reservations.items() if r.owner == str(name)]:
            txn.release(state.reservations[key], ())

    await made.commit(fill)
