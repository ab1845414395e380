"""What to try next in a running lab, as commands to copy."""

from __future__ import annotations

from ipaddress import ip_interface
from pathlib import Path

from topologies.outside import DEFAULT, FLAT, OUTSIDE_NODE, PHYSICAL_NETWORK
from topologies.state import LabState

# Where a lab keeps sockets, logs and state unless it is told otherwise.
RUN_DIR = Path("/run/cloison/lab")


def next_commands(state: LabState, run_dir: Path) -> str:
    """What a person may try in a running lab."""
    where = "" if run_dir == RUN_DIR else f" --run-dir {run_dir}"
    python = "python -m topologies"
    host = next((n for n, r in state.nodes.items() if r["kind"] == "host"), "h1")
    lines = ["next:"]
    if state.config:
        lines += [f"  export CLOISON_CONFIG={state.config}", "  cloison status"]
    for name, record in list(state.workloads.items())[:1]:
        peer = next(
            (r for n, r in state.workloads.items() if n != name and r["host"] != record["host"]), record
        )
        target = peer["addresses"][0].partition("/")[0]
        lines.append(f"  {python} exec{where} {name} -- ping -c3 {target}")
    if OUTSIDE_NODE in state.nodes and state.config:
        tenant = next((n.partition("-")[0] for n in state.workloads), "TENANT")
        lines.append(f"  {_external_network(host, tenant)}")
    bridge = f"unix:{run_dir}/{host}/br-int.mgmt"
    lines += [
        f"  {python} exec{where} {host} -- ovs-ofctl -O OpenFlow14 dump-flows {bridge}",
        f"  {python} exec{where} {host} -- tcpdump -ni any udp port 4789",
        f"  {python} down{where}",
    ]
    return "\n".join(lines)


def _external_network(host: str, tenant: str) -> str:
    """The command that lets a tenant's routers go out to what is outside."""
    near = [ip_interface(address) for address in DEFAULT.segments[FLAT]]
    subnets = " ".join(f"--subnet {n.network},{n.ip}" for n in near)
    return (
        f"cloison external-network create inet --physical-network {PHYSICAL_NETWORK} {subnets} "
        f"--gateway-host {host} --share-with {tenant}"
    )
