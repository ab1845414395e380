"""Flows that should not be."""

from __future__ import annotations

from controller.flows import Flow, Load, field, match
from tests.support.mutations.base import a_mac, a_vni, add, an_ofport

add(
    "allow-all-from-port",
    lambda s, h: Flow(
        table=0,
        priority=s.rng.choice((50, 100, 200)),
        match=match(in_port=an_ofport(s, h), eth_type=s.rng.choice((0x0800, 0x0806, 0x86DD)), vlan_vid=0),
        actions=(Load(field("reg0"), 0, 32, a_vni(s)), Load(field("reg3"), 0, 2, 1)),
        goto=10,
    ),
)
add(
    "admit-strangers",
    lambda s, h: Flow(
        table=0,
        priority=1,
        match=match(eth_src=a_mac(s), eth_type=0x0800),
        actions=(Load(field("reg0"), 0, 32, a_vni(s)), Load(field("reg3"), 0, 2, 1)),
        goto=10,
    ),
)
add(
    "cross-network",
    lambda s, h: Flow(
        table=20,
        priority=130,
        match=match(reg0=a_vni(s), eth_dst=a_mac(s)),
        actions=(Load(field("reg2"), 0, 16, an_ofport(s, h)),),
        goto=30,
    ),
)
add(
    "skip-guard", lambda s, h: Flow(table=5, priority=250, match=match(eth_type=0x86DD, ip_proto=58), goto=10)
)
add(
    "fragments-let-through",
    lambda s, h: Flow(
        table=5,
        priority=s.rng.choice((50, 250, 350)),
        match=match(eth_type=0x86DD, ip_proto=s.rng.choice((44, 58)), ip_frag=s.rng.choice(((1, 1), (0, 2)))),
        goto=10,
    ),
)
add(
    "change-network-later",
    lambda s, h: Flow(
        table=10,
        priority=500,
        match=match(reg0=a_vni(s), eth_type=0x0800, ipv4_dst=(0x0A000000, 0xFFFFFFF8)),
        actions=(Load(field("reg0"), 0, 32, a_vni(s)),),
        goto=20,
    ),
)
add(
    "drop-some",
    lambda s, h: Flow(table=s.rng.choice((0, 10, 20)), priority=900, match=match(eth_src=a_mac(s))),
)
add(
    "flow-nobody-meets",
    lambda s, h: Flow(table=s.rng.choice((6, 21, 40)), priority=5, match=match(), goto=50),
)
