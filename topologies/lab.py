"""A running lab: underlay, compute hosts with their own Open vSwitch and agent, control plane, workloads.

    with Lab(load("overlap"), run_dir=Path("/run/cloison/lab")) as lab: ...

Owns the order of starting, and that nothing is left behind. Must never end a process that is not the lab's.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import grpc

from topologies import control
from topologies.client import Client
from topologies.daemon import Daemon
from topologies.host import Host
from topologies.nodes import ComputeHost, ControllerNode, LabNode, Router, configure, wire
from topologies.outside import Outside, OutsideSpec
from topologies.spec import Spec
from topologies.state import LabState, Process, clean, end, marked
from topologies.switch import Switch
from topologies.underlay import CONTROLLER, Underlay
from topologies.wait import WaitTimeoutError, wait_until
from topologies.workload import Plug, Workload, interfaces

VXLAN_BYTES = 50
"""What VXLAN over IPv4 adds to a frame, in bytes (RFC 7348, section 4)."""
RUN_DIR_CHARS_MAX = 80
"""A Unix socket's path has 107 characters at most (unix(7)); ours are up to 27 below the run directory."""
CONNECT_S = 30.0
HOLDER_LOG = "holder.log"
T = TypeVar("T")
Progress = Callable[[str], None]


class LabError(RuntimeError):
    """The lab cannot be started or used as asked; the text says what to do."""


