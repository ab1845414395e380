"""What could not be done.

A reason word for programs, a sentence for people. Travels to the controller in an Ack.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agent.plan.actual import Actual, link_name
from agent.plan.edge import EdgeRecord
from agent.plan.model import HostPlan
from agent.plan.service_port import PortRecord
from cloison.addresses import format_mac
from cloison.v1 import common_pb2


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that stands between this host and its plan.

    subject: the resource concerned, if it is known.
    """

    reason: str
    message: str
    subject: str = ""

    def condition(self, host: str) -> common_pb2.Condition:
        """Return it in the form of the contract."""
        subjects = [f"hosts/{host}", self.subject] if self.subject else [f"hosts/{host}"]
        return common_pb2.Condition(reason=self.reason, message=self.message, subjects=subjects)


FAULTS_MAX = 50
"""In one Ack; more of them tell a person nothing new."""


def conditions(faults: list[Fault], host: str) -> list[common_pb2.Condition]:
    """Return at most FAULTS_MAX of the faults, and one that says how many more there are."""
    told = [fault.condition(host) for fault in faults[:FAULTS_MAX]]
    if len(faults) > FAULTS_MAX:
        told.append(Fault("MORE", f"and {len(faults) - FAULTS_MAX} more").condition(host))
    return told


class PlanFaults:
    """What of one plan after the other cannot be carried out: looks at what changed, not at every port."""

    def __init__(self) -> None:
        self._ports: Mapping[int, PortRecord] = {}
        self._of_ports: list[Fault] = []

    def of(self, plan: HostPlan, actual: Actual) -> list[Fault]:
        """Return what of the plan cannot be carried out here, whatever is tried."""
        if plan.service_ports is not self._ports:
            self._ports, self._of_ports = plan.service_ports, list(_port_faults(plan.service_ports))
        faults = [*_network_faults(plan, actual), *self._of_ports, *_edge_faults(plan.edges)]
        return sorted(faults, key=lambda fault: (fault.reason, fault.message))


def plan_faults(plan: HostPlan, actual: Actual) -> list[Fault]:
    """Return what of the plan cannot be carried out here, whatever is tried."""
    return PlanFaults().of(plan, actual)


def _network_faults(plan: HostPlan, actual: Actual) -> Iterator[Fault]:
    for vni in plan.odd:
        network = plan.networks[vni]
        if network.fault:
            yield Fault("NETWORK_INVALID", f"{link_name(vni)}: {network.fault}")
        if network.rejected:
            macs = ", ".join(format_mac(mac) for mac in sorted(network.rejected)[:5])
            yield Fault("FDB_INVALID", f"{link_name(vni)}: {len(network.rejected)} entries such as {macs}")
    for vni in actual.taken & plan.networks.keys():
        words = f"{link_name(vni)} is the name of a device that is not a VXLAN device"
        yield Fault("LINK_NAME_TAKEN", words)


def _port_faults(ports: Mapping[int, PortRecord]) -> Iterator[Fault]:
    for number, record in ports.items():
        if record.fault:
            yield Fault("SERVICE_PORT_INVALID", f"port {number}: {record.fault}")


def _edge_faults(edges: Mapping[int, EdgeRecord]) -> Iterator[Fault]:
    for number, record in edges.items():
        if record.fault:
            router = record.message.router[:100]
            yield Fault("EDGE_INVALID", f"edge {number} of {router}: {record.fault}")
