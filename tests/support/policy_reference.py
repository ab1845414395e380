"""What security groups mean, written from Neutron's description of them and from nothing of ours.

A connection is allowed if a rule of a group of its initiator lets it out and a rule of a group of its
responder lets it in. Rules only allow. A rule speaks of the connection as it was opened: of its protocol, its
destination port (of ICMP: its type and code), and of the other side. What belongs to an allowed connection is
allowed in both directions. A port that is in no group lets nothing out or in; one without port security
everything. A later fragment carries no ports, so nothing is asked about them.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from cloison.model import Direction, EtherType, SecurityGroupRule
from controller.compiler.view import PolicyView

OPEN = 1


class Connection(NamedTuple):
    """A connection as it was opened; port_src and port_dst are type and code of ICMP.

    fragment: the packet in question is a later fragment.
    """

    initiator: int
    responder: int
    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    protocol: int
    port_src: int
    port_dst: int
    fragment: bool = False


def allowed(policy: PolicyView, connection: Connection) -> bool:
    """Tell whether the policy lets the connection be."""
    out = _lets(policy, Direction.EGRESS, connection, connection.initiator, connection.responder)
    in_ = _lets(policy, Direction.INGRESS, connection, connection.responder, connection.initiator)
    return out and in_


def _lets(policy: PolicyView, direction: Direction, connection: Connection, mine: int, other: int) -> bool:
    if mine == OPEN:
        return True
    groups = [policy.groups[name] for name in policy.profiles.get(mine, ()) if name in policy.groups]
    return any(
        _fits(policy, rule, connection, other)
        for group in groups
        for rule in group.rules
        if rule.direction is direction
    )


def _fits(policy: PolicyView, rule: SecurityGroupRule, connection: Connection, other: int) -> bool:
    version = {EtherType.IPV4: 4, EtherType.IPV6: 6}.get(rule.ether_type)
    return (
        version in (None, connection.source.version)
        and rule.protocol in (None, connection.protocol)
        and (connection.fragment or _content_fits(rule, connection))
        and _remote_fits(policy, rule, connection, other)
    )


def _content_fits(rule: SecurityGroupRule, connection: Connection) -> bool:
    if rule.port_min is not None and rule.port_max is not None:
        return rule.port_min <= connection.port_dst <= rule.port_max
    if rule.icmp_type not in (None, connection.port_src):
        return False
    return rule.icmp_code in (None, connection.port_dst)


def _remote_fits(policy: PolicyView, rule: SecurityGroupRule, connection: Connection, other: int) -> bool:
    address = connection.destination if rule.direction is Direction.EGRESS else connection.source
    if rule.remote_prefix is not None:
        return address in rule.remote_prefix
    if rule.remote_group is not None:
        return rule.remote_group in policy.profiles.get(other, ())
    if rule.remote_address_group is not None:
        group = policy.address_groups.get(rule.remote_address_group)
        return group is not None and any(address in prefix for prefix in group.prefixes)
    return True
