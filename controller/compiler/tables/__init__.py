"""One module per table. Each exports any of static_flows(), network_flows(view), port_flows(view)."""
