"""Router advertisements as scapy reads them: how to get an address, and that nobody is a router."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from scapy.layers.inet6 import (
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDNSSL,
    ICMPv6NDOptMTU,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.packet import Packet

from cloison.model import Ipv6Mode
from tests.support.guests import DNS6, LINK_LOCAL6, SERVICE_MAC, Guest, port, subnet


def solicit(guest: Guest, **header: object) -> Packet:
    ip = IPv6(**{"src": guest.link_local, "dst": "ff02::2", "hlim": 255, **header})
    return ip / ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=guest.mac)


def prefixes(answer: Packet) -> dict[str, tuple[int, int]]:
    """Prefix -> (on link, autonomous)."""
    found, index = {}, 1
    while (option := answer.getlayer(ICMPv6NDOptPrefixInfo, index)) is not None:
        found[f"{option.prefix}/{option.prefixlen}"] = (option.L, option.A)
        index += 1
    return found


@pytest.mark.parametrize(
    ("mode", "flags", "autonomous"),
    [
        (Ipv6Mode.STATEFUL, (1, 1), 0),
        (Ipv6Mode.STATELESS, (0, 1), 1),
        (Ipv6Mode.SLAAC, (0, 0), 1),
    ],
)
def test_a_guest_learns_how_to_get_its_address(
    mode: Ipv6Mode, flags: tuple[int, int], autonomous: int
) -> None:
    guest = Guest(port("fd01::5", subnets=(subnet("fd01::/64", mode),)))
    (answer,) = guest.sends(solicit(guest))
    said = answer[ICMPv6ND_RA]
    assert flags == (said.M, said.O)
    assert prefixes(answer) == {"fd01::/64": (1, autonomous), "fd00:ec2::/64": (1, 0)}
    assert (answer.src, answer.dst, answer.hlim) == (LINK_LOCAL6, guest.link_local, 255)


def test_a_guest_is_told_what_it_needs() -> None:
    servers = (ip_address("fd01::53"), ip_address("fd01::54"))
    known = subnet("fd01::/64", Ipv6Mode.SLAAC, dns_servers=servers)
    guest = Guest(port("fd01::5", subnets=(known,)))
    (answer,) = guest.sends(solicit(guest))
    assert answer[ICMPv6ND_RA].routerlifetime == 0, "there is no router"
    assert (answer[ICMPv6NDOptMTU].mtu, answer[ICMPv6NDOptSrcLLAddr].lladdr) == (1450, SERVICE_MAC)
    assert answer[ICMPv6NDOptRDNSS].dns == ["fd01::53", "fd01::54"]
    assert answer[ICMPv6NDOptDNSSL].searchlist == ["blue.acme.cloison.internal."]


def test_the_local_resolver_is_told_where_there_is_no_other() -> None:
    guest = Guest(port())
    (answer,) = guest.sends(solicit(guest, src="::"))
    assert answer[ICMPv6NDOptRDNSS].dns == [DNS6]
    assert answer.dst == "ff02::1"


def test_nobody_else_is_told_anything() -> None:
    guest = Guest(port())
    assert guest.sends(solicit(guest, hlim=64)) == []
    assert guest.sends(IPv6(src=guest.link_local, dst="ff02::1", hlim=255) / ICMPv6ND_RA()) == []
    without = Guest(port("10.0.0.5", subnets=(subnet("10.0.0.0/24"),)))
    assert without.sends(solicit(without)) == []
