"""What the tests of the whole chain share: a lab with its tenants plugged, and intent beyond its file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from cloison.v1 import host_pb2, network_pb2, port_pb2, subnet_pb2, tenant_pb2
from topologies.client import CALL_S, PAGE_MAX, Client
from topologies.host import Host
from topologies.lab import Lab
from topologies.outside import OutsideSpec
from topologies.spec import Spec, load
from topologies.wait import wait_until
from topologies.workload import Workload

ACTIVE, BUILDING, DOWN = port_pb2.Port.ACTIVE, port_pb2.Port.BUILDING, port_pb2.Port.DOWN
SETTLE_S = 20.0


@dataclass
class Site:
    """A lab whose tenants are plugged: `guests` and `ports` by "tenant/port"."""

    lab: Lab
    spec: Spec
    guests: dict[str, Workload] = field(default_factory=dict)
    ports: dict[str, port_pb2.Port] = field(default_factory=dict)

    @property
    def client(self) -> Client:
        """A connection to the API as operator."""
        return self.lab.client

    def host(self, name: str) -> Host:
        """A compute host."""
        return self.lab.hosts[name]

    def fill(self) -> None:
        """Create and plug what the topology file says, and wait until it is enforced."""
        for port in self.client.apply(self.spec):
            self.adopt(port, self.lab.plug_port(port))
        self.wait_active()

    def adopt(self, port: port_pb2.Port, guest: Workload | None = None) -> None:
        """Remember a port (and its guest) under its short name."""
        short = short_name(port.name)
        self.ports[short] = port
        if guest is not None:
            self.guests[short] = guest

    def drop(self, short: str) -> None:
        """Unplug a guest and delete its port."""
        self.lab.unplug(self.guests.pop(short))
        request = port_pb2.DeletePortRequest(name=self.ports.pop(short).name)
        self.client.ports.DeletePort(request, timeout=CALL_S)

    def tenant(self, tenant: str) -> list[Workload]:
        """The guests of a tenant."""
        return [guest for short, guest in self.guests.items() if short.startswith(f"{tenant}/")]

    def vni(self, tenant: str, network: str = "web") -> int:
        """The VNI of a network, as the API says."""
        request = network_pb2.GetNetworkRequest(name=f"tenants/{tenant}/networks/{network}")
        return int(self.client.networks.GetNetwork(request, timeout=CALL_S).vni)

    def port(self, name: str) -> port_pb2.Port:
        """A port by its full name."""
        return self.client.port(name)

    def state(self, name: str) -> tuple[int, list[str]]:
        """A port's state and the reasons of its conditions."""
        port = self.port(name)
        return port.state, [c.reason for c in port.conditions]

    def wait_state(self, name: str, state: int, reason: str = "", timeout_s: float = SETTLE_S) -> None:
        """Return when a port is in a state (for a reason)."""

        def reached() -> bool:
            port = self.port(name)
            reasons = {c.reason: list(c.subjects) for c in port.conditions}
            # Raised so that the last thing seen is in the message when time is over.
            assert port.state == state, (port_pb2.Port.State.Name(port.state), reasons)
            assert not reason or reason in reasons, reasons
            return True

        wait_until(reached, timeout_s, f"{name} {port_pb2.Port.State.Name(state)} {reason}")

    def wait_active(self, names: Iterable[str] = (), timeout_s: float = SETTLE_S) -> None:
        """Return when the ports (all adopted ones unless told) are ACTIVE."""
        for name in list(names) or [port.name for port in self.ports.values()]:
            self.wait_state(name, ACTIVE, timeout_s=timeout_s)

    def wait_settled(self, timeout_s: float = SETTLE_S) -> None:
        """Return when every agent and switch is connected and all is in force."""
        self.lab.wait_connected(timeout_s)

        def confirmed() -> bool:
            assert all(self.host_status(host).switch_connected for host in self.lab.hosts)
            answer = self.client.wait_realized(timeout_s=5)
            assert answer.realized, answer.missing
            return True

        wait_until(confirmed, timeout_s, "all in force")

    def drifts(self) -> dict[str, int]:
        """How often each host was found changed by other hands, as the API says."""
        listed = self.client.hosts.ListHosts(host_pb2.ListHostsRequest(page_size=PAGE_MAX), timeout=CALL_S)
        return {h.name.removeprefix("hosts/"): h.drift_count for h in listed.hosts}

    def host_status(self, name: str) -> host_pb2.Host:
        """A host as the API shows it."""
        request = host_pb2.GetHostRequest(name=f"hosts/{name}")
        status: host_pb2.Host = self.client.hosts.GetHost(request, timeout=CALL_S)
        return status

    def log(self, host: str = "", daemon: str = "agent") -> str:
        """The log of a host's daemon so far, without colours; the controller's without a host."""
        path = self.lab.run_dir / host / f"{daemon}.log" if host else self.lab.controller.log
        return re.sub(r"\x1b\[[0-9;]*m", "", path.read_text(encoding="utf-8", errors="replace"))

    # --- intent beyond the topology file ------------------------------------------------------------------

    def create_network(self, tenant: str, network: str, cidr: str) -> str:
        """A tenant (if it is new) with a network of one subnet without gateway; the network's name."""
        try:
            self.client.tenants.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id=tenant), timeout=CALL_S)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.ALREADY_EXISTS:
                raise
        parent = f"tenants/{tenant}"
        create = network_pb2.CreateNetworkRequest(parent=parent, network_id=network)
        name = str(self.client.networks.CreateNetwork(create, timeout=CALL_S).name)
        body = subnet_pb2.Subnet(cidr=cidr, no_gateway=True)
        self.client.subnets.CreateSubnet(
            subnet_pb2.CreateSubnetRequest(parent=name, subnet_id="s", subnet=body), timeout=CALL_S
        )
        return name

    def create_port(
        self,
        network: str,
        port_id: str,
        *hosts: str,
        mac: str = "",
        addresses: Sequence[str] = (),
        iface_id: str = "",
        **fields: Any,
    ) -> port_pb2.Port:
        """A port scheduled to hosts; `fields` of Port besides."""
        body = port_pb2.Port(
            mac_address=mac,
            iface_id=iface_id,
            fixed_ips=[port_pb2.FixedIp(ip_address=a) for a in addresses],
            requested_hosts=[f"hosts/{h}" for h in hosts],
            **fields,
        )
        request = port_pb2.CreatePortRequest(parent=network, port_id=port_id, port=body)
        made: port_pb2.Port = self.client.ports.CreatePort(request, timeout=CALL_S)
        return made

    def schedule(self, name: str, *hosts: str) -> None:
        """Schedule a port to other hosts."""
        body = port_pb2.Port(name=name, requested_hosts=[f"hosts/{h}" for h in hosts])
        request = port_pb2.UpdatePortRequest(port=body, update_mask=FieldMask(paths=["requested_hosts"]))
        self.client.ports.UpdatePort(request, timeout=CALL_S)

    def update_port(self, name: str, **fields: Any) -> port_pb2.Port:
        """Change fields of a port."""
        body = port_pb2.Port(name=name, **fields)
        request = port_pb2.UpdatePortRequest(port=body, update_mask=FieldMask(paths=list(fields)))
        changed: port_pb2.Port = self.client.ports.UpdatePort(request, timeout=CALL_S)
        return changed

    def disable(self, name: str, disabled: bool) -> None:
        """Disable or enable a port."""
        body = port_pb2.Port(name=name, disabled=disabled)
        request = port_pb2.UpdatePortRequest(port=body, update_mask=FieldMask(paths=["disabled"]))
        self.client.ports.UpdatePort(request, timeout=CALL_S)

    def delete_port(self, name: str) -> None:
        """Delete a port."""
        self.client.ports.DeletePort(port_pb2.DeletePortRequest(name=name), timeout=CALL_S)

    def delete_network(self, name: str) -> None:
        """Delete a network made by `create_network`, and its tenant if that is empty then."""
        subnet = subnet_pb2.DeleteSubnetRequest(name=f"{name}/subnets/s")
        self.client.subnets.DeleteSubnet(subnet, timeout=CALL_S)
        self.client.networks.DeleteNetwork(network_pb2.DeleteNetworkRequest(name=name), timeout=CALL_S)
        tenant = name.partition("/networks/")[0]
        try:
            self.client.tenants.DeleteTenant(tenant_pb2.DeleteTenantRequest(name=tenant), timeout=CALL_S)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.FAILED_PRECONDITION:
                raise

    def plug_as(
        self, port: port_pb2.Port, host: str, name: str, iface_id: str = "", mac: str = ""
    ) -> Workload:
        """Plug a workload with a port's addresses wherever we like, under whatever iface-id."""
        return self.lab.plug(
            host,
            iface_id or port.iface_id,
            mac or port.mac_address,
            list(self.client.addresses(port)),
            name=name,
        )


