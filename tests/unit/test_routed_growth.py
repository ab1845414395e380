"""What a tenant's size costs a host, and what a plug touches, when all of its networks are routed."""

from __future__ import annotations

import pytest

from cloison.addresses import link_local, wire_mac
from cloison.model import Vni
from cloison.names import HostName, NetworkName
from controller.compiler import static_flows
from controller.reconcile.impact import Impact, whole
from controller.reconcile.tunnels import PlanChange, TunnelPlans
from controller.reconcile.units import Units
from tests.support.routed_tenant import FIRST_VNI, LOCAL, RoutedTenant


def flows_on(tenant: RoutedTenant, host: HostName) -> int:
    """How many flows a host has: its static ones, and all of its units, as they are compiled at a start."""
    everything, units = whole(tenant.state), Units({})
    TunnelPlans().update(tenant.state, everything)
    here = Impact(
        port_units={unit for unit in everything.port_units if unit[0] == host},
        network_units={unit for unit in everything.network_units if unit[0] == host},
        policy_units={unit for unit in everything.policy_units if unit[0] == host},
        host_units={host},
        policies=everything.policies,
    )
    made = units.compile(tenant.state, here)
    assert not units.failed
    assert {network for _, network in here.network_units} == set(tenant.routed), "carried on the host"
    return len(static_flows()) + sum(len(flows) for flows in made[host].values())


@pytest.mark.slow
def test_flows_do_not_grow_with_the_tenant() -> None:
    """Ten ports here, twenty routed networks of two families; elsewhere 90 ports, or 9,990."""
    small, large = (flows_on(t, t.hosts[0]) for t in (RoutedTenant(100), RoutedTenant(10_000)))
    assert abs(large - small) <= 0.05 * small, (small, large)


def entries(plan: PlanChange) -> set[tuple[int, int]]:
    return {(vni, mac) for vni, network in plan.networks.items() for mac in network.upserted}


@pytest.mark.parametrize("apart", [0, 3])
def test_a_host_has_entries_of_what_its_ports_may_reach_and_no_others(apart: int) -> None:
    tenant = RoutedTenant(200, routed=12, apart=apart, hosts=8)
    plans = TunnelPlans()
    plans.update(tenant.state, whole(tenant.state))
    here, expected = tenant.hosts[0], set()
    for port in tenant.state.ports.values():
        vni = tenant.state.networks[port.name.parent].vni
        if port.name.parent in tenant.routed and port.requested_hosts != (here,):
            addresses = [ip.address for ip in port.fixed_ips]
            macs = {*map(wire_mac, (*addresses, link_local(port.mac)))}
            expected |= {(vni, mac) for mac in macs}
    assert entries(plans.snapshot(here)) == expected


def plugged(
    tenant: RoutedTenant, plans: TunnelPlans, number: int
) -> tuple[Impact, dict[HostName, PlanChange]]:
    """Plug one more port; return what that touches."""
    port, binding = tenant.port(number)
    plans.update(tenant.state, tenant.commit(port))
    impact = tenant.commit(binding)
    return impact, plans.update(tenant.state, impact)


def test_a_plug_touches_its_own_network_where_that_is_carried() -> None:
    """Its host has a port of the network already: no span is another."""
    tenant, plans = RoutedTenant(200, routed=5, apart=1, hosts=8), TunnelPlans()
    plans.update(tenant.state, whole(tenant.state))
    number = 210
    network, host = tenant.networks[number % 6], tenant.host_of(number)
    assert network in tenant.routed
    assert host in tenant.state.bound_hosts(network)
    impact, changes = plugged(tenant, plans, number)
    assert impact.networks == {network}
    assert impact.network_units == {(host, network)}
    assert changes.keys() == set(tenant.hosts) - {host}
    for change in changes.values():
        assert change.networks.keys() == {Vni(FIRST_VNI + number % 6)}
        assert change.networks[Vni(FIRST_VNI + number % 6)].senders is None, "the same as before"
    apart, _ = plugged(tenant, plans, 215)
    assert apart.networks == {tenant.networks[5]}, "nothing is routed with it"


def test_the_first_port_on_a_host_brings_all_that_is_routed_with_it() -> None:
    tenant, plans = RoutedTenant(LOCAL, routed=5, hosts=8), TunnelPlans()
    plans.update(tenant.state, whole(tenant.state))
    impact, changes = plugged(tenant, plans, LOCAL)
    host = tenant.host_of(LOCAL)
    assert impact.networks == set(tenant.routed)
    assert impact.network_units == {(host, network) for network in tenant.routed}
    assert entries(changes[host]) == entries(plans.snapshot(host))
    senders: dict[NetworkName, bool] = {
        network: bool(changes[tenant.hosts[0]].networks[Vni(FIRST_VNI + n)].senders)
        for n, network in enumerate(tenant.routed)
    }
    assert senders == {network: network != tenant.networks[LOCAL % 5] for network in tenant.routed}
