"""The three dimensions of a rule, each a list of alternatives: the terms of a match.

A connection is admitted by the rule if it matches one alternative of each. An empty list: nobody, so the rule
admits nothing. One alternative without terms: the dimension does not matter. Alternatives that depend on the
family say so (eth_type), so that those of one dimension may serve both families.

Egress of group web, tcp 22 to 23, to group db; web is in profile 16, db in 17 and 18:
    subject  INITIATOR=16
    remote   RESPONDER=17 | RESPONDER=18
    traffic  ipv4, tcp, 22/0xfffe | ipv4, tcp, later fragment | the same of ipv6
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import NamedTuple

from cloison.addresses import IpNetwork
from cloison.model import AddressGroup, Direction, EtherType, SecurityGroupRule
from controller.compiler.headers import ETH_IPV4, ETH_IPV6, LATER_FRAGMENT, prefix
from controller.compiler.policy.ports import PORT_MAX, masked
from controller.compiler.registers import INITIATOR, RESPONDER, Register
from controller.flows import ct_state

Terms = Mapping[str, int | tuple[int, int]]

FAMILIES: dict[EtherType, tuple[int, ...]] = {
    EtherType.ANY: (ETH_IPV4, ETH_IPV6),
    EtherType.IPV4: (ETH_IPV4,),
    EtherType.IPV6: (ETH_IPV6,),
}
ANYTHING: tuple[Terms, ...] = ({},)


class Side(NamedTuple):
    """Where a direction's rules find their own port, the other, and the other's address."""

    subject: Register
    remote: Register
    addresses: dict[int, str]


SIDES: dict[Direction, Side] = {
    Direction.EGRESS: Side(INITIATOR, RESPONDER, {ETH_IPV4: "ct_nw_dst", ETH_IPV6: "ct_ipv6_dst"}),
    Direction.INGRESS: Side(RESPONDER, INITIATOR, {ETH_IPV4: "ct_nw_src", ETH_IPV6: "ct_ipv6_src"}),
}


class Dimensions(NamedTuple):
    """What a rule admits: subject and remote and traffic."""

    subject: tuple[Terms, ...]
    remote: tuple[Terms, ...]
    traffic: tuple[Terms, ...]


def dimensions(
    rule: SecurityGroupRule,
    subjects: tuple[int, ...],
    remotes: tuple[int, ...],
    addresses: AddressGroup | None,
) -> Dimensions:
    """Return the dimensions of a rule.

    subjects, remotes: the numbers, unique among all tenants, of the profiles that have the rule's own group,
    and the group that it names; addresses: the address group that it names, None if there is none.
    """
    side, (remote, traffic) = SIDES[rule.direction], _besides(rule, addresses)
    if remote is None:
        remote = _profiles(side.remote, remotes) if rule.remote_group is not None else ANYTHING
    return Dimensions(_profiles(side.subject, subjects), remote, traffic)


def _profiles(register: Register, numbers: tuple[int, ...]) -> tuple[Terms, ...]:
    return tuple([_profile(register, number) for number in numbers])


@lru_cache(maxsize=1 << 14)
def _profile(register: Register, number: int) -> Terms:
    return register.equals(number)


# Profiles come and go; what a rule says besides stays.
@lru_cache(maxsize=1 << 12)
def _besides(
    rule: SecurityGroupRule, addresses: AddressGroup | None
) -> tuple[tuple[Terms, ...] | None, tuple[Terms, ...]]:
    """Return the remote, None if no addresses say who that is, and the traffic."""
    side, families = SIDES[rule.direction], FAMILIES[rule.ether_type]
    ranges = _ranges(rule, addresses)
    if ranges is None:
        return None, _traffic(rule, families, told_by_remote=False)
    by_family = {f: ranges[f] for f in families if ranges[f]}
    remote = tuple(_addresses(by_family, side.addresses))
    return remote, _traffic(rule, tuple(by_family), told_by_remote=True)


def _ranges(rule: SecurityGroupRule, addresses: AddressGroup | None) -> dict[int, list[IpNetwork]] | None:
    """The fewest ranges of the remote addresses by family; None if the rule does not say any."""
    named: Iterable[IpNetwork]
    if rule.remote_prefix is not None:
        named = (rule.remote_prefix,)
    elif rule.remote_address_group is not None:
        named = addresses.prefixes if addresses is not None else ()
    else:
        return None
    return {
        ETH_IPV4: [*collapse_addresses(n for n in named if isinstance(n, IPv4Network))],
        ETH_IPV6: [*collapse_addresses(n for n in named if isinstance(n, IPv6Network))],
    }


def _addresses(ranges: Mapping[int, Iterable[IpNetwork]], fields: Mapping[int, str]) -> Iterator[Terms]:
    for family, networks in ranges.items():
        for network in networks:
            if network.prefixlen:
                yield _connection(family) | {fields[family]: prefix(network)}
            else:
                yield {"eth_type": family}


def _traffic(
    rule: SecurityGroupRule, families: tuple[int, ...], *, told_by_remote: bool
) -> tuple[Terms, ...]:
    """Family, protocol and ports; the family alone only if it matters and no address has told it."""
    if rule.protocol is not None:
        contents = [*_contents(rule)]
        return tuple(
            {**_connection(family), "ct_nw_proto": rule.protocol, **content}
            for family in families
            for content in contents
        )
    if told_by_remote or len(families) == len(FAMILIES[EtherType.ANY]):
        return ANYTHING
    return tuple({"eth_type": family} for family in families)


def _contents(rule: SecurityGroupRule) -> Iterator[Terms]:
    """Ports, or type and code of ICMP, which the tracker keeps as ports (ovs-fields(7), ct_tp_src).

    A later fragment has none, and comes out of the tracker without those of its datagram: it is judged
    without them. What its first fragment says is judged exactly, and nobody can put it together without that.
    """
    said: list[Terms] = [{}]
    if rule.port_min is not None and rule.port_max is not None:
        said = [{"ct_tp_dst": pair} if pair[1] else {} for pair in masked(rule.port_min, rule.port_max)]
    elif rule.icmp_type is not None:
        code = {} if rule.icmp_code is None else {"ct_tp_dst": _exactly(rule.icmp_code)}
        said = [{"ct_tp_src": _exactly(rule.icmp_type), **code}]
    yield from said
    if all(said):
        yield {"ip_frag": LATER_FRAGMENT}


def _exactly(value: int) -> tuple[int, int]:
    return value, PORT_MAX


def _connection(family: int) -> dict[str, int | tuple[int, int]]:
    """What must be matched before any field of the connection's tuple is looked at."""
    return {"eth_type": family, "ct_state": ct_state("+trk-inv")}
