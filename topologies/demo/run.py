"""The demo from start to end: a lab, two tenants made through the API, measured, reported, cleaned up.

Owns the order and the exit status; what is measured is in `measure`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from rich.console import Console

from cloison.v1 import network_pb2
from topologies import holder
from topologies.client import CALL_S, PAGE_MAX, Client
from topologies.demo import report
from topologies.demo.guests import guests
from topologies.demo.measure import Measurement, Result, Uplink
from topologies.hints import next_commands
from topologies.spec import Spec, SpecError, load
from topologies.state import LabState

WRONG, UNABLE = 1, 2
REALIZED_S = 30


class DemoError(RuntimeError):
    """The demo cannot be run; the text says why."""


@dataclass
class Phases:
    """Says what is going on, and keeps how long it took."""

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str, what: str) -> Iterator[None]:
        """Time one phase; shows `what` while it runs."""
        start = time.monotonic()
        with self.console.status(what):
            yield
        took = time.monotonic() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + took
        self.console.print(f"  {took:5.1f} s  {what}", soft_wrap=True)


def demo(topology: str, run_dir: Path, keep: bool, out: Path | None, console: Console) -> int:
    """Run the demo; the exit status: 0 right, 1 a pair or a frame is wrong, 2 it could not be run."""
    phases = Phases(console)
    try:
        spec = load(topology)
        result = _run(topology, spec, run_dir, phases)
    except (SpecError, DemoError, holder.HolderError, grpc.RpcError) as error:
        console.print(f"[red]the demo could not be run:[/red] {holder.describe(error)}")
        _leave(run_dir, keep, phases, failed=True)
        return UNABLE
    except BaseException:
        _leave(run_dir, keep, phases, failed=True)
        raise
    report.show(result, console)
    _leave(run_dir, keep, phases, failed=not result.right)
    if out:
        report.write(result, phases.seconds, out)
        console.print(f"measurements: {out}")
    return 0 if result.right else WRONG


def _run(topology: str, spec: Spec, run_dir: Path, phases: Phases) -> Result:
    with phases.phase("lab", "start etcd, the controller and hosts with Open vSwitch and an agent each"):
        state = holder.up(topology, run_dir, mode="bare")
    with Client.from_context(Path(state.config)) as client:
        with phases.phase("intent", f"create {len(spec.tenants)} tenants with the same addresses by the API"):
            ports = client.apply(spec)
        tenants = {}
        with phases.phase("plug", f"start {len(ports)} workloads and plug them on their hosts"):
            for port in ports:
                name = holder.call(run_dir, do="plug", port=port.name)
                tenants[name] = port.name.split("/")[1]
        with phases.phase("realize", "wait until every host confirms"):
            for port in ports:
                _wait_active(client, port.name)
        measurement = _measurement(LabState.load(run_dir), tenants, client)
    return _measure(measurement, [t.id for t in spec.tenants], phases)


def _wait_active(client: Client, port: str) -> None:
    answer = client.wait_realized(port, REALIZED_S)
    if not answer.realized:
        missing = "; ".join(f"{c.message} ({', '.join(c.subjects)})" for c in answer.missing)
        raise DemoError(f"{port} is not realized within {REALIZED_S} s: {missing}")


def _measurement(state: LabState, tenants: dict[str, str], client: Client) -> Measurement:
    uplinks = [
        Uplink(name, record["pid"], interface)
        for name, record in state.nodes.items()
        if record["kind"] == "host"
        for interface in record["interfaces"]
    ]
    return Measurement(guests(state, tenants), uplinks, _vnis(client))


def _vnis(client: Client) -> dict[int, str]:
    request = network_pb2.ListNetworksRequest(parent="tenants/-", page_size=PAGE_MAX)
    networks = client.networks.ListNetworks(request, timeout=CALL_S).networks
    return {n.vni: n.name.split("/")[1] for n in networks}


def _measure(measurement: Measurement, tenants: list[str], phases: Phases) -> Result:
    for tenant in tenants:
        with phases.phase(
            "matrix", f"probe every pair from {tenant}: ping, ping -6, arping, TCP, forged frames"
        ):
            measurement.matrix(tenant)
    for tenant in tenants:
        with phases.phase("flood", f"flood from {tenant}: ARP, broadcast, multicast, unknown unicast"):
            measurement.flood(tenant)
    return measurement.result


def _leave(run_dir: Path, keep: bool, phases: Phases, failed: bool) -> None:
    """Clean up, or say how to go on in the lab; after a failure the logs are kept."""
    console = phases.console
    if keep:
        try:
            state = LabState.load(run_dir)
        except FileNotFoundError:
            return
        where = f"{run_dir} (a directory per node with its logs), etcd's in {run_dir}/ctl/etcd"
        console.print(f"state: {where}", soft_wrap=True)
        console.print(next_commands(state, run_dir), soft_wrap=True)
        return
    if failed and run_dir.exists():
        logs = _save_logs(run_dir)
        console.print(f"logs of the failed run: {logs}", soft_wrap=True)
    with phases.phase("clean", "clean up: processes, links, namespaces, files"):
        holder.down(run_dir)
    console.print(f"state: was in {run_dir}; KEEP=1 leaves the lab up")


def _save_logs(run_dir: Path) -> Path:
    target = run_dir.with_name(f"{run_dir.name}-failed")
    shutil.rmtree(target, ignore_errors=True)
    for log in run_dir.rglob("*.log"):
        copy = target / log.relative_to(run_dir)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(log, copy)
    return target
