"""The words of trace, made a whole packet: ports, types of ICMP, connections, sizes, and what is left out."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from cloison.names import HostName, PortName
from controller.api.expression import parse
from controller.api.honest import complete, shown
from controller.flows import CT_STATE
from controller.verify.intent import HostIntent, Intent, NetworkIntent, PortIntent
from controller.verify.packet import Packet
from controller.verify.stages import SERVICE_MAC
from controller.verify.world import World

H1 = HostName("h1")
MTU = 1450
A4, B4, A6, B6 = (ip_address(a) for a in ("10.0.0.10", "10.0.0.80", "2001:db8::10", "2001:db8::80"))


def _port(name: str, number: int, *addresses: str) -> PortIntent:
    return PortIntent(
        name=PortName.parse(f"tenants/t/networks/n/ports/{name}"),
        number=number,
        mac=0x020000000000 + number,
        addresses=tuple(ip_address(a) for a in addresses),
        host=H1,
        ofport=number,
    )


A, B = _port("a", 2, "10.0.0.10", "2001:db8::10"), _port("b", 3, "10.0.0.80", "2001:db8::80")
NETWORK = NetworkIntent(
    name=A.name.parent, vni=0x1000, subnets=(ip_network("10.0.0.0/24"), ip_network("2001:db8::/64"))
)
WORLD = World(
    Intent(
        hosts={H1: HostIntent(name=H1, vtep=ip_address("192.0.2.1"), mtu=MTU)},
        networks={NETWORK.name: NETWORK},
        ports={port.name: port for port in (A, B)},
    )
)


def made(text: str) -> Packet:
    """The packet that a sends."""
    return complete(WORLD, A, parse(text), None)


def flags(packet: Packet) -> set[str]:
    return {name for name, bit in CT_STATE.items() if packet.ct_state & bit}


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("tcp to 10.0.0.80", (50000, 80)),
        ("tcp to 10.0.0.80 port 8080", (50000, 8080)),
        ("to 10.0.0.80 port 443", (50000, 443)),
        ("tcp src port 22 dst port 23 to 10.0.0.80", (22, 23)),
        ("tcp to 2001:db8::80 tp_dst=25", (50000, 25)),
        ("tcp_dst=25,nw_dst=10.0.0.80", (50000, 25)),
        ("tcp reply to 10.0.0.80", (80, 50000)),
        ("tcp src port 22 reply to 10.0.0.80", (22, 50000)),
        ("tcp established to 10.0.0.80", (50000, 80)),
        ("tcp fragment first to 10.0.0.80 port 81", (50000, 81)),
        ("tcp fragment later to 10.0.0.80 port 81", (0, 0)),
    ],
)
def test_ports_are_fields_of_the_packet(text: str, ports: tuple[int, int]) -> None:
    packet = made(text)
    assert (packet.tcp_src, packet.tcp_dst) == ports
    assert packet.ct_nw_proto == 6


def test_udp_goes_to_a_resolver_where_nothing_else_is_said() -> None:
    packet = made("udp to 10.0.0.80")
    assert (packet.udp_src, packet.udp_dst) == (50000, 53)
    packet = made("udp_dst=7 to 10.0.0.80")
    assert (packet.ip_proto, packet.udp_src, packet.udp_dst) == (17, 50000, 7)


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("icmp to 10.0.0.80", (8, 0), {"new", "trk"}),
        ("icmp established to 10.0.0.80", (8, 0), {"est", "trk"}),
        ("icmp reply to 10.0.0.80", (0, 0), {"est", "rpl", "trk"}),
        ("icmp type 14 reply to 10.0.0.80", (14, 0), {"est", "rpl", "trk"}),
        ("icmp type 13 to 10.0.0.80", (13, 0), {"new", "trk"}),
        ("icmp type 3 code 4 to 10.0.0.80", (3, 4), {"inv", "trk"}),
        ("icmp type 0 to 10.0.0.80", (0, 0), {"inv", "trk"}),
        ("icmp_type=5,icmp,nw_dst=10.0.0.80", (5, 0), {"inv", "trk"}),
        ("icmp type 3 code 4 ct_state=rel|rpl to 10.0.0.80", (3, 4), {"rel", "rpl", "trk"}),
    ],
)
def test_icmp_is_an_echo_request_and_what_opens_no_connection_is_of_none(
    text: str, kind: tuple[int, int], said: set[str]
) -> None:
    packet = made(text)
    assert (packet.icmpv4_type, packet.icmpv4_code) == kind
    assert flags(packet) == said


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("icmp6 to 2001:db8::80", 128, {"new", "trk"}),
        ("icmp6 reply to 2001:db8::80", 129, {"est", "rpl", "trk"}),
        ("icmp6 type 2 to 2001:db8::80", 2, {"inv", "trk"}),
    ],
)
def test_icmpv6_likewise(text: str, kind: int, said: set[str]) -> None:
    packet = made(text)
    assert packet.icmpv6_type == kind
    assert flags(packet) == said


def test_a_reply_is_of_the_connection_that_the_other_side_opened() -> None:
    packet = made("tcp src port 443 reply to 10.0.0.80")
    assert (packet.ct_nw_src, packet.ct_nw_dst) == (int(B4), int(A4))
    assert (packet.ct_tp_src, packet.ct_tp_dst) == (50000, 443)
    echo = made("icmp6 reply to 2001:db8::80")
    assert (echo.ct_ipv6_src, echo.ct_ipv6_dst) == (int(B6), int(A6))
    assert (echo.ct_tp_src, echo.ct_tp_dst) == (128, 0)
    mine = made("tcp established to 10.0.0.80")
    assert (mine.ct_nw_src, mine.ct_nw_dst, mine.ct_tp_dst) == (int(A4), int(B4), 80)


def test_an_arp_reply_is_none_of_a_connection() -> None:
    packet = made("arp reply to 10.0.0.80")
    assert (packet.arp_op, packet.ct_state) == (2, 0)
    assert made("reply arp to 10.0.0.80") == packet


def test_a_later_fragment_of_ipv6_has_the_protocol_of_its_datagram() -> None:
    packet = made("udp fragment later to 2001:db8::80")
    assert (packet.ip_proto, packet.ct_nw_proto, packet.ct_tp_dst) == (44, 17, 0)
    assert flags(packet) == {"new", "trk"}


@pytest.mark.parametrize(
    ("size", "oversize"), [("", 0), ("oversize", 1), (f"size {MTU}", 0), (f"size {MTU + 1}", 1)]
)
def test_a_packet_is_too_long_if_it_says_so_or_does_not_fit(size: str, oversize: int) -> None:
    assert made(f"tcp {size} to 10.0.0.80").oversize == oversize


def test_what_is_for_no_port_has_the_mac_that_a_guest_would_write() -> None:
    assert made("udp to 169.254.169.253").eth_dst == SERVICE_MAC
    assert made("tcp to fd00:ec2::254").eth_dst == SERVICE_MAC
    assert made("udp to 255.255.255.255").eth_dst == 0xFFFFFFFFFFFF
    assert made("udp to 224.0.0.251").eth_dst == 0x01005E0000FB


@pytest.mark.parametrize(
    "text",
    [
        "tcp to 10.0.0.80 port 8080",
        "udp src port 53 reply to 2001:db8::80",
        "icmp type 3 code 4 to 10.0.0.80",
        "icmp reply to 10.0.0.80",
        "tcp fragment later to 2001:db8::80",
        "tcp fragment first oversize to 10.0.0.80",
        "arp who-has 10.0.0.80",
        "who-has 2001:db8::80",
        "tcp established to 10.0.0.80",
    ],
)
def test_what_is_shown_can_be_traced_again(text: str) -> None:
    packet = made(text)
    assert made(shown(packet)) == packet
