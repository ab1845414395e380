"""Fragments and broken header chains as bytes, through Open vSwitch's own parser and our flows (its trace).

The tracker is taken to find every packet new, and any traffic is allowed: what is dropped is by the guard.

A guest may send large pings; it may hide no neighbour discovery behind fragmentation (RFC 6980, RFC 7112).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from cloison.addresses import format_mac, parse_mac
from cloison.model import Direction, Vni
from cloison.names import PortName, TenantName
from controller.compiler import HostView, NetworkView, PortView, compile_host
from controller.compiler.view import METERS_OF_CONNECTIONS
from controller.flows import Flow
from controller.flows.text import flows_text
from tests.support.compiled import policy, rule
from tests.support.ovs import Ovs

pytestmark = pytest.mark.system

ME, YOU = "52:54:00:00:00:05", "52:54:00:00:00:06"
ME4, YOU4, ME6, YOU6 = "10.0.0.5", "10.0.0.6", "2001:db8::5", "2001:db8::6"
MELL, YOULL = "fe80::5054:ff:fe00:5", "fe80::5054:ff:fe00:6"
MY_PORT, YOUR_PORT = 1, 2


def flows() -> list[Flow]:
    """Two ports of one network on one host."""
    network = NetworkView(
        tenant_number=1, vni=Vni(5001), subnets=(ip_network("10.0.0.0/24"), ip_network("2001:db8::/64")),
        tunnel_ofport=3,
    )  # fmt: skip
    me = PortView(
        tenant_number=1, port_number=77, vni=Vni(5001), ofport=MY_PORT, mac=parse_mac(ME),
        addresses=(ip_address(ME4), ip_address(ME6)), profile=16,
    )  # fmt: skip
    you = replace(
        me,
        port_number=78,
        ofport=YOUR_PORT,
        mac=parse_mac(YOU),
        addresses=(ip_address(YOU4), ip_address(YOU6)),
    )
    ports = {PortName("t", "n", "me"): me, PortName("t", "n", "you"): you}
    anything = policy({16: ["a"]}, {"a": [rule(Direction.EGRESS), rule(Direction.INGRESS, 2)]})
    host = HostView({network.vni: network}, ports, policies={TenantName("t"): anything})
    return list(compile_host(host).values())


@pytest.fixture(scope="module")
def ovs() -> Iterator[Ovs]:
    with Ovs() as running:
        running.add_bridge("br-int", dpid=1, ports=3)
        for number in (MY_PORT, YOUR_PORT):
            for meter in (number, METERS_OF_CONNECTIONS + number):
                running.ofctl("add-meter", "br-int", f"meter={meter},pktps,bands=type=drop,rate=1000")
        running.ofctl("add-flows", "br-int", "-", "--bundle", stdin=flows_text(flows()))
        yield running


@pytest.fixture
def nx_match(ovs: Ovs) -> Ovs:
    """As a session sets it."""
    ovs.ofctl("set-frags", "br-int", "nx-match")
    return ovs


@pytest.fixture
def untouched(ovs: Ovs) -> Ovs:
    """As Open vSwitch starts."""
    ovs.ofctl("set-frags", "br-int", "normal")
    return ovs


def ip6(source: str = ME6, to: str = YOU6, hops: int = 255, **fields: int) -> Packet:
    return Ether(src=ME, dst=YOU) / IPv6(src=source, dst=to, hlim=hops, **fields)


def local(**fields: int) -> Packet:
    return ip6(MELL, YOULL, **fields)


def first(follows: int = 58) -> Packet:
    return IPv6ExtHdrFragment(m=1, id=7, nh=follows)


def later(offset: int = 10, follows: int = 58) -> Packet:
    return IPv6ExtHdrFragment(offset=offset, id=7, nh=follows)


def advertisement() -> Packet:
    return ICMPv6ND_NA(tgt=ME6, R=0) / ICMPv6NDOptDstLLAddr(lladdr=ME)


def padded(size: int) -> Packet:
    return IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(size - 4))])


DATA = Raw(bytes(64))
DISCOVERY: dict[str, Packet] = {
    "router solicitation": ICMPv6ND_RS(),
    "router advertisement": ICMPv6ND_RA() / ICMPv6NDOptSrcLLAddr(lladdr=ME),
    "solicitation": ICMPv6ND_NS(tgt=YOULL) / ICMPv6NDOptSrcLLAddr(lladdr=ME),
    "own advertisement": advertisement(),
    "advertisement": ICMPv6ND_NA(tgt=YOU6) / ICMPv6NDOptDstLLAddr(lladdr=ME),
    "redirect": ICMPv6ND_Redirect(tgt=MELL, dst=YOU6),
}
HIDDEN: dict[str, Packet] = {
    **{f"{name} in a first fragment": local() / first() / message for name, message in DISCOVERY.items()},
    **{
        f"{name} in a first fragment behind options": local() / first(60) / padded(8) / message
        for name, message in DISCOVERY.items()
    },
    "a first fragment that ends before the type": local(plen=8) / first(),
    "one that ends within the ICMPv6 header": local(plen=12) / first() / Raw(bytes([134, 0, 0, 0])) / DATA,
    "one of UDP that ends before its ports": local(plen=8) / first(17),
    "one that ends after its options": local(plen=16) / first(60) / IPv6ExtHdrDestOpt(nh=58) / DATA,
    "one that ends within its options": local() / first(60) / Raw(bytes([58, 7]) + bytes(6)),
    "one within another that ends before the type": local(plen=16) / first(44) / first() / DATA,
    "options longer than the packet": local() / IPv6ExtHdrDestOpt(len=31, nh=58) / advertisement(),
    "hop-by-hop options longer than the packet": local()
    / IPv6ExtHdrHopByHop(len=31, nh=58)
    / advertisement(),
    "a routing header longer than the packet": local() / IPv6ExtHdrRouting(len=30, nh=58) / advertisement(),
    "a fragment header cut short": local(nh=44, plen=4) / Raw(bytes([58, 0, 0, 1])),
    "options cut short": local(nh=60, plen=4) / Raw(bytes([58, 0, 1, 0])),
}
WHOLE: dict[str, Packet] = {
    "echo": ip6(hops=64) / ICMPv6EchoRequest(data=bytes(64)),
    "echo behind options": ip6(hops=64) / IPv6ExtHdrHopByHop() / ICMPv6EchoRequest(data=bytes(64)),
    "own advertisement": ip6() / advertisement(),
    "own advertisement in an atomic fragment": ip6() / IPv6ExtHdrFragment(nh=58) / advertisement(),
    "later fragment": ip6(hops=64) / later() / DATA,
    "later fragment link-local": local(hops=64) / later() / DATA,
    "first fragment 4": Ether(src=ME, dst=YOU) / IP(src=ME4, dst=YOU4, flags="MF") / ICMP() / DATA,
    "later fragment 4": Ether(src=ME, dst=YOU) / IP(src=ME4, dst=YOU4, frag=10, proto=1) / DATA,
}
LARGE: dict[str, Packet] = {
    "first fragment of an echo": ip6(hops=64) / first() / ICMPv6EchoRequest(data=bytes(64)),
    "the same behind options": ip6(hops=64) / first(60) / padded(8) / ICMPv6EchoRequest(data=bytes(64)),
    "first fragment of UDP": ip6(hops=64) / first(17) / UDP(sport=5000, dport=53) / DATA,
}


@pytest.mark.parametrize("name", HIDDEN)
def test_no_neighbour_discovery_in_disguise(nx_match: Ovs, name: str) -> None:
    assert delivered(nx_match, HIDDEN[name]) is None


@pytest.mark.parametrize("name", HIDDEN)
def test_nor_before_the_session_has_set_the_mode(untouched: Ovs, name: str) -> None:
    assert delivered(untouched, HIDDEN[name]) is None


@pytest.mark.parametrize("name", [*WHOLE, *LARGE])
def test_fragments_that_hide_nothing_pass(nx_match: Ovs, name: str) -> None:
    assert delivered(nx_match, (WHOLE | LARGE)[name]) == (YOUR_PORT, YOU)


@pytest.mark.parametrize("name", WHOLE)
def test_without_the_mode_only_large_packets_suffer(untouched: Ovs, name: str) -> None:
    assert delivered(untouched, WHOLE[name]) == (YOUR_PORT, YOU)


@pytest.mark.parametrize("name", LARGE)
def test_without_the_mode_large_packets_are_refused(untouched: Ovs, name: str) -> None:
    assert delivered(untouched, LARGE[name]) is None


def delivered(ovs: Ovs, packet: Packet) -> tuple[int, str] | None:
    """(OpenFlow port, destination MAC) of what Open vSwitch makes of these bytes; None if it drops them."""
    tracked = [*["--ct-next", "trk,new"] * 2]
    text = ovs.appctl("ofproto/trace", "br-int", f"in_port={MY_PORT}", *tracked, bytes(packet).hex())
    assert "Datapath actions" in text, text
    port = re.search(r"-> output port is (\d+)\n", text)
    final = re.findall(r"^Final flow:.*dl_dst=([0-9a-f:]{17})", text, re.MULTILINE)
    return (int(port[1]), format_mac(parse_mac(final[-1]))) if port and final else None
