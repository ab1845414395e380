"""Bad settings of subnets, networks and guests are refused with field, value and what would be right."""

from __future__ import annotations

import pytest

from tests.support.api import Api
from tests.support.requests import (
    LONG,
    Case,
    assert_refused,
    call,
    make_world,
    network,
    new_port,
    new_subnet,
    update_subnet,
)


def pairs(*prefixes: str, mac: str = "") -> dict:
    return {"allowed_address_pairs": [{"prefix": prefix, "mac_address": mac} for prefix in prefixes]}


def routes(*hops: tuple[str, str]) -> dict:
    return {"cidr": "10.3.0.0/24", "routes": [{"destination": d, "next_hop": h} for d, h in hops]}


def boot(**fields: str) -> dict:
    return {"dhcp_options": fields}


def mode(name: str, cidr: str = "2001:db8:9::/64") -> dict:
    return {"cidr": cidr, "ipv6_mode": name}


V4 = {"cidr": "10.3.0.0/24"}
PAIR = "port.allowed_address_pairs[0].prefix"
SUBNET_CASES: list[Case] = [
    (
        "name server of IPv6",
        new_subnet(**V4, dns_servers=["2001:db8::1"]),
        "subnet.dns_servers[0]",
        "2001",
        "IPv4",
    ),
    (
        "name server twice",
        new_subnet(**V4, dns_servers=["9.9.9.9"] * 2),
        "subnet.dns_servers[1]",
        "9.9",
        "once",
    ),
    (
        "group as server",
        new_subnet(**V4, ntp_servers=["224.0.1.1"]),
        "subnet.ntp_servers[0]",
        "224",
        "one machine",
    ),
    (
        "loopback as server",
        new_subnet(**V4, dns_servers=["127.0.0.53"]),
        "subnet.dns_servers[0]",
        "127",
        "loopback",
    ),
    (
        "nine servers",
        new_subnet(**V4, dns_servers=["9.9.9.9"] * 9),
        "subnet.dns_servers",
        "9 servers",
        "at most 8",
    ),
    (
        "101 routes",
        new_subnet(**routes(*((f"192.0.2.{n}/32", "10.3.0.9") for n in range(101)))),
        "subnet.routes",
        "101 routes",
        "at most 100",
    ),
    (
        "hop elsewhere",
        new_subnet(**routes(("192.0.2.0/24", "10.9.9.9"))),
        "subnet.routes[0].next_hop",
        "10.9",
        "10.3.0",
    ),
    (
        "host bits",
        new_subnet(**routes(("192.0.2.1/24", "10.3.0.9"))),
        "subnet.routes[0].destination",
        "192",
        "no host",
    ),
    (
        "way to all",
        new_subnet(**routes(("0.0.0.0/0", "10.3.0.9"))),
        "subnet.routes[0].destination",
        "0.0.",
        "gateway_ip",
    ),
    (
        "other family",
        new_subnet(**routes(("2001:db8::/64", "10.3.0.9"))),
        "subnet.routes[0].destination",
        "2001",
        "IPv4",
    ),
    (
        "way to a group",
        new_subnet(**routes(("224.0.0.0/4", "10.3.0.9"))),
        "subnet.routes[0].destination",
        "224",
        "multi",
    ),
    (
        "one way twice",
        new_subnet(**routes(("192.0.2.0/24", "10.3.0.9"), ("192.0.2.0/24", "10.3.0.8"))),
        "subnet.routes[1].destination",
        "192.0.2.0/24",
        "each destination once",
    ),
    (
        "mode of IPv4",
        new_subnet(**mode("SLAAC", "10.3.0.0/24")),
        "subnet.ipv6_mode",
        "SLAAC",
        "range is IPv4",
    ),
    (
        "SLAAC in a /65",
        new_subnet(**mode("SLAAC", "2001:db8:9::/65")),
        "subnet.ipv6_mode",
        "SLAAC",
        "STATEFUL, since",
    ),
    ("unknown mode", new_subnet(cidr="2001:db8:9::/64", ipv6_mode=9), "subnet.ipv6_mode", "9", "STATELESS"),
    (
        "other mode",
        call("subnets", "UpdateSubnet", update_subnet("ipv6_mode", ipv6_mode="SLAAC")),
        "subnet.ipv6_mode",
        "SLAAC",
        "can't be changed",
    ),
    (
        "gateway where services are",
        new_subnet(cidr="fd00:ec2::/64", gateway_ip="fd00:ec2::254"),
        "subnet.gateway_ip",
        "fd00:ec2::254",
        "local services",
    ),
    (
        "small MTU",
        call("networks", "CreateNetwork", network("n", mtu_limit=1279)),
        "network.mtu_limit",
        "1279",
        "1280",
    ),
    (
        "large MTU",
        call("networks", "CreateNetwork", network("n", mtu_limit=65536)),
        "network.mtu_limit",
        "6553",
        "65535",
    ),
    (
        "bad domain",
        call("networks", "CreateNetwork", network("n", dns_domain="a..b")),
        "network.dns_domain",
        "a..b",
        "dots",
    ),
    (
        "upper domain",
        call("networks", "CreateNetwork", network("n", dns_domain="A.b")),
        "network.dns_domain",
        "A.b",
        "a-z",
    ),
    (
        "long domain",
        call("networks", "CreateNetwork", network("n", dns_domain="a." * 99 + "b")),
        "network.dns_domain",
        "a.a",
        "180",
    ),
]
PORT_CASES: list[Case] = [
    ("everything", new_port(**pairs("0.0.0.0/0")), PAIR, "0.0.0.0/0", "at least 8"),
    ("half of everything", new_port(**pairs("128.0.0.0/1")), PAIR, "128.0.0.0/1", "at least 8"),
    ("everything in IPv6", new_port(**pairs("::/0")), PAIR, "::/0", "at least 16"),
    ("host bits", new_port(**pairs("10.0.0.1/24")), PAIR, "10.0.0.1/24", "no host bits set: 10.0.0.0/24"),
    ("no range", new_port(**pairs("")), PAIR, "", "a range such as"),
    ("metadata", new_port(**pairs("169.254.169.254")), PAIR, "169.254.169.254", "local services"),
    (
        "around metadata",
        new_port(**pairs("169.254.0.0/16")),
        PAIR,
        "169.254.0.0/16",
        "without 169.254.169.253",
    ),
    ("around IPv6 metadata", new_port(**pairs("fd00:ec2::/32")), PAIR, "fd00:ec2::/32", "local services"),
    ("services' link-local", new_port(**pairs("fe80::a9fe:a9fd")), PAIR, "fe80::a9fe:a9fd", "local services"),
    ("all link-local", new_port(**pairs("fe80::/64")), PAIR, "fe80::/64", "without fe80::a9fe:a9fd"),
    ("some link-local", new_port(**pairs("fe80::1:0/112")), PAIR, "fe80::1:0/112", "link-local"),
    ("a group", new_port(**pairs("224.0.0.0/8")), PAIR, "224.0.0.0/8", "multicast"),
    (
        "a pair twice",
        new_port(**pairs("10.0.0.9", "10.0.0.9/32")),
        "port.allowed_address_pairs[1]",
        "10.0.0.9",
        "once",
    ),
    (
        "17 pairs",
        new_port(**pairs(*(f"10.0.0.{n}" for n in range(17)))),
        "port.allowed_address_pairs",
        "17",
        "at most 16",
    ),
    *(
        (
            f"{kind} MAC",
            new_port(**pairs("10.0.0.9", mac=mac)),
            "port.allowed_address_pairs[0].mac_address",
            mac,
            right,
        )
        for kind, mac, right in (
            ("wire", "0a:f0:00:00:00:01", "wire MACs"),
            ("service", "0a:f3:00:00:00:01", "wire MACs"),
            ("profile", "0a:f4:00:00:00:01", "wire MACs"),
            ("multicast", "01:00:5e:00:00:01", "unicast"),
            ("zero", "00:00:00:00:00:00", "other than zero"),
            ("no", "00:00:5e", "a MAC such as"),
        )
    ),
    (
        "reserved MAC",
        new_port(mac_address="0a:f4:00:00:00:01"),
        "port.mac_address",
        "0a:f4:00:00:00:01",
        "wire MACs",
    ),
    ("dots in a name", new_port(dns_name="a.b"), "port.dns_name", "a.b", "one label"),
    ("upper name", new_port(dns_name="Web"), "port.dns_name", "Web", "a-z"),
    ("long name", new_port(dns_name=LONG), "port.dns_name", "aaa", "1 to 63"),
    (
        "newline in an id",
        new_port(device_id="a\r\nX-Tenant-ID: b"),
        "port.device_id",
        "a\\r\\nX-T",
        "1 to 128",
    ),
    ("blank in an owner", new_port(project_id="a b"), "port.project_id", "a b", "1 to 128"),
    (
        "server by name",
        new_port(**boot(next_server="tftp")),
        "port.dhcp_options.next_server",
        "tftp",
        "an IPv4",
    ),
    (
        "server in IPv6",
        new_port(**boot(next_server="2001:db8::1")),
        "port.dhcp_options.next_server",
        "2001",
        "an IPv4",
    ),
    (
        "long file",
        new_port(**boot(boot_file_bios="x" * 128)),
        "port.dhcp_options.boot_file_bios",
        "xxx",
        "at most 127",
    ),
    (
        "blank in a URL",
        new_port(**boot(boot_file_ipxe="http://a b")),
        "port.dhcp_options.boot_file_ipxe",
        "http",
        "blanks",
    ),
    (
        "file not in ASCII",
        new_port(**boot(boot_file_uefi="é")),
        "port.dhcp_options.boot_file_uefi",
        "é",
        "ASCII",
    ),
]


@pytest.fixture
async def world(api: Api) -> Api:
    await make_world(api)
    return api


@pytest.mark.parametrize("case", SUBNET_CASES, ids=[case[0] for case in SUBNET_CASES])
async def test_wrong_subnets_and_networks(world: Api, case: Case) -> None:
    await assert_refused(world, case)


@pytest.mark.parametrize("case", PORT_CASES, ids=[case[0] for case in PORT_CASES])
async def test_wrong_ports(world: Api, case: Case) -> None:
    await assert_refused(world, case)
