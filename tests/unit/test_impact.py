"""What a revision touches: everything that may be another, and as little else as can be."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from cloison.model import (
    PROFILE_FIRST,
    PROFILE_OPEN,
    AddressPair,
    Direction,
    PolicyProfile,
    Port,
    PortBinding,
    SecurityGroupRule,
    Stored,
)
from cloison.names import (
    AddressGroupName,
    HostName,
    NetworkName,
    PortName,
    SecurityGroupName,
    TenantName,
)
from controller.reconcile.impact import Impact, impact_of, whole
from controller.store.changes import RevisionChanges
from controller.store.keys import BindingKey, stored_key
from tests.support.intents import World

T0, T1 = TenantName("t0"), TenantName("t1")
NETWORK = NetworkName("t0", "web")
H0, H1, H2 = (HostName(f"h{n}") for n in range(3))
GROUP = SecurityGroupName("t0", "ga")


@pytest.fixture
def world() -> World:
    """Tenant t0 has a port on h0 and on h1, t1 has one on h2."""
    made = World(1)
    made.add_base()
    for network, number, host in ((NETWORK, 0, H0), (NETWORK, 1, H1), (NetworkName("t1", "web"), 0, H2)):
        port = made.port(network, number, (host,))
        made.put(port, made.plug(port, host))
    return made


def impact(world: World, changes: RevisionChanges) -> Impact:
    return impact_of(changes.changes, world.state)


def port(world: World, number: int = 0) -> Port:
    return world.state.ports[PortName(*NETWORK, f"p{number}")]


def test_a_claim_moves_both_ports(world: World) -> None:
    address = ip_address("10.0.0.250")
    for number in (0, 1):
        world.put(replace(port(world, number), allowed_address_pairs=(AddressPair(ip_network(address)),)))
    bindings = [world.state.bindings_of(port(world, number).name)[0] for number in (0, 1)]
    world.put(replace(bindings[0], claimed=(address,)))
    moves = (replace(bindings[0], claimed=()), replace(bindings[1], claimed=(address,)))
    touched = impact(world, world.put(*moves))
    assert touched.moved == {port(world, 0).name, port(world, 1).name}
    assert touched.port_units == {(H0, port(world, 0).name), (H1, port(world, 1).name)}
    unlisted = impact(world, world.put(replace(port(world, 1), allowed_address_pairs=())))
    assert unlisted.moved == {port(world, 1).name}


@pytest.mark.parametrize(
    "fields",
    [
        {"profile": PROFILE_FIRST, "security_groups": (GROUP,)},
        {"dns_name": "www"},
        {"device_id": "vm-1"},
    ],
    ids=["groups", "name", "device"],
)
def test_a_port_that_stays_where_it_is_is_its_own_hosts_matter(
    world: World, fields: dict[str, object]
) -> None:
    touched = impact(world, world.put(replace(port(world), **fields)))  # type: ignore[arg-type]
    assert touched.port_units == {(H0, port(world).name)}
    assert touched.served == {port(world).name}
    assert touched == Impact(port_units=touched.port_units, served=touched.served), "and nothing else"


@pytest.mark.parametrize(
    "fields",
    [
        {"disabled": True},
        {"requested_hosts": (H2,)},
        {"fixed_ips": ()},
        {"mac": 7},
        # From now on its real MAC leads to it.
        {"profile": PROFILE_OPEN},
        {"allowed_address_pairs": (AddressPair(ip_network("10.9.0.0/16")),)},
    ],
)
def test_a_port_that_is_found_elsewhere_concerns_its_network(world: World, fields: dict[str, object]) -> None:
    touched = impact(world, world.put(replace(port(world), **fields)))  # type: ignore[arg-type]
    assert (H0, port(world).name) in touched.port_units
    assert touched.moved == {port(world).name}
    assert touched.spans == {NETWORK}
    assert (H0, T0) in touched.policy_units, "its tenant may have come to the host, or left it"
    assert not touched.policies, "but its rules are what they were"


@pytest.mark.parametrize("kind", ["group", "addresses", "profile"])
def test_rules_concern_the_hosts_of_their_tenant(world: World, kind: str) -> None:
    changed: Stored = {
        "group": lambda: world._group(T0, "ga"),
        "addresses": lambda: world._change_addresses(T0).changes[0].stored,
        "profile": lambda: PolicyProfile(tenant=T0, number=PROFILE_FIRST, groups=(GROUP,)),
    }[kind]()
    world.put(changed)
    other = replace(changed, **_other(changed))  # type: ignore[type-var]
    if kind != "profile":
        assert impact(world, world.put(other)) == Impact(), "no port has it: it makes no flows"
        world.put(*_in_use(world, T0))
    touched = impact(world, world.put(changed if world.state.lookup(stored_key(changed)) == other else other))
    assert touched == Impact(policy_units={(H0, T0), (H1, T0)}, policies={T0})


def _in_use(world: World, tenant: TenantName) -> tuple[Stored, ...]:
    """A profile of a group with a rule that names the tenant's address group."""
    rule = SecurityGroupRule(
        id="r1",
        number=1,
        direction=Direction.INGRESS,
        remote_address_group=AddressGroupName(tenant.tenant, "office"),
    )
    group = replace(world._group(tenant, "ga"), rules=(rule,))
    number = PROFILE_FIRST + world.state.tenants[tenant].number
    return group, PolicyProfile(tenant=tenant, number=number, groups=(group.name,))


