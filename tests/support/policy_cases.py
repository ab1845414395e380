"""Random policies and the connections that find their edges, as Hypothesis strategies.

And how such a connection looks to the switch.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from hypothesis import strategies as st

from cloison.addresses import IpNetwork
from cloison.model import (
    PROFILE_NONE,
    PROFILE_OPEN,
    AddressGroup,
    Direction,
    EtherType,
    Meta,
    SecurityGroup,
    SecurityGroupRule,
)
from cloison.names import AddressGroupName, SecurityGroupName
from controller.compiler.view import PolicyView
from controller.flows import CT_STATE
from tests.support.policy_reference import Connection

TENANT = "acme"
GROUPS = [SecurityGroupName(TENANT, f"g{n}") for n in range(4)]
ADDRESS_GROUPS = [AddressGroupName(TENANT, f"a{n}") for n in range(3)]
PROFILES = [16, 17, 18, 0x20011, 0xFFFFFF]
PREFIXES4 = [ip_network(n) for n in ("0.0.0.0/0", "10.0.0.0/24", "10.0.0.128/25", "10.0.0.6/32", "0.0.0.0/1")]
PREFIXES6 = [ip_network(n) for n in ("::/0", "2001:db8::/64", "2001:db8::6/128", "8000::/1", "fe80::/10")]
ADDRESSES4 = [ip_address(a) for a in ("10.0.0.6", "10.0.0.7", "10.0.0.200", "10.0.1.6", "192.0.2.1")]
ADDRESSES6 = [ip_address(a) for a in ("2001:db8::6", "2001:db8::7", "2001:db9::6", "fe80::6", "9000::1")]
PORTS = [1, 21, 22, 23, 24, 1023, 1024, 4096, 32767, 32768, 65534, 65535]
ICMP, TCP, UDP, GRE, ICMP6 = 1, 6, 17, 47, 58
PROTOCOLS = [ICMP, TCP, UDP, GRE, ICMP6]
TYPES = [0, 3, 8, 128]
CODES = [0, 1, 4]

prefixes: st.SearchStrategy[IpNetwork] = st.sampled_from([*PREFIXES4, *PREFIXES6])


@st.composite
def rules(draw: st.DrawFn, number: int) -> SecurityGroupRule:
    """Any rule, also one that names what is not there."""
    told: dict[str, Any] = {"protocol": draw(st.sampled_from([None, TCP, TCP, UDP, ICMP, ICMP6, GRE]))}
    if told["protocol"] in (TCP, UDP) and draw(st.booleans()):
        told["port_min"], told["port_max"] = sorted(draw(st.tuples(*[st.sampled_from(PORTS)] * 2)))
    if told["protocol"] in (ICMP, ICMP6) and draw(st.booleans()):
        told["icmp_type"] = draw(st.sampled_from(TYPES))
        told["icmp_code"] = draw(st.sampled_from([None, *CODES]))
    remotes = ["none", "remote_prefix", "remote_group", "remote_group", "remote_address_group"]
    remote = draw(st.sampled_from(remotes))
    if remote == "remote_prefix":
        told[remote] = draw(prefixes)
    elif remote != "none":
        told[remote] = draw(st.sampled_from(GROUPS if remote == "remote_group" else ADDRESS_GROUPS))
    return SecurityGroupRule(
        id=f"r{number}",
        number=number,
        direction=draw(st.sampled_from(Direction)),
        ether_type=draw(st.sampled_from(EtherType)),
        **told,
    )


@st.composite
def policies(draw: st.DrawFn, tenant_number: int = 1) -> PolicyView:
    """Any policy: groups whose numbers share their low bits, profiles that name groups that are gone."""
    groups = {}
    for n, name in enumerate(draw(st.lists(st.sampled_from(GROUPS), unique=True, min_size=2))):
        made = tuple(draw(rules(number)) for number in range(1, 1 + draw(st.integers(1, 6))))
        number = (n + 1) << 20 | draw(st.integers(0, 1))
        groups[name] = SecurityGroup(name=name, meta=Meta(uid=""), number=number, rules=made)
    named = draw(st.lists(st.sampled_from(ADDRESS_GROUPS), unique=True))
    address_groups = {
        name: AddressGroup(
            name=name, meta=Meta(uid=""), prefixes=tuple(draw(st.lists(prefixes, unique=True, max_size=4)))
        )
        for name in named
    }
    numbers = draw(st.lists(st.sampled_from(PROFILES), unique=True, min_size=3))
    sets = st.lists(st.sampled_from(GROUPS), unique=True, min_size=1, max_size=3).map(
        lambda s: tuple(sorted(s))
    )
    return PolicyView(
        tenant_number=tenant_number,
        profiles={number: draw(sets) for number in numbers},
        groups=groups,
        address_groups=address_groups,
    )


@st.composite
def connections(draw: st.DrawFn) -> Connection:
    """A connection between any two profiles."""
    profile = st.sampled_from([*PROFILES, *PROFILES, PROFILE_OPEN, PROFILE_NONE])
    address: st.SearchStrategy[IPv4Address | IPv6Address] = st.sampled_from(
        draw(st.sampled_from([ADDRESSES4, ADDRESSES6]))
    )
    protocol = draw(st.sampled_from(PROTOCOLS))
    ports = st.sampled_from(PORTS), st.sampled_from(PORTS)
    if protocol in (ICMP, ICMP6):
        ports = st.sampled_from(TYPES), st.sampled_from(CODES)
    elif protocol == GRE:
        ports = st.just(0), st.just(0)
    fragment = draw(st.integers(0, 7)) == 0
    return Connection(
        draw(profile), draw(profile), draw(address), draw(address), protocol, *map(draw, ports), fragment
    )


def fields(connection: Connection) -> dict[str, int]:
    """A connection's original tuple as the tracker shows it; a later fragment shows no ports."""
    family = 4 if connection.source.version == 4 else 6
    names = ("ct_nw_src", "ct_nw_dst") if family == 4 else ("ct_ipv6_src", "ct_ipv6_dst")
    tuple_ = dict(zip(names, (int(connection.source), int(connection.destination)), strict=True))
    if connection.fragment:
        tuple_ |= {"ip_frag": 3}
    else:
        tuple_ |= {"ct_tp_src": connection.port_src, "ct_tp_dst": connection.port_dst}
    return {"eth_type": 0x0800 if family == 4 else 0x86DD, "ct_nw_proto": connection.protocol, **tuple_}


def packet(connection: Connection, *, reply: bool, tenant_number: int = 1) -> dict[str, int]:
    """A packet of the connection as it comes to DIRECTION."""
    ends = (connection.initiator, connection.responder)
    sender, receiver = reversed(ends) if reply else ends
    state = CT_STATE["trk"] | (CT_STATE["est"] | CT_STATE["rpl"] if reply else CT_STATE["new"])
    return {"reg4": sender, "reg5": receiver, "reg8": tenant_number, "ct_state": state, **fields(connection)}
