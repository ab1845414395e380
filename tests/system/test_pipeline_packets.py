"""The compiled pipeline in a real Open vSwitch, with real packets and its real connection tracker.

Dummy devices: a packet is put into one of them, and what leaves is in another's capture file. Packets of one
sender are handled in order, so that a packet that must not arrive is followed by one that does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptSrcLLAddr,
    ICMPv6Unknown,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils import PcapReader

from cloison.addresses import Mac
from cloison.model import PROFILE_NONE, PROFILE_OPEN, AddressPair, Direction
from controller.compiler import HostView
from controller.compiler.view import METERS_OF_CONNECTIONS
from controller.flows.text import flows_text
from tests.support.compiled import (
    ME,
    MTU,
    OTHER,
    SERVICE,
    TUNNEL,
    VNI,
    YOU,
    flows_of,
    group_name,
    host_of,
    policy,
    port,
    rule,
)
from tests.support.ovs import Ovs

pytestmark = pytest.mark.system

DEADLINE_S = 10
MARK = "02:0d:0d:0d:0d:0d"
ELSEWHERE = "10.0.0.99"
FROM_SERVICE = f"0a:f3:00:{VNI >> 16:02x}:{VNI >> 8 & 255:02x}:{VNI & 255:02x}"
MACS = {n: f"52:54:00:00:00:0{n}" for n in (ME, YOU, OTHER)}
WIRES = {n: f"0a:f0:0a:00:00:0{n}" for n in (ME, YOU, OTHER)}
IN, OUT = Direction.INGRESS, Direction.EGRESS
ANYTHING_OUT = rule(OUT, 1)
WEB = rule(IN, 2, protocol=6, port_min=80, port_max=81)
NAMES = rule(IN, 3, protocol=17, port_min=53, port_max=53)
PING = [rule(IN, n, protocol=p, icmp_type=t) for n, p, t in ((4, 1, 8), (5, 58, 128))]


def shop(*rules: object) -> HostView:
    """ME may open anything; YOU takes what the rules say."""
    groups = {"default": [ANYTHING_OUT], "shop": rules}
    judged = policy({16: ["default"], 17: ["default", "shop"]}, groups)  # type: ignore[dict-item]
    return host_of(port(ME), port(YOU), policies=[judged])


def restricted(*rules: object) -> HostView:
    """ME may ask for names only, and takes what the rules say; OTHER has no port security."""
    judged = policy({16: ["a"]}, {"a": [rule(OUT, 1, protocol=17, port_min=53, port_max=53), *rules]})  # type: ignore[list-item]
    return host_of(port(ME), port(OTHER, profile=PROFILE_OPEN), policies=[judged])


def mark(sender: int, receiver: int) -> Packet:
    """An ARP request that goes from sender to receiver under any policy."""
    asked = {SERVICE: "169.254.169.254", TUNNEL: ELSEWHERE}.get(receiver, address(receiver))
    mac, source = MACS.get(sender, "02:00:00:00:00:09"), address(sender)
    to = WIRES.get(receiver, "ff:ff:ff:ff:ff:ff")
    if sender == SERVICE:
        mac = FROM_SERVICE
    return Ether(src=mac, dst=to) / ARP(op=1, hwsrc=mac, psrc=source, hwdst=MARK, pdst=asked)


def address(ofport: int) -> str:
    return f"10.0.0.{ofport}"


def ip(sender: int, receiver: int) -> Packet:
    return Ether(src=MACS[sender], dst=MACS[receiver]) / IP(src=address(sender), dst=address(receiver))


def ip6(sender: int, receiver: int) -> Packet:
    ends = {"src": f"2001:db8::{sender}", "dst": f"2001:db8::{receiver}"}
    return Ether(src=MACS[sender], dst=MACS[receiver]) / IPv6(**ends)


def tcp(sender: int, receiver: int, sport: int, dport: int, flags: str = "S") -> Packet:
    return ip(sender, receiver) / TCP(sport=sport, dport=dport, flags=flags)


class Switch:
    """One bridge with five dummy devices."""

    def __init__(self, ovs: Ovs) -> None:
        self.ovs, self.read = ovs, dict.fromkeys(range(1, 6), 0)
        ovs.add_bridge("br-int", dpid=1, ports=5)
        for n in self.read:
            ovs.vsctl("set", "interface", f"br-int-p{n}", f"options:tx_pcap={self._capture(n)}")
        ovs.ofctl("set-frags", "br-int", "nx-match")
        for n in (ME, YOU, OTHER):
            for meter in (n, METERS_OF_CONNECTIONS + n):
                bands = "bands=type=drop,rate=100,burst_size=100"
                ovs.ofctl("add-meter", "br-int", f"meter={meter},pktps,burst,{bands}")

    def carry(self, host: HostView) -> None:
        """Put a host's flows there, and forget all connections."""
        self.replace(host)
        self.ovs.appctl("dpctl/flush-conntrack")

    def replace(self, host: HostView) -> None:
        """Put a host's flows there; connections stay."""
        self.ovs.ofctl("replace-flows", "br-int", "-", stdin=flows_text(flows_of(host)))
        self.ovs.appctl("revalidator/purge")

    def send(self, ofport: int, *packets: Packet) -> None:
        for packet in packets:
            self.ovs.appctl("netdev-dummy/receive", f"br-int-p{ofport}", bytes(packet).hex())

    def got(self, ofport: int, wanted: int) -> list[Packet]:
        """Everything new that left by a port; waits until there is so much."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            new = self._captured(ofport)[self.read[ofport] :]
            if len(new) >= wanted:
                self.read[ofport] += len(new)
                return new
            assert time.monotonic() < deadline, f"{len(new)} of {wanted} left by {ofport}: {new}"
            time.sleep(0.01)

    def arrives(self, sender: int, receiver: int, *packets: Packet) -> list[Packet]:
        """What leaves by receiver of the packets that sender sends: all before a mark that always does."""
        self.send(sender, *packets, mark(sender, receiver))
        seen: list[Packet] = []
        while not any(p.haslayer(ARP) and p[ARP].hwdst == MARK for p in seen):
            seen += self.got(receiver, 1)
        return seen[:-1]

    def _capture(self, ofport: int) -> Path:
        return self.ovs.run_dir / f"p{ofport}.pcap"

    def _captured(self, ofport: int) -> list[Packet]:
        try:
            with PcapReader(str(self._capture(ofport))) as reader:
                return list(reader)
        except (FileNotFoundError, EOFError):
            return []


@pytest.fixture(scope="module")
def switch() -> Iterator[Switch]:
    with Ovs() as running:
        yield Switch(running)


def test_a_connection_that_a_rule_admits_works_both_ways(switch: Switch) -> None:
    switch.carry(shop(WEB))
    (syn,) = switch.arrives(ME, YOU, tcp(ME, YOU, 5000, 80))
    assert (syn.src, syn.dst) == ("0a:f0:0a:00:00:03", MACS[YOU])
    assert switch.arrives(YOU, ME, tcp(YOU, ME, 80, 5000, "SA"))
    assert switch.arrives(ME, YOU, tcp(ME, YOU, 5000, 80, "A"))


def test_the_same_of_ipv6(switch: Switch) -> None:
    switch.carry(shop(WEB))
    syn, refused = (ip6(ME, YOU) / TCP(sport=5020, dport=p, flags="S") for p in (81, 82))
    (seen,) = switch.arrives(ME, YOU, refused, syn)
    assert (seen.src, seen.dst, seen[TCP].dport) == ("0a:f6:00:00:00:03", MACS[YOU], 81)
    assert switch.arrives(YOU, ME, ip6(YOU, ME) / TCP(sport=81, dport=5020, flags="SA"))


def test_resolution_is_no_matter_of_policy_and_keeps_real_macs(switch: Switch) -> None:
    switch.carry(shop())
    asks4 = Ether(src=MACS[ME], dst="ff:ff:ff:ff:ff:ff") / ARP(
        hwsrc=MACS[ME], psrc=address(ME), pdst=address(YOU)
    )
    asks6 = Ether(src=MACS[ME], dst="33:33:ff:00:00:04") / IPv6(
        src="2001:db8::3", dst="ff02::1:ff00:4", hlim=255
    )
    asks6 = asks6 / ICMPv6ND_NS(tgt="2001:db8::4") / ICMPv6NDOptSrcLLAddr(lladdr=MACS[ME])
    assert [(p.src, p.dst) for p in switch.arrives(ME, YOU, asks4, asks6)] == [(MACS[ME], MACS[YOU])] * 2
    lies4, lies6 = asks4.copy(), asks6.copy()
    lies4[ARP].psrc = address(OTHER)
    lies6[ICMPv6NDOptSrcLLAddr].lladdr = MACS[OTHER]
    assert switch.arrives(ME, YOU, lies4, lies6) == []


def test_only_what_was_asked_for_counts_as_a_reply(switch: Switch) -> None:
    """From the same ends, from a port of this host and from another host."""
    judged = policy({16: ["a"], 17: ["a"]}, {"a": [ANYTHING_OUT]})
    switch.carry(host_of(port(ME), port(YOU), policies=[judged]))
    switch.send(ME, tcp(ME, YOU, 5021, 80))
    assert switch.arrives(YOU, ME, tcp(YOU, ME, 80, 5022)) == []
    reply = Ether(src="0a:f4:00:00:00:11", dst="0a:f0:0a:00:00:03") / IP(src=address(YOU), dst=address(ME))
    assert switch.arrives(TUNNEL, ME, reply / TCP(sport=80, dport=5023, flags="SA")) == []


def test_what_no_rule_admits_does_not_arrive(switch: Switch) -> None:
    switch.carry(shop(WEB))
    assert switch.arrives(ME, YOU, tcp(ME, YOU, 5001, 82), ip(ME, YOU) / UDP(sport=1, dport=80)) == []
    assert switch.arrives(YOU, ME, tcp(YOU, ME, 80, 5002)) == []  # not a reply: ME takes nothing


def test_a_rule_withdrawn_stops_the_connections_it_had_admitted(switch: Switch) -> None:
    switch.carry(shop(WEB))
    assert switch.arrives(ME, YOU, tcp(ME, YOU, 5003, 80))
    assert switch.arrives(YOU, ME, tcp(YOU, ME, 80, 5003, "SA"))
    switch.replace(shop())
    assert switch.arrives(ME, YOU, tcp(ME, YOU, 5003, 80, "A")) == []
    assert switch.arrives(YOU, ME, tcp(YOU, ME, 80, 5003, "A")) == []
    switch.replace(shop(WEB))
    assert switch.arrives(ME, YOU, tcp(ME, YOU, 5003, 80, "A"))


def test_ping_and_its_answer_of_both_families(switch: Switch) -> None:
    switch.carry(shop(*PING))
    asked = switch.arrives(ME, YOU, ip(ME, YOU) / ICMP(id=7), ip6(ME, YOU) / ICMPv6EchoRequest(id=7))
    assert len(asked) == 2
    assert switch.arrives(YOU, ME, ip(YOU, ME) / ICMP(type=0, id=7))
    assert switch.arrives(YOU, ME, ip(YOU, ME) / ICMP(id=8)) == []


def test_an_error_about_an_admitted_connection_arrives(switch: Switch) -> None:
    switch.carry(shop(NAMES))
    asked = ip(ME, YOU) / UDP(sport=5004, dport=53) / Raw(b"x" * 16)
    assert switch.arrives(ME, YOU, asked)
    error = ip(YOU, ME) / ICMP(type=3, code=3)
    assert switch.arrives(YOU, ME, error / asked[IP])
    stranger = ip(ME, YOU) / UDP(sport=5005, dport=54) / Raw(b"x" * 16)
    assert switch.arrives(YOU, ME, error / stranger[IP]) == []


@pytest.mark.parametrize(("dport", "passes"), [(53, True), (54, False)])
def test_fragments_are_judged_like_the_whole(switch: Switch, dport: int, passes: bool) -> None:
    """The tails of what is refused come alone, and nobody can put them together."""
    switch.carry(shop(NAMES))
    whole = ip(ME, YOU) / UDP(sport=5006, dport=dport) / Raw(bytes(4000))
    pieces = fragment(whole, fragsize=1480)
    arrived = switch.arrives(ME, YOU, *pieces)
    assert any(p[IP].frag == 0 for p in arrived) == passes
    if passes:
        assert len(arrived) == len(pieces)


def test_a_port_in_no_group_hears_and_says_nothing_but_services(switch: Switch) -> None:
    nobody = port(OTHER, profile=PROFILE_NONE)
    everything = policy({16: ["a"]}, {"a": [ANYTHING_OUT, rule(IN, 2)]})
    switch.carry(host_of(port(ME), nobody, policies=[everything]))
    assert switch.arrives(ME, OTHER, tcp(ME, OTHER, 5007, 80)) == []
    assert switch.arrives(OTHER, ME, tcp(OTHER, ME, 5008, 80)) == []
    metadata = Ether(src=MACS[OTHER], dst="0a:f3:00:00:00:01") / IP(src=address(OTHER), dst="169.254.169.254")
    assert switch.arrives(OTHER, SERVICE, metadata / TCP(dport=80))
    answer = Ether(src=FROM_SERVICE, dst=WIRES[OTHER]) / IP(src="169.254.169.254", dst=address(OTHER))
    assert switch.arrives(SERVICE, OTHER, answer / TCP(sport=80, flags="SA"))


def test_questions_for_the_services_carry_who_asks(switch: Switch) -> None:
    switch.carry(shop())
    discover = Ether(src=MACS[ME], dst="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255")
    solicit = Ether(src=MACS[ME], dst="33:33:00:00:00:02") / IPv6(
        src="fe80::5054:ff:fe00:3", dst="ff02::2", hlim=255
    )
    asked = switch.arrives(ME, SERVICE, discover / UDP(sport=68, dport=67) / BOOTP(), solicit / ICMPv6ND_RS())
    assert [(p.src, p.dst) for p in asked] == [(MACS[ME], "0a:f3:00:00:00:49")] * 2


def test_services_answer_under_their_own_mac(switch: Switch) -> None:
    switch.carry(shop())
    offer = Ether(src=FROM_SERVICE, dst=WIRES[YOU]) / IP(src="169.254.169.253", dst=address(YOU))
    (seen,) = switch.arrives(SERVICE, YOU, offer / UDP(sport=67, dport=68) / BOOTP(op=2))
    assert seen.src == "0a:f3:00:00:00:01"
    assert seen.dst == MACS[YOU]


def test_a_flood_for_the_services_is_cut(switch: Switch) -> None:
    switch.carry(shop())
    discover = Ether(src=MACS[YOU], dst="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255")
    frame = bytes(discover / UDP(sport=68, dport=67) / BOOTP()).hex()
    for _ in range(3):
        switch.ovs.appctl("netdev-dummy/receive", f"br-int-p{YOU}", *[frame] * 150)
    assert 1 <= len(switch.arrives(ME, SERVICE)) < 450


def test_a_guest_is_no_server_of_the_host(switch: Switch) -> None:
    all_in = rule(IN, 9)
    switch.carry(shop(all_in))
    offer = ip(ME, YOU) / UDP(sport=67, dport=68) / BOOTP(op=2)
    advertisement = Ether(src=MACS[ME], dst=MACS[YOU]) / IPv6(
        src="fe80::5054:ff:fe00:3", dst="fe80::5054:ff:fe00:4", hlim=255
    )
    short = ip(ME, YOU)
    short[IP].flags, short[IP].proto = "MF", 17
    assert switch.arrives(ME, YOU, offer, advertisement / ICMPv6ND_RA(), short / Raw(b"\0C\0D")) == []
    assert switch.arrives(ME, YOU, ip(ME, YOU) / UDP(sport=66, dport=68))


def test_between_hosts_the_source_mac_says_the_profile(switch: Switch) -> None:
    switch.carry(shop(WEB))
    away = Ether(src=MACS[ME], dst=MACS[OTHER]) / IP(src=address(ME), dst=ELSEWHERE)
    (sent,) = switch.arrives(ME, TUNNEL, away / TCP(sport=5009, dport=80))
    assert (sent.src, sent.dst) == ("0a:f4:00:00:00:10", "0a:f0:0a:00:00:63")


@pytest.mark.parametrize(("profile", "passes"), [(16, True), (18, False), (PROFILE_NONE, False)])
def test_what_comes_from_another_host_is_judged_by_the_profile_it_names(
    switch: Switch, profile: int, passes: bool
) -> None:
    web = rule(IN, 2, protocol=6, port_min=80, port_max=80, remote_group=group_name("default"))
    switch.carry(shop(web))
    head = Ether(src=f"0a:f4:00:00:00:{profile:02x}", dst="0a:f0:0a:00:00:04")
    arrived = switch.arrives(TUNNEL, YOU, head / IP(src="10.0.0.77", dst=address(YOU)) / TCP(dport=80))
    assert [p.src for p in arrived] == (["0a:f0:0a:00:00:4d"] if passes else [])


def test_what_does_not_fit_into_the_overlay_gets_an_answer(switch: Switch) -> None:
    switch.carry(shop())
    head = Ether(src=MACS[ME], dst=MACS[OTHER]) / IP(src=address(ME), dst=ELSEWHERE, flags="DF")
    fits = head / UDP(sport=5010, dport=9) / Raw(bytes(MTU - 28))
    over = head / UDP(sport=5011, dport=9) / Raw(bytes(MTU - 27))
    assert [p[UDP].sport for p in switch.arrives(ME, TUNNEL, fits, over)] == [5010]
    (answered,) = [p for p in switch.arrives(ME, SERVICE) if p.haslayer(UDP)]
    assert (answered[UDP].sport, answered.src, answered.dst) == (5011, MACS[ME], "0a:f3:00:00:00:49")


def test_a_port_without_port_security_says_and_hears_everything_but_tags(switch: Switch) -> None:
    free = [port(n, profile=PROFILE_OPEN) for n in (ME, OTHER)]
    switch.carry(host_of(*free, port(YOU), policies=[policy({17: ["a"]}, {"a": [ANYTHING_OUT, WEB]})]))
    lldp = Ether(src="02:00:00:00:00:77", dst=MACS[OTHER], type=0x88CC) / Raw(bytes(50))
    foreign = Ether(src="02:00:00:00:00:77", dst=MACS[OTHER]) / IP(src="198.51.100.1", dst=address(OTHER))
    seen = switch.arrives(
        ME, OTHER, lldp, foreign / TCP(dport=9), Ether(src=MACS[ME], dst=MACS[OTHER]) / Dot1Q(vlan=1)
    )
    assert [p.type for p in seen] == [0x88CC, 0x0800]
    lldp.dst = MACS[YOU]
    assert switch.arrives(ME, YOU, lldp, tcp(ME, YOU, 1, 82)) == []
    assert switch.arrives(ME, YOU, tcp(ME, YOU, 5012, 80))
    assert switch.arrives(YOU, ME, tcp(YOU, ME, 80, 5012, "SA"))


def test_egress_rules_hold_towards_ports_without_port_security(switch: Switch) -> None:
    switch.carry(restricted())
    asked = [ip(ME, OTHER) / UDP(sport=5030, dport=p) / Raw(b"x") for p in (53, 54)]
    seen = switch.arrives(ME, OTHER, *asked, tcp(ME, OTHER, 5031, 80), ip6(ME, OTHER) / UDP(dport=9))
    assert [(p.src, p[UDP].dport) for p in seen] == [("0a:f0:0a:00:00:03", 53)]
    assert switch.arrives(OTHER, ME, ip(OTHER, ME) / UDP(sport=53, dport=5030)), "a reply"
    assert switch.arrives(OTHER, ME, ip(OTHER, ME) / UDP(sport=53, dport=5032)) == []


def test_so_they_do_from_another_host(switch: Switch) -> None:
    switch.carry(restricted())
    asked = [IP(src="10.0.0.77", dst=address(OTHER)) / UDP(sport=5033, dport=p) for p in (53, 54)]
    for profile, arrive in ((16, [53]), (PROFILE_NONE, []), (PROFILE_OPEN, [53, 54])):
        head = Ether(src=f"0a:f4:00:00:00:{profile:02x}", dst="0a:f0:0a:00:00:05")
        seen = switch.arrives(TUNNEL, OTHER, *(head / packet for packet in asked))
        assert [p[UDP].dport for p in seen] == arrive
    other = Ether(src="02:00:00:00:00:77", dst=MACS[OTHER], type=0x88CC) / Raw(bytes(50))
    assert [p.src for p in switch.arrives(TUNNEL, OTHER, other)] == [other.src]


def test_replies_to_what_a_port_without_port_security_opened_pass(switch: Switch) -> None:
    """Of any protocol, and although the rules of who replies let it open nothing of the kind."""
    switch.carry(restricted(WEB, rule(IN, 4, protocol=17), rule(IN, 5, protocol=1, icmp_type=8)))
    assert switch.arrives(OTHER, ME, tcp(OTHER, ME, 5034, 80))
    assert switch.arrives(ME, OTHER, tcp(ME, OTHER, 80, 5034, "SA"))
    assert switch.arrives(OTHER, ME, tcp(OTHER, ME, 5034, 80, "A"))
    assert switch.arrives(OTHER, ME, ip(OTHER, ME) / UDP(sport=5035, dport=9))
    assert switch.arrives(ME, OTHER, ip(ME, OTHER) / UDP(sport=9, dport=5035))
    assert switch.arrives(OTHER, ME, ip(OTHER, ME) / ICMP(id=9))
    assert switch.arrives(ME, OTHER, ip(ME, OTHER) / ICMP(type=0, id=9))
    assert switch.arrives(ME, OTHER, ip(ME, OTHER) / ICMP(id=10)) == []


@pytest.mark.parametrize("opener", ["guest", "outside"])
def test_what_routers_see_half_of_passes_through_them(switch: Switch, opener: str) -> None:
    """What ME sends goes out by OTHER, and what it gets comes in by YOU: both have no port security."""
    everything = policy({16: ["a"]}, {"a": [ANYTHING_OUT, WEB]})
    free = [port(n, profile=PROFILE_OPEN) for n in (OTHER, YOU)]
    switch.carry(host_of(port(ME), *free, policies=[everything]))
    mine, theirs = (5036, 80) if opener == "guest" else (80, 5036)

    def out(flags: str, seq: int, ack: int) -> bool:
        segment = TCP(sport=mine, dport=theirs, flags=flags, seq=seq, ack=ack)
        head = Ether(src=MACS[ME], dst=MACS[OTHER]) / IP(src=address(ME), dst="192.0.2.1")
        return bool(switch.arrives(ME, OTHER, head / segment))

    def into(flags: str, seq: int, ack: int) -> bool:
        segment = TCP(sport=theirs, dport=mine, flags=flags, seq=seq, ack=ack)
        head = Ether(src=MACS[YOU], dst=MACS[ME]) / IP(src="192.0.2.1", dst=address(ME))
        return bool(switch.arrives(YOU, ME, head / segment))

    first, second = (out, into) if opener == "guest" else (into, out)
    assert first("S", 100, 0)
    assert second("SA", 3_000_000_000, 101), "the router had not seen the SYN"
    assert first("A", 101, 3_000_000_001)
    assert second("PA", 3_000_000_001, 101)
    assert first("PA", 101, 3_000_000_001)


def test_what_cannot_be_tracked_passes_between_ports_without_port_security(switch: Switch) -> None:
    """From the one to the other, and from neither to nor from a port with port security."""
    free = [port(n, profile=PROFILE_OPEN) for n in (ME, OTHER)]
    everything = policy({17: ["a"]}, {"a": [ANYTHING_OUT, rule(IN, 2)]})
    switch.carry(host_of(*free, port(YOU), policies=[everything]))

    def untracked(sender: int, receiver: int) -> list[Packet]:
        report = ip6(sender, receiver) / ICMPv6MLReport2()
        advertisement = ip6(sender, receiver) / ICMPv6Unknown(type=151, msgbody=bytes(4))
        return [report, advertisement, tcp(sender, receiver, 5037, 80, "SA")]

    assert len(switch.arrives(ME, OTHER, *untracked(ME, OTHER))) == 3
    assert switch.arrives(ME, YOU, *untracked(ME, YOU)) == []
    assert switch.arrives(YOU, OTHER, *untracked(YOU, OTHER)) == []


def test_a_port_without_port_security_hears_resolution_and_services(switch: Switch) -> None:
    switch.carry(restricted())
    asks4 = Ether(src=MACS[ME], dst="ff:ff:ff:ff:ff:ff") / ARP(
        hwsrc=MACS[ME], psrc=address(ME), pdst=address(5)
    )
    asks6 = Ether(src=MACS[OTHER], dst="33:33:ff:00:00:03") / IPv6(
        src="2001:db8::5", dst="ff02::1:ff00:3", hlim=255
    )
    asks6 = asks6 / ICMPv6ND_NS(tgt="2001:db8::3") / ICMPv6NDOptSrcLLAddr(lladdr=MACS[OTHER])
    solicit = Ether(src=MACS[OTHER], dst="33:33:00:00:00:02") / IPv6(src="fe80::5", dst="ff02::2", hlim=255)
    assert [p.src for p in switch.arrives(ME, OTHER, asks4)] == [MACS[ME]]
    assert [p.src for p in switch.arrives(OTHER, ME, asks6)] == [MACS[OTHER]]
    assert len(switch.arrives(OTHER, SERVICE, solicit / ICMPv6ND_RS())) == 1


def test_fragments_pass_between_ports_without_port_security(switch: Switch) -> None:
    switch.carry(host_of(*(port(n, profile=PROFILE_OPEN) for n in (ME, OTHER))))
    pieces = fragment(ip(ME, OTHER) / UDP(sport=5038, dport=9) / Raw(bytes(4000)), fragsize=1480)
    assert len(switch.arrives(ME, OTHER, *pieces)) == len(pieces)


def test_allowed_address_pairs(switch: Switch) -> None:
    virtual = Mac(0x00005E000101)
    pairs = (AddressPair(ip_network("10.0.0.200/32"), virtual), AddressPair(ip_network("10.0.0.64/28")))
    everything = policy({16: ["a"], 17: ["a"]}, {"a": [ANYTHING_OUT, rule(IN, 2)]})
    lives_here = (ip_address("10.0.0.65"), ip_address("10.0.0.200"))
    me = port(ME, allowed_address_pairs=pairs, claimed=lives_here)
    switch.carry(host_of(me, port(YOU), policies=[everything]))
    tried = [
        (MACS[ME], "10.0.0.65"),
        ("00:00:5e:00:01:01", "10.0.0.200"),
        (MACS[ME], "10.0.0.200"),
        ("00:00:5e:00:01:01", "10.0.0.65"),
        (MACS[ME], "10.0.0.80"),
    ]
    packets = [
        packet
        for mac, source in tried
        for packet in (
            Ether(src=mac, dst=MACS[YOU]) / IP(src=source, dst=address(YOU)) / UDP(dport=9),
            Ether(src=mac, dst=MACS[YOU]) / ARP(op=2, hwsrc=mac, psrc=source, pdst=address(YOU)),
        )
    ]
    seen = switch.arrives(ME, YOU, *packets)
    assert {p[IP].src for p in seen if p.haslayer(IP)} == {"10.0.0.65", "10.0.0.200"}
    assert {p[ARP].psrc for p in seen if p.haslayer(ARP)} == {"10.0.0.65", "10.0.0.200"}
    assert len(seen) == 4