class Lab:
    """A lab; a context manager. Without `with_control` no etcd, controller and agents: plain switches."""

    def __init__(
        self,
        spec: Spec,
        run_dir: Path,
        with_control: bool = True,
        keep: bool = False,
        progress: Progress = lambda _: None,
        agent_flags: Sequence[str] = (),
        outside: OutsideSpec | None = None,
    ) -> None:
        """`keep`: leave the run directory (logs, databases) when the lab ends; `progress` hears each step.

        `agent_flags`: further arguments of every agent; `outside`: what is there, if anything.

        Raises LabError when the run directory's path is too long.
        """
        self.spec, self.run_dir, self.keep = spec, run_dir.absolute(), keep
        if len(str(self.run_dir)) > RUN_DIR_CHARS_MAX:
            raise LabError(
                f"run directory {self.run_dir}: sockets need a path of {RUN_DIR_CHARS_MAX} characters at most"
            )
        self.underlay: Underlay = spec.underlay.build()
        self.with_control = with_control
        self.mark = uuid.uuid4().hex
        self.nodes: dict[str, LabNode] = {}
        self.hosts: dict[str, Host] = {}
        self.workloads: dict[str, Workload] = {}
        self._progress = progress
        self._agent_flags = tuple(agent_flags)
        self._outside_spec = outside
        self._outside: Outside | None = None
        self._lock = threading.Lock()
        self.control: control.ControlPlane | None = None
        self._client: Client | None = None

    def __enter__(self) -> Lab:
        """Start everything."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing, unless told to keep the run directory."""
        self.stop()

    @property
    def config(self) -> Path:
        """The context file for the command line and the client."""
        return self.run_dir / control.CONTEXT_FILE

    @property
    def etcd(self) -> control.Etcd:
        """The lab's etcd. Raises LabError in a lab without control plane."""
        return _present(self.control).etcd

    @property
    def controller(self) -> control.Controller:
        """The lab's controller. Raises LabError in a lab without control plane."""
        return _present(self.control).controller

    @property
    def client(self) -> Client:
        """A connection to the API as operator. Raises LabError in a lab without control plane."""
        if self._client is None:
            _present(self.control)
            self._client = Client.from_context(self.config)
        return self._client

    @property
    def outside(self) -> Outside:
        """What is outside. Raises LabError in a lab without."""
        if self._outside is None:
            raise LabError("nothing is outside this lab: it was made without outside=")
        return self._outside

    def start(self) -> None:
        """Build and start the lab; on failure nothing is left of it but, with `keep`, the run directory.

        A dead lab in the same run directory is cleaned first. Raises LabError, NodeError, DaemonError.
        """
        if os.geteuid() != 0:
            raise LabError("a lab needs root: network namespaces and interfaces are the kernel's")
        try:
            clean(self.run_dir)
        except RuntimeError as error:
            raise LabError(f"{error}: end it with `python -m topologies down`") from error
        # Private keys live in it, and the sockets of everything.
        self.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if {p.name for p in self.run_dir.iterdir()} - {HOLDER_LOG}:
            raise LabError(f"run directory {self.run_dir} is in use and holds no lab: choose another")
        self.state = LabState(self.mark, self.spec.name, Process.of(os.getpid()))
        self._save()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        self._progress("laying the underlay")
        self._build_underlay()
        self._progress("starting Open vSwitch on every host")
        self._each_host(lambda host: host.switch.start())
        if self._outside_spec is not None:
            self._progress("laying what is outside")
            self._build_outside(self._outside_spec)
        if self.with_control:
            self._start_control()
        else:
            self._each_host(lambda host: host.switch.make_bridge())
        self.state.ready = True
        self._save()

    def stop(self) -> None:
        """End everything the lab started; idempotent."""
        self.state.ready = False
        if self._client:
            self._client.close()
            self._client = None
        hosts, central = self.hosts.values(), self.control
        # Who needs another ends first: an agent without its switch takes longer to end.
        stages: list[list[Daemon]] = [
            [h.agent for h in hosts if h.agent],
            [central.controller, central.metadata] if central else [],
            [*(h.vswitchd for h in hosts), *([central.etcd] if central else [])],
            [h.ovsdb for h in hosts],
            self._outside.daemons if self._outside else [],
        ]
        with ThreadPoolExecutor(max_workers=8) as pool:
            for stage in stages:
                list(pool.map(lambda d: d.stop(), stage))
        for node in (*self.workloads.values(), *self.nodes.values()):
            with contextlib.suppress(OSError):
                node.stop()
        end(marked(self.mark), grace_s=0)
        self.workloads, self.nodes, self.hosts, self._outside = {}, {}, {}, None
        (self.run_dir / "state.json").unlink(missing_ok=True)
        if not self.keep:
            shutil.rmtree(self.run_dir, ignore_errors=True)

    def plug(
        self,
        host: str,
        iface_id: str,
        mac: str,
        addresses: Sequence[str],
        mtu: int = 0,
        gateways: Iterable[str] = (),
        name: str = "",
        dad: bool = False,
    ) -> Workload:
        """Start a workload on a host and plug it.

        `addresses` with prefix length; `mtu` 0: what the underlay leaves; `dad`: duplicate address detection.
        Raises LabError for an unknown host or a name in use, ValueError for an address, NodeError.
        """
        if host not in self.hosts:
            raise LabError(f"no host {host!r} in this lab: hosts are {', '.join(self.hosts)}")
        name = name or f"vm{len(self.workloads) + 1}"
        mtu = mtu or self.underlay.mtu - VXLAN_BYTES
        plug = Plug(name, host, iface_id, mac, interfaces(addresses), mtu, tuple(gateways))
        with self._lock:  # a Mininet shell takes one command at a time
            if name in self.workloads or name in self.nodes:
                raise LabError(f"there is a {name!r} already: unplug it or choose another name")
            workload = self._remember(Workload(name, self.mark, plug))
            try:
                workload.attach(self.nodes[host], self.hosts[host].switch, dad)
            except BaseException:
                self._forget(workload)
                raise
        return workload

    def plug_port(self, port: Any, host: str = "", name: str = "", dad: bool = False) -> Workload:
        """Start and plug the workload of an API port, on the host it is scheduled to (or on `host`).

        Raises LabError when it is scheduled nowhere, and what `plug` raises.
        """
        scheduled = [h.removeprefix("hosts/") for h in port.requested_hosts]
        if not host and not scheduled:
            raise LabError(f"{port.name} is scheduled to no host: set requested_hosts, or name a host")
        return self.plug(
            host or scheduled[0],
            port.iface_id,
            port.mac_address,
            list(self.client.addresses(port)),
            mtu=self.client.mtu(port),
            name=name or self.workload_name(port.name),
            dad=dad,
        )

    def workload_name(self, port_name: str) -> str:
        """What the workload of a port is called: tenant-port, or tenant-network-port if that is taken."""
        _, tenant, _, network, _, port = port_name.split("/")
        short = f"{tenant}-{port}"
        return short if short not in self.workloads else f"{tenant}-{network}-{port}"

    def unplug(self, workload: Workload) -> None:
        """Take a workload off its host and end it. Raises NodeError when the switch does not answer."""
        with self._lock:
            host = self.hosts[workload.plug.host]
            workload.detach(host.node, host.switch)
            self._forget(workload)

    def wait_connected(self, timeout_s: float = CONNECT_S) -> None:
        """Return when the controller knows every host's agent. Raises LabError naming those missing."""

        def missing() -> set[str]:
            try:
                return set(self.hosts) - self.client.connected_hosts()
            except grpc.RpcError:
                return set(self.hosts)

        try:
            wait_until(lambda: not missing(), timeout_s, "every agent connected")
        except WaitTimeoutError as error:
            hosts = sorted(missing())
            logs = "\n".join(agent.tail() for h in hosts if (agent := self.hosts[h].agent))
            raise LabError(f"agents of {', '.join(hosts)} are not connected\n{logs}") from error

    def _build_underlay(self) -> None:
        classes: dict[str, type[LabNode]] = {
            "host": ComputeHost,
            "leaf": Router,
            "spine": Router,
            "controller": ControllerNode,
        }
        for name in self.underlay.nodes():
            node = classes[self.underlay.kind(name)](name, self.mark)
            self.nodes[name] = node
            self.state.nodes[name] = _record(node) | {
                "kind": self.underlay.kind(name),
                "loopback": str(self.underlay.loopback(name)),
                "interfaces": [i.name for i in self.underlay.interfaces(name)],
            }
        self._save()
        for link in self.underlay.wires():
            wire(self.nodes, link)
        for node in self.nodes.values():
            if isinstance(node, Router):
                node.configure(self.underlay)
            else:
                configure(node, self.underlay)
            if isinstance(node, ComputeHost):
                vtep = str(self.underlay.loopback(node.name))
                self.hosts[node.name] = Host(node.name, vtep, node, Switch(node, self.run_dir, self.state))

    def _build_outside(self, spec: OutsideSpec) -> None:
        outside = self._outside = Outside(spec, self.mark, self.run_dir, self.state)
        for node in (outside.segment, outside.node):
            self.nodes[node.name] = node
            addresses = ", ".join(spec.far) if node is outside.node else ""
            self.state.nodes[node.name] = _record(node) | {
                "kind": node.name,
                "loopback": addresses,
                "interfaces": [],
            }
        self._save()
        outside.build()
        for host in self.hosts.values():
            if outside.serves(host.name):
                outside.join(host)
        outside.serve()

    def _start_control(self) -> None:
        node, address = self.nodes[CONTROLLER], str(self.underlay.loopback(CONTROLLER))
        self.control = control.ControlPlane(node, address, self.run_dir, self.state, self._progress)
        self.control.start()
        self._progress("starting the agents")
        for host in self.hosts.values():
            mapped = self._outside is not None and self._outside.serves(host.name)
            flags = [*self._agent_flags, *(self.outside.agent_flags if mapped else [])]
            host.agent = self.control.agent(host, self.underlay.mtu, flags)
            host.agent.start(wait=False)
        self._each_host(lambda host: host.agent.wait_ready() if host.agent else None)
        self.wait_connected()

    def _each_host(self, action: Callable[[Host], None]) -> None:
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(action, self.hosts.values()))

    def _remember(self, workload: Workload) -> Workload:
        plug = workload.plug
        self.workloads[workload.name] = workload
        self.state.workloads[workload.name] = _record(workload) | {
            "host": plug.host,
            "tap": plug.tap,
            "iface_id": plug.iface_id,
            "mac": plug.mac,
            "addresses": [str(a) for a in plug.addresses],
        }
        self._save()
        return workload

    def _forget(self, workload: Workload) -> None:
        workload.stop()
        self.workloads.pop(workload.name, None)
        self.state.workloads.pop(workload.name, None)
        self._save()

    def _save(self) -> None:
        self.state.save(self.run_dir)


def _present(part: T | None) -> T:
    if part is None:
        raise LabError("this lab has no control plane: it was made with with_control=False")
    return part


def _record(node: LabNode) -> dict[str, Any]:
    return {"pid": node.process.pid, "start_ticks": node.process.start_ticks}
