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
from typing import Any, Self

from google.protobuf.duration_pb2 import Duration

from cloison.v1 import host_pb2, network_pb2, port_pb2, security_group_pb2, subnet_pb2, tenant_pb2, watch_pb2
from tests.bench.fill import at_once
from tests.bench.layout import NETWORKS, TCP_OPEN, Guest, Layout
from tests.bench.procs import RUN_ROOT, fresh
from topologies.daemon import Daemon
from topologies.host import Host
from topologies.lab import Lab
from topologies.spec import Spec, UnderlaySpec
from topologies.switch import BRIDGE
from topologies.wait import wait_until

CALL_S = 60.0
POPULATE_S = 600
START_S = 60.0
PLUG_S, PLUG_BATCH, PLUGGING_AT_ONCE = 120, 1_500, 4
GROUP = "pg"
Rule = security_group_pb2.SecurityGroupRule


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
        return {
            "etcd": [self.lab.etcd.pid],
            "controller": [self.lab.controller.pid],
            "agent": [h.agent.pid for h in self.hosts if h.agent],
            "ovsdb": [h.ovsdb.pid for h in self.hosts],
            "vswitchd": [h.vswitchd.pid for h in self.hosts],
        }

    @property
    def bridges(self) -> list[Path]:
        """The management sockets of all bridges."""
        return [host.switch.dir / f"{BRIDGE}.mgmt" for host in self.hosts]

    def populate(self) -> None:
        """Make the background and wait until every host has confirmed it."""
        self._progress(f"ours: creating {len(self.layout.background)} ports")
        at_once(self._make_tenant, range(self.layout.tenants))
        at_once(lambda guest: self._create(guest, [GROUP]), self.layout.background)
        # Not before: each port would be bound and realized in a round of its own, or nearly so.
        self._progress("ours: plugging")
        self.plug(self.layout.background)
        self._progress("ours: carrying out")
        self.wait(timeout_s=POPULATE_S)
        last = {guest.host: guest for guest in self.layout.background}
        for guest in last.values():  # what a host has not reported yet is no part of "everything"
            self.wait(port_name(guest), timeout_s=POPULATE_S)

    def _make_tenant(self, tenant: int) -> None:
        name = f"tenants/t{tenant}"
        self.client.tenants.CreateTenant(
            tenant_pb2.CreateTenantRequest(tenant_id=f"t{tenant}"), timeout=CALL_S
        )
        for network in range(NETWORKS):
            create = network_pb2.CreateNetworkRequest(parent=name, network_id=f"n{network}")
            self.client.networks.CreateNetwork(create, timeout=CALL_S)
            body = subnet_pb2.Subnet(
                cidr=f"10.{tenant & 255}.{network}.0/24", gateway_ip=f"10.{tenant & 255}.{network}.1"
            )
            request = subnet_pb2.CreateSubnetRequest(
                parent=f"{name}/networks/n{network}", subnet_id="v4", subnet=body
            )
            self.client.subnets.CreateSubnet(request, timeout=CALL_S)
        rules = [
            Rule(direction=Rule.INGRESS, ether_type=Rule.IPV4, remote_group=f"{name}/securityGroups/{GROUP}"),
            *(_open(tcp) for tcp in TCP_OPEN),
            Rule(direction=Rule.EGRESS, ether_type=Rule.IPV4),
        ]
        self._create_group(tenant, GROUP, [])
        self.client.security_groups.AddSecurityGroupRules(
            security_group_pb2.AddSecurityGroupRulesRequest(
                name=f"{name}/securityGroups/{GROUP}", rules=rules
            ),
            timeout=CALL_S,
        )

    def _create_group(self, tenant: int, group: str, rules: Sequence[Any]) -> None:
        body = security_group_pb2.SecurityGroup(rules=rules)
        request = security_group_pb2.CreateSecurityGroupRequest(
            parent=f"tenants/t{tenant}", security_group_id=group, security_group=body
        )
        self.client.security_groups.CreateSecurityGroup(request, timeout=CALL_S)

    def _create(self, guest: Guest, groups: Iterable[str]) -> None:
        tenant = f"tenants/t{guest.tenant}"
        body = port_pb2.Port(
            mac_address=guest.mac,
            fixed_ips=[port_pb2.FixedIp(ip_address=guest.address)],
            requested_hosts=[f"hosts/{self.hosts[guest.host].name}"],
            iface_id=guest.id,
            security_groups=[f"{tenant}/securityGroups/{group}" for group in groups],
        )
        request = port_pb2.CreatePortRequest(
            parent=f"{tenant}/networks/n{guest.network}", port_id=guest.id, port=body
        )
        self.client.ports.CreatePort(request, timeout=CALL_S)

    def plug(self, guests: Iterable[Guest]) -> None:
        """Put their interfaces into the bridges; the switches have taken them when this returns."""
        by_host: dict[int, list[Guest]] = defaultdict(list)
        for guest in guests:
            by_host[guest.host].append(guest)
        at_once(lambda host: self._plug_all(host, by_host[host]), by_host, PLUGGING_AT_ONCE)

    def _plug_all(self, host: int, guests: list[Guest]) -> None:
        for first in range(0, len(guests), PLUG_BATCH):
            self._plug(host, guests[first : first + PLUG_BATCH])

    def _plug(self, host: int, guests: Iterable[Guest]) -> None:
        words: list[str] = []
        for guest in guests:
            words += ["--", "add-port", BRIDGE, guest.id, "--", "set", "Interface", guest.id, "type=dummy"]
            words.append(f"external_ids:iface-id={guest.id}")
        self.hosts[host].switch.vsctl(*words, timeout_s=PLUG_S)

    def add(self, guest: Guest) -> None:
        """One port with port security, its tenant's group and a rule of its own; realized on return."""
        self.send(guest)
        self.wait(port_name(guest))

    def send(self, guest: Guest) -> None:
        """As `add`, without waiting until it is realized: etcd has it."""
        self.send_group(guest)
        self.send_port(guest)

    def send_group(self, guest: Guest) -> None:
        """The first of two calls of an add: a group with the rule of its own."""
        own = _open(guest.rule, "own", guest.tenant_range)
        self._create_group(guest.tenant, guest.id, [own])

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


def _open(tcp: int, rule_id: str = "", source: str = "") -> security_group_pb2.SecurityGroupRule:
    """A rule that admits connections to a TCP port."""
    rule = Rule(id=rule_id, direction=Rule.INGRESS, ether_type=Rule.IPV4, remote_prefix=source)
    rule.protocol, rule.port_min, rule.port_max = "tcp", tcp, tcp
    return rule


def port_name(guest: Guest) -> str:
    """The resource name of a guest's port."""
    return f"tenants/t{guest.tenant}/networks/n{guest.network}/ports/{guest.id}"
