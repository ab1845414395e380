"""Compiling: from what a host is to carry to the flows of its bridge.

PURE. Output is a function of the view given, never of what was compiled before. Knows no store, no
session, no clock. Tables do not know each other: they meet in pipeline.py and registers.py.
"""

from controller.compiler.compile import compile_host, network_flows, port_flows, static_flows
from controller.compiler.view import HostView, NetworkView, PortView

__all__ = [
    "HostView",
    "NetworkView",
    "PortView",
    "compile_host",
    "network_flows",
    "port_flows",
    "static_flows",
]
