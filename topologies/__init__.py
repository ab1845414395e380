"""Mininet labs: compute hosts as network namespaces, each with its own Open vSwitch and its own agent.

Owns the underlay graph, topology files, the running lab and the demo. It drives Cloison as a user does
(gRPC API, OVSDB `iface-id`). Of `controller` it may import the certificate authority (`controller.cli.pki`)
and nothing else, of `agent` nothing: they run as programs.
"""
