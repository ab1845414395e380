"""What guests are told of a peering: by which router the other tenant is reached, as long as it is."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from cloison.addresses import Mac
from cloison.model import Meta, Network, Peering, Router, RouterInterface, Subnet, Tenant, Vni
from cloison.names import NetworkName, PeeringName, RouterName, SubnetName, TenantName
from tests.support.hosts import MemoryHost
from tests.support.reconciling import Controller, controller, pair, settled

WEB4, FAR4 = SubnetName("acme", "web", "v4"), SubnetName("beta", "far", "v4")
GATE, OTHER = ip_address("10.0.0.1"), ip_address("10.0.0.254")
R1, R2, R9 = RouterName("acme", "r1"), RouterName("acme", "r2"), RouterName("beta", "r9")
FAR, HALF = ip_network("10.9.0.0/24"), ip_network("10.9.0.0/25")
OURS = Peering(
    name=PeeringName("acme", "to-beta"),
    meta=Meta(uid="uid-ours"),
    router=R2,
    peer_router=R9,
    number=900,
    prefixes=(ip_network("10.0.0.0/24"),),
    peer_prefixes=(FAR,),
)
THEIRS = Peering(
    name=PeeringName("beta", "to-acme"),
    meta=Meta(uid="uid-theirs"),
    router=R9,
    peer_router=R2,
    number=901,
    prefixes=(FAR,),
    peer_prefixes=(ip_network("10.0.0.0/24"),),
)


def router(name: RouterName, mac: int, *interfaces: RouterInterface) -> Router:
    return Router(name=name, meta=Meta(uid=f"uid-{name.router}"), mac=Mac(mac), interfaces=interfaces)


async def with_far(made: Controller) -> tuple[MemoryHost, MemoryHost]:
    """Ports .1 and .2 of web on h1 and h2; web has R1 at its gateway, and R2; beta's far has R9."""
    h1, h2, _, _ = await pair(made)
    far = NetworkName("beta", "far")
    subnet = Subnet(
        name=FAR4, meta=Meta(uid="uid-far4"), cidr=FAR, gateway_ip=None,
        allocation_pools=made.store.state.subnets[WEB4].allocation_pools,
    )  # fmt: skip
    beta = Tenant(name=TenantName("beta"), meta=Meta(uid="uid-beta"), number=77)
    for stored in (
        beta,
        Network(name=far, meta=Meta(uid="uid-far"), vni=Vni(7001)),
        subnet,
        router(R2, 0x020000000077, RouterInterface(WEB4, OTHER)),
        router(R9, 0x020000000099, RouterInterface(FAR4, ip_address("10.9.0.1"))),
    ):
        await made.commit(lambda txn, state, stored=stored: txn.create(stored))
    await made.change(WEB4, gateway_ip=GATE)
    gateway = router(R1, 0x020000000011, RouterInterface(WEB4, GATE))
    await made.commit(lambda txn, state: txn.create(gateway))
    await settled(made)
    return h1, h2


def told(host: MemoryHost) -> dict[str, str]:
    (port,) = host.service_ports.values()
    return {
        f"{ip_address(route.destination)}/{route.prefix_length}": str(ip_address(route.next_hop))
        for route in port.addresses[0].routes
    }


async def join(made: Controller, *halves: Peering) -> None:
    for half in halves:
        await made.commit(lambda txn, state, half=half: txn.create(half))
    await settled(made)


async def test_a_peering_is_told_while_it_is_in_effect() -> None:
    async with controller() as made:
        h1, h2 = await with_far(made)
        assert told(h1) == told(h2) == {}
        await join(made, OURS)
        assert told(h1) == {}, "the other side has not accepted"
        await join(made, THEIRS)
        assert told(h1) == told(h2) == {str(FAR): str(OTHER)}
        await made.change(THEIRS.name, prefixes=(HALF,))
        await settled(made)
        assert told(h1) == {str(HALF): str(OTHER)}, "only what the other side lists"
        await made.commit(lambda txn, state: txn.delete(state.peerings[THEIRS.name]))
        await settled(made)
        assert told(h1) == told(h2) == {}


async def test_it_is_told_to_those_whose_addresses_it_lists() -> None:
    """To others that router leads nowhere: they go on asking their default router."""
    async with controller() as made:
        h1, h2 = await with_far(made)
        await join(made, replace(OURS, prefixes=(ip_network("10.0.0.2/32"),)), THEIRS)
        assert told(h1) == {}
        assert told(h2) == {str(FAR): str(OTHER)}


async def test_what_the_default_router_reaches_is_not_told() -> None:
    async with controller() as made:
        h1, _ = await with_far(made)
        await join(made, replace(OURS, router=R1), replace(THEIRS, peer_router=R1))
        assert told(h1) == {}
        await made.change(WEB4, gateway_ip=None)
        await settled(made)
        assert told(h1) == {str(FAR): str(GATE)}, "without a default router it is"
