"""Routers on their way to hosts: which networks a host carries for them, and what it lets go of again."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from cloison.addresses import ROUTER_MAC, Mac, link_local, wire_mac
from cloison.model import (
    PROFILE_OPEN,
    AddressPair,
    AllocationPool,
    FixedIp,
    Meta,
    Network,
    Route,
    Router,
    RouterInterface,
    RouterRoute,
    Subnet,
    Vni,
)
from cloison.names import HostName, NetworkName, PortName, RouterName, SubnetName
from controller.compiler.pipeline import ADDRESSING, FORWARD, METER, ROUTE
from controller.flows import DecTtl, Flow, Load, SetField
from controller.store import ids
from controller.store.txn import Txn
from tests.support.hosts import MemoryHost, eventually
from tests.support.reconciling import VNI, Controller, controller, pair, settled

DB, DB_VNI = NetworkName("acme", "db"), Vni(6001)
WEB4, DB4 = SubnetName("acme", "web", "v4"), SubnetName("acme", "db", "v4")
R1 = RouterName("acme", "r1")
ROUTER = Router(
    name=R1,
    meta=Meta(uid="uid-r1"),
    interfaces=(
        RouterInterface(DB4, ip_address("10.1.0.1")),
        RouterInterface(WEB4, ip_address("10.0.0.254")),
    ),
)


async def with_db(made: Controller) -> tuple[MemoryHost, MemoryHost, PortName]:
    """Ports 1 and 2 of web on h1 and h2, and port 3 of db, on h2 too; no router yet."""
    h1, h2, p1, _ = await pair(made)
    pools = made.store.state.subnets[WEB4].allocation_pools
    subnet = Subnet(
        name=DB4, meta=Meta(uid="uid-db4"), cidr=ip_network("10.1.0.0/24"), gateway_ip=None,
        allocation_pools=pools,
    )  # fmt: skip
    await made.commit(lambda txn, state: txn.create(Network(name=DB, meta=Meta(uid="uid-db"), vni=DB_VNI)))
    await made.commit(lambda txn, state: txn.create(subnet))
    like = made.store.state.ports[p1]
    port = replace(
        like, name=PortName("acme", "db", "p3"), meta=Meta(uid="uid-p3"), number=3, iface_id="if3",
        fixed_ips=(FixedIp(DB4, ip_address("10.1.0.3")),), requested_hosts=(HostName("h2"),),
    )  # fmt: skip
    h2.plug("if3")

    def fill(txn: Txn, state: object) -> None:
        txn.create(port)
        txn.reserve(ids.ip(DB, port.fixed_ips[0].address), port.name, port.meta.uid)

    await made.commit(fill)
    await made.active(port.name)
    await settled(made)
    return h1, h2, port.name


def flows_of(host: MemoryHost, table: int, vni: int) -> list[Flow]:
    flows = (installed.flow for installed in host.switch.flows.values())
    return [
        f
        for f in flows
        if f.table == table and any((t.field.name, t.value) == ("reg0", vni) for t in f.match)
    ]


def leads_into(host: MemoryHost, vni: int, into: int) -> list[Flow]:
    return [
        flow
        for flow in flows_of(host, ROUTE.number, vni)
        if DecTtl() in flow.actions and any(isinstance(a, Load) and a.value == into for a in flow.actions)
    ]


async def remove(made: Controller) -> None:
    await made.commit(lambda txn, state: txn.delete(state.routers[R1]))


async def test_a_host_carries_what_its_ports_are_routed_into() -> None:
    async with controller() as made:
        h1, h2, p3 = await with_db(made)
        assert set(h1.fdb) == {VNI}
        await made.commit(lambda txn, state: txn.create(ROUTER))
        await eventually(lambda: (HostName("h1"), DB_VNI) in made.store.state.tunnel_ports, "the device")
        await settled(made)
        await made.active(p3)
        assert h1.fdb[DB_VNI][wire_mac(ip_address("10.1.0.3"))] == bytes([192, 0, 2, 2])
        assert wire_mac(ip_address("10.0.0.254")) not in h2.fdb[VNI]
        assert len(leads_into(h1, VNI, DB_VNI)) == len(leads_into(h2, VNI, DB_VNI)) == 1
        assert flows_of(h1, FORWARD.number, DB_VNI), "what it sends into db gets out"
        assert leads_into(h2, DB_VNI, VNI)
        assert not leads_into(h1, DB_VNI, VNI), "nobody on h1 sends in db"
        assert h2.senders[DB_VNI] == {bytes([192, 0, 2, 1])}, "h2 hears h1 in db, though nothing is there"
        assert not any(actor.blocked for actor in made.reconciler.hosts.values())
        await remove(made)
        await settled(made)
        assert set(h1.fdb) == {VNI}
        assert not h2.senders[DB_VNI]
        assert not flows_of(h1, ROUTE.number, VNI)
        assert not flows_of(h1, FORWARD.number, DB_VNI)
        assert not [f for f in flows_of(h2, ADDRESSING.number, VNI) if f.goto == ROUTE.number]


async def test_what_a_host_carries_goes_with_its_last_port() -> None:
    async with controller() as made:
        h1, h2, _ = await with_db(made)
        await made.commit(lambda txn, state: txn.create(ROUTER))
        await eventually(lambda: DB_VNI in h1.fdb, "db on h1")
        h1.unplug("if1")
        await eventually(lambda: not h1.fdb, "h1 carries nothing")
        await settled(made)
        assert not flows_of(h1, FORWARD.number, DB_VNI)
        h1.plug("if1")
        await eventually(lambda: set(h1.fdb) == {VNI, DB_VNI}, "both again")
        h2.unplug("if3")
        await eventually(lambda: not h1.fdb[DB_VNI], "nobody in db")
        assert set(h2.fdb) == {VNI, DB_VNI}, "port 2 can still send into it"


async def test_a_route_follows_the_port_that_has_its_next_hop() -> None:
    async with controller() as made:
        h1, h2, p3 = await with_db(made)
        route = RouterRoute(ip_network("192.0.2.0/24"), (ip_address("10.1.0.3"),))
        await made.commit(lambda txn, state: txn.create(replace(ROUTER, routes=(route,))))
        mac = made.store.state.ports[p3].mac
        pair_of_all = (AddressPair(ip_network("0.0.0.0/0")),)

        def led() -> list[int]:
            """Where packets for 192.0.2.0/24 go: MACs."""
            flows = [
                f for f in flows_of(h1, ROUTE.number, VNI)
                if any((t.field.name, t.value) == ("ipv4_dst", int(ip_address("192.0.2.0"))) for t in f.match)
            ]  # fmt: skip
            return [a.value for f in flows for a in f.actions if isinstance(a, SetField)]

        await settled(made)
        assert led() == [], "it may not answer for others"
        await made.change(p3, allowed_address_pairs=pair_of_all)
        await eventually(lambda: led() == [mac], "the port's MAC")
        h2.unplug("if3")
        await eventually(lambda: led() == [], "nobody has the next hop's address")
        await settled(made)
        assert flows_of(h1, ROUTE.number, VNI)
        h2.plug("if3")
        await eventually(lambda: led() == [mac], "the port's MAC again")


async def test_several_next_hops_share_a_route_as_long_as_they_are_plugged() -> None:
    async with controller() as made:
        h1, h2, p3 = await with_db(made)
        # (Only who may send for others gets what is for others.)
        await made.change(p3, profile=PROFILE_OPEN)
        mac3, mac4 = made.store.state.ports[p3].mac, Mac(0x020000000044)
        port = replace(
            made.store.state.ports[p3], name=PortName("acme", "db", "p4"), meta=Meta(uid="uid-p4"), number=4,
            mac=mac4, iface_id="if4", fixed_ips=(FixedIp(DB4, ip_address("10.1.0.4")),),
        )  # fmt: skip
        hops = (ip_address("10.1.0.3"), ip_address("10.1.0.4"))

        def fill(txn: Txn, state: object) -> None:
            txn.create(port)
            txn.reserve(ids.ip(DB, hops[1]), port.name, port.meta.uid)
            txn.create(replace(ROUTER, routes=(RouterRoute(ip_network("192.0.2.0/24"), hops),)))

        await made.commit(fill)

        def led() -> set[int]:
            """Where packets for 192.0.2.0/24 go: MACs."""
            flows = flows_of(h1, ROUTE.number, VNI)
            return {a.value for f in flows for a in f.actions if isinstance(a, SetField)}

        await eventually(lambda: led() == {mac3}, "one is plugged")
        h2.plug("if4")
        await eventually(lambda: led() == {mac3, mac4}, "both are")
        await settled(made)
        assert not any(actor.blocked for actor in made.reconciler.hosts.values())
        whole = set(flows_of(h1, ROUTE.number, VNI))
        h2.unplug("if3")
        await eventually(lambda: led() == {mac4}, "the other one is")
        h2.plug("if3")
        await eventually(lambda: led() == {mac3, mac4}, "both are again")
        await settled(made)
        assert set(flows_of(h1, ROUTE.number, VNI)) == whole, "as if nothing had been"
        assert not any(actor.blocked for actor in made.reconciler.hosts.values())


async def test_no_route_leads_to_an_interface_that_its_bridge_does_not_have() -> None:
    """The switch says so before the agent does."""
    async with controller() as made:
        h1, h2, p3 = await with_db(made)
        await made.change(p3, profile=PROFILE_OPEN)
        route = RouterRoute(ip_network("192.0.2.0/24"), (ip_address("10.1.0.3"),))
        await made.commit(lambda txn, state: txn.create(replace(ROUTER, routes=(route,))))

        def leads() -> bool:
            flows = flows_of(h1, ROUTE.number, VNI)
            return any(isinstance(a, SetField) for f in flows for a in f.actions)

        await eventually(leads, "the route leads to the port")
        await eventually(lambda: (HostName("h1"), DB_VNI) in made.store.state.tunnel_ports, "the device")
        await settled(made)
        (binding,) = made.store.state.bindings_of(p3)
        h2.switch.set_port(binding.ofport, None)
        await eventually(lambda: not leads(), "it leads nowhere")
        await settled(made)
        assert not any(actor.blocked for actor in made.reconciler.hosts.values())
        assert made.reconciler._gate.refused == 0


async def test_guests_are_told_which_router_leads_where() -> None:
    """R1 is at the gateway and joins web and db; R2 is in web too, and leads further by a port of db."""
    hop, gate, other = ip_address("10.1.0.3"), ip_address("10.0.0.1"), ip_address("10.0.0.254")
    routes = tuple(
        RouterRoute(ip_network(text), (hop,)) for text in ("0.0.0.0/0", "192.0.2.0/24", "198.51.0.0/16")
    )
    r2 = replace(
        ROUTER, name=RouterName("acme", "r2"), meta=Meta(uid="uid-r2"), mac=Mac(0x020000000077),
        routes=routes,
        interfaces=(RouterInterface(DB4, ip_address("10.1.0.2")), RouterInterface(WEB4, other)),
    )  # fmt: skip
    async with controller() as made:
        h1, _, _ = await with_db(made)
        await made.commit(lambda txn, state: txn.create(r2))
        await settled(made)

        def told() -> dict[str, str]:
            return {
                f"{ip_address(route.destination)}/{route.prefix_length}": str(ip_address(route.next_hop))
                for route in h1.service_ports[1].addresses[0].routes
            }

        by_r2 = {"192.0.2.0/24": str(other), "198.51.0.0/16": str(other)}
        assert told() == {"10.1.0.0/24": str(other), **by_r2}, "nobody at the gateway: no default route"
        assert list(h1.service_ports[1].routers[0].vnis) == [VNI, DB_VNI]
        await made.change(WEB4, gateway_ip=gate)
        at_gate = (ROUTER.interfaces[0], RouterInterface(WEB4, gate))
        await made.commit(lambda txn, state: txn.create(replace(ROUTER, interfaces=at_gate)))
        await settled(made)
        assert told() == by_r2, "the default router leads to db itself"
        narrow = RouterRoute(ip_network("198.51.100.0/24"), (hop,))
        await made.change(R1, routes=(narrow,))
        await settled(made)
        assert told() == {**by_r2, "198.51.100.0/24": str(gate)}, "or the guest would send it to R2"
        await made.change(WEB4, routes=(Route(ip_network("192.0.2.0/24"), ip_address("10.0.0.9")),))
        await settled(made)
        assert told()["192.0.2.0/24"] == "10.0.0.9", "what the subnet says goes first"
        await made.commit(lambda txn, state: txn.delete(state.routers[r2.name]))
        await settled(made)
        assert told() == {"192.0.2.0/24": "10.0.0.9"}
        assert h1.service_ports[1].addresses[0].router == gate.packed


async def test_a_router_can_be_found_at_its_link_local_address() -> None:
    """Where it has an address of IPv6: its advertisements come from there."""
    six = SubnetName("acme", "web", "v6")
    async with controller() as made:
        h1, _, _ = await with_db(made)
        pool = AllocationPool(ip_address("fd00:10::2"), ip_address("fd00:10::ffff"))
        subnet = Subnet(
            name=six, meta=Meta(uid="uid-web6"), cidr=ip_network("fd00:10::/64"), gateway_ip=None,
            allocation_pools=(pool,),
        )  # fmt: skip
        await made.commit(lambda txn, state: txn.create(subnet))

        def asked() -> set[int]:
            terms = (
                t for f in flows_of(h1, ADDRESSING.number, VNI) if f.goto == METER.number for t in f.match
            )
            return {t.value for t in terms if t.field.name == "ipv6_nd_target"}

        await made.commit(lambda txn, state: txn.create(ROUTER))
        await settled(made)
        assert asked() == set()
        at6 = RouterInterface(six, ip_address("fd00:10::1"))
        await made.change(R1, interfaces=(*ROUTER.interfaces, at6))
        await settled(made)
        assert asked() == {int(ip_address("fd00:10::1")), int(link_local(ROUTER_MAC))}
        assert not any(actor.blocked for actor in made.reconciler.hosts.values())


async def test_guests_are_told_of_their_router() -> None:
    async with controller() as made:
        h1, _, _ = await with_db(made)
        assert not h1.service_ports[1].routers
        assert not h1.service_ports[1].addresses[0].router

        def gateway(txn: Txn, state: object) -> None:
            old = made.store.state.subnets[WEB4]
            txn.update(old, replace(old, gateway_ip=ip_address("10.0.0.254")))

        await made.commit(gateway)
        await settled(made)
        assert not h1.service_ports[1].addresses[0].router, "nobody answers there yet"
        await made.commit(lambda txn, state: txn.create(ROUTER))
        await settled(made)
        (told,) = h1.service_ports[1].routers
        assert told.mac == ROUTER_MAC
        assert list(told.here) == [ip_address("10.0.0.254").packed]
        assert set(told.addresses) == {ip_address("10.0.0.254").packed, ip_address("10.1.0.1").packed}
        assert h1.service_ports[1].addresses[0].router == ip_address("10.0.0.254").packed
        await remove(made)
        await settled(made)
        assert not h1.service_ports[1].addresses[0].router
