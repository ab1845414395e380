"""Hostile bytes: random frames, and right ones with bytes changed, cut, repeated. Nothing raises or grows,
and no answer is anything but a well-formed frame for the guest that asked.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers import dhcp6
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6ND_RS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP

from agent.services.dispatcher import Dispatcher, base_routes, last_routes
from agent.services.seams import Boot, ServicePorts
from tests.support.effort import examples
from tests.support.guests import DNS4, DNS6, METADATA4, METADATA6, Guest, port

GUEST = Guest(port(boot=Boot(next_server="10.9.9.9", bios="b", uefi="u", ipxe="i")))
CHADDR = bytes.fromhex(GUEST.mac.replace(":", ""))
# The wire MAC of 10.0.0.5.
ANSWERED = bytes.fromhex("0af00a000005")
DUID = dhcp6.DUID_LL(b"\0\3\0\1" + CHADDR)
_IA = dhcp6.DHCP6OptIA_NA(iaid=1, ianaopts=[dhcp6.DHCP6OptIAAddress(addr="fd01::5")])
_BOOTP = IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / BOOTP(chaddr=CHADDR)
_DHCP6 = IPv6(src=GUEST.link_local, dst="ff02::1:2") / UDP(sport=546, dport=547)
_ASKED = dhcp6.DHCP6OptOptReq(reqopts=[23, 24, 56, 59]) / dhcp6.DHCP6OptClientArchType(archtypes=[7])
_LISTS = [("param_req_list", [1, 121, 249]), (93, b"\0\7"), (77, b"\4iPXE"), ("client_id", b"\1" + CHADDR)]
SEEDS = [
    GUEST.frame(packet)
    for packet in (
        ARP(op=1, hwsrc=GUEST.mac, psrc="10.0.0.5", pdst=DNS4),
        IP(src="10.0.0.5", dst=METADATA4) / ICMP() / b"ping",
        IP(src="10.0.0.5", dst="10.0.0.9", options=b"\x07\x03\x04\0") / UDP() / (b"x" * 1450),
        _BOOTP / DHCP(options=[("message-type", "discover"), *_LISTS, "end"]),
        _BOOTP / DHCP(options=[("message-type", "request"), ("requested_addr", "10.0.0.5"), "end"]),
        IPv6(src="fd01::5", dst=DNS6, hlim=255) / ICMPv6ND_NS(tgt=DNS6),
        IPv6(src=GUEST.link_local, dst="ff02::2", hlim=255) / ICMPv6ND_RS(),
        IPv6(src="fd01::5", dst=METADATA6) / ICMPv6EchoRequest(data=b"ping"),
        IPv6(src="fd01::5", dst=DNS6)
        / IPv6ExtHdrHopByHop()
        / IPv6ExtHdrDestOpt()
        / IPv6ExtHdrRouting()
        / ICMPv6EchoRequest(data=b"ping"),
        IPv6(src="fd01::5", dst="fd01::9") / UDP() / (b"x" * 1450),
        _DHCP6 / dhcp6.DHCP6_Solicit() / dhcp6.DHCP6OptClientId(duid=DUID) / _ASKED / _IA,
        _DHCP6 / dhcp6.DHCP6_Confirm() / dhcp6.DHCP6OptClientId(duid=DUID) / _IA,
    )
]

_AT = st.integers(0, 1600)
MUTATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), _AT, st.integers(0, 255)),
        st.tuples(st.just("cut"), _AT, st.integers(1, 64)),
        st.tuples(st.just("end"), _AT, st.just(0)),
        st.tuples(st.just("repeat"), _AT, st.integers(1, 64)),
    ),
    max_size=6,
)


def mutated(frame: bytes, mutations: list[tuple[str, int, int]]) -> bytes:
    data = bytearray(frame)
    for kind, where, value in mutations:
        # Behind the switch's own six bytes: which port it is, is not the guest's to say.
        at = 6 + where % max(1, len(data) - 6)
        if kind == "set":
            data[at : at + 1] = bytes([value])
        elif kind == "cut":
            del data[at : at + value]
        elif kind == "end":
            del data[at:]
        else:
            data[at:at] = data[at : at + value]
    return bytes(data)


def assert_harmless(frame: bytes) -> None:
    dispatcher = Dispatcher(ServicePorts([GUEST.port]), [*base_routes(), *last_routes()])
    for answer in dispatcher.handle(frame):
        assert answer[:6] == ANSWERED, "for nobody but the guest that asked"
        assert answer[6:12] == (0x0AF300 << 24 | GUEST.port.vni).to_bytes(6, "big")
        assert len(answer) <= max(GUEST.port.mtu + 14, len(frame))
    assert sum(dispatcher.counts.values()) > 0, "whatever it was, it was counted"


@pytest.mark.slow
@settings(max_examples=examples(10_000), deadline=None)
@given(st.sampled_from(SEEDS), MUTATIONS)
def test_no_mutation_of_a_right_packet_does_harm(frame: bytes, mutations: list[tuple[str, int, int]]) -> None:
    assert_harmless(mutated(frame, mutations))


@settings(max_examples=examples(4_000), deadline=None)
@given(st.sampled_from([b"\x08\x00", b"\x08\x06", b"\x86\xdd", b"\x81\x00"]), st.binary(max_size=300))
def test_no_random_bytes_do_harm(eth_type: bytes, data: bytes) -> None:
    assert_harmless(SEEDS[0][:12] + eth_type + data)


@pytest.mark.slow
@settings(max_examples=examples(4_000), deadline=None)
@given(st.booleans(), st.binary(max_size=400))
def test_no_random_message_does_harm(is_dhcp6: bool, data: bytes) -> None:
    """Random bytes where a service reads options."""
    if is_dhcp6:
        packet = _DHCP6 / dhcp6.DHCP6_Solicit() / dhcp6.DHCP6OptClientId(duid=DUID) / data
    else:
        packet = _BOOTP / (b"\x63\x82\x53\x63\x35\x01\x01" + data)
    assert_harmless(GUEST.frame(packet))


def test_the_seeds_themselves_are_answered() -> None:
    for frame in SEEDS:
        assert GUEST.dispatcher.handle(frame), frame.hex()
