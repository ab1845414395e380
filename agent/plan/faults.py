"""What could not be done.

A reason word for programs, a sentence for people. Travels to the controller in an Ack.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.plan.actual import Actual, link_name
from agent.plan.model import HostPlan
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


def plan_faults(plan: HostPlan, actual: Actual) -> list[Fault]:
    """Return what of the plan cannot be carried out here, whatever is tried."""
    faults = []
    for vni, network in plan.networks.items():
        if network.fault:
            faults.append(Fault("NETWORK_INVALID", f"{link_name(vni)}: {network.fault}"))
        if network.rejected:
            macs = ", ".join(format_mac(mac) for mac in sorted(network.rejected)[:5])
            faults.append(
                Fault("FDB_INVALID", f"{link_name(vni)}: {len(network.rejected)} entries such as {macs}")
            )
    faults += [
        Fault("SERVICE_PORT_INVALID", f"port {number}: {record.fault}")
        for number, record in plan.service_ports.items()
        if record.fault
    ]
    faults += [
        Fault("EDGE_INVALID", f"edge {number} of {record.message.router[:100]}: {record.fault}")
        for number, record in plan.edges.items()
        if record.fault
    ]
    faults += [
        Fault("LINK_NAME_TAKEN", f"{link_name(vni)} is the name of a device that is not a VXLAN device")
        for vni in actual.taken
        if vni in plan.networks
    ]
    return sorted(faults, key=lambda fault: (fault.reason, fault.message))
