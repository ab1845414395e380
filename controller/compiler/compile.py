"""All tables together, for the things that have flows: the bridge, its host, a network on it, a port on it,
the policy of a tenant with a port on it.

The flows of a host are the union of the flows of its units, and no unit looks at another: so the work for
a change is the units it touches, and the incremental answer is the full one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from controller.compiler.cookies import STATIC
from controller.compiler.pipeline import TABLES
from controller.compiler.tables import (
    addressing,
    admission,
    commit,
    deliver,
    direction,
    exit,
    forward,
    meter,
    nd_guard,
    opening,
    output,
    policy,
    route,
    service,
    services,
    source,
    spreading,
    track,
)
from controller.compiler.view import HostUnitView, HostView, NetworkView, PolicyView, PortView
from controller.flows import Flow, FlowKey, match


@lru_cache(maxsize=1)
def static_flows() -> tuple[Flow, ...]:
    """Flows of a bridge that carries nothing yet: for all bridges the same objects.

    A table's miss is an explicit drop, so that it counts.
    """
    misses = (table.flow(0, match(), cookie=STATIC) for table in TABLES)
    return (
        *misses,
        *admission.static_flows(),
        *nd_guard.static_flows(),
        *services.static_flows(),
        *track.static_flows(),
        *opening.static_flows(),
        *addressing.static_flows(),
        *route.static_flows(),
        *forward.static_flows(),
        *deliver.static_flows(),
        *direction.static_flows(),
        *policy.static_flows(),
        *commit.static_flows(),
        *exit.static_flows(),
        *source.static_flows(),
        *output.static_flows(),
    )


def host_unit_flows(host: HostUnitView) -> tuple[Flow, ...]:
    """Flows that depend on the host alone: its service port, and the MTU of its overlay."""
    return (
        *admission.host_flows(host),
        *exit.host_flows(host),
        *service.host_flows(host),
    )


# With each port that comes its network is asked for; most often it is the same, and then so are the flows.
@lru_cache(maxsize=1 << 12)
def network_flows(network: NetworkView) -> tuple[Flow, ...]:
    """Flows of a network that is present on the host.

    Their number does not depend on its size, unless it has multicast: then they name its ports, and meters.
    """
    return (
        *admission.network_flows(network),
        *addressing.network_flows(network),
        *route.network_flows(network),
        *spreading.network_flows(network),
        *forward.network_flows(network),
    )


def port_flows(port: PortView) -> tuple[Flow, ...]:
    """Flows of a port plugged on the host. Its meters must be in the switch before them."""
    if port.standby:
        return (*admission.standby_flows(port), *meter.port_flows(port))
    return (
        *admission.port_flows(port),
        *nd_guard.port_flows(port),
        *opening.port_flows(port),
        *route.port_flows(port),
        *forward.port_flows(port),
        *meter.port_flows(port),
    )


def policy_flows(tenant: PolicyView) -> tuple[Flow, ...]:
    """Flows of the policy of a tenant that has a port on the host; the same on every host."""
    return tuple(policy.policy_flows(tenant))


def host_flows(host: HostView) -> Iterator[Flow]:
    """Every flow of a host."""
    yield from static_flows()
    if host.unit is not None:
        yield from host_unit_flows(host.unit)
    for network in host.networks.values():
        yield from network_flows(network)
    for port in host.ports.values():
        yield from port_flows(port)
    for tenant in host.policies.values():
        yield from policy_flows(tenant)


def compile_host(host: HostView) -> dict[FlowKey, Flow]:
    """Return the flow table of a host.

    Raises ValueError when two objects claim one key: a bug, or bad intent.
    """
    table: dict[FlowKey, Flow] = {}
    for flow in host_flows(host):
        other = table.setdefault(flow.key, flow)
        if other is not flow:
            raise ValueError(f"{flow} and {other} have one key")
    return table
