"""The demo: two tenants with one address plan, measured with real packets.

A client of a lab that is up (its API, its record, its namespaces); must never reach into the controller.
"""
