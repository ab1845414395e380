"""Pure: what this host should hold, what it holds, and the operations between the two.

No I/O, clock, randomness or logging here. Output is a function of the two states, never of how they came
about.
"""

from agent.plan.actual import SERVICE_AGENT_LINK, Actual, Firewall, Link, ServiceLink, link_name, link_vni
from agent.plan.digest import FdbDigest, fdb_digest
from agent.plan.drift import drifts
from agent.plan.faults import Fault, conditions, plan_faults
from agent.plan.model import EMPTY_PLAN, HostPlan, NetworkPlan, Peer, Vtep, full_deltas
from agent.plan.operations import FdbPut, LinkSpec, Operations, operations
from agent.plan.scope import Scope, changed, scope_of
from agent.plan.service_port import PortRecord, ServicePort
from agent.plan.zone import Zone

__all__ = [
    "EMPTY_PLAN",
    "SERVICE_AGENT_LINK",
    "Actual",
    "Fault",
    "FdbDigest",
    "FdbPut",
    "Firewall",
    "HostPlan",
    "Link",
    "LinkSpec",
    "NetworkPlan",
    "Operations",
    "PortRecord",
    "Scope",
    "ServiceLink",
    "ServicePort",
    "Peer",
    "Vtep",
    "Zone",
    "changed",
    "conditions",
    "drifts",
    "fdb_digest",
    "full_deltas",
    "link_name",
    "link_vni",
    "operations",
    "plan_faults",
    "scope_of",
]
