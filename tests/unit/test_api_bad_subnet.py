"""What is wrong with subnets is refused with field, value and what would be right; nothing is stored."""

from __future__ import annotations

import pytest

from tests.support.api import Api
from tests.support.requests import (
    Case,
    assert_refused,
    call,
    make_world,
    new_subnet,
    pool,
    update_subnet,
)

CASES: list[Case] = [
    (
        "overlap",
        new_subnet(cidr="10.0.0.128/25"),
        "subnet.cidr",
        "10.0.0.128/25",
        "does not overlap 10.0.0.0/24",
    ),
    (
        "overlap, wider",
        new_subnet(cidr="10.0.0.0/16"),
        "subnet.cidr",
        "10.0.0.0/16",
        "does not overlap 10.0.0.0/24",
    ),
    ("overlap, v6", new_subnet(cidr="2001:db8::/48"), "subnet.cidr", "2001:db8::/48", "does not overlap"),
    (
        "host bits",
        new_subnet(cidr="10.1.0.1/24"),
        "subnet.cidr",
        "10.1.0.1/24",
        "no host bits set: 10.1.0.0/24",
    ),
    (
        "netmask",
        new_subnet(cidr="10.1.0.0/255.255.255.0"),
        "subnet.cidr",
        "10.1.0.0/255.255.255.0",
        "10.1.0.0/24",
    ),
    ("no cidr", new_subnet(), "subnet.cidr", "", "such as 10.0.0.0/24"),
    ("no length", new_subnet(cidr="10.1.0.0"), "subnet.cidr", "10.1.0.0", "such as 10.0.0.0/24"),
    ("all of IPv4", new_subnet(cidr="0.0.0.0/0"), "subnet.cidr", "0.0.0.0/0", "at least 8"),
    ("multicast range", new_subnet(cidr="224.1.0.0/16"), "subnet.cidr", "224.1.0.0/16", "multicast"),
    ("loopback range", new_subnet(cidr="127.0.0.0/8"), "subnet.cidr", "127.0.0.0/8", "loopback"),
    ("link-local range", new_subnet(cidr="fe80::/64"), "subnet.cidr", "fe80::/64", "link-local"),
    ("IPv4-mapped range", new_subnet(cidr="::ffff:0:0/96"), "subnet.cidr", "::ffff:0:0/96", "IPv4-mapped"),
    ("zone", new_subnet(cidr="2001:db8:9::%eth0/64"), "subnet.cidr", "2001:db8:9::%eth0/64", "such as"),
    (
        "gateway in pool",
        new_subnet(
            cidr="10.1.0.0/24", gateway_ip="10.1.0.7", allocation_pools=[pool("10.1.0.5", "10.1.0.9")]
        ),
        "subnet.gateway_ip",
        "10.1.0.7",
        "outside the allocation pools",
    ),
    (
        "default gateway in pool",
        new_subnet(cidr="10.1.0.0/24", allocation_pools=[pool("10.1.0.1", "10.1.0.9")]),
        "subnet.gateway_ip",
        "10.1.0.1",
        "outside the allocation pools",
    ),
    (
        "gateway outside",
        new_subnet(cidr="10.1.0.0/24", gateway_ip="10.2.0.1"),
        "subnet.gateway_ip",
        "10.2.0.1",
        "10.1.0.1 to 10.1.0.254",
    ),
    (
        "gateway is broadcast",
        new_subnet(cidr="10.1.0.0/24", gateway_ip="10.1.0.255"),
        "subnet.gateway_ip",
        "10.1.0.255",
        "10.1.0.1 to 10.1.0.254",
    ),
    (
        "gateway of other family",
        new_subnet(cidr="10.1.0.0/24", gateway_ip="2001:db8::1"),
        "subnet.gateway_ip",
        "2001:db8::1",
        "10.1.0.1 to 10.1.0.254",
    ),
    (
        "gateway and none",
        new_subnet(cidr="10.1.0.0/24", gateway_ip="10.1.0.1", no_gateway=True),
        "subnet.gateway_ip",
        "10.1.0.1",
        "no_gateway",
    ),
    (
        "pool backwards",
        new_subnet(cidr="10.1.0.0/24", allocation_pools=[pool("10.1.0.9", "10.1.0.5")]),
        "subnet.allocation_pools[0]",
        "10.1.0.9-10.1.0.5",
        "swap",
    ),
    (
        "pool outside",
        new_subnet(cidr="10.1.0.0/24", allocation_pools=[pool("10.1.0.9", "10.1.1.5")]),
        "subnet.allocation_pools[0].end",
        "10.1.1.5",
        "10.1.0.1 to 10.1.0.254",
    ),
    (
        "pools overlap",
        new_subnet(
            cidr="10.1.0.0/24", allocation_pools=[pool("10.1.0.5", "10.1.0.9"), pool("10.1.0.9", "10.1.0.12")]
        ),
        "subnet.allocation_pools[1]",
        "10.1.0.9-10.1.0.12",
        "apart from allocation_pools[0]",
    ),
    (
        "pool of nothing",
        new_subnet(cidr="10.1.0.0/24", allocation_pools=[pool("", "")]),
        "subnet.allocation_pools[0].start",
        "",
        "such as 10.0.0.5",
    ),
    (
        "33 pools",
        new_subnet(cidr="10.1.0.0/24", allocation_pools=[pool("10.1.0.5", "10.1.0.5")] * 33),
        "subnet.allocation_pools",
        "33 pools",
        "at most 32",
    ),
    (
        "changed cidr",
        call("subnets", "UpdateSubnet", update_subnet("cidr", cidr="10.9.0.0/24")),
        "subnet.cidr",
        "10.9.0.0/24",
        "10.0.0.0/24",
    ),
    (
        "gateway to a port's address",
        call(
            "subnets",
            "UpdateSubnet",
            update_subnet(gateway_ip="10.0.0.5", allocation_pools=[pool("10.0.0.9", "10.0.0.99")]),
        ),
        "subnet.gateway_ip",
        "10.0.0.5",
        "not taken",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
async def test_wrong_fields(api: Api, case: Case) -> None:
    await make_world(api)
    await assert_refused(api, case)
