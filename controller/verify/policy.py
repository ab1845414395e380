"""Security groups: what they are to the proof, and what they mean for one connection. To be believed.

A connection is judged by its original direction, as `seen` shows it in the ct_* fields: who opened it
(initiator), whom it goes to (responder), and the tuple it began with. It is allowed if a rule of the
initiator's lets it out and a rule of the responder's lets it in. Every packet of it, of both directions, and
the ICMP errors about it, are judged so; rules are never asked about a reply as such. Later fragments do not
show their datagram's ports, and are judged without: who gets them but not the first one has nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from cloison.addresses import IpNetwork
from cloison.model import PROFILE_FIRST as PROFILE_FIRST
from cloison.model import PROFILE_NONE as PROFILE_NONE
from cloison.model import PROFILE_OPEN as PROFILE_OPEN
from cloison.model import Direction, EtherType
from cloison.names import AddressGroupName, PeeringName, SecurityGroupName
from controller.verify.packet import ETH_IPV4, ETH_IPV6, FRAGMENT_LATER

PORT_BITS = 16
FAMILIES = {4: ETH_IPV4, 6: ETH_IPV6}
# The field of the remote's address: whom an initiator may go to, whom a responder may be reached by.
REMOTE_FIELDS = {
    (Direction.EGRESS, ETH_IPV4): "ct_nw_dst",
    (Direction.EGRESS, ETH_IPV6): "ct_ipv6_dst",
    (Direction.INGRESS, ETH_IPV4): "ct_nw_src",
    (Direction.INGRESS, ETH_IPV6): "ct_ipv6_src",
}


class Seen(Protocol):
    """A packet with its connection, as far as the meaning looks at it."""

    def has(self, name: str, value: int, mask: int = -1) -> bool:
        """Tell whether the field, under the mask, is value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleIntent:
    """A rule of a security group: of cloison.model.SecurityGroupRule, what matters here.

    id is what people call it by, and part of no judgement.
    """

    direction: Direction
    ether_type: EtherType = EtherType.ANY
    protocol: int | None = None
    port_min: int | None = None
    port_max: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    remote_prefix: IpNetwork | None = None
    remote_group: SecurityGroupName | None = None
    remote_address_group: AddressGroupName | None = None
    id: str = field(default="", compare=False)


GroupName = SecurityGroupName | PeeringName
"""Whose rules: a group of ports, or whoever is on the other side of a peering."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyIntent:
    """All policy of one tenant. profiles: the groups of each of its profiles (PROFILE_FIRST and above).

    number is the tenant's own. A group or address group that is named and not there is empty. The other side
    of a peering is one profile, of the peering alone: what it may open are egress rules, what may be opened
    to it ingress rules, and no rule names it.
    """

    number: int
    profiles: Mapping[int, tuple[GroupName, ...]] = field(default_factory=dict)
    groups: Mapping[GroupName, tuple[RuleIntent, ...]] = field(default_factory=dict)
    address_groups: Mapping[AddressGroupName, tuple[IpNetwork, ...]] = field(default_factory=dict)

    def rules_of(self, profile: int, direction: Direction) -> Iterator[RuleIntent]:
        """Yield the rules of one direction of all groups of a profile; none of one that is not there."""
        for group in self.profiles.get(profile, ()):
            for rule in self.groups.get(group, ()):
                if rule.direction is direction:
                    yield rule

    def members_of(self, group: GroupName) -> frozenset[int]:
        """Return the profiles that are in a group."""
        return frozenset(number for number, groups in self.profiles.items() if group in groups)


def allowed(policy: PolicyIntent, initiator: int, responder: int, seen: Seen) -> bool:
    """Tell whether a profile's ports may have this connection, opened by them, with those of another."""
    return lets_out(policy, initiator, responder, seen) and lets_in(policy, initiator, responder, seen)


def lets_out(policy: PolicyIntent, initiator: int, responder: int, seen: Seen) -> bool:
    """Tell whether some egress rule of the initiator's admits the connection."""
    if initiator == PROFILE_OPEN:
        return True
    return any(admits(policy, rule, responder, seen) for rule in policy.rules_of(initiator, Direction.EGRESS))


def lets_in(policy: PolicyIntent, initiator: int, responder: int, seen: Seen) -> bool:
    """Tell whether some ingress rule of the responder's admits the connection."""
    if responder == PROFILE_OPEN:
        return True
    return any(
        admits(policy, rule, initiator, seen) for rule in policy.rules_of(responder, Direction.INGRESS)
    )


def admits(policy: PolicyIntent, rule: RuleIntent, remote: int, seen: Seen) -> bool:
    """Tell whether one rule admits a connection with a remote of some profile."""
    if rule.remote_group is not None and remote not in policy.members_of(rule.remote_group):
        return False
    for family in families(rule):
        if seen.has("eth_type", family):
            there = remote_prefixes(policy, rule, family)
            name = REMOTE_FIELDS[rule.direction, family]
            near = there is None or any(seen.has(name, value, mask) for value, mask in there)
            return near and _of_protocol(rule, seen)
    return False


def families(rule: RuleIntent) -> tuple[int, ...]:
    """Return the ether types that a rule is about."""
    if rule.ether_type is EtherType.IPV4:
        return (ETH_IPV4,)
    return (ETH_IPV6,) if rule.ether_type is EtherType.IPV6 else (ETH_IPV4, ETH_IPV6)


def remote_prefixes(
    policy: PolicyIntent, rule: RuleIntent, family: int
) -> tuple[tuple[int, int], ...] | None:
    """Return (value, mask) of the addresses of one family that a rule names; None: it names none, so any."""
    if rule.remote_prefix is not None:
        named: Iterable[IpNetwork] = (rule.remote_prefix,)
    elif rule.remote_address_group is not None:
        named = policy.address_groups.get(rule.remote_address_group, ())
    else:
        return None
    return tuple(
        (int(prefix.network_address), int(prefix.netmask))
        for prefix in named
        if FAMILIES[prefix.version] == family
    )


def layer4(rule: RuleIntent) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the intervals of ct_tp_src and ct_tp_dst that a rule is about; of ICMP, of type and code."""
    everything = (0, (1 << PORT_BITS) - 1)
    if rule.icmp_type is not None:
        code = everything if rule.icmp_code is None else (rule.icmp_code, rule.icmp_code)
        return (rule.icmp_type, rule.icmp_type), code
    if rule.port_min is None and rule.port_max is None:
        return everything, everything
    low = 0 if rule.port_min is None else rule.port_min
    return everything, (low, everything[1] if rule.port_max is None else rule.port_max)


def _of_protocol(rule: RuleIntent, seen: Seen) -> bool:
    if rule.protocol is None:
        return True
    if not seen.has("ct_nw_proto", rule.protocol):
        return False
    sources, targets = layer4(rule)
    if seen.has("ip_frag", FRAGMENT_LATER, FRAGMENT_LATER):
        return True
    return _in("ct_tp_src", sources, seen) and _in("ct_tp_dst", targets, seen)


def _in(name: str, interval: tuple[int, int], seen: Seen) -> bool:
    return any(seen.has(name, value, mask) for value, mask in masks(*interval))


@lru_cache(maxsize=4096)
def masks(low: int, high: int) -> tuple[tuple[int, int], ...]:
    """Return (value, mask) pairs that together match exactly the ports low to high."""
    found = []
    while low <= high:
        size = low & -low or 1 << PORT_BITS
        while low + size - 1 > high:
            size >>= 1
        found.append((low, ((1 << PORT_BITS) - 1) & ~(size - 1)))
        low += size
    return tuple(found)
