"""A region in memory: how long compiling all of it takes, and one change of it. Our own code, no servers.

A tenant has one network, one group, one profile; port i of tenant t is plugged on host (7 t + i) mod hosts.
Measured is the reconciler's arithmetic: impact, units, flow sets and what they have to send, forwarding
plans. Not measured: proof (a row of its own), encoding and sending.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from cloison.addresses import Mac
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
    SecurityGroup,
    SecurityGroupRule,
    Stored,
    Subnet,
    Tenant,
    TunnelPort,
    Vni,
)  # fmt: skip
from cloison.names import HostName, NetworkName, PortName, SecurityGroupName, SubnetName, TenantName
from controller.__main__ import GC_THRESHOLDS
from controller.compiler import static_flows
from controller.reconcile.flowset import FlowSet
from controller.reconcile.impact import Impact, impact_of, whole
from controller.reconcile.tunnels import TunnelPlans
from controller.reconcile.units import STATIC_UNIT, Units
from controller.store.changes import Event
from controller.store.keys import stored_key
from controller.store.state import State
from tests.bench.catalogue import Rows
from tests.bench.stats import median, percentile

CIDR = IPv4Network("10.0.0.0/16")
FIRST_OFPORT = 2_000
STRIDE = 7


@dataclass(frozen=True)
class Size:
    """How large the region is."""

    hosts: int
    tenants: int
    ports: int


GOAL = Size(1_000, 1_000, 100_000)


class Region:
    """The state, and what each host is to hold."""

    def __init__(self, size: Size) -> None:
        """Fills the state; compiles nothing."""
        self._prepare(size)
        for stored in self._everything():
            self.state.load(stored, stored_key(stored))
        self._revision = 1
        self._units, self._plans = Units({}), TunnelPlans()
        self.flows = {host: FlowSet() for host in self.hosts}

    @classmethod
    def records(cls, size: Size) -> Iterator[Stored]:
        """Everything that is stored of a region, one after the other."""
        region = cls.__new__(cls)
        region._prepare(size)
        return region._everything()

    def _prepare(self, size: Size) -> None:
        self.size, self.state = size, State()
        self.hosts = [HostName(f"h{n}") for n in range(size.hosts)]
        self._next = iter(range(1, 1 << 30))
        self._ofports = dict.fromkeys(self.hosts, FIRST_OFPORT)

    def _everything(self) -> Iterator[Stored]:
        for n, host in enumerate(self.hosts):
            vtep = IPv4Address(0xC0000200 + n)
            yield Host(name=host, meta=self._meta(), vtep=vtep, datapath_id=n + 1, underlay_mtu=1500)
        for tenant in range(self.size.tenants):
            yield from self._tenant(tenant)

    def _tenant(self, t: int) -> Iterator[Stored]:
        tenant, network = TenantName(f"t{t}"), NetworkName(f"t{t}", "n")
        yield Tenant(name=tenant, meta=self._meta(), number=t + 1)
        yield Network(name=network, meta=self._meta(), vni=Vni(5_000 + t))
        pool = AllocationPool(CIDR[2], CIDR[-2])
        yield Subnet(
            name=SubnetName(*network, "v4"),
            meta=self._meta(),
            cidr=CIDR,
            gateway_ip=CIDR[1],
            allocation_pools=(pool,),
        )
        group = SecurityGroupName(f"t{t}", "pg")
        rules = (
            SecurityGroupRule(id="r1", number=1, direction=Direction.EGRESS),
            SecurityGroupRule(id="r2", number=2, direction=Direction.INGRESS, remote_group=group),
        )
        yield SecurityGroup(name=group, meta=self._meta(), number=1, rules=rules)
        yield PolicyProfile(tenant=tenant, number=PROFILE_FIRST + t, groups=(group,))
        each = self.size.ports // self.size.tenants
        present = {self.hosts[(STRIDE * t + i) % self.size.hosts] for i in range(each)}
        for host in sorted(present):
            yield TunnelPort(host=host, vni=Vni(5_000 + t), ofport=1 + t)
        for i in range(each):
            yield from self.port(t, i)

    def port(self, t: int, i: int) -> tuple[Port, PortBinding]:
        """Port i of a tenant, plugged."""
        network, host = NetworkName(f"t{t}", "n"), self.hosts[(STRIDE * t + i) % self.size.hosts]
        number = next(self._next)
        port = Port(
            name=PortName(*network, f"p{i}"),
            meta=self._meta(),
            number=number,
            mac=Mac(0x020000000000 + i),
            fixed_ips=(FixedIp(SubnetName(*network, "v4"), CIDR[256 + i]),),
            requested_hosts=(host,),
            disabled=False,
            iface_id=f"if{number}",
            security_groups=(SecurityGroupName(f"t{t}", "pg"),),
            profile=PROFILE_FIRST + t,
        )
        self._ofports[host] += 1
        binding = PortBinding(
            port=port.name,
            port_uid=port.meta.uid,
            host=host,
            interface=f"tap{number}",
            ofport=self._ofports[host],
        )
        return port, binding

    def _meta(self) -> Meta:
        return Meta(uid=f"uid-{next(self._next)}")

    def compile_everything(self) -> int:
        """Flows and forwarding entries of every host, as a controller that starts; how many flows."""
        static = {STATIC_UNIT: static_flows()}
        for flows in self.flows.values():
            flows.set_units(static)
        self._follow(whole(self.state))
        return sum(len(flows.desired) for flows in self.flows.values())

    def take_all(self) -> None:
        """Count everything as sent."""
        for flows in self.flows.values():
            flows.applied(flows.take().delta)

    def commit(self, *events: Event) -> Impact:
        """Take in one transaction."""
        self._revision += 1
        return impact_of(self.state.apply(self._revision, events).changes, self.state)

    def change(self, *events: Event) -> None:
        """One transaction, up to what every host has to be sent."""
        for host in self._follow(self.commit(*events)):
            self.flows[host].applied(self.flows[host].take().delta)

    def _follow(self, impact: Impact) -> list[HostName]:
        touched = []
        for host, units in self._units.compile(self.state, impact).items():
            conflicts = self.flows[host].set_units(units)
            assert not conflicts, conflicts
            touched.append(host)
        assert not self._units.failed, self._units.failed
        self._plans.update(self.state, impact)
        return touched


def measure(rows: Rows, size: Size = GOAL, changes: int = 100) -> None:
    """Fill the rows of this module; garbage is looked for as seldom as in the controller."""
    before = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        _measure(rows, size, changes)
    finally:
        gc.set_threshold(*before)


def _measure(rows: Rows, size: Size, changes: int) -> None:
    region = Region(size)
    gc.collect()
    gc.freeze()
    start, start_cpu = time.perf_counter(), time.process_time()
    flows = region.compile_everything()
    spent, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    start_cpu = time.process_time()
    region.take_all()
    told = {"cpu_s": cpu, "cpu_s_of_deltas": time.process_time() - start_cpu, "flows": flows}
    rows.fill("full compile of 1,000 hosts, 100,000 ports", ours=spent, samples=told)
    gc.collect()
    gc.freeze()
    each, took, cpus = size.ports // size.tenants, [], []
    for n in range(changes):
        port, binding = region.port(n % size.tenants, each + n // size.tenants)
        for stored in (port, binding):  # as they come: first wanted, then plugged
            start, start_cpu = time.perf_counter(), time.process_time()
            region.change(Event(stored_key(stored), stored))
            took.append((time.perf_counter() - start) * 1e3)
            cpus.append((time.process_time() - start_cpu) * 1e3)
    gc.unfreeze()
    both, cpu_of_both = _pairs(took), _pairs(cpus)
    told = {"ours": both, "cpu_ms_p50": median(cpu_of_both), "cpu_ms_p95": percentile(cpu_of_both, 95)}
    rows.fill("one change of it, p95", ours=percentile(both, 95), samples=told)


def _pairs(each: list[float]) -> list[float]:
    """A port is two changes."""
    return [a + b for a, b in zip(each[::2], each[1::2], strict=True)]
