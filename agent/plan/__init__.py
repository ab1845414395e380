"""Pure: what this host should hold, what it holds, and the operations between the two.

No I/O, clock, randomness or logging here. Output is a function of the two states, never of how they came
about.
"""

from agent.plan.actual import SERVICE_AGENT_LINK, Actual, Firewall, Link, ServiceLink, link_name, link_vni
from agent.plan.digest import FdbDigest, edge_digest, fdb_digest, with_edges
from agent.plan.drift import drifts
from agent.plan.edge import Edge, EdgeRecord, edge_of_link, inside_link, outside_link
from agent.plan.edge_rules import Connection, Standing
from agent.plan.edge_state import (
    INSIDE,
    LEGS,
    OUTSIDE,
    SETTINGS,
    Address,
    EdgeState,
    Leg,
    Neighbour,
    Route,
    WantedEdge,
    differences,
)
from agent.plan.faults import Fault, PlanFaults, conditions, plan_faults
from agent.plan.model import EMPTY_PLAN, HostPlan, NetworkPlan, Peer, Vtep, full_deltas
from agent.plan.operations import FdbPut, LinkSpec, Operations, operations
from agent.plan.scope import Scope, changed, scope_of
from agent.plan.service_port import PortRecord, ServicePort
from agent.plan.zone import Zone

__all__ = [
    "EMPTY_PLAN",
    "INSIDE",
    "LEGS",
    "OUTSIDE",
    "SETTINGS",
    "SERVICE_AGENT_LINK",
    "Actual",
    "Address",
    "Connection",
    "Edge",
    "EdgeRecord",
    "EdgeState",
    "Fault",
    "FdbDigest",
    "FdbPut",
    "Firewall",
    "HostPlan",
    "Leg",
    "Link",
    "LinkSpec",
    "Neighbour",
    "NetworkPlan",
    "Operations",
    "PortRecord",
    "Route",
    "Scope",
    "ServiceLink",
    "ServicePort",
    "Peer",
    "PlanFaults",
    "Standing",
    "Vtep",
    "WantedEdge",
    "Zone",
    "changed",
    "conditions",
    "differences",
    "drifts",
    "edge_digest",
    "edge_of_link",
    "fdb_digest",
    "full_deltas",
    "inside_link",
    "link_name",
    "link_vni",
    "operations",
    "outside_link",
    "plan_faults",
    "scope_of",
    "with_edges",
]
