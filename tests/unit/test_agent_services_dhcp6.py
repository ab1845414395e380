"""DHCPv6, spoken by scapy: addresses, confirmation, settings, network boot, and who is not answered."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from scapy.layers import dhcp6
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from agent.services.dhcp6 import SERVER_DUID
from agent.services.seams import Boot
from cloison.model import Ipv6Mode
from tests.support.guests import DNS6, LINK_LOCAL6, Guest, port, subnet

DUID = bytes.fromhex("00030001fa163e000005")
IAID = 0x01020304


@pytest.fixture
def guest() -> Guest:
    return Guest(port("fd01::5", "10.0.0.5"))


def message(
    guest: Guest, kind: type[Packet], *options: Packet, server: bytes | None = None, client: bool = True
) -> Packet:
    packet = IPv6(src=guest.link_local, dst="ff02::1:2") / UDP(sport=546, dport=547) / kind(trid=0xABCDEF)
    if client:
        packet /= dhcp6.DHCP6OptClientId(duid=dhcp6.DUID_LL(DUID))
    if server is not None:
        packet /= dhcp6.DHCP6OptServerId(duid=dhcp6.DUID_LL(server))
    for option in options:
        packet /= option
    return packet


def ia(*addresses: str, iaid: int = IAID) -> Packet:
    held = [dhcp6.DHCP6OptIAAddress(addr=address) for address in addresses]
    return dhcp6.DHCP6OptIA_NA(iaid=iaid, ianaopts=held)


def given(answer: Packet, index: int = 1) -> dict[str, int]:
    """Address -> valid lifetime in an identity association of an answer."""
    options = answer.getlayer(dhcp6.DHCP6OptIA_NA, index).ianaopts
    return {o.addr: o.validlft for o in options if isinstance(o, dhcp6.DHCP6OptIAAddress)}


def status(options: list[Packet]) -> int | None:
    return next((o.statuscode for o in options if isinstance(o, dhcp6.DHCP6OptStatusCode)), None)


def test_a_guest_gets_the_addresses_of_its_port(guest: Guest) -> None:
    (offer,) = guest.sends(message(guest, dhcp6.DHCP6_Solicit, ia()))
    assert (offer.src, offer.dst, offer.sport, offer.dport) == (LINK_LOCAL6, guest.link_local, 547, 546)
    assert dhcp6.DHCP6_Advertise in offer
    assert offer[dhcp6.DHCP6_Advertise].trid == 0xABCDEF
    assert bytes(offer[dhcp6.DHCP6OptClientId].duid) == DUID
    assert bytes(offer[dhcp6.DHCP6OptServerId].duid) == SERVER_DUID
    assert offer[dhcp6.DHCP6OptIA_NA].iaid == IAID
    assert list(given(offer)) == ["fd01::5"]
    (reply,) = guest.sends(message(guest, dhcp6.DHCP6_Request, ia("fd01::5"), server=SERVER_DUID))
    assert dhcp6.DHCP6_Reply in reply
    assert given(reply)["fd01::5"] > reply[dhcp6.DHCP6OptIA_NA].T2 > reply[dhcp6.DHCP6OptIA_NA].T1 > 0


def test_rapid_commit_saves_a_round(guest: Guest) -> None:
    (reply,) = guest.sends(message(guest, dhcp6.DHCP6_Solicit, dhcp6.DHCP6OptRapidCommit(), ia()))
    assert dhcp6.DHCP6_Reply in reply
    assert dhcp6.DHCP6OptRapidCommit in reply
    assert list(given(reply)) == ["fd01::5"]


def test_all_addresses_of_a_port_are_given_once() -> None:
    guest = Guest(port("fd01::5", "fd01::6"))
    (reply,) = guest.sends(message(guest, dhcp6.DHCP6_Solicit, ia(), ia(iaid=9)))
    assert sorted(given(reply)) == ["fd01::5", "fd01::6"]
    second = reply.getlayer(dhcp6.DHCP6OptIA_NA, 2)
    assert (second.iaid, status(second.ianaopts)) == (9, 2)


@pytest.mark.parametrize("kind", [dhcp6.DHCP6_Renew, dhcp6.DHCP6_Rebind])
def test_an_address_of_the_past_ends_at_renewal(guest: Guest, kind: type[Packet]) -> None:
    server = SERVER_DUID if kind is dhcp6.DHCP6_Renew else None
    (reply,) = guest.sends(message(guest, kind, ia("fd01::5", "fd01::66"), server=server))
    held = given(reply)
    assert held["fd01::66"] == 0 < held["fd01::5"]


@pytest.mark.parametrize(("address", "code"), [("fd01::5", 0), ("fd01::66", 4), ("fd02::5", 4)])
def test_a_guest_that_was_away_learns_whether_its_address_is_right(
    guest: Guest, address: str, code: int
) -> None:
    (reply,) = guest.sends(message(guest, dhcp6.DHCP6_Confirm, ia(address)))
    assert reply[dhcp6.DHCP6OptStatusCode].statuscode == code


@pytest.mark.parametrize("kind", [dhcp6.DHCP6_Release, dhcp6.DHCP6_Decline])
def test_what_is_given_back_is_acknowledged(guest: Guest, kind: type[Packet]) -> None:
    (reply,) = guest.sends(message(guest, kind, ia("fd01::5"), server=SERVER_DUID))
    assert reply[dhcp6.DHCP6OptStatusCode].statuscode == 0


def test_no_prefix_is_delegated(guest: Guest) -> None:
    (reply,) = guest.sends(message(guest, dhcp6.DHCP6_Solicit, dhcp6.DHCP6OptIA_PD(iaid=5)))
    assert status(reply[dhcp6.DHCP6OptIA_PD].iapdopt) == 6


def test_a_guest_is_told_what_it_needs() -> None:
    told = subnet(
        "fd01::/64",
        Ipv6Mode.STATELESS,
        dns_servers=(ip_address("fd01::53"), ip_address("10.0.0.53")),
        ntp_servers=(ip_address("fd01::123"),),
    )
    guest = Guest(port("fd01::f816:3eff:fe00:5", subnets=(told,)))
    wanted = dhcp6.DHCP6OptOptReq(reqopts=[23, 24, 56])
    (reply,) = guest.sends(message(guest, dhcp6.DHCP6_InfoRequest, wanted, client=False))
    assert reply[dhcp6.DHCP6OptDNSServers].dnsservers == ["fd01::53"]
    assert reply[dhcp6.DHCP6OptDNSDomains].dnsdomains == ["blue.acme.cloison.internal."]
    assert bytes.fromhex("0038001400010010") + ip_address("fd01::123").packed in bytes(reply)
    (offer,) = guest.sends(message(guest, dhcp6.DHCP6_Solicit, ia()))
    assert status(offer[dhcp6.DHCP6OptIA_NA].ianaopts) == 2, "it makes its address itself"


def test_the_local_resolver_is_told_where_there_is_no_other(guest: Guest) -> None:
    (reply,) = guest.sends(message(guest, dhcp6.DHCP6_Solicit, ia()))
    assert reply[dhcp6.DHCP6OptDNSServers].dnsservers == [DNS6]


BOOT = Boot(next_server="fd01::69", bios="pxelinux.0", uefi="shim.efi", ipxe="http://boot/boot.ipxe")


@pytest.mark.parametrize(
    ("architecture", "user_class", "url"),
    [
        (0, b"", b"tftp://[fd01::69]/pxelinux.0"),
        (7, b"", b"tftp://[fd01::69]/shim.efi"),
        (7, b"\0\4iPXE", b"http://boot/boot.ipxe"),
    ],
)
def test_a_network_boot_finds_its_file(architecture: int, user_class: bytes, url: bytes) -> None:
    guest = Guest(port("fd01::5", boot=BOOT))
    options = [
        dhcp6.DHCP6OptOptReq(reqopts=[59, 60]),
        dhcp6.DHCP6OptClientArchType(archtypes=[architecture]),
        Raw(b"\0\x0f" + len(user_class).to_bytes(2, "big") + user_class),
    ]
    (offer,) = guest.sends(message(guest, dhcp6.DHCP6_Solicit, ia(), *options))
    assert offer[dhcp6.DHCP6OptBootFileUrl].optdata == url


def test_who_may_not_ask_is_not_answered(guest: Guest) -> None:
    other = bytes.fromhex("00030001fa163e000099")
    for packet in (
        message(guest, dhcp6.DHCP6_Solicit, ia(), client=False),
        message(guest, dhcp6.DHCP6_Solicit, ia(), server=SERVER_DUID),
        message(guest, dhcp6.DHCP6_Request, ia()),
        message(guest, dhcp6.DHCP6_Request, ia(), server=other),
        message(guest, dhcp6.DHCP6_Renew, ia("fd01::5"), server=other),
        message(guest, dhcp6.DHCP6_Confirm),
        message(guest, dhcp6.DHCP6_Reply, ia("fd01::5")),
        message(guest, dhcp6.DHCP6_Solicit, Raw(b"\0\3\0\4\0\0\0\1")),
        message(guest, dhcp6.DHCP6_Solicit, Raw(b"\0\x08\0\xff")),
    ):
        assert guest.sends(packet) == []


def test_without_dhcp_there_is_silence() -> None:
    for addresses, subnets in (
        (("fd01::5",), (subnet("fd01::/64", dhcp=False),)),
        (("10.0.0.5",), (subnet("10.0.0.0/24"),)),
    ):
        guest = Guest(port(*addresses, subnets=subnets))
        assert guest.sends(message(guest, dhcp6.DHCP6_Solicit, ia())) == []
