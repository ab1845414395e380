"""A router's way out over the API: what comes and goes with its gateway, and what is refused."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from cloison.model import PROFILE_OPEN, RouterEdge
from cloison.names import ExternalNetworkName, HostName, NetworkName, PortName, RouterName, SubnetName
from cloison.v1 import host_pb2, network_pb2, port_pb2, router_pb2, subnet_pb2
from controller.api.intents import edges
from controller.api.intents.common import Stamp
from controller.store import ids, keys, transit
from controller.store.keys import EdgeKey
from controller.store.state import State
from tests.support.api import AS, Api
from tests.support.outside import (
    ACME,
    INET,
    R1,
    S4,
    S6,
    TRANSIT,
    external,
    floating,
    gateway,
    router,
    update_external,
    update_router,
)
from tests.support.plans import references, refused
from tests.support.requests import NET, Case, assert_refused, call, network, port, subnet

ROUTER = RouterName("acme", "r1")
OUTSIDE = ExternalNetworkName("inet")
BETWEEN = NetworkName("acme", "cl-r1")
GW = PortName("acme", "cl-r1", "gw")
TENANT = ((AS, "tenant/acme/admin"),)


def held(state: State, owner: str) -> set[str]:
    return {r.key for r in state.reservations.values() if r.owner == owner and not r.released}


def addresses_of(state: State) -> set[str]:
    found = state.routers[ROUTER].gateway
    return {str(address) for address in found.addresses} if found else set()


async def test_a_gateway_comes_with_all_that_it_is_made_of(outside: Api) -> None:
    before = outside.store.state.revision
    made = await outside.routers.CreateRouter(router("r1", S4, S6, gateway=gateway()))
    state = outside.store.state
    assert state.revision == before + 1, "all of it in one transaction"
    between = state.networks[BETWEEN]
    assert between.vni >= 4096
    assert [str(s.cidr) for s in sorted(state.subnets_of(BETWEEN), key=lambda s: s.name)] == [
        "100.127.0.0/16",
        "fd00:c101:50::/64",
    ]
    inside = [i for i in state.routers[ROUTER].interfaces if i.subnet.parent == BETWEEN]
    assert {str(i.address) for i in inside} == {"100.127.0.1", "fd00:c101:50::1"}
    out = state.ports[GW]
    assert out.profile == PROFILE_OPEN
    assert {str(f.address) for f in out.fixed_ips} == {"100.127.0.2", "fd00:c101:50::2"}
    assert out.requested_hosts == (HostName("g1"), HostName("g2"))
    assert dict(state.router_edges) == {
        EdgeKey(ROUTER, None): RouterEdge(
            router=ROUTER, host=None, port=GW, revision=state.router_edges[EdgeKey(ROUTER, None)].revision
        )
    }
    assert len(made.gateway.ip_addresses) == 2
    outside_keys = {ids.external(OUTSIDE, a) for a in state.routers[ROUTER].gateway.addresses}  # type: ignore[union-attr]
    assert outside_keys < held(state, R1)
    assert state.routed_with(NetworkName("acme", "web")) == {BETWEEN}
    again = await outside.routers.GetRouter(router_pb2.GetRouterRequest(name=R1))
    assert again == made


async def test_a_gateway_set_later_is_as_one_set_at_once(outside: Api) -> None:
    await outside.routers.CreateRouter(router("r1", S4))
    before = outside.store.state.revision
    chosen = ["192.0.2.7", "2001:db8:f::7"]
    made = await outside.routers.UpdateRouter(update_router("gateway", gateway=gateway(ip_addresses=chosen)))
    assert outside.store.state.revision == before + 1
    assert list(made.gateway.ip_addresses) == chosen
    assert {i.subnet for i in made.interfaces} == {S4, f"{TRANSIT}/subnets/v4", f"{TRANSIT}/subnets/v6"}


async def test_removing_a_gateway_leaves_nothing_behind(outside: Api) -> None:
    await outside.routers.CreateRouter(router("r1", S4))
    stored, refs = dict(outside.store.etcd.values), references(outside.store.etcd)
    await outside.routers.UpdateRouter(update_router("gateway", gateway=gateway()))
    before = outside.store.state.revision
    made = await outside.routers.UpdateRouter(update_router("gateway"))
    assert outside.store.state.revision == before + 1
    assert not made.HasField("gateway")
    assert [i.subnet for i in made.interfaces] == [S4]
    assert references(outside.store.etcd) == refs
    left = {key for key in outside.store.etcd.values.keys() - stored.keys() if "/alloc/" not in key}
    assert not left
    taken = {r.key for r in outside.store.state.reservations.values() if not r.released}
    assert taken == {keys.reservation_part(key) for key in stored if keys.is_reservation(key)}


async def test_what_a_gateway_had_waits_for_the_hosts_that_may_hold_it(outside: Api) -> None:
    await outside.routers.CreateRouter(router("r1", S4, gateway=gateway(ip_addresses=["192.0.2.7"])))
    vni = outside.store.state.networks[BETWEEN].vni
    await outside.bind(str(GW), "hosts/g1")
    await outside.routers.DeleteRouter(router_pb2.DeleteRouterRequest(name=R1))
    state = outside.store.state
    address = state.reservations["ext/inet/192.0.2.7"]
    assert address.released
    assert set(address.hosts) == {HostName("g1"), HostName("g2")}
    number = state.reservations[ids.vni(vni)]
    assert number.released
    assert HostName("g1") in number.hosts
    assert not state.router_edges
    assert not any(name.network.startswith("cl-") for name in state.networks)
    refusal = await refused(
        outside.routers.CreateRouter(router("r2", S4, gateway=gateway(ip_addresses=["192.0.2.7"])))
    )
    assert "192.0.2.7" in refusal.message


async def test_a_gateways_addresses_change_and_stay_its_own(outside: Api) -> None:
    await outside.routers.CreateRouter(router("r1", S4, gateway=gateway(ip_addresses=["192.0.2.7"])))
    await outside.routers.UpdateRouter(update_router("gateway", gateway=gateway(no_snat=True)))
    assert addresses_of(outside.store.state) == {"192.0.2.7"}, "what is not said stays"
    await outside.routers.UpdateRouter(update_router("gateway", gateway=gateway(ip_addresses=["192.0.2.8"])))
    state = outside.store.state
    assert addresses_of(state) == {"192.0.2.8"}
    assert state.reservations["ext/inet/192.0.2.7"].released
    assert not state.reservations["ext/inet/192.0.2.8"].released


async def test_what_users_say_of_interfaces_leaves_the_way_out_alone(outside: Api) -> None:
    made = await outside.routers.CreateRouter(router("r1", S4, gateway=gateway()))
    inside = {i.subnet for i in made.interfaces} - {S4}
    changed = await outside.routers.UpdateRouter(
        update_router("interfaces", interfaces=[router_pb2.RouterInterface(subnet=S6)])
    )
    assert {i.subnet for i in changed.interfaces} == {S6} | inside
    # What was read can be written back as it is.
    back = router_pb2.Router(name=R1, interfaces=changed.interfaces, gateway=changed.gateway)
    request = router_pb2.UpdateRouterRequest(router=back)
    request.update_mask.paths.append("*")
    same = await outside.routers.UpdateRouter(request)
    assert same.revision == changed.revision


SYSTEM: list[tuple[str, Any]] = [
    ("a port in it", call("ports", "CreatePort", port("mine", TRANSIT))),
    ("the port", call("ports", "DeletePort", port_pb2.DeletePortRequest(name=str(GW)))),
    (
        "changing the port",
        call(
            "ports", "UpdatePort", port_pb2.UpdatePortRequest(port=port_pb2.Port(name=str(GW), disabled=True))
        ),
    ),
    ("a subnet in it", call("subnets", "CreateSubnet", subnet("mine", TRANSIT, cidr="10.9.0.0/24"))),
    (
        "the subnet",
        call("subnets", "DeleteSubnet", subnet_pb2.DeleteSubnetRequest(name=f"{TRANSIT}/subnets/v4")),
    ),
    ("the network", call("networks", "DeleteNetwork", network_pb2.DeleteNetworkRequest(name=TRANSIT))),
    (
        "changing the network",
        call(
            "networks",
            "UpdateNetwork",
            network_pb2.UpdateNetworkRequest(network=network_pb2.Network(name=TRANSIT, multicast=True)),
        ),
    ),
]


@pytest.mark.parametrize("what", SYSTEM, ids=[name for name, _ in SYSTEM])
async def test_nobody_touches_the_parts_of_a_way_out(outside: Api, what: tuple[str, Any]) -> None:
    await outside.routers.CreateRouter(router("r1", S4, gateway=gateway()))
    before = outside.store.state.revision
    refusal = await refused(what[1](outside))
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
    assert R1 in refusal.message
    assert outside.store.state.revision == before


REFUSED: list[Case] = [
    (
        "an id of the ways out",
        call("networks", "CreateNetwork", network("cl-mine")),
        "network_id",
        "cl-mine",
        "an id that does not begin with cl-",
    ),
    (
        "no such external network",
        call("routers", "CreateRouter", router("r2", S4, gateway=gateway("externalNetworks/no"))),
        "router.gateway.external_network",
        "externalNetworks/no",
        f"an external network that is shared with {ACME}: {INET}, externalNetworks/too",
    ),
    (
        "not shared",
        call("routers", "CreateRouter", router("r2", S4, gateway=gateway("externalNetworks/dark"))),
        "router.gateway.external_network",
        "externalNetworks/dark",
        f"an external network that is shared with {ACME}: {INET}, externalNetworks/too",
    ),
    (
        "an address elsewhere",
        call("routers", "CreateRouter", router("r2", S4, gateway=gateway(ip_addresses=["198.51.100.7"]))),
        "router.gateway.ip_addresses[0]",
        "198.51.100.7",
        "192.0.2.0/24 and 2001:db8:f::/64",
    ),
    (
        "the gateway's address",
        call("routers", "CreateRouter", router("r2", S4, gateway=gateway(ip_addresses=["192.0.2.1"]))),
        "router.gateway.ip_addresses[0]",
        "192.0.2.1",
        "somebody else has this one",
    ),
    (
        "two of a family",
        call(
            "routers",
            "CreateRouter",
            router("r2", S4, gateway=gateway(ip_addresses=["192.0.2.7", "192.0.2.8"])),
        ),
        "router.gateway.ip_addresses[1]",
        "192.0.2.8",
        "one address of each family",
    ),
    (
        "no SNAT, distributed",
        call(
            "routers", "CreateRouter", router("r2", S4, gateway=gateway(no_snat=True, distributed_snat=True))
        ),
        "router.gateway.distributed_snat",
        "true",
        "false, since no_snat is set",
    ),
    (
        "not one of its subnets",
        call("routers", "CreateRouter", router("r2", S4, gateway=gateway(routed_prefixes=["10.1.0.0/24"]))),
        "router.gateway.routed_prefixes[0]",
        "10.1.0.0/24",
        "10.0.0.0/24",
    ),
    (
        "what the way out is made of",
        call("routers", "CreateRouter", router("r2", f"{NET}/subnets/s9", gateway=gateway())),
        "router.interfaces[0].subnet",
        f"{NET}/subnets/s9",
        "does not overlap 100.127.0.0/16",
    ),
    (
        "another's way out",
        call("routers", "CreateRouter", router("r2", f"{TRANSIT}/subnets/v4")),
        "router.interfaces[0].subnet",
        f"{TRANSIT}/subnets/v4",
        "this is the way out of a router",
    ),
    (
        "elsewhere, while it goes out",
        call("routers", "UpdateRouter", update_router("gateway", gateway=gateway("externalNetworks/too"))),
        "router.gateway.external_network",
        "externalNetworks/too",
        "remove the gateway first",
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=[case[0] for case in REFUSED])
async def test_a_wrong_gateway_is_refused_and_stores_nothing(outside: Api, case: Case) -> None:
    await outside.subnets.CreateSubnet(subnet("s9", cidr="100.127.9.0/24"))
    dark = external("dark", physical_network="physnet2", shared_with=[])
    await outside.external_networks.CreateExternalNetwork(dark)
    await outside.external_networks.CreateExternalNetwork(external("too", vlan=7))
    await outside.routers.CreateRouter(router("r1", S6, gateway=gateway()))
    await assert_refused(outside, case)


async def test_two_routers_never_have_the_same_routed_prefix(outside: Api) -> None:
    await outside.routers.CreateRouter(router("r1", S4, gateway=gateway(routed_prefixes=["10.0.0.0/25"])))
    await outside.networks.CreateNetwork(network("db"))
    await outside.subnets.CreateSubnet(subnet("d4", f"{ACME}/networks/db", cidr="10.0.0.0/16"))
    second = router("r2", f"{ACME}/networks/db/subnets/d4", gateway=gateway(routed_prefixes=["10.0.0.0/24"]))
    refusal = await refused(outside.routers.CreateRouter(second))
    assert "10.0.0.0/25 of tenants/acme/routers/r1" in refusal.fields["router.gateway.routed_prefixes[0]"]


async def test_routed_prefixes_are_the_operators(outside: Api) -> None:
    asked = router("r1", S4, gateway=gateway(routed_prefixes=["10.0.0.0/25"]))
    refusal = await refused(outside.routers.CreateRouter(asked, metadata=TENANT))
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
    assert "router.gateway.routed_prefixes" in refusal.message
    await outside.routers.CreateRouter(asked)
    # A tenant's own change leaves them alone, even where it sends the gateway without them.
    kept = await outside.routers.UpdateRouter(
        update_router("gateway", gateway=gateway(no_snat=True)), metadata=TENANT
    )
    assert list(kept.gateway.routed_prefixes) == ["10.0.0.0/25"]
    assert kept.gateway.no_snat


async def test_hosts_that_go_out_are_the_operators_to_know(outside: Api) -> None:
    await outside.routers.CreateRouter(router("r1", S4, gateway=gateway()))
    await outside.bind(str(GW), "hosts/g2")
    asked = router_pb2.GetRouterRequest(name=R1)
    assert (await outside.routers.GetRouter(asked)).gateway.host == "hosts/g2"
    assert not (await outside.routers.GetRouter(asked, metadata=TENANT)).gateway.host


async def test_a_router_with_floating_ips_keeps_its_gateway_and_interface(outside: Api) -> None:
    await outside.routers.CreateRouter(router("r1", S4, S6, gateway=gateway()))
    await outside.floating_ips.CreateFloatingIp(floating(port=f"{NET}/ports/p1"))
    for request in (
        update_router("gateway"),
        update_router("interfaces", interfaces=[router_pb2.RouterInterface(subnet=S6)]),
    ):
        refusal = await refused(outside.routers.UpdateRouter(request))
        assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
        assert f"{ACME}/floatingIps/f1" in refusal.message
    refusal = await refused(outside.routers.DeleteRouter(router_pb2.DeleteRouterRequest(name=R1)))
    assert f"{ACME}/floatingIps/f1" in refusal.message
    # The other subnet is nobody's business.
    await outside.routers.UpdateRouter(
        update_router("interfaces", interfaces=[router_pb2.RouterInterface(subnet=S4)])
    )


async def test_gateway_hosts_that_change_are_followed(outside: Api) -> None:
    await outside.routers.CreateRouter(router("r1", S4, gateway=gateway()))
    await outside.external_networks.UpdateExternalNetwork(
        update_external("gateway_hosts", gateway_hosts=["hosts/g2", "hosts/h1"])
    )
    state = outside.store.state
    assert state.ports[GW].requested_hosts == (HostName("g2"), HostName("h1"))
    assert state.ports_on(HostName("g1")) == ()
    await outside.hosts.DeleteHost(host_pb2.DeleteHostRequest(name="hosts/g1"))
    refusal = await refused(outside.hosts.DeleteHost(host_pb2.DeleteHostRequest(name="hosts/g2")))
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION


# -- edges of single hosts -------------------------------------------------------------------------


async def edge(api: Api, host: str = "h1") -> int:
    stamp = Stamp(1, f"00000000-0000-4000-8000-{api.store.state.revision:012}")
    revision, _ = await api.store.transact(
        lambda state: (edges.edge_txn(state, ROUTER, HostName(host), stamp), None)
    )
    return revision


async def test_an_edge_of_a_host_comes_and_goes_in_one_transaction_each(outside: Api) -> None:
    await outside.routers.CreateRouter(router("r1", S4, S6, gateway=gateway()))
    before = outside.store.state.revision
    assert await edge(outside) == before + 1
    state = outside.store.state
    made = state.router_edges[EdgeKey(ROUTER, HostName("h1"))]
    assert made.port == PortName("acme", "cl-r1", "gw-h1")
    assert made.addresses == ()
    there = state.ports[made.port]
    assert there.requested_hosts == (HostName("h1"),)
    assert {f.subnet for f in there.fixed_ips} == {SubnetName(*BETWEEN, "v4"), SubnetName(*BETWEEN, "v6")}
    assert await edge(outside) == before + 1, "nothing to do is no transaction"
    await outside.store.transact(lambda state: (edges.drop_edge_txn(state, made), None))
    assert outside.store.state.revision == before + 2
    assert made.port not in outside.store.state.ports
    await outside.store.transact(lambda state: (edges.drop_edge_txn(state, made), None))
    assert outside.store.state.revision == before + 2


async def test_an_edge_has_addresses_of_its_own_while_snat_is_distributed(outside: Api) -> None:
    await outside.routers.CreateRouter(router("r1", S4, gateway=gateway(distributed_snat=True)))
    await edge(outside)
    key = EdgeKey(ROUTER, HostName("h1"))
    had = outside.store.state.router_edges[key].addresses
    assert [a.version for a in had] == [4, 6]
    assert {ids.external(OUTSIDE, a) for a in had} <= held(outside.store.state, str(key))
    await outside.routers.UpdateRouter(update_router("gateway", gateway=gateway()))
    await edge(outside)
    state = outside.store.state
    assert state.router_edges[key].addresses == ()
    assert all(state.reservations[ids.external(OUTSIDE, a)].released for a in had)


async def test_without_a_gateway_there_is_no_edge(outside: Api) -> None:
    await outside.routers.CreateRouter(router("r1", S4))
    before = outside.store.state.revision
    assert await edge(outside) == before
    await outside.routers.UpdateRouter(update_router("gateway", gateway=gateway(distributed_snat=True)))
    await edge(outside)
    await edge(outside, "g1")
    await outside.routers.DeleteRouter(router_pb2.DeleteRouterRequest(name=R1))
    state = outside.store.state
    assert not state.router_edges
    assert not [name for name in state.ports if name.network.startswith("cl-")]


@pytest.mark.parametrize("how", ["gateway", "router", "gateway, by its etag"])
async def test_a_way_out_of_many_hosts_goes_piece_by_piece(outside: Api, how: str) -> None:
    """More than a transaction holds: what is on single hosts goes first."""
    await outside.routers.CreateRouter(router("r1", S4, gateway=gateway(distributed_snat=True)))
    for n in range(12):
        await outside.hosts.CreateHost(host_pb2.CreateHostRequest(host_id=f"c{n}"))
        await edge(outside, f"c{n}")
    kept = await outside.routers.GetRouter(router_pb2.GetRouterRequest(name=R1))
    stale = update_router("gateway")
    stale.router.etag = "1"
    assert (await refused(outside.routers.UpdateRouter(stale))).code is grpc.StatusCode.ABORTED
    assert len(outside.store.state.router_edges) == 13, "what is refused takes nothing away"
    request = update_router("gateway")
    if how == "router":
        await outside.routers.DeleteRouter(router_pb2.DeleteRouterRequest(name=R1))
    else:
        request.router.etag = kept.etag if "etag" in how else ""
        await outside.routers.UpdateRouter(request)
    state = outside.store.state
    assert not state.router_edges
    assert (ROUTER in state.routers) is (how != "router")
    assert not [name for name in state.ports if name.network.startswith("cl-")]


async def test_an_edge_without_a_free_address_goes_by_the_gateway(outside: Api) -> None:
    tight = external(
        "tight",
        physical_network="physnet2",
        subnets=[{"cidr": "198.51.100.0/30", "gateway_ip": "198.51.100.1"}],
    )
    await outside.external_networks.CreateExternalNetwork(tight)
    await outside.routers.CreateRouter(
        router("r1", S4, gateway=gateway("externalNetworks/tight", distributed_snat=True))
    )
    await edge(outside)
    made = outside.store.state.router_edges[EdgeKey(ROUTER, HostName("h1"))]
    assert made.addresses == ()


def test_a_long_name_has_a_transit_network_of_its_own() -> None:
    long = "r" * 62
    names = {transit.network_of(RouterName("acme", long + end)) for end in "ab"}
    assert len(names) == 2
    assert all(len(name.network) <= 63 and transit.is_transit(name) for name in names)
    assert NetworkName.parse(str(next(iter(names)))) in names
