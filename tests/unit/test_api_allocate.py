"""Allocation: no duplicate, within the rules, the same for the same seed, quick when crowded."""

from __future__ import annotations

import time
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloison.addresses import MULTICAST_BIT, is_wire_mac, link_local, wire_mac
from cloison.errors import CloisonError, Exhausted, InvalidIntent, Unavailable
from cloison.model import VNI_MAX, VNI_MIN, AllocationPool, Meta, Port, Reservation, Subnet
from cloison.names import HostName, NetworkName, PortName, SubnetName
from cloison.v1 import network_pb2, port_pb2, subnet_pb2, tenant_pb2
from controller.api import allocate
from controller.api.intents import network, port, subnet, tenant
from controller.api.intents.common import Stamp
from controller.store import ids
from controller.store.memory import MemoryStore
from controller.store.state import State

NET = NetworkName("acme", "web")


def reserve(state: State, *reserved: str, released: bool = False) -> None:
    for key in reserved:
        hosts = (HostName("h1"),) if released else ()
        state.load(Reservation(key=key, owner="x", owner_uid="x", released=released, hosts=hosts), key)


def make_subnet(cidr: str, *pools: tuple[str, str]) -> Subnet:
    return Subnet(
        name=SubnetName("acme", "web", "s"),
        meta=Meta(uid="s"),
        cidr=ip_network(cidr),
        gateway_ip=None,
        allocation_pools=tuple(AllocationPool(ip_address(a), ip_address(b)) for a, b in pools),
    )


def test_the_same_seed_gives_the_same() -> None:
    state, stamp, range_ = State(), Stamp(1, "uid"), make_subnet("10.0.0.0/16", ("10.0.0.1", "10.0.255.254"))
    for choose in (
        lambda s: allocate.vni(state, s),
        lambda s: allocate.mac(state, NET, s),
        lambda s: allocate.address(state, range_, s),
        lambda s: allocate.port_number(state, s),
        lambda s: allocate.tenant_number(state, s),
    ):
        assert choose(stamp) == choose(stamp)
        assert choose(stamp) != choose(Stamp(1, "another"))


@pytest.mark.slow
@given(st.text(max_size=8), st.sets(st.integers(VNI_MIN, VNI_MIN + 20)))
def test_a_vni_is_free_and_in_range(uid: str, taken: set[int]) -> None:
    state = State()
    reserve(state, *(ids.vni(v) for v in taken))
    chosen = allocate.vni(state, Stamp(0, uid))
    assert VNI_MIN <= chosen <= VNI_MAX
    assert chosen not in taken


def test_what_is_being_released_is_passed_over() -> None:
    state, stamp = State(), Stamp(0, "uid")
    first = allocate.vni(state, stamp)
    reserve(state, ids.vni(first), released=True)
    assert allocate.vni(state, stamp) != first


@given(st.text(max_size=8), st.lists(st.text(max_size=8), max_size=8))
def test_a_mac_is_unicast_local_and_no_wire_mac(uid: str, earlier: list[str]) -> None:
    state = State()
    for one in earlier:
        mac = allocate.mac(state, NET, Stamp(0, one))
        reserve(state, ids.mac(NET, mac), ids.wire6(NET, link_local(mac)))
    mac = allocate.mac(state, NET, Stamp(0, uid))
    assert mac >> 40 == 0x02
    assert not mac & MULTICAST_BIT
    assert not is_wire_mac(mac)
    assert ids.mac(NET, mac) not in state.reservations
    assert ids.wire6(NET, link_local(mac)) not in state.reservations


def test_a_mac_avoids_a_wire_mac_of_another_prefix() -> None:
    """Two MACs that differ in the upper half only would have link-local addresses of one wire MAC."""
    state, stamp = State(), Stamp(0, "uid")
    first = allocate.mac(state, NET, stamp)
    reserve(state, ids.wire6(NET, link_local(first)))
    second = allocate.mac(state, NET, stamp)
    assert second & 0xFFFFFF != first & 0xFFFFFF


@pytest.mark.parametrize(
    "pools", [[("10.0.0.5", "10.0.0.9")], [("10.0.0.5", "10.0.0.6"), ("10.0.0.20", "10.0.0.22")]]
)
def test_pools_are_used_up_and_then_exhausted(pools: list[tuple[str, str]]) -> None:
    state, range_ = State(), make_subnet("10.0.0.0/24", *pools)
    chosen = set()
    for i in range(5):
        address = allocate.address(state, range_, Stamp(0, str(i)))
        chosen.add(address)
        reserve(state, ids.ip(NET, address))
    expected = {IPv4Address(n) for a, b in pools for n in range(int(IPv4Address(a)), int(IPv4Address(b)) + 1)}
    assert chosen == expected
    with pytest.raises(Exhausted, match="allocation pools of tenants/acme/networks/web/subnets/s"):
        allocate.address(state, range_, Stamp(0, "one more"))


def test_low_halves_of_ipv6_addresses_differ() -> None:
    """A second subnet of /125 finds the places that the first one left over."""
    state = State()
    reserve(state, *(ids.wire6(NET, IPv6Address(f"2001:db8:1::{i}")) for i in range(1, 7)))
    range_ = make_subnet("2001:db8:2::/125", ("2001:db8:2::1", "2001:db8:2::7"))
    assert allocate.address(state, range_, Stamp(0, "uid")) == IPv6Address("2001:db8:2::7")


