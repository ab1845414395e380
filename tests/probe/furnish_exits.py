"""A lab with ways out for the probe: routers of one layout, and a floating IP, for each tenant."""

from __future__ import annotations

from cloison.addresses import ROUTER_MAC, format_mac
from tests.lab.spine import Site
from tests.lab.ways_out import (
    add_external,
    add_floating,
    add_router,
    enforced,
    gateway_host,
    let_in,
    out,
    until,
)
from tests.probe.exits import Ways

FAMILIES = (4, 6)


def furnish_exits(site: Site) -> Ways:
    """Give both tenants a way out, and return what the sender is told. The lab has an outside."""
    add_external(site, "h1", "h2")
    own = {}
    for tenant in ("red", "blue"):
        let_in(site, tenant)
        made = add_router(site, tenant)
        own[tenant] = {6 if ":" in address else 4: address for address in made.gateway.ip_addresses}
        until(lambda t=tenant: bool(gateway_host(site, t)), f"the way out of {tenant}")
    floating = {
        short: {version: add_floating(site, short, version).ip_address for version in FAMILIES}
        for short in ("red/p3", "blue/p2")
    }
    enforced(site)
    for version in FAMILIES:
        until(lambda v=version: out(site, site.guests["red/p1"], v), f"out by IPv{version}")
    return Ways(
        router_mac=format_mac(ROUTER_MAC),
        edge_mac=site.port("tenants/red/networks/cl-r1/ports/gw").mac_address,
        far={version: site.lab.outside.far(version) for version in FAMILIES},
        own=own["red"],
        theirs=own["blue"],
        floating=floating["red/p3"],
        blues=floating["blue/p2"],
    )
