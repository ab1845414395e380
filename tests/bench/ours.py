"""Our side: etcd, controller, four agents and switches as programs, as an operator runs them, all over TLS.

Each host is a network namespace with its own ovsdb-server, ovs-vswitchd (dummy datapath) and agent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from google.protobuf.duration_pb2 import Duration

from cloison.v1 import batch_pb2, host_pb2, plan_pb2, port_pb2, security_group_pb2, watch_pb2
from tests.bench.fill import at_once
from tests.bench.layout import Guest, Layout
from tests.bench.ovsdb import plug
from tests.bench.procs import RUN_ROOT, apart, fresh
from tests.bench.requests import GROUP, group_request, own_rule, port_name, port_request, tenant_operations
from topologies.daemon import Daemon
from topologies.host import Host
from topologies.lab import Lab
from topologies.spec import Spec, UnderlaySpec
from topologies.switch import BRIDGE
from topologies.wait import wait_until

CALL_S = 60.0
POPULATE_S = 600
START_S = 60.0
PLUGGING_AT_ONCE = 4


class BenchLab(Lab):
    """A lab whose switches have dummy datapaths: all of OpenFlow and OVSDB, no packets."""

    def _build_underlay(self) -> None:
        super()._build_underlay()
        for host in self.hosts.values():
            host.switch.vswitchd.argv = (*host.switch.vswitchd.argv, "--enable-dummy")

    def _start_control(self) -> None:
        self._each_host(_make_dummy_bridge)
        super()._start_control()


@dataclass(frozen=True)
class Profiled:
    """A program under the profiler (profiled.py)."""

    daemon: Daemon
    file: Path

    def toggle(self) -> None:
        """Begin to look; end it, and write `file`."""
        os.kill(self.daemon.pid, signal.SIGUSR1)


class Ours:
    """The running system and the requests the rows are made of; a context manager."""

    of_hosts = ("agent", "ovsdb", "vswitchd")

    def __init__(
        self, layout: Layout, progress: Callable[[str], None] = lambda _: None, real: int | None = None
    ) -> None:
        """`layout`: background, which `populate` makes; `real`: hosts that are namespaces with an agent."""
        self.layout, self._progress, self._real = layout, progress, real or layout.hosts
        underlay = UnderlaySpec(kind="leaf-spine", spines=1, leaves=1, hosts_per_leaf=self._real)
        self.cold_stages: list[dict[str, float]] = []
        self._ended = contextlib.ExitStack()
        self.lab = BenchLab(
            Spec(name="bench", underlay=underlay, tenants=()), RUN_ROOT / "ours", progress=progress
        )

    def __enter__(self) -> Self:
        fresh("ours")
        self._ended.enter_context(self.lab)
        self.hosts = [self.lab.hosts[f"h{n + 1}"] for n in range(self._real)]
        self.client = self.lab.client
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.close()

    @property
    def pids(self) -> dict[str, list[int]]:
        """All processes of ours, by kind."""
        everything = {
            "etcd": [self.lab.etcd.pid],
            "controller": [self.lab.controller.pid],
            "agent": [h.agent.pid for h in self.hosts if h.agent],
            "ovsdb": [h.ovsdb.pid for h in self.hosts],
            "vswitchd": [h.vswitchd.pid for h in self.hosts],
        }
        return apart(everything, self.of_hosts, self.layout.spread)

    @property
    def bridges(self) -> list[Path]:
        """The management sockets of all bridges."""
        return [host.switch.dir / f"{BRIDGE}.mgmt" for host in self.hosts]

    def populate(self) -> None:
        """Make the background and wait until every host has confirmed it.

        Agents are not there meanwhile, as the peer's are not: each port would be bound, realized and noted
        in the host's database in a round of its own, or nearly so, and with some thousand ports on a bridge
        every change of that database costs ovs-vswitchd a second or two.
        """
        agents = [host.agent for host in self.hosts if host.agent]
        at_once(lambda agent: agent.stop(), agents)
        self._progress(f"ours: creating {len(self.layout.background)} ports")
        tenants: dict[int, list[Guest]] = defaultdict(list)
        for guest in self.layout.background:
            tenants[guest.tenant].append(guest)
        at_once(lambda tenant: self._make_tenant(tenant, tenants[tenant]), tenants)
        self._progress("ours: plugging")
        self.plug(self.layout.background)
        at_once(lambda agent: agent.start(), agents)
        self.lab.wait_connected(START_S)
        self._progress("ours: carrying out")
        self.wait(timeout_s=POPULATE_S)
        last = {guest.host: guest for guest in self.layout.background}
        for guest in last.values():  # what a host has not reported yet is no part of "everything"
            self.wait(port_name(guest), timeout_s=POPULATE_S)

    def _make_tenant(self, tenant: int, guests: Iterable[Guest]) -> None:
        """A tenant with all of its background, in one transaction."""
        ports = (plan_pb2.Operation(create_port=self._port(guest, [GROUP])) for guest in guests)
        self._commit([*tenant_operations(tenant), *ports])

    def _commit(self, operations: Sequence[plan_pb2.Operation]) -> None:
        self.client.batches.Commit(batch_pb2.CommitRequest(operations=operations), timeout=CALL_S)

    def _create(self, guest: Guest, groups: Iterable[str]) -> None:
        self.client.ports.CreatePort(self._port(guest, groups), timeout=CALL_S)

    def _port(self, guest: Guest, groups: Iterable[str]) -> port_pb2.CreatePortRequest:
        return port_request(guest, groups, self.hosts[guest.host].name)

    def plug(self, guests: Iterable[Guest]) -> None:
        """Put their interfaces into the bridges; the switches have taken them when this returns."""
        by_host: dict[int, list[Guest]] = defaultdict(list)
        for guest in guests:
            by_host[guest.host].append(guest)
        at_once(lambda host: self._plug(host, by_host[host]), by_host, PLUGGING_AT_ONCE)

    def _plug(self, host: int, guests: list[Guest]) -> None:
        plug(self.hosts[host].switch.dir / "db.sock", BRIDGE, [guest.id for guest in guests], "dummy")

    def add(self, guest: Guest) -> None:
        """One port with port security, its tenant's group and a rule of its own; realized on return."""
        self.send(guest)
        self.wait(port_name(guest))

    def send(self, guest: Guest) -> None:
        """As `add`, without waiting until it is realized: etcd has it. One call, one transaction."""
        self.send_many([guest])

    def send_many(self, guests: Sequence[Guest]) -> None:
        """As `send`, of several: one call, one transaction."""
        self._commit([operation for guest in guests for operation in self._operations(guest)])

    def _operations(self, guest: Guest) -> Iterator[plan_pb2.Operation]:
        group = group_request(guest.tenant, guest.id, [own_rule(guest)])
        yield plan_pb2.Operation(create_security_group=group)
        yield plan_pb2.Operation(create_port=self._port(guest, [GROUP, guest.id]))

    def send_group(self, guest: Guest) -> None:
        """The first of two calls that do the same: a group with the rule of its own."""
        group = group_request(guest.tenant, guest.id, [own_rule(guest)])
        self.client.security_groups.CreateSecurityGroup(group, timeout=CALL_S)

    def send_port(self, guest: Guest) -> None:
        """The second: the port, in that group and the tenant's."""
        self._create(guest, [GROUP, guest.id])

    def add_alone(self, guest: Guest) -> None:
        """As `add`, but in no group besides its own."""
        self.send_group(guest)
        self._create(guest, [guest.id])
        self.wait(port_name(guest))

    def send_plain(self, guest: Guest) -> None:
        """As `send`, without a rule of its own."""
        self._create(guest, [GROUP])

    def cold_start(self, host: int) -> float:
        """A new agent on a bridge without flows and controller, until switch and agent have confirmed the
        newest revision; in s.
        """
        where = self.hosts[host]
        assert where.agent is not None
        where.agent.stop()
        where.switch.vsctl("del-controller", BRIDGE)
        wait_until(lambda: not self._status(host).switch_connected, START_S, "the switch's session to end")
        where.switch.ofctl("del-flows")
        start, stages = time.perf_counter(), {}
        where.agent.start(wait=False)
        for stage, arrived in (
            ("agent connected", lambda: self._status(host).agent_connected),
            ("switch connected", lambda: self._status(host).switch_connected),
            ("realized", lambda: self._is_back(host)),
        ):
            wait_until(arrived, START_S, f"{where.name}: {stage}")
            stages[stage] = time.perf_counter() - start
        self.cold_stages.append(stages)
        return stages["realized"]

    def _status(self, host: int) -> host_pb2.Host:
        name = f"hosts/{self.hosts[host].name}"
        found: host_pb2.Host = self.client.hosts.GetHost(host_pb2.GetHostRequest(name=name), timeout=CALL_S)
        return found

    def _is_back(self, host: int) -> bool:
        status = self._status(host)
        if not status.agent_connected or not status.switch_connected:
            return False
        request = watch_pb2.WaitRealizedRequest(timeout=Duration(seconds=int(START_S)))
        answer = self.client.state.WaitRealized(request, timeout=START_S + CALL_S)
        return bool(answer.realized)

    def delete(self, guest: Guest) -> None:
        """Delete a port; returns when every host has confirmed that it is gone, caches included."""
        self.client.ports.DeletePort(port_pb2.DeletePortRequest(name=port_name(guest)), timeout=CALL_S)
        self.wait()

    def revoke(self, guest: Guest) -> None:
        """Delete the rule of a guest's own; returns as `delete`."""
        request = security_group_pb2.RemoveSecurityGroupRulesRequest(
            name=f"tenants/t{guest.tenant}/securityGroups/{guest.id}", rule_ids=["own"]
        )
        self.client.security_groups.RemoveSecurityGroupRules(request, timeout=CALL_S)
        self.wait()

    def wait(self, name: str = "", timeout_s: int = 60) -> None:
        """Return when a resource, or everything, is realized. Raises RuntimeError: what is missing."""
        request = watch_pb2.WaitRealizedRequest(name=name, timeout=Duration(seconds=timeout_s))
        answer = self.client.state.WaitRealized(request, timeout=timeout_s + CALL_S)
        if not answer.realized:
            missing = "; ".join(condition.message for condition in answer.missing[:3])
            raise RuntimeError(f"not realized within {timeout_s} s: {missing}")

    def settle(self) -> None:
        """Return when everything there is now is realized; a burst may take a while."""
        self.wait(timeout_s=POPULATE_S)

    def revision(self) -> int:
        """Of the store: how many transactions there were."""
        return int(self.client.state.GetStatus(watch_pb2.GetStatusRequest(), timeout=CALL_S).revision)

    @contextlib.contextmanager
    def profiled(self, directory: Path) -> Iterator[dict[str, Profiled]]:
        """Run the controller and the first host's agent under the profiler meanwhile."""
        agent = self.hosts[0].agent
        assert agent is not None
        programs = {"controller": self.lab.controller, "agent": agent}
        plain = {name: daemon.argv for name, daemon in programs.items()}
        for name, daemon in programs.items():
            python, _, *rest = daemon.argv
            daemon.argv = (python, "-m", "tests.bench.profiled", str(directory / f"{name}.profile"), *rest)
            daemon.restart()
        self._back_again()
        try:
            yield {name: Profiled(daemon, directory / f"{name}.profile") for name, daemon in programs.items()}
        finally:
            for name, daemon in programs.items():
                daemon.argv = plain[name]
                daemon.restart()
            self._back_again()

    def _back_again(self) -> None:
        self.lab.wait_connected(START_S)
        self.settle()

    def flows(self, host: int) -> int:
        """How many flows a host's bridge has."""
        said = self.hosts[host].switch.ofctl("dump-aggregate").stdout
        return int(said.partition("flow_count=")[2].split()[0])


def _make_dummy_bridge(host: Host) -> None:
    made = ("datapath_type=dummy", "fail_mode=secure", "protocols=OpenFlow14")
    host.switch.vsctl("add-br", BRIDGE, "--", "set", "Bridge", BRIDGE, *made)
