"""Short forms of requests about security groups, and a small world with some."""

from __future__ import annotations

from typing import Any

from cloison.model import PROFILE_NONE, PROFILE_OPEN
from cloison.v1 import address_group_pb2, security_group_pb2
from controller.store import ids, keys
from controller.store.state import State
from tests.support.api import Api
from tests.support.requests import Call, call, make_world

GROUPS = "tenants/acme/securityGroups"
ADDRESSES = "tenants/acme/addressGroups"
DEFAULT = f"{GROUPS}/default"
INGRESS, EGRESS = security_group_pb2.SecurityGroupRule.INGRESS, security_group_pb2.SecurityGroupRule.EGRESS
IPV4, IPV6 = security_group_pb2.SecurityGroupRule.IPV4, security_group_pb2.SecurityGroupRule.IPV6
Rule = security_group_pb2.SecurityGroupRule


def ingress(protocol: str = "", ports: int | tuple[int, int] = 0, **fields: Any) -> Rule:
    """A rule for connections that others open."""
    return _rule(INGRESS, protocol, ports, fields)


def egress(protocol: str = "", ports: int | tuple[int, int] = 0, **fields: Any) -> Rule:
    """A rule for connections that ports of the group open."""
    return _rule(EGRESS, protocol, ports, fields)


def _rule(direction: Any, protocol: str, ports: int | tuple[int, int], fields: dict[str, Any]) -> Rule:
    low, high = ports if isinstance(ports, tuple) else (ports, ports)
    return Rule(direction=direction, protocol=protocol, port_min=low, port_max=high, **fields)


def group(group_id: str, *rules: Rule, parent: str = "tenants/acme", **fields: Any) -> Any:
    """The request that makes a group."""
    return security_group_pb2.CreateSecurityGroupRequest(
        parent=parent,
        security_group_id=group_id,
        security_group=security_group_pb2.SecurityGroup(rules=rules, **fields),
    )


def update_group(group_id: str, *rules: Rule) -> Any:
    """The request that replaces a group's rules."""
    message = security_group_pb2.SecurityGroup(name=f"{GROUPS}/{group_id}", rules=rules)
    request = security_group_pb2.UpdateSecurityGroupRequest(security_group=message)
    request.update_mask.paths.append("rules")
    return request


def add(group_id: str, *rules: Rule, etag: str = "") -> Any:
    """The request that adds rules."""
    return security_group_pb2.AddSecurityGroupRulesRequest(
        name=f"{GROUPS}/{group_id}", rules=rules, etag=etag
    )


def remove(group_id: str, *rule_ids: str) -> Any:
    """The request that takes rules away."""
    return security_group_pb2.RemoveSecurityGroupRulesRequest(name=f"{GROUPS}/{group_id}", rule_ids=rule_ids)


def delete_group(group_id: str, tenant: str = "acme") -> Any:
    """The request that deletes a group."""
    return security_group_pb2.DeleteSecurityGroupRequest(name=f"tenants/{tenant}/securityGroups/{group_id}")


def addresses(group_id: str, *prefixes: str, parent: str = "tenants/acme") -> Any:
    """The request that makes an address group."""
    return address_group_pb2.CreateAddressGroupRequest(
        parent=parent,
        address_group_id=group_id,
        address_group=address_group_pb2.AddressGroup(prefixes=prefixes),
    )


def delete_addresses(group_id: str) -> Any:
    """The request that deletes an address group."""
    return address_group_pb2.DeleteAddressGroupRequest(name=f"{ADDRESSES}/{group_id}")


def new_group(*rules: Rule, group_id: str = "g2", **fields: Any) -> Call:
    """The call that makes a group."""
    return call("groups", "CreateSecurityGroup", group(group_id, *rules, **fields))


def new_addresses(*prefixes: str) -> Call:
    """The call that makes an address group."""
    return call("addresses", "CreateAddressGroup", addresses("a2", *prefixes))


async def make_groups(api: Api) -> None:
    """The small world, with a group and an address group."""
    await make_world(api)
    await api.addresses.CreateAddressGroup(addresses("office", "192.0.2.0/24", "2001:db8:f::/48"))
    await api.groups.CreateSecurityGroup(
        group(
            "web",
            ingress("tcp", 80),
            ingress("tcp", (8000, 8080), remote_address_group=f"{ADDRESSES}/office"),
        )
    )


def check_groups(state: State, refs: set[str]) -> None:
    """References, profiles and reserved identifiers are just what ports and rules make of them."""
    expected: set[str] = set()
    held: set[str] = set()
    for made in state.profiles.values():
        key = keys.ProfileKey(made.tenant, made.number)
        expected.update(keys.reference_key(name, key) for name in made.groups)
        held |= {ids.profile_number(made.number), ids.profile(made.tenant, made.groups)}
        assert all(name in state.security_groups for name in made.groups)
    for one in state.ports.values():
        expected.update(keys.reference_key(f.subnet, one.name) for f in one.fixed_ips)
        expected.update(keys.reference_key(host, one.name) for host in one.requested_hosts)
        if one.profile not in (PROFILE_NONE, PROFILE_OPEN):
            expected.add(keys.reference_key(keys.ProfileKey(one.name.parent.parent, one.profile), one.name))
            assert state.profiles[one.profile].groups == one.security_groups
    for found in state.security_groups.values():
        held.add(ids.group_number(found.number))
        for rule in found.rules:
            remote = rule.remote_group or rule.remote_address_group
            if remote is not None and str(remote) != str(found.name):
                expected.add(keys.reference_key(remote, found.name))
    assert refs == expected
    kinds = (ids.PROFILE_NUMBER_SCOPE, ids.GROUP_NUMBER_SCOPE, "profile/")
    assert {k for k, r in state.reservations.items() if k.startswith(kinds) and not r.released} == held
