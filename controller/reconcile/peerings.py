"""A peering as policy sees it: the other side is one profile, in a group of its own. Pure.

Its egress rules are what the other side may open to us, its ingress rules what we may open to it: so a
connection between tenants is judged like any other, and a rule that names a group of ports never means it.
The addresses are seen to by the router, packet by packet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from cloison.model import (
    GROUP_NUMBER_MAX,
    AllowedService,
    Direction,
    EtherType,
    Meta,
    SecurityGroup,
    SecurityGroupRule,
)
from cloison.names import SecurityGroupName, TenantName
from cloison.protocols import ICMP, ICMPV6
from controller.store.peerings import Link, link_of
from controller.store.state import State

_FAMILY = {ICMP: EtherType.IPV4, ICMPV6: EtherType.IPV6}


def peer_groups(state: State, tenant: TenantName) -> Mapping[int, SecurityGroup]:
    """Return the group of each peering in effect of a tenant, by its number."""
    found = {}
    for peering in sorted(state.peerings_of(tenant), key=lambda p: p.name):
        link = link_of(state, peering)
        if isinstance(link, Link):
            found[peering.number] = _group(link)
    return found


def _group(link: Link) -> SecurityGroup:
    rules = [
        *_rules(Direction.EGRESS, link.own.services, 1),
        *_rules(Direction.INGRESS, link.peer.services, 1 + len(link.own.services)),
    ]
    # No group that somebody made has such a name, or such a number.
    name = SecurityGroupName(link.own.name.tenant, f"peering:{link.own.name.peering}")
    number = GROUP_NUMBER_MAX + link.own.number
    return SecurityGroup(name=name, meta=Meta(uid=""), number=number, rules=tuple(rules))


def _rules(
    direction: Direction, services: Iterable[AllowedService], first: int
) -> Iterator[SecurityGroupRule]:
    for number, service in enumerate(services, first):
        family = EtherType.ANY if service.protocol is None else _FAMILY.get(service.protocol, EtherType.ANY)
        yield SecurityGroupRule(
            id=f"service-{number}",
            number=number,
            direction=direction,
            ether_type=family,
            protocol=service.protocol,
            port_min=service.port_min,
            port_max=service.port_max,
        )
