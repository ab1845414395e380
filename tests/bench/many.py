"""Rows about many hosts: what an add costs that concerns ten of them, beside ninety others.

Our hosts that the measured ports are on are real: a namespace, a switch and an agent each. Every other one
has a real switch (ovsdb-server and ovs-vswitchd of its own, its own certificate and OpenFlow session) and a
stream of `crowd.py` for an agent. Not several bridges in one ovs-vswitchd: that has one certificate, and
the controller asks for each host's own; and a name (`vx00001f`) can be there only once. OVN's hosts are all
real: a switch and an ovn-controller each.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cloison.service_link import SERVICE_LINK
from cloison.v1 import host_pb2
from tests.bench import crowd
from tests.bench.adds import WARM_UP, Taken, add_all, add_watched, cpu_means, enter, idle, plug
from tests.bench.catalogue import MANY_HOSTS_PORTS, SPREAD, Rows
from tests.bench.fill import at_once
from tests.bench.growth import NAMES
from tests.bench.layout import Guest, Layout
from tests.bench.ours import CALL_S, Ours
from tests.bench.pace import Pace
from tests.bench.procs import OTHERS
from tests.bench.stage import Progress, Stage
from tests.bench.standing import memory
from tests.bench.stats import median
from topologies.control import CONTROLLER_NAME, OPENFLOW_PORT, ControlPlane
from topologies.daemon import Daemon
from topologies.host import Host
from topologies.nodes import Completed, LabNode
from topologies.switch import BRIDGE, Switch
from topologies.underlay import CONTROLLER
from topologies.wait import wait_until

ADDS, WATCHED = Pace(60.0, least=10), Pace(20.0)
"""What the adds of one number of hosts may take, both sides together; of those whose tables are watched."""
WATCHED_MAX = 10
SHARED = "whose work shares this machine's processors with that of the ten: CPU compares better"
PATIENCE_S = 120
"""OVN with 100 hosts is filled in 30 s on a quiet machine."""
Figures = dict[str, dict[str, float]]
PAGE_MAX = 1_000
STARTING_AT_ONCE = 4
UP_S = 120.0
DPID_FIRST = 0xC0_0000
VTEPS = "100.64.96."


class Beside:
    """A name of its own for something that runs in another node's namespace."""

    def __init__(self, name: str, node: LabNode) -> None:
        """Runs nothing."""
        self.name, self._node = name, node

    def popen(self, *args: Any, **kwargs: Any) -> subprocess.Popen[Any]:
        """As the node's."""
        done: subprocess.Popen[Any] = self._node.popen(*args, **kwargs)
        return done

    def run(self, *args: Any, **kwargs: Any) -> Completed:
        """As the node's."""
        return self._node.run(*args, **kwargs)


