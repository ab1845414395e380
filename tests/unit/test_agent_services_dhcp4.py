"""DHCP for IPv4, spoken by scapy: what a guest is given, told, refused, and not answered at all."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.packet import Packet

from agent.services.seams import Boot, ServiceRoute
from tests.support.guests import DNS4, METADATA4, Guest, port, subnet

ANY, ALL = "0.0.0.0", "255.255.255.255"


@pytest.fixture
def guest() -> Guest:
    return Guest(port())


def request(
    guest: Guest, kind: str, *options: object, src: str = ANY, dst: str = ALL, **bootp: object
) -> Packet:
    fields = {"chaddr": bytes.fromhex(guest.mac.replace(":", "")), "xid": 0xABCD1234, "ciaddr": src, **bootp}
    options = (("message-type", kind), *options, "end")
    return IP(src=src, dst=dst) / UDP(sport=68, dport=67) / BOOTP(**fields) / DHCP(options=list(options))


def told(answer: Packet) -> dict[str, object]:
    """The options of an answer; one value as it is, several as a list."""
    found: dict[str, object] = {}
    for option in answer[DHCP].options:
        if isinstance(option, tuple):
            found[str(option[0])] = option[1] if len(option) == 2 else list(option[1:])
    return found


OFFER, ACK, NAK = 2, 5, 6


def test_a_guest_gets_the_address_of_its_port(guest: Guest) -> None:
    (offer,) = guest.sends(request(guest, "discover"))
    assert (offer.src, offer.dst, offer.sport, offer.dport) == (DNS4, "10.0.0.5", 67, 68)
    assert (offer.yiaddr, offer.xid, offer.op, told(offer)["message-type"]) == (
        "10.0.0.5",
        0xABCD1234,
        2,
        OFFER,
    )
    wanted = ("requested_addr", "10.0.0.5"), ("server_id", DNS4)
    (ack,) = guest.sends(request(guest, "request", *wanted))
    assert (ack.yiaddr, told(ack)["message-type"], told(ack)["server_id"]) == ("10.0.0.5", ACK, DNS4)
    assert len(bytes(ack[BOOTP])) >= 300


def test_a_guest_is_told_what_it_needs(guest: Guest) -> None:
    (offer,) = guest.sends(request(guest, "discover"))
    said = told(offer)
    assert (said["subnet_mask"], said["broadcast_address"]) == ("255.255.255.0", "10.0.0.255")
    assert (said["name_server"], said["interface-mtu"]) == (DNS4, 1450)
    assert (said["hostname"], said["domain"]) == (b"vm1", b"blue.acme.cloison.internal")
    assert said["lease_time"] > said["rebinding_time"] > said["renewal_time"] > 0
    assert "router" not in said, "nobody answers at the gateway"
    # RFC 3442: the services are on the link.
    assert said["classless_static_routes"] == [f"{DNS4}/32:0.0.0.0", f"{METADATA4}/32:0.0.0.0"]


def test_what_a_subnet_says_is_passed_on() -> None:
    said = subnet(
        "10.0.0.0/24",
        gateway=ip_address("10.0.0.1"),
        dns_servers=(ip_address("10.0.0.53"), ip_address("10.0.0.54"), ip_address("fd01::53")),
        ntp_servers=(ip_address("10.0.0.123"),),
        routes=(ServiceRoute(ip_network("192.168.128.0/17"), ip_address("10.0.0.7")),),
    )
    guest = Guest(port("10.0.0.5", subnets=(said,)))
    (offer,) = guest.sends(request(guest, "discover", ("param_req_list", [1, 249])))
    found = told(offer)
    assert found["name_server"] == ["10.0.0.53", "10.0.0.54"]
    assert (found["NTP_server"], found["router"]) == ("10.0.0.123", "10.0.0.1")
    routes = found["classless_static_routes"]
    assert routes[2:] == ["192.168.128.0/17:10.0.0.7", "0.0.0.0/0:10.0.0.1"]
    assert 249 in [option[0] for option in offer[DHCP].options] or "ms-classless-static-routes" in found


def test_many_routes_are_cut_into_several_options() -> None:
    routes = tuple(ServiceRoute(ip_network(f"192.168.{n}.0/24"), ip_address("10.0.0.7")) for n in range(100))
    guest = Guest(port("10.0.0.5", subnets=(subnet("10.0.0.0/24", routes=routes),)))
    (offer,) = guest.sends(request(guest, "discover"))
    payload = bytes(offer[DHCP])
    joined, at = b"", 0
    while payload[at] != 0xFF:
        code, length = payload[at], payload[at + 1]
        joined += payload[at + 2 : at + 2 + length] if code == 121 else b""
        at += 2 + length
    assert joined[18:] == b"".join(bytes([24, 192, 168, n, 10, 0, 0, 7]) for n in range(100))


def test_a_wrong_address_is_refused_at_once(guest: Guest) -> None:
    """RFC 2131, section 4.3.2: a guest that was elsewhere must not wait until its lease ends."""
    (nak,) = guest.sends(request(guest, "request", ("requested_addr", "10.0.0.66")))
    assert (told(nak)["message-type"], nak.dst, nak.yiaddr) == (NAK, ALL, ANY)
    (nak,) = guest.sends(request(guest, "request", src="10.0.0.66", dst=DNS4))
    assert (told(nak)["message-type"], nak.dst) == (NAK, ALL)


def test_a_lease_is_renewed_where_the_guest_is(guest: Guest) -> None:
    (ack,) = guest.sends(request(guest, "request", src="10.0.0.5", dst=DNS4))
    assert (told(ack)["message-type"], ack.dst, ack.ciaddr) == (ACK, "10.0.0.5", "10.0.0.5")


def test_who_cannot_hear_unicast_is_answered_by_broadcast(guest: Guest) -> None:
    (offer,) = guest.sends(request(guest, "discover", flags=0x8000))
    assert offer.dst == ALL


def test_inform_brings_settings_and_no_lease(guest: Guest) -> None:
    (ack,) = guest.sends(request(guest, "inform", src="10.0.0.5", dst=DNS4))
    assert (told(ack)["message-type"], ack.yiaddr, ack.dst) == (ACK, ANY, "10.0.0.5")
    assert "lease_time" not in told(ack)


def test_rapid_commit_saves_a_round(guest: Guest) -> None:
    (ack,) = guest.sends(request(guest, "discover", ("rapid_commit", b"")))
    assert (told(ack)["message-type"], ack.yiaddr) == (ACK, "10.0.0.5")


def test_a_client_finds_its_identity_in_the_answer(guest: Guest) -> None:
    """RFC 6842."""
    (offer,) = guest.sends(request(guest, "discover", ("client_id", b"\xff1234567")))
    assert told(offer)["client_id"] == b"\xff1234567"


BOOT = Boot(next_server="10.9.9.9", bios="pxelinux.0", uefi="shim.efi", ipxe="http://10.9.9.9/boot.ipxe")


@pytest.mark.parametrize(
    ("options", "file"),
    [
        ((), b"pxelinux.0"),
        (((93, b"\0\0"),), b"pxelinux.0"),
        (((93, b"\0\7"),), b"shim.efi"),
        (((93, b"\0\x0b"),), b"shim.efi"),
        (((93, b"\0\7"), (77, b"iPXE")), b"http://10.9.9.9/boot.ipxe"),
        (((77, b"\4iPXE"),), b"http://10.9.9.9/boot.ipxe"),
        (((175, b"\xb1\5\1\x80\x86\x10\x0e"),), b"http://10.9.9.9/boot.ipxe"),
    ],
)
def test_a_network_boot_finds_its_file(options: tuple[tuple[int, bytes], ...], file: bytes) -> None:
    guest = Guest(port("10.0.0.5", boot=BOOT))
    (offer,) = guest.sends(request(guest, "discover", *options))
    assert offer.file.rstrip(b"\0") == file
    assert offer.siaddr == "10.9.9.9"
    assert (told(offer)["tftp_server_name"], told(offer)["boot-file-name"]) == (b"10.9.9.9", file)


@pytest.mark.parametrize(
    "changes",
    [
        {"chaddr": bytes.fromhex("fa163e000099")},
        {"giaddr": "10.0.0.1"},
        {"op": 2},
        {"hlen": 7},
        {"options": b"\1\2\3\4"},
    ],
)
def test_who_is_not_the_guest_is_not_answered(guest: Guest, changes: dict[str, object]) -> None:
    assert guest.sends(request(guest, "discover", **changes)) == []


def test_what_needs_no_answer_gets_none(guest: Guest) -> None:
    release = request(guest, "release", ("server_id", DNS4), src="10.0.0.5", dst=DNS4)
    decline = request(guest, "decline", ("server_id", DNS4), ("requested_addr", "10.0.0.5"))
    elsewhere = request(guest, "request", ("server_id", "10.0.0.1"), ("requested_addr", "10.0.0.5"))
    for packet in (release, decline, elsewhere, request(guest, "request"), request(guest, "offer")):
        assert guest.sends(packet) == []


def test_without_dhcp_there_is_silence() -> None:
    for addresses, subnets in (
        (("10.0.0.5",), (subnet("10.0.0.0/24", dhcp=False),)),
        (("fd01::5",), (subnet("fd01::/64"),)),
    ):
        guest = Guest(port(*addresses, subnets=subnets))
        assert guest.sends(request(guest, "discover")) == []


def test_a_sum_of_zero_is_none_at_all() -> None:
    """One transaction in 65,536 comes to it; all ones, which RFC 768 asks for, are not taken by BusyBox."""
    asked = {xid: request(Guest(port()), "discover", xid=xid) for xid in (0, 0xFFFF)}
    sums = {xid: Guest(port()).sends(asked[xid])[0][UDP].chksum for xid in asked}
    # The sum of the other words is the same: with this number there it comes to 0xFFFF, its complement to 0.
    missing = sums[0]
    (offer,) = Guest(port()).sends(request(Guest(port()), "discover", xid=missing))
    assert (offer[BOOTP].xid, offer[UDP].chksum) == (missing, 0)
