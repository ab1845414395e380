"""Our side: etcd, controller, four agents and switches as programs, as an operator runs them, all over TLS.

Each host is a network namespace with its own ovsdb-server, ovs-vswitchd (dummy datapath) and agent.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from google.protobuf.duration_pb2 import Duration

from cloison.v1 import network_pb2, port_pb2, security_group_pb2, subnet_pb2, tenant_pb2, watch_pb2
from tests.bench.layout import NETWORKS, TCP_OPEN, Guest, Layout
from tests.bench.procs import RUN_ROOT, fresh
from topologies.lab import Lab
from topologies.spec import Spec, UnderlaySpec
from topologies.switch import BRIDGE

CALL_S = 60.0
POPULATE_S = 600
CLIENTS = 8
PLUG_BATCH = 200
GROUP = "pg"
Rule = security_group_pb2.SecurityGroupRule


class BenchLab(Lab):
    """A lab whose switches have dummy datapaths: all of OpenFlow and OVSDB, no packets."""

    def _build_underlay(self) -> None:
        super()._build_underlay()
        for host in self.hosts.values():
            host.switch.vswitchd.argv = (*host.switch.vswitchd.argv, "--enable-dummy")

    def _start_control(self) -> None:
        made = ("datapath_type=dummy", "fail_mode=secure", "protocols=OpenFlow14")
        self._each_host(
            lambda h: h.switch.vsctl("add-br", BRIDGE, "--", "set", "Bridge", BRIDGE, *made) and None
        )
        super()._start_control()


class Ours:
    """The running system and the requests the rows are made of; a context manager."""

    def __init__(self, layout: Layout, progress: Callable[[str], None] = lambda _: None) -> None:
        """`layout`: background, which `populate` makes."""
        self.layout, self._progress = layout, progress
        underlay = UnderlaySpec(kind="leaf-spine", spines=1, leaves=1, hosts_per_leaf=layout.hosts)
        self._ended = contextlib.ExitStack()
        self.lab = BenchLab(
            Spec(name="bench", underlay=underlay, tenants=()), RUN_ROOT / "ours", progress=progress
        )

    def __enter__(self) -> Self:
        fresh("ours")
        self._ended.enter_context(self.lab)
        self.hosts = [self.lab.hosts[f"h{n + 1}"] for n in range(self.layout.hosts)]
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

    def populate(self) -> None:
        """Make the background and wait until every host has confirmed it."""
        for tenant in range(self.layout.tenants):
            self._make_tenant(tenant)
        self._progress(f"ours: creating {len(self.layout.background)} ports")
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(lambda guest: self._create(guest, [GROUP]), self.layout.background))
        self._progress("ours: plugging")
        self.plug(self.layout.background)
        self.wait(timeout_s=POPULATE_S)

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
            *(Rule(direction=Rule.INGRESS, ether_type=Rule.IPV4, protocol="tcp", port_min=p, port_max=p) for p in TCP_OPEN),
            Rule(direction=Rule.EGRESS, ether_type=Rule.IPV4),
        ]  # fmt: skip
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
        for host, those in by_host.items():
            for first in range(0, len(those), PLUG_BATCH):
                self._plug(host, those[first : first + PLUG_BATCH])

    def _plug(self, host: int, guests: Iterable[Guest]) -> None:
        words: list[str] = []
        for guest in guests:
            words += ["--", "add-port", BRIDGE, guest.id, "--", "set", "Interface", guest.id, "type=dummy"]
            words.append(f"external_ids:iface-id={guest.id}")
        self.hosts[host].switch.vsctl(*words, timeout_s=120)

    def add(self, guest: Guest) -> None:
        """One port with port security, the tenant's group, and a rule of its own; returns when it is realized."""
        self.send(guest)
        self.wait(port_name(guest))

    def send(self, guest: Guest) -> None:
        """As `add`, without waiting until it is realized: etcd has it."""
        own = Rule(
            id="own", direction=Rule.INGRESS, ether_type=Rule.IPV4, protocol="tcp",
            port_min=guest.rule, port_max=guest.rule, remote_prefix=guest.tenant_range,
        )  # fmt: skip
        self._create_group(guest.tenant, guest.id, [own])
        self._create(guest, [GROUP, guest.id])

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
        """Return when a resource, or everything there is now, is realized. Raises RuntimeError saying what is missing."""
        request = watch_pb2.WaitRealizedRequest(name=name, timeout=Duration(seconds=timeout_s))
        answer = self.client.state.WaitRealized(request, timeout=timeout_s + CALL_S)
        if not answer.realized:
            missing = "; ".join(condition.message for condition in answer.missing[:3])
            raise RuntimeError(f"not realized within {timeout_s} s: {missing}")

    def settle(self) -> None:
        """Return when everything there is now is realized."""
        self.wait()

    def flows(self, host: int) -> int:
        """How many flows a host's bridge has."""
        said = self.hosts[host].switch.ofctl("dump-aggregate").stdout
        return int(said.partition("flow_count=")[2].split()[0])


def port_name(guest: Guest) -> str:
    """The resource name of a guest's port."""
    return f"tenants/t{guest.tenant}/networks/n{guest.network}/ports/{guest.id}"