def _other(changed: Stored) -> dict[str, object]:
    if isinstance(changed, PolicyProfile):
        return {"groups": ()}
    return {"meta": replace(changed.meta, display_name="other")}  # type: ignore[union-attr]


def test_a_binding_brings_its_tenant_to_the_host(world: World) -> None:
    new = world.port(NETWORK, 5, (H2,))
    world.put(new)
    binding = world.plug(new, H2)
    touched = impact(world, world.put(binding))
    assert (H2, T0) in touched.policy_units
    assert (H2, new.name) in touched.port_units
    assert isinstance(binding, PortBinding)
    touched = impact(world, world.drop(BindingKey(new.name, H2)))
    assert (H2, T0) in touched.policy_units, "and takes it away"


def test_what_a_host_can_carry_concerns_itself_and_its_networks(world: World) -> None:
    touched = impact(world, world.put(replace(world.state.hosts[H0], underlay_mtu=1400)))
    assert touched.host_units == {H0}
    assert touched.spans == {NETWORK}
    assert not touched.policy_units


def test_what_a_subnet_says_concerns_every_guest_of_its_network(world: World) -> None:
    subnet = world.state.subnets_of(NETWORK)[0]
    touched = impact(world, world.put(replace(subnet, dhcp=False)))
    assert touched.services == {NETWORK}
    assert touched.network_units == {(H0, NETWORK), (H1, NETWORK)}
    assert not touched.port_units


def test_a_group_that_is_gone_is_noticed(world: World) -> None:
    world.put(world._group(T0, "ga"))
    assert impact(world, world.drop(GROUP)) == Impact(), "no port had it"
    world.put(*_in_use(world, T0))
    touched = impact(world, world.drop(GROUP))
    assert touched.policies == {T0}
    world.put(world._change_addresses(T1).changes[0].stored, *_in_use(world, T1))
    touched = impact(world, world.drop(AddressGroupName("t1", "office")))
    assert touched == Impact(policy_units={(H2, T1)}, policies={T1})


def test_everything_is_what_any_change_may_touch(world: World) -> None:
    everything = whole(world.state)
    assert everything.policies == {T0, T1}
    assert everything.policy_units == {(H0, T0), (H1, T0), (H2, T1)}
    assert everything.host_units == {H0, H1, H2}
    assert everything.served == everything.moved == set(world.state.ports)


def test_who_is_one_of_all_concerns_every_host_of_a_network_with_multicast(world: World) -> None:
    world.put(replace(world.state.networks[NETWORK], multicast=True))
    everywhere = {(H0, NETWORK), (H1, NETWORK)}
    touched = impact(world, world.put(replace(port(world), profile=PROFILE_FIRST, security_groups=(GROUP,))))
    assert touched.network_units == everywhere, "copies for it say its profile"
    assert not touched.moved
    touched = impact(world, world.put(replace(world.state.hosts[H1], underlay_mtu=1400)))
    assert touched.network_units == everywhere, "they go by its VTEP"
    touched = impact(world, world.put(replace(port(world), disabled=True)))
    assert touched.network_units == everywhere, "they go to its host no more"
