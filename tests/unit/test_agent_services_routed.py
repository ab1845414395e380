"""What the agent says in a router's stead: where it is, that it is there, why something went no further."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6TimeExceeded,
    IPv6,
)
from scapy.layers.l2 import ARP
from scapy.packet import Packet

from agent.plan.service_port import ServiceRouter
from cloison.addresses import ROUTER_MAC, format_mac
from cloison.model import Ipv6Mode
from tests.support.guests import LINK_LOCAL6, SERVICE_MAC, Guest, port, subnet

MAC = format_mac(ROUTER_MAC)
ROUTER = ServiceRouter(
    mac=ROUTER_MAC,
    here=(ip_address("10.0.0.1"), ip_address("fd01::1")),
    addresses=(ip_address("10.0.0.1"), ip_address("fd01::1"), ip_address("10.1.0.1"), ip_address("fd02::1")),
)
SUBNETS = (
    subnet("10.0.0.0/24", gateway=ip_address("10.0.0.1")),
    subnet("fd01::/64", Ipv6Mode.STATEFUL, gateway=ip_address("fd01::1")),
)


@pytest.fixture
def guest() -> Guest:
    return Guest(port(subnets=SUBNETS, routers=(ROUTER,)))


def to4(target: str, layer: Packet, ttl: int = 64) -> Packet:
    return IP(src="10.0.0.5", dst=target, ttl=ttl) / layer


def to6(target: str, layer: Packet, hlim: int = 64) -> Packet:
    return IPv6(src="fd01::5", dst=target, hlim=hlim) / layer


def test_arp_tells_where_the_router_is(guest: Guest) -> None:
    (reply,) = guest.sends(ARP(op=1, hwsrc=guest.mac, psrc="10.0.0.5", pdst="10.0.0.1"))
    assert (reply.op, reply.hwsrc, reply.psrc) == (2, MAC, "10.0.0.1")


def test_no_arp_for_its_addresses_elsewhere(guest: Guest) -> None:
    assert guest.sends(ARP(op=1, hwsrc=guest.mac, psrc="10.0.0.5", pdst="10.1.0.1")) == []


@pytest.mark.parametrize(
    ("target", "mac"), [("fd01::1", MAC), (LINK_LOCAL6, MAC), ("fd00:ec2::253", SERVICE_MAC)]
)
def test_neighbour_discovery_tells_where_the_router_is(guest: Guest, target: str, mac: str) -> None:
    asked = IPv6(src="fd01::5", dst="ff02::1:ff00:1", hlim=255)
    (reply,) = guest.sends(asked / ICMPv6ND_NS(tgt=target) / ICMPv6NDOptSrcLLAddr(lladdr=guest.mac))
    assert reply[ICMPv6NDOptDstLLAddr].lladdr == mac
    assert bool(reply[ICMPv6ND_NA].R) is (mac == MAC)


@pytest.mark.parametrize("router", [True, False])
def test_who_has_a_router_as_gateway_gets_a_default_route(router: bool) -> None:
    subnets = SUBNETS if router else tuple(replace(s, gateway=None) for s in SUBNETS)
    guest = Guest(port(subnets=subnets, routers=(ROUTER,)))
    asked = IPv6(src=guest.link_local, dst="ff02::2", hlim=255) / ICMPv6ND_RS()
    (answer,) = guest.sends(asked)
    assert answer[ICMPv6ND_RA].routerlifetime == (65535 if router else 0)
    assert answer[ICMPv6NDOptSrcLLAddr].lladdr == (MAC if router else SERVICE_MAC)


@pytest.mark.parametrize("address", ["10.0.0.1", "10.1.0.1"])
def test_each_of_its_addresses_answers_pings(guest: Guest, address: str) -> None:
    (reply,) = guest.sends(to4(address, ICMP(type=8, id=7, seq=1), ttl=1))
    assert (reply.src, reply[ICMP].type, reply[ICMP].id) == (address, 0, 7)


def test_each_of_its_ipv6_addresses_answers_pings(guest: Guest) -> None:
    for address in ("fd01::1", "fd02::1"):
        (reply,) = guest.sends(to6(address, ICMPv6EchoRequest(id=7, seq=1)))
        assert reply.src == address
        assert reply[ICMPv6EchoReply].id == 7


@pytest.mark.parametrize(
    ("target", "ttl", "kind", "code"),
    [("10.1.0.9", 1, 11, 0), ("10.1.0.9", 0, 11, 0), ("192.0.2.1", 64, 3, 0), ("10.0.0.1", 64, 3, 3)],
)
def test_what_goes_no_further_is_told(guest: Guest, target: str, ttl: int, kind: int, code: int) -> None:
    (error,) = guest.sends(to4(target, UDP(sport=4000, dport=33434), ttl))
    assert (error.src, error.dst) == ("10.0.0.1", "10.0.0.5")
    assert (error[ICMP].type, error[ICMP].code) == (kind, code)


def test_what_goes_no_further_is_told_in_ipv6(guest: Guest) -> None:
    (error,) = guest.sends(to6("fd02::9", UDP(sport=4000, dport=33434), hlim=1))
    assert (error.src, error[ICMPv6TimeExceeded].code) == ("fd01::1", 0)
    (error,) = guest.sends(to6("2001:db8::1", UDP(sport=4000, dport=33434)))
    assert error[ICMPv6DestUnreach].code == 0


@pytest.mark.parametrize(
    "packet",
    [
        to4("10.1.0.9", ICMP(type=11), ttl=1),
        to4("224.0.0.5", UDP(), ttl=1),
        to4("255.255.255.255", UDP(), ttl=1),
        to4("10.0.0.1", TCP(dport=22)),
        IP(src="10.0.0.5", dst="10.1.0.9", ttl=1, frag=5) / b"rest",
        to6("fd02::9", ICMPv6TimeExceeded(), hlim=1),
    ],
)
def test_no_error_about_errors_groups_and_fragments(guest: Guest, packet: Packet) -> None:
    assert guest.sends(packet) == []


def test_without_a_router_nothing_is_said() -> None:
    assert Guest(port(subnets=SUBNETS)).sends(to4("10.1.0.9", UDP(), ttl=1)) == []
