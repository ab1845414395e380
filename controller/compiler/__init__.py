"""Compiling: from what a host is to carry to the flows of its bridge.

PURE. Output is a function of the view given, never of what was compiled before. Knows no store, no
session, no clock. Tables do not know each other: they meet in pipeline.py and registers.py.
"""

from controller.compiler.compile import (
    compile_host,
    host_unit_flows,
    network_flows,
    policy_flows,
    port_flows,
    static_flows,
)
from controller.compiler.policy import CONJUNCTIONS_MAX, PolicyCost, policy_cost
from controller.compiler.view import (
    CrossingView,
    Everyone,
    ExitView,
    HostUnitView,
    HostView,
    NetworkView,
    NextHop,
    PolicyView,
    PortView,
    RouterView,
    RouteView,
)

__all__ = [
    "CONJUNCTIONS_MAX",
    "CrossingView",
    "Everyone",
    "HostUnitView",
    "HostView",
    "NetworkView",
    "ExitView",
    "NextHop",
    "PolicyCost",
    "PolicyView",
    "PortView",
    "RouteView",
    "RouterView",
    "compile_host",
    "host_unit_flows",
    "network_flows",
    "policy_cost",
    "policy_flows",
    "port_flows",
    "static_flows",
]
