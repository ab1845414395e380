"""The meaning, read aloud: two tenants with one address plan, on two hosts."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest

from cloison.addresses import link_local, parse_mac
from cloison.model import Direction
from cloison.names import HostName, NetworkName, PortName, SecurityGroupName
from controller.verify.intent import HostIntent, Intent, IntentDelta, NetworkIntent, PairIntent, PortIntent
from controller.verify.packet import ETH_ARP, ETH_IPV4, ETH_IPV6, INVALID, TRACKED, Packet, connected, replied
from controller.verify.policy import PROFILE_NONE, PROFILE_OPEN, PolicyIntent, RuleIntent
from controller.verify.semantics import Delivery, meaning, tracked, wire_source
from controller.verify.world import World

H1, H2 = HostName("h1"), HostName("h2")
A, B, C = (parse_mac(f"02:00:00:00:00:0{n}") for n in (1, 2, 3))
BROADCAST = parse_mac("ff:ff:ff:ff:ff:ff")
SERVICE_OFPORT, MTU = 90, 1450
# Profiles: of the group `default`, whose members talk to each other, and of `web`, which all may reach.
DEFAULT, WEB = ({"red": n, "blue": n + 10, "t1": n, "t2": n + 10} for n in (16, 17))


def port(tenant: str, name: str, number: int, mac: int, host: HostName | None, *addresses: str) -> PortIntent:
    return PortIntent(
        name=PortName(tenant, "web", name),
        number=number,
        mac=mac,
        addresses=tuple(map(ip_address, addresses)),
        host=host,
        ofport=number if host else 0,
        profile=DEFAULT[tenant],
    )


def policy(tenant: str, number: int) -> PolicyIntent:
    default, web = SecurityGroupName(tenant, "default"), SecurityGroupName(tenant, "web")
    into = Direction.INGRESS
    return PolicyIntent(
        number=number,
        profiles={DEFAULT[tenant]: (default,), WEB[tenant]: (web,)},
        groups={
            default: (
                RuleIntent(direction=Direction.EGRESS),
                RuleIntent(direction=into, remote_group=default),
            ),
            web: (RuleIntent(direction=into, protocol=6, port_min=80, port_max=81),),
        },
    )


def network(tenant: str, vni: int, first_tunnel: int) -> NetworkIntent:
    return NetworkIntent(
        name=NetworkName(tenant, "web"),
        vni=vni,
        subnets=(ip_network("10.0.0.0/24"), ip_network("2001:db8::/64")),
        tunnels={H1: first_tunnel, H2: first_tunnel},
    )


def two_tenants() -> Intent:
    ports = [
        port("red", "a", 1, A, H1, "10.0.0.1", "2001:db8::1"),
        port("red", "b", 2, B, H1, "10.0.0.2", "2001:db8::2"),
        port("red", "c", 3, C, H2, "10.0.0.3", "2001:db8::3"),
        port("blue", "a", 4, A, H1, "10.0.0.1", "2001:db8::1"),
        port("blue", "b", 5, B, H2, "10.0.0.2"),
        port("blue", "unplugged", 6, C, None, "10.0.0.6"),
    ]
    hosts = {
        h: HostIntent(name=h, vtep=IPv4Address(f"172.16.0.{n}"), service_ofport=SERVICE_OFPORT, mtu=MTU)
        for n, h in ((1, H1), (2, H2))
    }
    networks = {n.name: n for n in (network("red", 5000, 100), network("blue", 5001, 101))}
    policies = {"red": policy("red", 1), "blue": policy("blue", 2)}
    return Intent(hosts=hosts, networks=networks, ports={p.name: p for p in ports}, policies=policies)


@pytest.fixture
def world() -> World:
    return World(two_tenants())


def ip4(src: str = "10.0.0.1", dst: str = "10.0.0.2", **other: int) -> Packet:
    fields = {"eth_src": A, "eth_dst": B, "ip_proto": 6, "ip_ttl": 64} | other
    return Packet(eth_type=ETH_IPV4, ipv4_src=int(IPv4Address(src)), ipv4_dst=int(IPv4Address(dst)), **fields)


def arp(target: str, op: int = 1, sender: str = "10.0.0.1", **other: int) -> Packet:
    fields = {"eth_src": A, "eth_dst": BROADCAST, "arp_sha": A} | other
    spa, tpa = int(IPv4Address(sender)), int(IPv4Address(target))
    return Packet(eth_type=ETH_ARP, arp_op=op, arp_spa=spa, arp_tpa=tpa, **fields)


def ip6(src: str = "2001:db8::1", dst: str = "2001:db8::2", **other: int) -> Packet:
    fields = {"eth_src": A, "eth_dst": B, "ip_proto": 58, "ip_ttl": 255, "icmpv6_type": 128} | other
    return Packet(eth_type=ETH_IPV6, ipv6_src=int(IPv6Address(src)), ipv6_dst=int(IPv6Address(dst)), **fields)


def solicit(target: str, **other: int) -> Packet:
    fields = {"icmpv6_type": 135, "ipv6_nd_target": int(IPv6Address(target)), "ipv6_nd_sll": A} | other
    return ip6(dst="ff02::1:ff00:2", **fields)


def advertise(target: str, **other: int) -> Packet:
    fields = {"icmpv6_type": 136, "ipv6_nd_target": int(IPv6Address(target)), "ipv6_nd_tll": A} | other
    return ip6(**fields)


OWN_LINK_LOCAL, ITS_LINK_LOCAL = str(link_local(A)), str(link_local(B))
RED_B, RED_C = (H1, 2, B), (H2, 3, C)
SAID = {
    "to its address, here": (ip4(), RED_B),
    "to its address, on another host": (ip4(dst="10.0.0.3"), RED_C),
    "whatever the MAC says": (ip4(dst="10.0.0.3", eth_dst=0), RED_C),
    "even to all": (ip4(eth_dst=BROADCAST), RED_B),
    "ARP by its target": (arp("10.0.0.3"), RED_C),
    "ARP reply": (arp("10.0.0.2", op=2, eth_dst=B, arp_tha=B), RED_B),
    "IPv6": (ip6(), RED_B),
    "IPv6 from and to link-local": (ip6(src=OWN_LINK_LOCAL, dst=ITS_LINK_LOCAL), RED_B),
    "solicitation by its target": (solicit("2001:db8::3"), RED_C),
    "solicitation without option": (solicit("2001:db8::3", ipv6_nd_sll=0), RED_C),
    "advertisement of its own": (advertise(OWN_LINK_LOCAL), RED_B),
}
SILENCED = {
    "another MAC": ip4(eth_src=B),
    "another IPv4 address": ip4(src="10.0.0.2"),
    "a tag": ip4(vlan_vid=0x1005),
    "a priority tag": ip4(vlan_vid=0x1000),
    "another ARP sender address": arp("10.0.0.2", sender="10.0.0.3"),
    "another ARP sender MAC": arp("10.0.0.2", arp_sha=B),
    "ARP that is neither request nor reply": arp("10.0.0.2", op=3),
    "ARP for an address outside": arp("10.1.0.2"),
    "ARP for an address nobody has": arp("10.0.0.77"),
    "its own address": arp("10.0.0.1"),
    "an address nobody has": ip4(dst="10.0.0.77", eth_dst=B),
    "an address of another tenant only": ip4(dst="10.0.0.6", eth_dst=C),
    "outside the subnets, to one who may not answer from there": ip4(dst="8.8.8.8"),
    "a group": ip4(dst="224.0.0.5", eth_dst=B),
    "a group MAC": ip4(dst="8.8.8.8", eth_dst=BROADCAST),
    "a wire MAC": ip4(dst="8.8.8.8", eth_dst=0x0AF00A000002),
    "another EtherType": Packet(eth_src=A, eth_dst=B, eth_type=0x88CC),
    "another IPv6 address": ip6(src="2001:db8::2"),
    "no IPv6 address": ip6(src="::"),
    "an IPv6 group": ip6(dst="ff02::1"),
    "a router advertisement": ip6(icmpv6_type=134),
    "a redirect": ip6(icmpv6_type=137),
    "a solicitation from afar": solicit("2001:db8::2", ip_ttl=254),
    "a solicitation with another MAC": solicit("2001:db8::2", ipv6_nd_sll=B),
    "a solicitation of an unknown code": solicit("2001:db8::2", icmpv6_code=1).canonical(),
    "a solicitation for an address outside": solicit("2001:db9::2"),
    "a solicitation whose target only looks like it": solicit("fe80::2", eth_dst=B),
    "an advertisement of another's address": advertise("2001:db8::2"),
    "an advertisement of another MAC": advertise("2001:db8::1", ipv6_nd_tll=B),
}


@pytest.mark.parametrize("case", SAID)
def test_received(world: World, case: str) -> None:
    packet, (host, ofport, mac) = SAID[case]
    source = wire_source(packet) if tracked(packet) else packet.eth_src
    wanted = replace(packet, eth_dst=mac, eth_src=source)
    assert meaning(world, H1, 1, packet) == {Delivery(host, ofport, wanted)}


@pytest.mark.parametrize(
    "fields",
    [{"pairs": (PairIntent(ip_network("0.0.0.0/0")),)}, {"profile": PROFILE_OPEN}],
    ids=["pairs", "open"],
)
def test_outside_the_subnets_by_the_mac_of_who_may_answer(world: World, fields: dict[str, Any]) -> None:
    red_b, packet = world.ports[PortName("red", "web", "b")], ip4(dst="8.8.8.8")
    world.apply(IntentDelta(ports={red_b.name: replace(red_b, **fields)}))
    wanted = replace(packet, eth_dst=B, eth_src=wire_source(packet))
    assert meaning(world, H1, 1, packet) == {Delivery(H1, 2, wanted)}


@pytest.mark.parametrize("case", SILENCED)
def test_received_by_nobody(world: World, case: str) -> None:
    assert meaning(world, H1, 1, SILENCED[case]) == frozenset()


def test_the_same_packet_stays_in_each_tenant(world: World) -> None:
    assert {d.ofport for d in meaning(world, H1, 1, ip4())} == {2}
    assert {d.ofport for d in meaning(world, H1, 4, ip4())} == {5}


def test_link_local_only_with_an_ipv6_address(world: World) -> None:
    towards = ip6(src=OWN_LINK_LOCAL, dst=ITS_LINK_LOCAL)
    assert meaning(world, H1, 4, towards) == frozenset()
    assert meaning(world, H2, 5, replace(towards, eth_src=B)) == frozenset()


def test_unplugged_port_neither_sends_nor_receives(world: World) -> None:
    red_b = world.ports[PortName("red", "web", "b")]
    world.apply(IntentDelta(ports={red_b.name: replace(red_b, host=None, ofport=0)}))
    assert meaning(world, H1, 1, ip4()) == frozenset()
    assert meaning(world, H1, 2, ip4(src="10.0.0.2", dst="10.0.0.1", eth_src=B)) == frozenset()


def test_hosts_not_joined_yet(world: World) -> None:
    red = world.networks[NetworkName("red", "web")]
    world.apply(IntentDelta(networks={red.name: replace(red, tunnels={H1: 100})}))
    assert meaning(world, H1, 1, ip4(dst="10.0.0.3")) == frozenset()
    assert len(meaning(world, H1, 1, ip4())) == 1


def test_what_only_one_may_have_is_found(world: World) -> None:
    assert not world.clashes
    red_b = world.ports[PortName("red", "web", "b")]
    world.apply(
        IntentDelta(ports={red_b.name: replace(red_b, addresses=(ip_address("10.0.0.1"),), ofport=4)})
    )
    assert {what for what, _, _ in world.clashes} == {"wire MAC", "OpenFlow port"}
    world.apply(IntentDelta(ports={red_b.name: red_b}))
    assert not world.clashes


# --- policy -----------------------------------------------------------------------------------------------


def profiled(world: World, name: str, profile: int) -> None:
    port = world.ports[PortName("red", "web", name)]
    world.apply(IntentDelta(ports={port.name: replace(port, profile=profile)}))


def reaches(world: World, packet: Packet, ofport: int = 1) -> bool:
    return bool(meaning(world, H1, ofport, packet))


def back(packet: Packet) -> Packet:
    """What B answers to a packet that A sent it."""
    there = replace(
        packet, eth_src=B, eth_dst=A, ipv4_src=packet.ipv4_dst, ipv4_dst=packet.ipv4_src,
        tcp_src=packet.tcp_dst, tcp_dst=packet.tcp_src,
    )  # fmt: skip
    return replied(there)


def test_rules_of_both_ends_must_admit_and_replies_follow(world: World) -> None:
    profiled(world, "b", WEB["red"])
    for port, allowed in ((79, False), (80, True), (81, True), (82, False)):
        asked = ip4(tcp_src=40000, tcp_dst=port)
        assert reaches(world, asked) == allowed
        assert reaches(world, back(asked), ofport=2) == allowed
    # It opens nothing itself: its group has no egress rule.
    assert not reaches(world, ip4("10.0.0.2", "10.0.0.1", eth_src=B, eth_dst=A, tcp_dst=80), ofport=2)
    assert not reaches(world, ip4(ip_proto=17, udp_dst=80))


def test_without_the_rule_established_connections_end(world: World) -> None:
    profiled(world, "b", WEB["red"])
    asked = connected(ip4(tcp_src=40000, tcp_dst=80))
    established = replace(asked, ct_state=TRACKED | 2)
    assert reaches(world, established)
    assert reaches(world, back(asked), ofport=2)
    changed = policy("red", 1)
    world.apply(IntentDelta(policies={"red": replace(changed, groups={})}))
    assert not reaches(world, established)
    assert not reaches(world, back(asked), ofport=2)


def test_an_error_is_judged_as_the_connection_it_is_about(world: World) -> None:
    profiled(world, "b", WEB["red"])
    about = replied(ip4("10.0.0.2", "10.0.0.1", tcp_src=80, tcp_dst=40000))
    error = ip4("10.0.0.2", "10.0.0.1", eth_src=B, eth_dst=A, ip_proto=1, icmpv4_type=3, icmpv4_code=4)
    fields = {
        n: getattr(about, n) for n in ("ct_nw_proto", "ct_nw_src", "ct_nw_dst", "ct_tp_src", "ct_tp_dst")
    }
    assert reaches(world, replace(error, ct_state=0x2C, **fields), ofport=2)
    assert not reaches(world, replace(error, ct_state=0x2C, **fields | {"ct_tp_dst": 22}), ofport=2)
    assert not reaches(world, error, ofport=2)


def test_no_group_hears_nothing_but_resolution_and_no_security_everything(world: World) -> None:
    profiled(world, "b", PROFILE_NONE)
    assert not reaches(world, ip4())
    assert reaches(world, arp("10.0.0.2"))
    assert reaches(world, solicit("2001:db8::2"))
    profiled(world, "b", PROFILE_OPEN)
    assert not reaches(world, Packet(eth_src=A, eth_dst=B, eth_type=0x88CC))
    assert reaches(world, ip4("10.0.0.77", "10.0.0.9", eth_src=C, eth_dst=A), ofport=2) is False
    profiled(world, "a", PROFILE_OPEN)
    assert reaches(world, Packet(eth_src=C, eth_dst=B, eth_type=0x88CC))


def test_egress_rules_hold_whoever_receives(world: World) -> None:
    profiled(world, "b", PROFILE_OPEN)
    asked, from_b = ip4(tcp_dst=80), ip4("10.0.0.2", "10.0.0.1", eth_src=B, eth_dst=A, tcp_dst=80)
    assert reaches(world, asked)
    assert not reaches(world, from_b, ofport=2), "a takes only what is of its group"
    profiled(world, "a", WEB["red"])
    assert not reaches(world, asked), "its group has no egress rule"
    assert reaches(world, arp("10.0.0.2"))
    assert reaches(world, from_b, ofport=2)
    # What it replies to b is judged by what b opened.
    assert reaches(world, replied(ip4(tcp_src=80)))
    assert not reaches(world, replied(ip4(tcp_src=22)))
    profiled(world, "a", PROFILE_OPEN)
    assert reaches(world, asked)


def test_invalid_goes_nowhere_but_between_ports_without_port_security(world: World) -> None:
    invalid = replace(ip4(), ct_state=TRACKED | INVALID)
    assert not reaches(world, invalid)
    profiled(world, "b", PROFILE_OPEN)
    assert not reaches(world, invalid)
    profiled(world, "a", PROFILE_OPEN)
    assert reaches(world, invalid)
    profiled(world, "b", DEFAULT["red"])
    assert not reaches(world, invalid)


def test_a_pair_is_a_source_and_no_destination(world: World) -> None:
    spoofed = ip4("10.0.0.9")
    assert not reaches(world, spoofed)
    port = world.ports[PortName("red", "web", "a")]
    pair = PairIntent(ip_network("10.0.0.8/31"), C)
    world.apply(IntentDelta(ports={port.name: replace(port, pairs=(pair,))}))
    assert not reaches(world, spoofed)
    assert reaches(world, replace(spoofed, eth_src=C))
    assert not reaches(world, ip4("10.0.0.2", "10.0.0.9", eth_src=B, eth_dst=A), ofport=2)


def test_an_address_of_a_pair_lives_where_it_is_claimed(world: World) -> None:
    pair, vip = PairIntent(ip_network("10.0.0.8/29")), ip_address("10.0.0.9")
    a, b = (replace(world.ports[PortName("red", "web", name)], pairs=(pair,)) for name in "ab")
    world.apply(IntentDelta(ports={a.name: a, b.name: b}))
    spoken = arp("10.0.0.3", sender=str(vip))
    to_vip = ip4("10.0.0.3", "10.0.0.9", eth_src=C, eth_dst=A, tcp_dst=80)

    def heard_by() -> set[int]:
        return {d.ofport for d in meaning(world, H1, 1, spoken)}

    assert heard_by() == {SERVICE_OFPORT}
    assert meaning(world, H2, 3, to_vip) == frozenset()
    for owner in (a, b, a):
        both = {p.name: replace(p, claimed=(vip,) if p is owner else ()) for p in (a, b)}
        world.apply(IntentDelta(ports=both))
        assert not world.clashes
        assert heard_by() == ({3} if owner is a else {SERVICE_OFPORT})
        assert {(d.host, d.ofport) for d in meaning(world, H2, 3, to_vip)} == {(H1, owner.ofport)}
        # Its own address it may speak for all the time, and send from the pair's.
        assert {d.ofport for d in meaning(world, H1, 1, arp("10.0.0.3"))} == {3}
        assert {d.ofport for d in meaning(world, H1, 1, ip4("10.0.0.9", "10.0.0.3", tcp_dst=80))} == {3}


def test_a_port_that_only_claims_an_address_is_given_none(world: World) -> None:
    pair, vip = PairIntent(ip_network("10.0.0.8/29")), ip_address("10.0.0.9")
    given = world.ports[PortName("red", "web", "a")]
    asking = ip4("0.0.0.0", "255.255.255.255", ip_proto=17, udp_src=68, udp_dst=67)
    assert meaning(world, H1, 1, asking)
    only6 = tuple(a for a in given.addresses if a.version == 6)
    world.apply(
        IntentDelta(ports={given.name: replace(given, addresses=only6, pairs=(pair,), claimed=(vip,))})
    )
    assert not meaning(world, H1, 1, asking)
    assert meaning(world, H1, 1, arp("10.0.0.3", sender=str(vip)))


def test_where_a_port_stands_by_it_may_but_say_that_it_is_there(world: World) -> None:
    given = world.ports[PortName("red", "web", "a")]
    world.apply(IntentDelta(ports={given.name: replace(given, standby=((H2, 77),))}))
    own = str(given.addresses[0])
    rarp = Packet(eth_src=given.mac, eth_dst=0xFFFFFFFFFFFF, eth_type=0x8035)
    for said in (rarp, arp(own)):
        wanted = replace(said, eth_dst=0x0AF300000000 | given.number)
        assert meaning(world, H2, 77, said) == {Delivery(H2, SERVICE_OFPORT, wanted)}
    for said in (arp("10.0.0.3"), replace(rarp, eth_src=given.mac + 1), ip4(own, "10.0.0.3")):
        assert not meaning(world, H2, 77, said)
    # Where it lives nothing is different, and nobody reaches it but there.
    assert not meaning(world, H1, 1, rarp)
    assert {d.ofport for d in meaning(world, H1, 1, arp("10.0.0.3"))} == {3}
    world.apply(IntentDelta(ports={given.name: given}))
    assert not meaning(world, H2, 77, rarp)
    assert not world.clashes


# --- services -----------------------------------------------------------------------------------------------

TO_SERVICES = {
    "DHCP before an address": ip4("0.0.0.0", "255.255.255.255", ip_proto=17, udp_src=68, udp_dst=67),
    "metadata": ip4(dst="169.254.169.254", tcp_dst=80),
    "who has the metadata": arp("169.254.169.254"),
    "DHCPv6": ip6(OWN_LINK_LOCAL, "ff02::1:2", ip_proto=17, icmpv6_type=0, udp_src=546, udp_dst=547),
    "router solicitation": ip6(OWN_LINK_LOCAL, "ff02::2", icmpv6_type=133),
    "too long for the overlay": ip4(dst="10.0.0.3", oversize=1),
}


@pytest.mark.parametrize("case", TO_SERVICES)
def test_for_the_services_of_its_own_host(world: World, case: str) -> None:
    packet = TO_SERVICES[case]
    wanted = replace(packet, eth_dst=0x0AF300000001)
    assert meaning(world, H1, 1, packet) == {Delivery(H1, SERVICE_OFPORT, wanted)}


def test_what_services_say_reaches_one_port_of_that_network(world: World) -> None:
    for vni, ofport in ((5000, 1), (5001, 4)):
        told = {"eth_src": 0x0AF300000000 | vni, "eth_dst": 0x0AF00A000001}
        said = Packet(eth_type=ETH_IPV4, ip_proto=17, **told)
        wanted = replace(said, eth_src=0x0AF300000001, eth_dst=A)
        assert meaning(world, H1, SERVICE_OFPORT, said) == {Delivery(H1, ofport, wanted)}
    assert not meaning(world, H1, SERVICE_OFPORT, replace(said, eth_dst=A))
    assert not meaning(world, H2, SERVICE_OFPORT, said)
    assert not meaning(world, H1, SERVICE_OFPORT, replace(said, eth_src=A))


def test_a_guest_is_no_dhcp_server(world: World) -> None:
    assert not reaches(world, ip4(ip_proto=17, udp_src=67, udp_dst=68))
    assert reaches(world, ip4(ip_proto=17, udp_src=69, udp_dst=68))
