"""The mirror's indexes: after any history they are what they would be if built from scratch."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloison.model import (
    PROFILE_NONE,
    AddressGroup,
    Direction,
    FixedIp,
    Host,
    Meta,
    Network,
    PolicyProfile,
    Port,
    PortBinding,
    Reservation,
    SecurityGroup,
    SecurityGroupRule,
    Stored,
    Subnet,
    Tenant,
    TunnelPort,
)
from cloison.names import (
    AddressGroupName,
    HostName,
    NetworkName,
    PortName,
    SecurityGroupName,
    SubnetName,
    TenantName,
)
from controller.store import ids, keys
from controller.store.changes import Event
from controller.store.keys import BindingKey, TunnelPortKey, stored_key
from controller.store.state import State
from tests.support.effort import examples

TENANTS = [TenantName("a"), TenantName("b")]
NETWORKS = [NetworkName(t.tenant, n) for t in TENANTS for n in "mn"]
SUBNETS = [SubnetName(*n, s) for n in NETWORKS[:3] for s in "st"]
PORTS = [PortName(*n, p) for n in NETWORKS[:3] for p in "pq"]
# Names of the two kinds of groups, and of networks, are equal as tuples.
GROUPS = [SecurityGroupName(t.tenant, g) for t in TENANTS for g in "mn"]
ADDRESS_GROUPS = [AddressGroupName(t.tenant, g) for t in TENANTS for g in "mn"]
# A number belongs to one tenant: the store sees to that.
PROFILES = {16: TENANTS[0], 17: TENANTS[0], 18: TENANTS[1]}
HOSTS = [HostName(f"h{n}") for n in range(3)]
ADDRESSES = [ip_address("10.0.0.1"), ip_address("10.0.0.2"), ip_address("::a00:1")]
# Few identifiers, so that histories collide on them.
UIDS = ["u1", "u2"]
metas = st.builds(
    Meta, uid=st.sampled_from(UIDS), revision=st.integers(1, 3), display_name=st.sampled_from("xy")
)
some_hosts = st.lists(st.sampled_from(HOSTS), max_size=2, unique=True).map(tuple)
rules = st.builds(
    SecurityGroupRule,
    id=st.just("r"),
    number=st.just(1),
    direction=st.sampled_from(Direction),
    remote_group=st.none() | st.sampled_from(GROUPS),
    remote_address_group=st.none() | st.sampled_from(ADDRESS_GROUPS),
)
objects = st.one_of(
    st.builds(Tenant, name=st.sampled_from(TENANTS), meta=metas, number=st.integers(1, 2)),
    st.builds(Network, name=st.sampled_from(NETWORKS), meta=metas, vni=st.sampled_from([5001, 5002])),
    st.builds(
        Subnet,
        name=st.sampled_from(SUBNETS),
        meta=metas,
        cidr=st.just(ip_network("10.0.0.0/24")),
        gateway_ip=st.none(),
        allocation_pools=st.just(()),
    ),
    st.builds(
        Port,
        name=st.sampled_from(PORTS),
        meta=metas,
        number=st.integers(1, 3),
        mac=st.integers(1, 3),
        fixed_ips=st.lists(
            st.builds(FixedIp, st.sampled_from(SUBNETS), st.sampled_from(ADDRESSES)), max_size=2
        ).map(tuple),
        requested_hosts=some_hosts,
        disabled=st.booleans(),
        iface_id=st.sampled_from(["i1", "i2", "i3"]),
        profile=st.sampled_from([PROFILE_NONE, 16, 17, 18]),
    ),
    st.builds(
        SecurityGroup,
        name=st.sampled_from(GROUPS),
        meta=metas,
        number=st.integers(1, 2),
        rules=st.lists(rules, max_size=3).map(tuple),
    ),
    st.builds(
        AddressGroup,
        name=st.sampled_from(ADDRESS_GROUPS),
        meta=metas,
        prefixes=st.sampled_from([(), (ip_network("10.0.0.0/8"),)]),
    ),
    st.sampled_from(list(PROFILES)).flatmap(
        lambda number: st.builds(
            PolicyProfile,
            tenant=st.just(PROFILES[number]),
            number=st.just(number),
            groups=st.lists(st.sampled_from(GROUPS), min_size=1, max_size=2, unique=True).map(
                lambda names: tuple(sorted(names))
            ),
            revision=st.integers(1, 3),
        )
    ),
    st.builds(
        Host,
        name=st.sampled_from(HOSTS),
        meta=metas,
        vtep=st.none() | st.sampled_from(ADDRESSES),
        datapath_id=st.integers(0, 2),
    ),
    st.builds(
        PortBinding,
        port=st.sampled_from(PORTS),
        port_uid=st.sampled_from(UIDS),
        host=st.sampled_from(HOSTS),
        interface=st.just("tap"),
        ofport=st.integers(1, 2),
    ),
    st.builds(
        TunnelPort, host=st.sampled_from(HOSTS), vni=st.sampled_from([5001, 5002]), ofport=st.integers(1, 2)
    ),
    st.builds(
        Reservation,
        key=st.sampled_from(
            [
                ids.vni(5001),
                ids.iface("a/b c"),
                ids.dpid(1),
                ids.vtep(ADDRESSES[0]),
                ids.mac(NETWORKS[0], 9),
                ids.profile_number(16),
                ids.group_number(7),
                ids.profile(TENANTS[0], GROUPS[:2]),
            ]
            + [ids.ip(NETWORKS[0], address) for address in ADDRESSES]
        ),
        owner=st.sampled_from(["tenants/a", "tenants/b"]),
        owner_uid=st.sampled_from(UIDS),
        released=st.booleans(),
        hosts=some_hosts,
        revision=st.integers(1, 3),
    ),
)
puts = objects.map(lambda stored: Event(stored_key(stored), stored))
deletes = objects.map(lambda stored: Event(stored_key(stored), None))
revisions = st.lists(puts | puts | deletes, max_size=6)
histories = st.lists(revisions, max_size=12)


def unordered(found):
    return sorted(map(repr, found))


def answers(state: State) -> dict[str, object]:
    """Every question one can ask of a state."""
    return {
        "tenants": dict(state.tenants),
        "networks": dict(state.networks),
        "subnets": dict(state.subnets),
        "ports": dict(state.ports),
        "hosts": dict(state.hosts),
        "bindings": dict(state.bindings),
        "tunnel_ports": dict(state.tunnel_ports),
        "security_groups": dict(state.security_groups),
        "address_groups": dict(state.address_groups),
        "profiles": dict(state.profiles),
        "groups_of": [unordered(state.groups_of(t)) for t in TENANTS],
        "address_groups_of": [unordered(state.address_groups_of(t)) for t in TENANTS],
        "profiles_of": [unordered(state.profiles_of(t)) for t in TENANTS],
        "profile_for": [state.profile_for(t, {g, h}) for t in TENANTS for g in GROUPS for h in GROUPS],
        "profiles_with": [unordered(state.profiles_with(g)) for g in GROUPS],
        "ports_with_profile": [unordered(state.ports_with_profile(n)) for n in (PROFILE_NONE, *PROFILES)],
        "ports_in": [unordered(state.ports_in(g)) for g in GROUPS],
        "groups_naming": [unordered(state.groups_naming(g)) for g in (*GROUPS, *ADDRESS_GROUPS)],
        "tenant_hosts": [state.tenant_hosts(t) for t in TENANTS],
        "reservations": dict(state.reservations),
        "released": unordered(state.reservations.released()),
        "objects": state.objects,
        "networks_of": [unordered(state.networks_of(t)) for t in TENANTS],
        "subnets_of": [unordered(state.subnets_of(n)) for n in NETWORKS],
        "ports_of": [unordered(state.ports_of(n)) for n in NETWORKS],
        "ports_on": [unordered(state.ports_on(h)) for h in HOSTS],
        "ports_using": [unordered(state.ports_using(s)) for s in SUBNETS],
        "bindings_of": [unordered(state.bindings_of(p)) for p in PORTS],
        "bindings_on": [unordered(state.bindings_on(h)) for h in HOSTS],
        "tunnel_ports_on": [unordered(state.tunnel_ports_on(h)) for h in HOSTS],
        "span": [state.bound_hosts(n) for n in NETWORKS],
        "iface": [state.port_by_iface(i) for i in ("i1", "i2", "i3")],
        "vni": [state.network_by_vni(v) for v in (5001, 5002)],
        "datapath": [state.host_by_datapath(d) for d in (0, 1, 2)],
        "vtep": [state.host_by_vtep(a) for a in ADDRESSES],
    }


def plain(state: State) -> dict[str, object]:
    """The same answers without any index: by looking at everything."""
    ports, bindings = state.ports.values(), state.bindings.values()
    groups, profiles = state.security_groups.values(), state.profiles.values()

    def one(found):
        found = list(found)
        return found[0] if len(found) == 1 else None

    def effective(binding):
        port = state.ports.get(binding.port)
        return (
            port is not None
            and not port.disabled
            and port.meta.uid == binding.port_uid
            and binding.host in port.requested_hosts
        )

    def tells(values, of, member):
        return [unordered(v for v in values if of(v, m)) for m in member]

    return {
        "networks_of": tells(state.networks.values(), lambda n, t: n.name.tenant == t.tenant, TENANTS),
        "subnets_of": tells(state.subnets.values(), lambda s, n: s.name.parent == n, NETWORKS),
        "ports_of": tells(ports, lambda p, n: p.name.parent == n, NETWORKS),
        "ports_on": tells(ports, lambda p, h: h in p.requested_hosts, HOSTS),
        "ports_using": tells(ports, lambda p, s: s in {f.subnet for f in p.fixed_ips}, SUBNETS),
        "bindings_of": tells(bindings, lambda b, p: b.port == p, PORTS),
        "bindings_on": tells(bindings, lambda b, h: b.host == h, HOSTS),
        "tunnel_ports_on": tells(state.tunnel_ports.values(), lambda t, h: t.host == h, HOSTS),
        "span": [
            frozenset(b.host for b in bindings if b.port.parent == n and effective(b)) for n in NETWORKS
        ],
        "tenant_hosts": [
            frozenset(b.host for b in bindings if b.port.parent.parent == t and effective(b)) for t in TENANTS
        ],
        "groups_of": tells(groups, lambda g, t: g.name.parent == t, TENANTS),
        "address_groups_of": tells(state.address_groups.values(), lambda g, t: g.name.parent == t, TENANTS),
        "profiles_of": tells(profiles, lambda p, t: p.tenant == t, TENANTS),
        "profile_for": [
            one(p for p in profiles if p.tenant == t and set(p.groups) == {g, h})
            for t in TENANTS
            for g in GROUPS
            for h in GROUPS
        ],
        "profiles_with": tells(profiles, lambda p, g: g in p.groups, GROUPS),
        "ports_with_profile": tells(ports, lambda p, n: p.profile == n, (PROFILE_NONE, *PROFILES)),
        "ports_in": tells(
            ports, lambda p, g: p.profile in state.profiles and g in state.profiles[p.profile].groups, GROUPS
        ),
        "groups_naming": [
            unordered(g for g in groups if any(r.remote_group == n for r in g.rules)) for n in GROUPS
        ]
        + [
            unordered(g for g in groups if any(r.remote_address_group == n for r in g.rules))
            for n in ADDRESS_GROUPS
        ],
        "iface": [one(p for p in ports if p.iface_id == i) for i in ("i1", "i2", "i3")],
        "vni": [one(n for n in state.networks.values() if n.vni == v) for v in (5001, 5002)],
        "datapath": [one(h for h in state.hosts.values() if d and h.datapath_id == d) for d in (0, 1, 2)],
        "vtep": [one(h for h in state.hosts.values() if h.vtep == a) for a in ADDRESSES],
    }


@pytest.mark.slow
@settings(max_examples=examples(300))
@given(histories)
def test_indexes_after_any_history_are_those_built_from_scratch(history):
    state = State()
    truth: dict[object, Stored] = {}
    for number, events in enumerate(history, 1):
        state.apply(number, events)
        for event in events:
            # Names of different kinds can be equal as tuples.
            where = (type(event.key), event.key)
            if event.new is None:
                truth.pop(where, None)
            else:
                truth[where] = event.new
    fresh = State()
    for stored in truth.values():
        fresh.load(stored, stored_key(stored))
    fresh.apply(len(history), ())
    assert answers(state) == answers(fresh)
    indexed = answers(state)
    assert {name: indexed[name] for name in plain(state)} == plain(state)
    assert state.revision == len(history)


@settings(max_examples=examples(200))
@given(histories)
def test_changes_are_the_difference_between_revisions(history):
    state, replica = State(), {}
    for number, events in enumerate(history, 1):
        changes = state.apply(number, events)
        assert changes.revision == number
        for change in changes.changes:
            where = (type(change.key), change.key)
            assert replica.get(where) == change.old
            assert change.old != change.new
            if change.new is None:
                del replica[where]
            else:
                replica[where] = change.new
    assert all(state.lookup(key) == stored for (_, key), stored in replica.items())
    assert len(replica) == state.objects


@pytest.mark.slow
@given(histories)
def test_no_index_keeps_what_is_gone(history):
    """Deleting everything leaves nothing behind: what leaks memory leaks tenants."""
    state = State()
    for number, events in enumerate(history, 1):
        state.apply(number, events)
    everything = [
        *state.tenants,
        *state.networks,
        *state.subnets,
        *state.ports,
        *state.hosts,
        *(BindingKey(*key) for key in state.bindings),
        *(TunnelPortKey(*key) for key in state.tunnel_ports),
        *state.security_groups,
        *state.address_groups,
        *state.profile_keys,
        *state.reservations,
    ]
    state.apply(99, [Event(key, None) for key in everything])
    leftovers = {
        name: value
        for name, value in vars(state).items()
        if isinstance(value, dict) and name != "_tables" and value
    }
    assert not leftovers
    assert not state.reservations._scopes
    assert not state.reservations._released
    assert not state.reservations._recent


def a_port(name="p", **fields) -> Port:
    return Port(
        name=PortName("a", "m", name),
        meta=Meta(uid="u1"),
        **{
            "number": 1,
            "mac": 1,
            "fixed_ips": (),
            "requested_hosts": (HOSTS[0],),
            "disabled": False,
            "iface_id": "i1",
            **fields,
        },
    )


def put(state: State, *stored: Stored) -> None:
    state.apply(state.revision + 1, [Event(stored_key(one), one) for one in stored])


def test_the_span_is_where_enabled_scheduled_ports_are_plugged():
    state = State()
    report = PortBinding(port=a_port().name, port_uid="u1", host=HOSTS[0], interface="tap", ofport=1)
    put(state, report)
    assert state.bound_hosts(NETWORKS[0]) == frozenset()
    put(state, a_port())
    assert state.bound_hosts(NETWORKS[0]) == {HOSTS[0]}
    for wrong in ({"disabled": True}, {"requested_hosts": ()}, {"requested_hosts": (HOSTS[1],)}):
        put(state, a_port(**wrong))
        assert state.bound_hosts(NETWORKS[0]) == frozenset()
        assert not state.is_effective(report)
    # The same name, another port: an old report must not bind it.
    put(state, replace(a_port(), meta=Meta(uid="u2")))
    assert state.bound_hosts(NETWORKS[0]) == frozenset()


def test_an_identifier_that_two_have_is_nobodys():
    state = State()
    put(state, a_port("p"))
    assert state.port_by_iface("i1") == a_port("p")
    put(state, a_port("q"))
    assert state.port_by_iface("i1") is None
    state.apply(9, [Event(a_port("p").name, None)])
    assert state.port_by_iface("i1") == a_port("q")


def test_free_numbers_pass_over_what_is_taken_waiting_or_claimed():
    state = State()
    scope, low = ids.ip_scope(NETWORKS[0], 4), int(IPv4Address("10.0.0.1"))
    taken = [
        Reservation(key=ids.ip(NETWORKS[0], IPv4Address(low + n)), owner="o", owner_uid="u") for n in (0, 1)
    ]
    put(state, taken[0], replace(taken[1], released=True, hosts=(HOSTS[0],)))
    find = state.reservations.first_free
    assert find(scope, low, low + 3) == low + 2
    claimed = [ids.ip(NETWORKS[0], IPv4Address(low + 2))]
    state.reservations.claim(claimed)
    assert not state.reservations.is_free(claimed[0])
    assert find(scope, low, low + 3) == low + 3
    assert find(scope, low, low + 2) is None
    state.reservations.claim(claimed)
    state.reservations.unclaim(claimed)
    assert not state.reservations.is_free(claimed[0])
    state.reservations.unclaim(claimed)
    assert find(scope, low, low + 3, start=low + 3) == low + 3
    assert find(scope, low, low + 2, start=low + 1) == low + 2
    # The same number in the other family, and in another network, is another address.
    assert state.reservations.is_free(ids.ip(NETWORKS[0], ip_address("::a00:1")))
    assert find(ids.ip_scope(NETWORKS[1], 4), low, low) == low


def test_what_is_read_cannot_change_the_state():
    state = State()
    put(state, a_port())
    with pytest.raises(TypeError):
        state.ports[a_port().name] = a_port("q")
    with pytest.raises(AttributeError):
        state.ports = {}
    with pytest.raises(AttributeError):
        state.ports[a_port().name].disabled = True


@given(objects)
def test_keys_lead_back_to_what_lies_there(stored):
    key = keys.key_of(stored)
    assert key.isascii()
    assert keys.is_object(key)
    found = keys.parse(key)
    assert (type(found), found) == (type(stored_key(stored)), stored_key(stored))


@given(st.text(max_size=40), st.integers(0, 2**64 - 1))
def test_any_iface_id_and_number_has_a_key_of_its_own(iface_id, number):
    for key in (ids.iface(iface_id or "x"), ids.dpid(number), ids.mac(NETWORKS[0], number >> 16)):
        assert key.isascii()
        assert ids.join(*ids.split(key)) == key
        assert keys.parse(keys.allocation_key(key)) == key


def test_no_prefix_holds_the_keys_of_another_name():
    every = [
        *TENANTS,
        *NETWORKS,
        *SUBNETS,
        *PORTS,
        *HOSTS,
        HostName("h10"),
        *GROUPS,
        *ADDRESS_GROUPS,
        TenantName("a-m"),
        NetworkName("a", "mm"),
    ]
    held = defaultdict(set)
    for name in every:
        prefixes = (*keys.child_prefixes(name), *keys.report_prefixes(name))
        for prefix in prefixes:
            for other in every:
                key = keys.resource_key(other)
                if prefix <= key < keys.range_end(prefix):
                    held[name].add(other)
    for name, others in held.items():
        assert all(str(other).startswith(f"{name}/") for other in others)
    assert held[NETWORKS[0]] == {*SUBNETS[:2], *PORTS[:2]}
