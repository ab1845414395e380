"""No range is inside and outside (docs/decisions.md, 76)."""

from __future__ import annotations

import grpc
import pytest

from cloison.names import ExternalNetworkName
from cloison.v1 import external_network_pb2, router_pb2
from tests.support.api import Api
from tests.support.outside import ACME, INET, R1, S4, S6, gateway, router, update_external, update_router
from tests.support.plans import refused
from tests.support.requests import network, subnet

OUTSIDE = ExternalNetworkName("inet")
COVERS, WITHIN = "192.0.0.0/16", "192.0.2.128/25"


def leading(destination: str) -> list[router_pb2.RouterRoute]:
    return [
        router_pb2.RouterRoute(destination="198.51.100.0/24", next_hops=["10.0.0.7"]),
        router_pb2.RouterRoute(destination=destination, next_hops=["10.0.0.7"]),
    ]


@pytest.mark.parametrize("destination", [COVERS, WITHIN, "192.0.2.0/24"])
async def test_no_route_leads_inside_to_what_is_outside(outside: Api, destination: str) -> None:
    """Whichever comes first: the edge could not tell which of the two is meant (EDGE_INVALID)."""
    say = "a range that does not overlap 192.0.2.0/24 of externalNetworks/inet, by which the router goes out"
    await outside.routers.CreateRouter(router("r1", S4, routes=leading(destination)))
    before = outside.store.state.revision
    refusal = await refused(outside.routers.UpdateRouter(update_router("gateway", gateway=gateway())))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    [(field, said)] = refusal.fields.items()
    at = sorted([destination, "198.51.100.0/24"]).index(destination)
    assert field == f"router.routes[{at}].destination"
    assert destination in said
    assert say in said
    assert outside.store.state.revision == before
    await outside.routers.UpdateRouter(update_router("routes", "gateway", routes=[], gateway=gateway()))
    refusal = await refused(
        outside.routers.UpdateRouter(update_router("routes", routes=leading(destination)))
    )
    assert say in refusal.fields["router.routes[1].destination"]
    await outside.routers.UpdateRouter(update_router("routes", routes=leading("192.0.3.0/24")))
    default = leading("0.0.0.0/0")
    await outside.routers.UpdateRouter(update_router("routes", routes=default))


async def test_no_subnet_is_inside_and_outside(outside: Api) -> None:
    await outside.networks.CreateNetwork(network("far"))
    far = f"{ACME}/networks/far"
    await outside.subnets.CreateSubnet(subnet("s4", parent=far, cidr=COVERS))
    made = router("r1", S4, f"{far}/subnets/s4", gateway=gateway())
    refusal = await refused(outside.routers.CreateRouter(made))
    said = refusal.fields["router.interfaces[1].subnet"]
    assert f"range ({COVERS}) does not overlap 192.0.2.0/24, of {INET}" in said
    del made.router.interfaces[1]
    await outside.routers.CreateRouter(made)


async def test_an_external_network_comes_to_overlap_nothing_behind_its_routers(outside: Api) -> None:
    only4 = outside.store.state.external_networks[OUTSIDE].subnets[0]
    four = external_network_pb2.ExternalSubnet(cidr=str(only4.cidr), gateway_ip=str(only4.gateway))
    await outside.external_networks.UpdateExternalNetwork(update_external("subnets", subnets=[four]))
    route = router_pb2.RouterRoute(destination="2001:db8:f::/48", next_hops=["2001:db8::7"])
    await outside.routers.CreateRouter(router("r1", S4, S6, routes=[route], gateway=gateway()))
    six = external_network_pb2.ExternalSubnet(cidr="2001:db8:f::/64", gateway_ip="fe80::1")
    grown = update_external("subnets", subnets=[four, six])
    refusal = await refused(outside.external_networks.UpdateExternalNetwork(grown))
    said = refusal.fields["external_network.subnets[1].cidr"]
    assert f"a range that does not overlap 2001:db8:f::/48, to which {R1} has a route" in said
    await outside.routers.UpdateRouter(update_router("routes", routes=[]))
    await outside.external_networks.UpdateExternalNetwork(grown)
