"""The wire forms of security groups, address groups and policy profiles. Pure. See codec.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from cloison.codec_parts import enum_names, meta_to_proto, parse_number, parse_range, parse_text
from cloison.errors import InvalidIntent
from cloison.model import (
    GROUP_NUMBER_MAX,
    PROFILE_FIRST,
    PROFILE_MAX,
    RULE_NUMBER_MAX,
    AddressGroup,
    Direction,
    EtherType,
    Meta,
    PolicyProfile,
    Revision,
    SecurityGroup,
    SecurityGroupRule,
)
from cloison.names import AddressGroupName, SecurityGroupName, TenantName
from cloison.protocols import EXPECTED, protocol_name, protocol_number
from cloison.v1 import address_group_pb2, record_pb2, security_group_pb2

PORT_MAX = 65535
ICMP_MAX = 255
_Rule = security_group_pb2.SecurityGroupRule

# Very many ports share few groups: one object for one name.
group_name: Callable[[str, str], SecurityGroupName] = lru_cache(maxsize=1 << 16)(SecurityGroupName.parse)


def security_group_to_proto(group: SecurityGroup) -> security_group_pb2.SecurityGroup:
    """Return the message of a group, without revision and etag."""
    message = security_group_pb2.SecurityGroup(number=group.number)
    message.rules.extend(rule_to_proto(rule) for rule in group.rules)
    meta_to_proto(group.name, group.meta, message)
    return message


def security_group_from_proto(message: security_group_pb2.SecurityGroup, meta: Meta) -> SecurityGroup:
    """Return the group of a complete message; raises InvalidIntent."""
    return SecurityGroup(
        name=SecurityGroupName.parse(message.name),
        meta=meta,
        number=parse_number(message.number, "number", 1, GROUP_NUMBER_MAX),
        rules=tuple(rule_from_proto(rule, f"rules[{i}]") for i, rule in enumerate(message.rules)),
    )


def rule_to_proto(rule: SecurityGroupRule) -> security_group_pb2.SecurityGroupRule:
    """Return the message of a rule."""
    return _Rule(
        id=rule.id,
        number=rule.number,
        direction=rule.direction.value,
        ether_type=rule.ether_type.value,
        protocol="" if rule.protocol is None else protocol_name(rule.protocol),
        port_min=rule.port_min or 0,
        port_max=rule.port_max or 0,
        icmp_type=rule.icmp_type,
        icmp_code=rule.icmp_code,
        remote_prefix=_text(rule.remote_prefix),
        remote_group=_text(rule.remote_group),
        remote_address_group=_text(rule.remote_address_group),
        description=rule.description,
    )


def rule_from_proto(message: security_group_pb2.SecurityGroupRule, field: str) -> SecurityGroupRule:
    """Return the rule of a complete message; raises InvalidIntent that names field and what is in it.

    Whether its parts go together is not looked at here (see api/).
    """

    def among(name: str, high: int) -> int | None:
        return (
            parse_number(getattr(message, name), f"{field}.{name}", 0, high)
            if message.HasField(name)
            else None
        )

    # No range is 0 and 0: a range that begins at 0 ends later.
    ports = bool(message.port_min or message.port_max)
    remote = message.remote_address_group
    return SecurityGroupRule(
        id=message.id,
        number=parse_number(message.number, f"{field}.number", 1, RULE_NUMBER_MAX),
        direction=Direction(_named(_Rule.Direction, message.direction, f"{field}.direction", zero=False)),
        ether_type=EtherType(_named(_Rule.EtherType, message.ether_type, f"{field}.ether_type", zero=True)),
        protocol=_protocol(message.protocol, f"{field}.protocol"),
        port_min=parse_number(message.port_min, f"{field}.port_min", 0, PORT_MAX) if ports else None,
        port_max=parse_number(message.port_max, f"{field}.port_max", 0, PORT_MAX) if ports else None,
        icmp_type=among("icmp_type", ICMP_MAX),
        icmp_code=among("icmp_code", ICMP_MAX),
        remote_prefix=parse_range(message.remote_prefix, f"{field}.remote_prefix")
        if message.remote_prefix
        else None,
        remote_group=group_name(message.remote_group, f"{field}.remote_group")
        if message.remote_group
        else None,
        remote_address_group=AddressGroupName.parse(remote, f"{field}.remote_address_group")
        if remote
        else None,
        description=message.description,
    )


def _text(value: object | None) -> str:
    return "" if value is None else str(value)


def _protocol(text: str, field: str) -> int | None:
    return parse_text(protocol_number, text, field, EXPECTED) if text else None


def _named(enum: Any, number: int, field: str, *, zero: bool) -> str:
    names = enum_names(enum, zero=zero)
    if number not in names:
        raise InvalidIntent.of(field, number, "one of " + ", ".join(names.values()))
    return names[number]


def address_group_to_proto(group: AddressGroup) -> address_group_pb2.AddressGroup:
    """Return the message of a group, without revision and etag."""
    message = address_group_pb2.AddressGroup(prefixes=[str(prefix) for prefix in group.prefixes])
    meta_to_proto(group.name, group.meta, message)
    return message


def address_group_from_proto(message: address_group_pb2.AddressGroup, meta: Meta) -> AddressGroup:
    """Return the group of a complete message; raises InvalidIntent."""
    prefixes = tuple(parse_range(text, f"prefixes[{i}]") for i, text in enumerate(message.prefixes))
    return AddressGroup(name=AddressGroupName.parse(message.name), meta=meta, prefixes=prefixes)


def profile_to_record(profile: PolicyProfile) -> record_pb2.PolicyProfileRecord:
    """Return the record of a policy profile."""
    groups = [str(group) for group in profile.groups]
    return record_pb2.PolicyProfileRecord(tenant=str(profile.tenant), number=profile.number, groups=groups)


def profile_from_record(message: record_pb2.PolicyProfileRecord, revision: int) -> PolicyProfile:
    """Return the policy profile of a record; raises InvalidIntent."""
    return PolicyProfile(
        tenant=TenantName.parse(message.tenant, "tenant"),
        number=parse_number(message.number, "number", PROFILE_FIRST, PROFILE_MAX),
        groups=tuple(group_name(group, "groups") for group in message.groups),
        revision=Revision(revision),
    )