def test_a_crowded_subnet_is_quick() -> None:
    """The cost of one more does not grow with what is taken: 10,000 ports, 60,000 of 65,533 addresses."""
    state, range_ = State(), make_subnet("10.0.0.0/16", ("10.0.0.2", "10.0.255.254"))
    taken = range(int(IPv4Address("10.0.0.2")), int(IPv4Address("10.0.0.2")) + 60_000)
    reserve(state, *(ids.ip(NET, IPv4Address(n)) for n in taken if n % 7))
    began = time.process_time()
    for i in range(1000):
        allocate.address(state, range_, Stamp(0, str(i)))
    assert (time.process_time() - began) / 1000 < 0.005


# -- everything together: random histories through the intents ----------------------------------------

PORTS = [f"p{i}" for i in range(12)]
MACS = ["", "52:54:00:00:00:01", "56:54:00:00:00:01", "52:54:00:00:00:02"]
SELF_MADE = f"{NET}/subnets/s3"
ADDRESSES = [
    "10.0.0.3",
    "10.0.0.4",
    "2001:db8:1::4",
    "2001:db8:2::4",
    "2001:db8:2::fe00:1",
    "2001:db8:1::fe00:2",
    SELF_MADE,
]
actions = st.lists(
    st.tuples(
        st.sampled_from(["create", "update", "delete"]),
        st.sampled_from(PORTS),
        st.sampled_from(MACS),
        st.lists(st.sampled_from(ADDRESSES), max_size=3, unique=True),
    ),
    max_size=30,
)


def wish(text: str) -> port_pb2.FixedIp:
    return port_pb2.FixedIp(subnet=text) if "/" in text else port_pb2.FixedIp(ip_address=text)


async def history(store: MemoryStore, steps: list[Any]) -> None:
    parent = str(NET)
    await store.transact(
        lambda s: tenant.create(s, tenant_pb2.CreateTenantRequest(tenant_id="acme"), Stamp(1, "t"))
    )
    await store.transact(
        lambda s: network.create(
            s, network_pb2.CreateNetworkRequest(parent="tenants/acme", network_id="web"), Stamp(1, "n")
        )
    )
    for i, cidr in enumerate(("10.0.0.0/28", "2001:db8:1::/64", "2001:db8:2::/125", "2001:db8:3::/64")):
        request = subnet_pb2.CreateSubnetRequest(
            parent=parent, subnet_id=f"s{i}", subnet=subnet_pb2.Subnet(cidr=cidr)
        )
        # With addresses of ports made of their MACs.
        if cidr == "2001:db8:3::/64":
            request.subnet.ipv6_mode = subnet_pb2.SLAAC
        await store.transact(lambda s, r=request, i=i: subnet.create(s, r, Stamp(1, f"s{i}")))  # type: ignore[misc]
    for i, (verb, name, mac, addresses) in enumerate(steps):
        fields = port_pb2.Port(mac_address=mac, fixed_ips=[wish(a) for a in addresses])
        stamp = Stamp(i, f"u{i}")
        try:
            await store.transact(lambda s, v=verb, n=name, f=fields, t=stamp: step(s, v, n, f, t))  # type: ignore[misc]
        except (CloisonError, InvalidIntent, Unavailable):
            continue  # refused: whole and without a trace, which check() finds out


def step(state: State, verb: str, name: str, fields: port_pb2.Port, stamp: Stamp) -> Any:
    if verb == "create":
        request = port_pb2.CreatePortRequest(parent=str(NET), port_id=name, port=fields)
        return port.create(state, request, stamp)
    fields.name = str(PortName("acme", "web", name))
    if verb == "update":
        return port.update(state, port_pb2.UpdatePortRequest(port=fields), stamp)
    return port.delete(state, port_pb2.DeletePortRequest(name=fields.name))


def check(state: State) -> None:
    """No MAC, address or wire MAC has two owners, and exactly what ports hold is reserved."""
    owner: dict[object, PortName] = {}
    held: set[str] = {ids.tenant_number(t.number) for t in state.tenants.values()}
    held |= {ids.vni(n.vni) for n in state.networks.values()}
    held |= {ids.group_number(g.number) for g in state.security_groups.values()}
    for profile in state.profiles.values():
        held |= {ids.profile_number(profile.number), ids.profile(profile.tenant, profile.groups)}
    held |= {ids.ip(NET, s.gateway_ip) for s in state.subnets.values() if s.gateway_ip is not None}
    for one in state.ports.values():
        for thing in things(one):
            assert owner.setdefault(thing, one.name) == one.name, (thing, one.name)
        held |= port.identifiers(one) | {ids.iface(one.iface_id)}
        for fixed_ip in one.fixed_ips:
            assert fixed_ip.address in state.subnets[fixed_ip.subnet].cidr
    assert set(state.reservations) == held


def things(one: Port) -> list[object]:
    addresses = [f.address for f in one.fixed_ips]
    return [one.mac, one.number, wire_mac(link_local(one.mac)), *addresses, *map(wire_mac, addresses)]


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions)
async def test_any_history_leaves_no_duplicate_and_no_residue(steps: list[Any]) -> None:
    store = MemoryStore()
    await store.start()
    try:
        await history(store, steps)
        check(store.state)
        for name in list(store.state.ports):
            await store.transact(lambda s, n=name: port.delete(s, port_pb2.DeletePortRequest(name=str(n))))  # type: ignore[misc]
        check(store.state)
    finally:
        await store.stop()
