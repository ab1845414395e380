"""The mirror's tables of the ways out: after any history they are what a look at everything gives."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloison.codec import record_to_bytes
from cloison.errors import InvalidIntent
from cloison.model import RouterEdge
from cloison.names import ExternalNetworkName, HostName
from controller.store import ids, keys
from controller.store.changes import Event
from controller.store.keys import EdgeKey, stored_key
from controller.store.memory import MemoryEtcd, MemoryStore
from controller.store.state import State
from controller.store.txn import Txn
from tests.support import exits
from tests.support.effort import examples
from tests.support.exits import EXTERNALS, HOSTS, PORTS, ROUTERS, TENANTS

objects = exits.external_networks | exits.floating_ips | exits.edges | exits.routers
puts = objects.map(lambda stored: Event(stored_key(stored), stored))
deletes = objects.map(lambda stored: Event(stored_key(stored), None))
histories = st.lists(st.lists(puts | puts | deletes, max_size=6), max_size=10)


def unordered(found):
    return sorted(map(repr, found))


def answers(state: State):
    return {
        "routers_out": [unordered(state.routers_out(e)) for e in EXTERNALS],
        "external_networks_of": [unordered(state.external_networks_of(t)) for t in TENANTS],
        "floating_ips_of": [unordered(state.floating_ips_of(t)) for t in TENANTS],
        "floating_ips_at": [unordered(state.floating_ips_at(p)) for p in PORTS],
        "floating_ips_by": [unordered(state.floating_ips_by(r)) for r in ROUTERS],
        "floating_ips_in": [unordered(state.floating_ips_in(e)) for e in EXTERNALS],
        "edges_of": [unordered(state.edges_of(r)) for r in ROUTERS],
        "edges_on": [unordered(state.edges_on(h)) for h in HOSTS],
        "edge_at": [state.edge_at(p) for p in PORTS],
    }


def plain(state: State):
    routers, floating = state.routers.values(), state.floating_ips.values()
    networks, edges = state.external_networks.values(), state.router_edges.values()

    def tells(values, of, members):
        return [unordered(v for v in values if of(v, m)) for m in members]

    at = [[e for e in edges if e.port == p] for p in PORTS]
    return {
        "routers_out": tells(
            routers, lambda r, e: r.gateway is not None and r.gateway.external_network == e, EXTERNALS
        ),
        "external_networks_of": tells(networks, lambda n, t: t in n.shared_with, TENANTS),
        "floating_ips_of": tells(floating, lambda f, t: f.name.parent == t, TENANTS),
        "floating_ips_at": tells(floating, lambda f, p: f.port == p, PORTS),
        "floating_ips_by": tells(floating, lambda f, r: f.router == r, ROUTERS),
        "floating_ips_in": tells(floating, lambda f, e: f.external_network == e, EXTERNALS),
        "edges_of": tells(edges, lambda e, r: e.router == r, ROUTERS),
        "edges_on": tells(edges, lambda e, h: e.host == h, HOSTS),
        "edge_at": [found[0] if len(found) == 1 else None for found in at],
    }


@settings(max_examples=examples(200))
@given(histories)
def test_indexes_after_any_history_are_what_a_look_at_everything_gives(history):
    state = State()
    for number, events in enumerate(history, 1):
        state.apply(number, events)
        assert answers(state) == plain(state)
        fork = state.fork()
        assert answers(fork) == plain(state)
    everything = [*state.routers, *state.external_networks, *state.floating_ips, *state.router_edges]
    assert state.objects == len(everything)
    state.apply(99, [Event(key, None) for key in everything])
    leftovers = {n: v for n, v in vars(state).items() if isinstance(v, dict) and n != "_tables" and v}
    assert not leftovers


@given(objects)
def test_keys_lead_back_to_what_lies_there(stored):
    key = keys.key_of(stored)
    assert key.isascii()
    found = keys.parse(key)
    assert (type(found), found) == (type(stored_key(stored)), stored_key(stored))
    assert keys.locate(found) == key


@given(st.ip_addresses())
def test_an_address_outside_has_one_spelling(address):
    for kind in (EXTERNALS[0], ExternalNetworkName("ext")):
        key = ids.external(kind, address)
        assert ids.split(key) == (ids.external_scope(kind, address.version), int(address))
        assert ids.join(*ids.split(key)) == key
        assert keys.parse(keys.allocation_key(key)) == key


@pytest.mark.parametrize("key", ["ext/inet/192.0.2.007", "ext/inet/2001:DB8::1", "ext4/inet/1", "ext/inet/"])
def test_another_spelling_of_an_address_is_refused(key):
    with pytest.raises(InvalidIntent):
        ids.split(key)


def test_a_router_with_edges_is_not_deleted():
    """Whoever makes an edge at this moment, seen or not, is in the way of the router's end."""
    txn = Txn()
    router = exits.Router(name=ROUTERS[0], meta=exits.Meta(uid="u", revision=5))
    txn.delete(router)
    asked = {(c.key, c.range_end) for c in txn.compares}
    assert ("/cloison/v1/edges/a/m/", "/cloison/v1/edges/a/m0") in asked
    made = Txn()
    made.create(RouterEdge(router=ROUTERS[0], host=HostName("h1"), port=PORTS[0]))
    wanted = {c.key for c in made.compares if c.condition.value == "present"}
    assert wanted == {keys.resource_key(name) for name in (ROUTERS[0], PORTS[0], HostName("h1"))}


@settings(max_examples=examples(50))
@given(st.lists(objects, max_size=8))
def test_stores_agree_after_a_new_full_list(found):
    """What was written is in a mirror that lists, and in one whose watch was cut while it came and went."""
    asyncio.run(_listed(found))


async def _listed(found):
    etcd = MemoryEtcd()
    late, blind = MemoryStore(etcd), MemoryStore(etcd)
    await blind.start()
    blind.pause()
    for stored in found:
        etcd.put(keys.key_of(stored), record_to_bytes(stored))
    gone = {keys.key_of(stored) for stored in found[::2]}
    for key in gone:
        etcd.put(key, None)
    await late.start()
    etcd.compact()
    blind.resume()
    await blind._relist()
    try:
        for store in (late, blind):
            assert not store.quarantine
            assert {keys.key_of(s) for s in stored_in(store.state)} == set(etcd.values)
        assert answers(late.state) == answers(blind.state)
    finally:
        await late.stop()
        await blind.stop()


def stored_in(state: State):
    yield from state.routers.values()
    yield from state.external_networks.values()
    yield from state.floating_ips.values()
    yield from state.router_edges.values()


def test_addresses_of_an_external_network_are_a_space_of_their_own():
    one, other = EXTERNALS
    keys_of = {ids.external(n, ip_address("192.0.2.7")) for n in (one, other)}
    assert len(keys_of) == 2
    assert EdgeKey(ROUTERS[0], None) != EdgeKey(ROUTERS[0], HOSTS[0])