@dataclass
class Line:
    """The connection to the crowd's socket."""

    path: Path

    def __call__(self, said: dict[str, Any]) -> None:
        """Say something, and wait for the answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.path))
            connection.sendall(json.dumps(said).encode() + b"\n")
            connection.settimeout(UP_S)
            if not connection.recv(16):
                raise RuntimeError("the crowd did not answer: see crowd.log")


class Many(Ours):
    """Our side with `layout.hosts` hosts, of which the first ones are real."""

    def __init__(
        self, layout: Layout, progress: Callable[[str], None] = lambda _: None, real: int | None = None
    ) -> None:
        """`real`: how many; as many as a tenant is on if that is not given."""
        super().__init__(layout, progress, real=real or layout.spread)
        self._crowd: Daemon | None = None

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self._join()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._crowd:
            self._crowd.stop()
        super().__exit__(kind, error, trace)

    @property
    def pids(self) -> dict[str, list[int]]:
        """Also of the crowd."""
        return super().pids | ({f"crowd{OTHERS}": [self._crowd.pid]} if self._crowd else {})

    def _join(self) -> None:
        """Start the switches and streams of the hosts that are not real; all are connected on return."""
        count = self.layout.hosts - self._real
        if not count:
            return
        self._progress(f"starting {count} switches")
        lab, control = self.lab, self.lab.control
        assert control
        others = [self._host(n) for n in range(self._real, self.layout.hosts)]
        members = [self._member(control, host, n) for n, host in enumerate(others)]
        at_once(lambda both: self._start(*both), zip(others, members, strict=True), STARTING_AT_ONCE)
        self.hosts += others
        self._line = Line(lab.run_dir / "crowd.sock")
        spec = crowd.Spec(
            control.controller.agent_endpoint, CONTROLLER_NAME, self._ca, str(self._line.path), members
        )
        file = lab.run_dir / "crowd.json"
        spec.save(file)
        node: Any = Beside("crowd", lab.nodes[CONTROLLER])
        argv = (sys.executable, "-m", "tests.bench.crowd", str(file))
        self._crowd = Daemon("crowd", node, argv, lab.run_dir, lab.state, ready=self._line.path.exists)
        self._crowd.start()
        self._line({})
        self._progress("waiting for all hosts")
        names = {f"hosts/{host.name}" for host in others}
        wait_until(lambda: names <= self._up(), UP_S, f"{count} more hosts")

    def _host(self, number: int) -> Host:
        name = f"h{number + 1}"
        node: Any = Beside(name, self.lab.nodes[CONTROLLER])
        host = Host(name, f"{VTEPS}{number + 1}", node, Switch(node, self.lab.run_dir, self.lab.state))
        host.vswitchd.argv = (*host.vswitchd.argv, "--enable-dummy")
        # The lab ends what is of its hosts; a crowd's host has no namespace of its own, but has daemons.
        self.lab.hosts[name] = host
        return host

    def _member(self, control: ControlPlane, host: Host, number: int) -> crowd.Member:
        tls = control.issue(f"host/{host.name}", host.name)
        self._ca = str(tls.ca)
        return crowd.Member(
            host.name, host.vtep, DPID_FIRST + number, str(tls.cert), str(tls.key), host.switch.remote, BRIDGE
        )

    def _start(self, host: Host, member: crowd.Member) -> None:
        host.switch.start()
        address = self.lab.underlay.loopback(CONTROLLER)
        dpid = f"other_config:datapath-id={member.datapath_id:016x}"
        host.switch.vsctl(
            *("--", "set-ssl", member.key, member.cert, self._ca, "--", "add-br", BRIDGE),
            *("--", "set", "Bridge", BRIDGE, "datapath_type=dummy", "fail_mode=secure", dpid),
            *("protocols=OpenFlow14", "other_config:disable-in-band=true"),
            *("--", "add-port", BRIDGE, SERVICE_LINK, "--", "set", "Interface", SERVICE_LINK, "type=dummy"),
            *("--", "set-controller", BRIDGE, f"ssl:{address}:{OPENFLOW_PORT}"),
            *("--", "set", "Controller", BRIDGE, "max_backoff=1000", "connection_mode=out-of-band"),
        )

    def _up(self) -> set[str]:
        """Names of the hosts whose switch and agent the controller knows to be connected."""
        request = host_pb2.ListHostsRequest(page_size=PAGE_MAX)
        listed = self.client.hosts.ListHosts(request, timeout=CALL_S)
        return {host.name for host in listed.hosts if host.agent_connected and host.switch_connected}

    def _plug(self, host: int, guests: list[Guest]) -> None:
        super()._plug(host, guests)
        if host < self._real:
            return
        columns = ("--columns=name,ofport", "--format=json", "list", "Interface")
        said = self.hosts[host].switch.vsctl(*columns, *(g.id for g in guests)).stdout
        interfaces = [(name, name, ofport) for name, ofport in json.loads(said)["data"]]
        self._line({"host": self.hosts[host].name, "interfaces": interfaces})


def measure(rows: Rows, hosts: int, real: int, samples: int, progress: Progress, with_peer: bool) -> None:
    """Fill the rows of this module for one number of hosts, `real` of them of ours with an agent."""
    layout = Layout(MANY_HOSTS_PORTS, hosts, SPREAD)
    with Stage(layout, progress, with_peer, Many(layout, progress, real), PATIENCE_S) as stage:
        of, at = f"of {hosts} hosts", f"on {SPREAD} of {hosts} hosts"
        rows.fill_sides(f"flows of a host, {of}", {name: s.flows(0) for name, s in stage.sides.items()})
        memory(rows, stage, of)
        watched = min(samples, WATCHED_MAX)
        guests = layout.new(WARM_UP + samples + watched, first_hosts=True)
        plug(stage, guests)
        resting = {name: idle(side) for name, side in stage.sides.items()}
        added, _ = add_all(stage, guests[:-watched], ADDS)
        seen = add_watched(stage, guests[-watched:], SPREAD, WATCHED)
        _enter(rows, stage, at, added, seen)
        _enter_cpu(rows, stage, at, cpu_means(added), resting, hosts - real)


def _enter(rows: Rows, stage: Stage, at: str, added: dict[str, Taken], seen: dict[str, Taken]) -> None:
    others = stage.layout.hosts - SPREAD
    note = f"OVN waits for {others} more hosts, {SHARED}" if others and stage.peer else stage.missing
    enter(rows, f"add a port, p50, {at}", added, 50, note)
    enter(rows, f"add a port, p95, {at}", added, 95)
    tables = {name: median(taken.table_ms) for name, taken in seen.items()}
    samples = {name: {"until the change": t.table_ms, "until it returned": t.ms} for name, t in seen.items()}
    rows.fill_sides(f"add a port: last change of their flow tables, p50, {at}", tables, samples)


def _enter_cpu(rows: Rows, stage: Stage, at: str, means: Figures, resting: Figures, streams: int) -> None:
    parts = {name: shares(kinds, stage.sides[name].of_hosts) for name, kinds in means.items()}
    samples = {**means, "idle, ms a second": resting}
    central = {name: part["controllers"] for name, part in parts.items()}
    rows.fill_sides(f"CPU an add, controllers, {at}", central, samples)
    both = {name: central[name] + part["those hosts"] for name, part in parts.items()}
    others = ", ".join(f"{NAMES[name]} {part['other hosts']:.0f} ms" for name, part in parts.items())
    note = f"on the other hosts besides: {others}"
    if streams:
        note += f"; {streams} of ours have a switch, but a mere stream for an agent"
    row = f"CPU an add, controllers and those hosts, {at}"
    rows.fill_sides(row, both, samples, note if stage.layout.hosts > SPREAD else "")


def shares(kinds: dict[str, float], of_hosts: Collection[str]) -> dict[str, float]:
    """Sums of figures by kind of process (as `procs.apart` names them): centre, these hosts, the others."""
    parts = {"controllers": 0.0, "those hosts": 0.0, "other hosts": 0.0}
    for kind, figure in kinds.items():
        if kind.endswith(OTHERS):
            parts["other hosts"] += figure
        else:
            parts["those hosts" if kind in of_hosts else "controllers"] += figure
    return parts
