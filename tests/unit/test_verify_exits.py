"""Ways out of a port's own: what they mean, and that the proof holds flows to it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from cloison.addresses import ROUTER_MAC
from cloison.names import HostName, NetworkName, PortName
from controller.compiler.pipeline import ROUTE
from controller.compiler.tables.route import EXIT
from controller.flows import Flow
from controller.verify.holding import HostChange
from controller.verify.intent import (
    ExitIntent,
    HostIntent,
    Intent,
    IntentDelta,
    NetworkIntent,
    PortIntent,
    RouteIntent,
    RouterIntent,
)
from controller.verify.isolation import Verifier, change_to
from controller.verify.packet import ETH_IPV4, Packet
from controller.verify.path import HostState
from controller.verify.policy import PROFILE_OPEN, PolicyIntent
from controller.verify.semantics import meaning
from controller.verify.world import World
from tests.support.worlds import compile_intent

H1, H2 = HostName("h1"), HostName("h2")
WEB, TRANSIT = NetworkName("t1", "web"), NetworkName("t1", "transit")
EVERYTHING = ip_network("0.0.0.0/0")
GATEWAY, OWN = ip_address("100.127.0.2"), ip_address("100.127.0.3")


def port(network: NetworkName, number: int, host: HostName, address: str) -> PortIntent:
    return PortIntent(
        name=PortName(*network, f"p{number}"),
        number=number,
        mac=0x020000000000 + number,
        addresses=(ip_address(address),),
        host=host,
        ofport=number,
        profile=PROFILE_OPEN,
    )


# Two ports of web on h1, the gateway on h2, h1's own edge on h1. Port 1 has a way out of its own.
WAY = ExitIntent(ROUTER_MAC, RouteIntent(EVERYTHING, TRANSIT, OWN))
P1 = replace(port(WEB, 1, H1, "10.0.0.1"), exits=(WAY,))
P2 = port(WEB, 2, H1, "10.0.0.2")
GW, EDGE = port(TRANSIT, 3, H2, str(GATEWAY)), port(TRANSIT, 4, H1, str(OWN))
PORTS = {p.name: p for p in (P1, P2, GW, EDGE)}


def network(name: NetworkName, vni: int, subnet: str, here: str, *routes: RouteIntent) -> NetworkIntent:
    router = RouterIntent(
        mac=ROUTER_MAC,
        here=(ip_address(here),),
        addresses=(ip_address("10.0.0.254"), ip_address("100.127.0.1")),
        routes=(
            RouteIntent(ip_network("10.0.0.0/24"), WEB),
            RouteIntent(ip_network("100.127.0.0/16"), TRANSIT),
            *routes,
        ),
    )
    tunnels = {H1: vni, H2: vni}
    return NetworkIntent(
        name=name, vni=vni, subnets=(ip_network(subnet),), routers=(router,), tunnels=tunnels
    )


def intent(*routes: RouteIntent) -> Intent:
    networks = (
        network(WEB, 101, "10.0.0.0/24", "10.0.0.254", *routes),
        network(TRANSIT, 102, "100.127.0.0/16", "100.127.0.1", *routes),
    )
    return Intent(
        hosts={
            name: HostIntent(name=name, vtep=IPv4Address(f"172.16.0.{n}"), service_ofport=90, mtu=1450)
            for n, name in enumerate((H1, H2), 1)
        },
        networks={n.name: n for n in networks},
        ports=PORTS,
        policies={"t1": PolicyIntent(number=1)},
    )


DEFAULT = RouteIntent(EVERYTHING, TRANSIT, GATEWAY)
WORLD = intent(DEFAULT)


def sent(world: Intent, sender: PortIntent, target: str) -> set[int]:
    """The OpenFlow ports where what a port sends to its router comes out."""
    packet = Packet(
        eth_src=sender.mac,
        eth_dst=ROUTER_MAC,
        eth_type=ETH_IPV4,
        ip_ttl=64,
        ip_proto=17,
        ipv4_src=int(sender.addresses[0]),
        ipv4_dst=int(ip_address(target)),
    ).canonical()
    assert sender.host is not None
    return {out.ofport for out in meaning(World(world), sender.host, sender.ofport, packet)}


def test_a_port_goes_out_by_its_own_way_and_others_by_the_default_route() -> None:
    assert sent(WORLD, P1, "192.0.2.1") == {EDGE.ofport}
    assert sent(WORLD, P2, "192.0.2.1") == {GW.ofport}


def test_a_way_out_of_one_address_is_for_what_has_that_source_alone() -> None:
    """Of two ways the one that names the source wins, whatever their order."""
    other = ExitIntent(ROUTER_MAC, DEFAULT, P1.addresses[0])
    both = replace(P1, exits=(WAY, other))
    assert sent(replace(WORLD, ports={**PORTS, P1.name: both}), both, "192.0.2.1") == {GW.ofport}
    elsewhere = replace(P1, exits=(ExitIntent(ROUTER_MAC, WAY.route, ip_address("10.0.0.77")),))
    changed = replace(WORLD, ports={**PORTS, P1.name: elsewhere})
    assert sent(changed, elsewhere, "192.0.2.1") == {GW.ofport}
    loaded(changed)
    loaded(replace(WORLD, ports={**PORTS, P1.name: both}))


def test_a_way_out_needs_no_default_route() -> None:
    assert sent(intent(), P1, "192.0.2.1") == {EDGE.ofport}
    assert sent(intent(), P2, "192.0.2.1") == {90}, "the services say that there is no route"


@pytest.mark.parametrize("prefix", ["192.0.2.0/24", "128.0.0.0/1"])
def test_a_longer_prefix_wins_over_a_way_out(prefix: str) -> None:
    longer = RouteIntent(ip_network(prefix), WEB, P2.addresses[0])
    assert sent(intent(DEFAULT, longer), P1, "192.0.2.1") == {P2.ofport}
    assert sent(intent(DEFAULT, longer), P1, "10.0.0.2") == {P2.ofport}


def test_a_way_into_a_network_where_the_router_is_not_is_none() -> None:
    lost = replace(P1, exits=(ExitIntent(0x02FF, WAY.route),))
    changed = replace(WORLD, ports={**PORTS, P1.name: lost})
    assert sent(changed, lost, "192.0.2.1") == {GW.ofport}


def loaded(world: Intent) -> tuple[Verifier, dict[HostName, HostState]]:
    verifier, states = Verifier(), compile_intent(world)
    changes = {host: change_to(state) for host, state in states.items()}
    assert not verifier.check(IntentDelta.whole(world), changes)
    assert not verifier.check_everything()
    return verifier, states


def way_out(states: dict[HostName, HostState]) -> Flow:
    (flow,) = (f for f in states[H1].flows if f.table == ROUTE.number and f.priority == EXIT)
    return flow


def test_the_compiler_does_what_is_meant_on_the_ports_host_alone() -> None:
    _, states = loaded(WORLD)
    assert way_out(states)
    assert not [f for f in states[H2].flows if f.table == ROUTE.number and f.priority == EXIT]


@pytest.mark.parametrize("damage", ["missing", "for all", "of another", "of another router", "over all"])
def test_another_way_out_is_refused(damage: str) -> None:
    verifier, states = loaded(WORLD)
    flow = way_out(states)

    def other(name: str, value: int) -> Flow:
        terms = (t._replace(value=value) if t.field.name == name else t for t in flow.match)
        return replace(flow, match=tuple(terms))

    wrong = {
        "missing": (),
        "for all": (replace(flow, match=tuple(t for t in flow.match if t.field.name != "reg1")),),
        "of another": (other("reg1", P2.number),),
        "of another router": (other("eth_dst", 0x02FF),),
        "over all": (replace(flow, priority=300),),
    }[damage]
    found = verifier.check(None, {H1: HostChange(removed=(flow,), added=wrong)})
    assert found, damage
    assert any(str(P1.name) in v.objects or str(P2.name) in v.objects for v in found)


def test_a_way_out_that_changed_without_its_flow_is_seen() -> None:
    verifier, _ = loaded(WORLD)
    assert verifier.check(IntentDelta(ports={P1.name: replace(P1, exits=())}))
    assert not verifier.check(IntentDelta(ports={P1.name: P1}))
    assert verifier.check(IntentDelta(ports={P2.name: replace(P2, exits=(WAY,))}))
    assert not verifier.check(IntentDelta(ports={P2.name: P2}))


def test_an_edge_with_another_mac_is_seen_at_whose_way_it_is() -> None:
    verifier, _ = loaded(WORLD)
    moved = replace(EDGE, mac=0x0200000000AA)
    found = verifier.check(IntentDelta(ports={EDGE.name: moved}))
    assert any(str(P1.name) in v.objects for v in found), found
