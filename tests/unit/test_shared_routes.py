"""Routes with several next hops: who gets which share of what goes by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from ipaddress import ip_network

import pytest

from cloison.addresses import ROUTER_MAC
from cloison.model import Vni
from controller.compiler.pipeline import ROUTE
from controller.compiler.tables import route
from controller.compiler.view import NextHop, RouterView, RouteView
from controller.flows import CT_STATE, Flow, SetField
from tests.support.compiled import VNI, network
from tests.support.flow_interpreter import Tables

HOPS = tuple(0x525400000000 | n for n in range(1, 9))
TCP, UDP, ICMP = 6, 17, 1
CLIENT, SERVER = 0x0A000005, 0xC0000207
Packet = Mapping[str, int]


def routed(prefix: str, *macs: int | None) -> list[Flow]:
    """The flows of ROUTE for a router with one route, by these next hops."""
    led = RouteView(prefix=ip_network(prefix), vni=Vni(6001), next_hop=NextHop(macs[0], macs[1:]))
    router = RouterView(mac=ROUTER_MAC, here=(), addresses=(), routes=(led,))
    return list(route.network_flows(network(routers=(router,))))


def hop_of(tables: Tables, packet: Packet) -> int | None:
    flow = tables.find({"reg0": VNI, "eth_dst": ROUTER_MAC, "ip_ttl": 64, **packet}, ROUTE.number)
    assert flow is not None
    return next((a.value for a in flow.actions if isinstance(a, SetField)), None)


def request(port: int, protocol: int = TCP, source: int = CLIENT, **more: int) -> Packet:
    name = {TCP: "tcp", UDP: "udp"}.get(protocol)
    ports = {f"{name}_src": port, f"{name}_dst": 443} if name else {}
    ends = {"eth_type": 0x0800, "ipv4_src": source, "ipv4_dst": SERVER, "ip_proto": protocol}
    return {**ends, **ports, "ct_state": CT_STATE["trk"] | CT_STATE["new"], **more}


def answer(packet: Packet) -> Packet:
    """What comes back, in a network whose router has the same next hops for the way there."""
    swapped = {name.replace("src", "tmp").replace("dst", "src").replace("tmp", "dst"): value
               for name, value in packet.items()}  # fmt: skip
    return {**swapped, "ct_state": CT_STATE["trk"] | CT_STATE["est"] | CT_STATE["rpl"]}


def tables(*macs: int | None) -> Tables:
    return Tables(routed("0.0.0.0/0", *macs))


@pytest.mark.parametrize("count", range(2, 9))
def test_connections_are_shared_out_among_all(count: int) -> None:
    """From the ports that Linux chooses (even ones): to each between half and twice what it should get."""
    made = tables(*HOPS[:count])
    for protocol in (TCP, UDP):
        found = Counter(hop_of(made, request(port, protocol)) for port in range(32768, 33088, 2))
        assert set(found) == set(HOPS[:count])
        even = sum(found.values()) / count
        assert even / 2 <= min(found.values()) <= max(found.values()) <= even * 2


@pytest.mark.parametrize("protocol", [TCP, UDP, ICMP])
def test_a_connection_stays_with_one_in_both_directions(protocol: int) -> None:
    made = tables(*HOPS[:5])
    for n in range(64):
        first = request(40_000 + 2 * n, protocol, CLIENT + n)
        later = {**first, "ct_state": CT_STATE["trk"] | CT_STATE["est"]}
        # (Of what it has just been told of, connection tracking says nothing any more.)
        told = {**first, "ct_state": 0}
        assert len({hop_of(made, packet) for packet in (first, later, told, answer(first))}) == 1


def test_fragments_go_one_way() -> None:
    """Whatever ports a first one shows; the later ones have none."""
    made = tables(*HOPS[:4])
    firsts = {hop_of(made, request(port, UDP, ip_frag=1)) for port in range(4000, 4064)}
    later = {**request(0, UDP, ip_frag=3), "udp_dst": 0}
    assert firsts == {hop_of(made, later)}
    assert len({hop_of(made, request(0, UDP, CLIENT + n, ip_frag=3)) for n in range(16)}) == 4


@pytest.mark.parametrize("count", [2, 3, 8])
def test_one_that_is_gone_leaves_the_others_what_they_had(count: int) -> None:
    packets = [request(port, TCP) for port in range(32768, 32832, 2)]
    packets += [request(0, ICMP, CLIENT + n) for n in range(64)]
    whole = tables(*HOPS[:count])
    for gone in range(count):
        left = tables(*(None if n == gone else mac for n, mac in enumerate(HOPS[:count])))
        for packet in packets:
            before, after = hop_of(whole, packet), hop_of(left, packet)
            assert after is not None
            assert after == before if before != HOPS[gone] else after != before
    assert hop_of(tables(*[None] * count), packets[0]) is None, "nobody is left"


def test_one_that_is_left_needs_one_flow() -> None:
    alone, of_two = routed("0.0.0.0/0", HOPS[0]), routed("0.0.0.0/0", None, HOPS[0])
    assert alone == of_two
    assert routed("0.0.0.0/0", HOPS[0], HOPS[0]) == alone, "one port that has both addresses"


def test_a_longer_prefix_goes_first() -> None:
    """Also before what a shorter one says of ports."""
    one = routed("198.51.100.0/24", HOPS[4])
    made = Tables([*routed("198.51.0.0/16", *HOPS[:2]), *one])
    inside, outside = 0xC6336407, 0xC6330007
    assert {hop_of(made, {**request(p), "ipv4_dst": inside}) for p in range(4000, 4032)} == {HOPS[4]}
    assert {hop_of(made, {**request(p), "ipv4_dst": outside}) for p in range(4000, 4032)} == set(HOPS[:2])


def test_a_range_of_a_few_addresses_is_covered() -> None:
    """Of what goes there in answer, the share is in the same bits as the range."""
    made = Tables(routed("192.0.2.4/30", *HOPS[:8]))
    for n in range(4, 8):
        back = {**request(0, ICMP), "ipv4_dst": 0xC0000200 | n, "ct_state": CT_STATE["rpl"] | CT_STATE["trk"]}
        assert hop_of(made, back) == HOPS[n % 8]
