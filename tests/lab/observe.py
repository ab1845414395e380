"""How to look at a host: its flows, devices, forwarding entries and filter, with an operator's own tools.

Must never ask the controller's or the agent's code what is right.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import Any

from topologies.host import Host
from topologies.lab import Lab
from topologies.workload import Workload

_FLOW = re.compile(
    r"cookie=(0x[0-9a-f]+), duration=([0-9.]+)s, (table=\d+), n_packets=(\d+), n_bytes=\d+, (.*)"
)
_ENTRY = re.compile(r"^([0-9a-f:]{17}) dev (vx[0-9a-f]{6}) dst (\S+) ", re.MULTILINE)
STATIC_KIND = 0x1
"""Cookies of flows that serve nobody's object begin with this digit (docs/pipeline.md)."""


@dataclass(frozen=True)
class Flow:
    """A flow as a switch counts it; `age_s` since it was installed."""

    cookie: int
    age_s: float
    packets: int


@dataclass(frozen=True)
class Table:
    """All flows of a bridge by table, match and actions, and when they were read (monotonic, seconds)."""

    flows: dict[str, Flow]
    begun_s: float
    ended_s: float

    def kept(self, later: Table) -> list[str]:
        """What became of these flows: empty if each is still the very one that was installed then."""
        wrong = [f"gone: {key}" for key in self.flows.keys() - later.flows.keys()]
        passed_s = later.begun_s - self.ended_s
        for key, flow in self.flows.items():
            now = later.flows.get(key)
            if now is None:
                continue
            if now.cookie != flow.cookie:
                wrong.append(f"cookie {flow.cookie:#x} became {now.cookie:#x}: {key}")
            if now.packets < flow.packets or now.age_s < flow.age_s + passed_s - 0.01:
                wrong.append(f"installed anew: {key}")
        return wrong

    def same(self, later: Table) -> list[str]:
        """As `kept`, and nothing was added either."""
        return self.kept(later) + [f"new: {key}" for key in later.flows.keys() - self.flows.keys()]


def table(host: Host) -> Table:
    """Read the bridge's flows."""
    begun_s = time.monotonic()
    text = host.switch.ofctl("dump-flows").stdout
    flows = {}
    for line in text.splitlines():
        found = _FLOW.search(line)
        if found:
            cookie, age, where, packets, rest = found.groups()
            # Register names and the like as the switch writes them; two flows never look the same.
            flows[f"{where}, {rest}"] = Flow(int(cookie, 16), float(age), int(packets))
    return Table(flows, begun_s, time.monotonic())


def tables(lab: Lab) -> dict[str, Table]:
    """The flows of every host."""
    return {name: table(host) for name, host in lab.hosts.items()}


def reinstalled(before: dict[str, Table], after: dict[str, Table]) -> dict[str, list[str]]:
    """By host, the flows that are not the very same ones as before; empty is right."""
    found = {name: before[name].same(after[name]) for name in before}
    return {name: wrong for name, wrong in found.items() if wrong}


def devices(host: Host) -> dict[str, dict[str, Any]]:
    """The host's VXLAN devices by name, as `ip -d -j link` has them."""
    listed = json.loads(host.node.run(["ip", "-d", "-j", "link", "show", "type", "vxlan"]).stdout or "[]")
    return {link["ifname"]: link for link in listed}


def entries(host: Host) -> set[tuple[str, str, str]]:
    """(device, MAC, VTEP) of every forwarding entry of the host's VXLAN devices."""
    text = host.node.run(["bridge", "fdb", "show"]).stdout
    return {(device, mac, vtep) for mac, device, vtep in _ENTRY.findall(text)}


def peers(host: Host) -> set[str]:
    """From whom the host takes VXLAN of which VNI, as nftables holds it; raises if the table is not there."""
    done = host.node.run(["nft", "-j", "list", "set", "inet", "cloison", "vteps4"], check=True)
    (body,) = (item["set"] for item in json.loads(done.stdout)["nftables"] if "set" in item)
    return {f"{address} {vni}" for address, vni in (member["concat"] for member in body.get("elem", []))}


def refused_vxlan(host: Host) -> int:
    """How many packets to UDP 4789 the host's filter has dropped."""
    done = host.node.run(["nft", "list", "chain", "inet", "cloison", "vxlan"], check=True)
    return sum(int(n) for n in re.findall(r"counter packets (\d+)", done.stdout))


def received(host: Host, interface: str) -> int:
    """How many frames the switch has taken from one of its ports."""
    text = host.switch.ofctl("dump-ports", interface).stdout
    found = re.search(r"rx pkts=(\d+)", text)
    return int(found[1]) if found else 0


def verdict(host: Host, workload: Workload) -> tuple[str, str]:
    """What the agent wrote on the interface: (cloison-state, cloison-reason)."""
    ids = {}
    for key in ("cloison-state", "cloison-reason"):
        done = host.switch.vsctl(
            "--if-exists", "get", "Interface", workload.plug.tap, f"external_ids:{key}", check=False
        )
        ids[key] = done.stdout.strip().strip('"')
    return ids["cloison-state"], ids["cloison-reason"]