def short_name(name: str) -> str:
    """ "red/p1" of "tenants/red/networks/web/ports/p1"."""
    parts = name.split("/")
    return f"{parts[1]}/{parts[5]}"


@contextmanager
def site(
    run_dir: Path,
    topology: str | Spec = "overlap",
    agent_flags: Sequence[str] = (),
    outside: OutsideSpec | None = None,
) -> Iterator[Site]:
    """A lab with its tenants plugged and every port ACTIVE."""
    spec = load(topology) if isinstance(topology, str) else topology
    with Lab(spec, run_dir, agent_flags=agent_flags, outside=outside) as lab:
        built = Site(lab, spec)
        built.fill()
        yield built


def status_code(call: Callable[[], object]) -> grpc.StatusCode:
    """The status with which a call ends."""
    try:
        call()
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return grpc.StatusCode.OK


def unconfirmed(cloud: Site, name: str = "") -> set[str]:
    """The resources that WaitRealized says are missing after a second, of one that is named or of all."""
    answer = cloud.client.wait_realized(name, timeout_s=1)
    assert answer.realized != bool(answer.missing)
    return {subject for condition in answer.missing for subject in condition.subjects}


def cloison(lab: Lab, *argv: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run the command line as an operator of this lab does."""
    env = os.environ | {
        "PYTHONPATH": ":".join(p for p in sys.path if p),
        "CLOISON_CONFIG": str(lab.config),
        "COLUMNS": "200",
    }
    command = [sys.executable, "-m", "controller.cli.main", *argv]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=env,
        check=False,
        stdin=subprocess.DEVNULL,
    )
