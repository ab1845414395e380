"""One module per table, or per pair of tables that belong together (track, policy).

Each exports any of static_flows(), and host_flows, network_flows, port_flows, policy_flows of a view.
"""
