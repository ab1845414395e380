"""What the compiler is told: from the state alone, and nothing where the state does not fit together."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from cloison.addresses import Mac, host_mac
from cloison.model import PROFILE_FIRST, PROFILE_NONE, PROFILE_OPEN, AddressPair, PolicyProfile, Port
from cloison.names import HostName, NetworkName, PortName, SecurityGroupName, TenantName
from controller.reconcile.impact import Impact, impact_of, whole
from controller.reconcile.services import guest_mtu
from controller.reconcile.tunnels import TunnelPlans
from controller.reconcile.views import host_unit_view, network_view, plugged_ports, policy_view, port_view
from controller.store.keys import BindingKey
from tests.support.intents import World

T0, T1 = TenantName("t0"), TenantName("t1")
NETWORK = NetworkName("t0", "web")
H0, H1 = HostName("h0"), HostName("h1")
GROUP = SecurityGroupName("t0", "ga")


@pytest.fixture
def world() -> World:
    """One port of t0 on h0."""
    made = World(1)
    made.add_base()
    port = made.port(NETWORK, 0, (H0,))
    made.put(port, made.plug(port, H0))
    return made


def change(world: World, **fields: object) -> Port:
    name = PortName(*NETWORK, "p0")
    world.put(replace(world.state.ports[name], **fields))  # type: ignore[arg-type]
    return world.state.ports[name]


@pytest.mark.parametrize("profile", [PROFILE_NONE, PROFILE_OPEN])
def test_the_reserved_profiles_need_no_record(world: World, profile: int) -> None:
    view = port_view(world.state, change(world, profile=profile).name, H0)
    assert view is not None
    assert view.profile == profile


@pytest.mark.parametrize(("owner", "seen"), [(T0, PROFILE_FIRST), (T1, PROFILE_NONE), (None, PROFILE_NONE)])
def test_a_profile_counts_only_if_it_is_there_and_its_tenants(
    world: World, owner: TenantName | None, seen: int
) -> None:
    if owner is not None:
        world.put(PolicyProfile(tenant=owner, number=PROFILE_FIRST, groups=(GROUP,)))
    view = port_view(world.state, change(world, profile=PROFILE_FIRST).name, H0)
    assert view is not None
    assert view.profile == seen


def test_allowed_address_pairs_are_told(world: World) -> None:
    pairs = (AddressPair(ip_network("10.0.0.64/26")), AddressPair(ip_network("2001:db8::9/128"), mac=None))
    view = port_view(world.state, change(world, allowed_address_pairs=pairs).name, H0)
    assert view is not None
    assert view.allowed_address_pairs == pairs


def test_a_policy_is_told_where_its_tenant_has_a_port(world: World) -> None:
    world.put(world._group(T0, "ga"))
    world.put(PolicyProfile(tenant=T0, number=PROFILE_FIRST, groups=(GROUP,)))
    world.put(PolicyProfile(tenant=T1, number=PROFILE_FIRST + 1, groups=()))
    view = policy_view(world.state, T0, H0)
    assert view is not None
    assert view.profiles == {PROFILE_FIRST: (GROUP,)}, "no other tenant's"
    assert set(view.groups) == {GROUP}
    assert policy_view(world.state, T0, H1) is None
    assert policy_view(world.state, T1, H0) is None
    change(world, disabled=True)
    assert policy_view(world.state, T0, H0) is None


@pytest.mark.parametrize(("vtep", "mtu"), [("192.0.2.1", 1450), ("2001:db8::1", 1430)])
def test_the_overlay_carries_what_the_underlay_does_less_its_headers(
    world: World, vtep: str, mtu: int
) -> None:
    world.put(replace(world.state.hosts[H0], vtep=ip_address(vtep), underlay_mtu=1500))
    view = host_unit_view(world.state, H0, 7)
    assert view is not None
    assert (view.mtu, view.service_ofport) == (mtu, 7)


@pytest.mark.parametrize("fields", [{"vtep": None}, {"underlay_mtu": 0}])
def test_a_host_whose_underlay_is_not_known_has_no_overlay(world: World, fields: dict[str, object]) -> None:
    world.put(replace(world.state.hosts[H0], **fields))  # type: ignore[arg-type]
    assert host_unit_view(world.state, H0, 7) is None
    assert host_unit_view(world.state, HostName("h9"), 7) is None


@pytest.mark.parametrize(("limit", "mtu"), [(0, 1450), (1280, 1280), (9000, 1450)])
def test_guests_are_told_no_more_than_the_network_allows(world: World, limit: int, mtu: int) -> None:
    world.put(replace(world.state.networks[NETWORK], mtu_limit=limit))
    assert guest_mtu(world.state, world.state.networks[NETWORK]) == mtu


def test_the_host_that_carries_least_counts_for_all(world: World) -> None:
    port = world.port(NETWORK, 1, (H1,))
    world.put(replace(world.state.hosts[H1], underlay_mtu=1400))
    assert guest_mtu(world.state, world.state.networks[NETWORK]) == 1450, "it is not in the network yet"
    world.put(port, world.plug(port, H1))
    assert guest_mtu(world.state, world.state.networks[NETWORK]) == 1350


@pytest.fixture
def wide(world: World) -> World:
    """Another port on h0 and one on h1; the network has multicast."""
    for number, host in ((1, H0), (2, H1)):
        port = world.port(NETWORK, number, (host,))
        world.put(port, world.plug(port, host))
    world.put(replace(world.state.networks[NETWORK], multicast=True))
    return world


def vtep_mac(world: World, host: HostName) -> int:
    vtep = world.state.hosts[host].vtep
    assert vtep is not None
    return host_mac(vtep)


def test_everyone_is_the_ports_here_and_the_hosts_elsewhere(wide: World) -> None:
    view = network_view(wide.state, NETWORK, H0)
    assert view is not None
    bound = {wide.state.bindings[PortName(*NETWORK, f"p{n}"), H0].ofport for n in (0, 1)}
    assert view.everyone is not None
    assert {ofport for ofport, _, _ in view.everyone.ports} == bound
    assert view.everyone.own_mac == vtep_mac(wide, H0)
    assert view.everyone.other_macs == (vtep_mac(wide, H1),)
    wide.put(replace(wide.state.networks[NETWORK], multicast=False))
    view = network_view(wide.state, NETWORK, H0)
    assert view is not None
    assert view.everyone is None


def test_a_port_that_its_bridge_does_not_have_is_not_one_of_all(wide: World) -> None:
    plugged = plugged_ports(wide.state, NETWORK, lambda host, ofport, interface: host != H1)
    view = network_view(wide.state, NETWORK, H0, lambda: plugged)
    assert view is not None
    assert view.everyone is not None
    assert view.everyone.other_macs == ()


def test_copies_for_a_host_find_it_while_it_has_a_port(wide: World) -> None:
    plans = TunnelPlans()
    plans.update(wide.state, whole(wide.state))
    vni, mac = wide.state.networks[NETWORK].vni, vtep_mac(wide, H1)
    assert plans.snapshot(H0).networks[vni].upserted[Mac(mac)] == wide.state.hosts[H1].vtep
    assert vtep_mac(wide, H0) not in plans.snapshot(H0).networks[vni].upserted, "nobody sends to himself"
    impact = impact_of(wide.drop(BindingKey(PortName(*NETWORK, "p2"), H1)).changes, wide.state)
    assert mac in plans.update(wide.state, impact)[H0].networks[vni].removed


def test_of_two_hosts_that_say_they_have_one_vtep_the_same_one_counts_whoever_came_first(wide: World) -> None:
    wide.put(replace(wide.state.hosts[H1], vtep=wide.state.hosts[H0].vtep))
    at_once, one_by_one = TunnelPlans(), TunnelPlans()
    at_once.update(wide.state, whole(wide.state))
    for name in reversed([PortName(*NETWORK, f"p{n}") for n in range(3)]):
        one_by_one.update(wide.state, Impact(moved={name}, spans={NETWORK}))
    for host in (H0, H1):
        assert one_by_one.snapshot(host).networks == at_once.snapshot(host).networks
