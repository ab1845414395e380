"""Random operations on security groups and address groups, and ports in them."""

from __future__ import annotations

from random import Random
from typing import Any

from cloison.names import AddressGroupName, SecurityGroupName
from cloison.v1 import address_group_pb2, port_pb2
from cloison.v1 import security_group_pb2 as pb
from controller.store.state import State

MEMBERSHIP = ("security_groups", "no_security_groups", "no_port_security", "allowed_address_pairs")
PROTOCOLS = (("", 0, 0), ("tcp", 0, 0), ("tcp", 22, 22), ("tcp", 1, 1023), ("udp", 53, 60), ("gre", 0, 0))
PREFIXES = ("10.0.0.0/29", "10.0.0.8/29", "10.0.1.0/24", "2001:db8::/64", "0.0.0.0/0")


class GroupOperations:
    """Makes requests that have a fair chance on a state."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def _tenant(self, state: State) -> str:
        known = [name.tenant for name in state.tenants]
        return self.random.choice(known) if known else "t0"

    def next_group(self, state: State) -> Any:
        """Return the request of a single method about a security group."""
        rng, tenant = self.random, self._tenant(state)
        name = SecurityGroupName(tenant, rng.choice(("g0", "g1", "default")))
        old = state.security_groups.get(name)
        if old is None:
            message = pb.SecurityGroup(rules=self._rules(state, name))
            return pb.CreateSecurityGroupRequest(
                parent=str(name.parent), security_group_id=name.group, security_group=message
            )
        match rng.choice(("rules", "rules", "add", "remove", "delete")):
            case "rules":
                message = pb.SecurityGroup(name=str(name), rules=self._rules(state, name))
                request = pb.UpdateSecurityGroupRequest(security_group=message)
                request.update_mask.paths.append("rules")
                return request
            case "add":
                return pb.AddSecurityGroupRulesRequest(name=str(name), rules=self._rules(state, name)[:1])
            case "remove":
                ids = [rule.id for rule in old.rules] or ["none"]
                return pb.RemoveSecurityGroupRulesRequest(name=str(name), rule_ids=[rng.choice(ids)])
        return pb.DeleteSecurityGroupRequest(name=str(name))

    def _rules(self, state: State, name: SecurityGroupName) -> list[pb.SecurityGroupRule]:
        return [self._rule(state, name) for _ in range(self.random.randrange(4))]

    def _rule(self, state: State, name: SecurityGroupName) -> pb.SecurityGroupRule:
        rng = self.random
        rule = pb.SecurityGroupRule(
            direction=rng.choice((pb.SecurityGroupRule.INGRESS, pb.SecurityGroupRule.EGRESS))
        )
        rule.protocol, rule.port_min, rule.port_max = rng.choice(PROTOCOLS)
        if rng.random() < 0.1:
            rule.protocol, rule.port_min, rule.port_max = "icmp", 0, 0
            rule.icmp_type = 8
        match rng.choice(("anyone", "anyone", "prefix", "group", "addresses")):
            case "prefix":
                rule.remote_prefix = rng.choice(PREFIXES)
            case "group":
                known = [group.name for group in state.groups_of(name.parent)] or [name]
                rule.remote_group = str(rng.choice(known))
            case "addresses":
                rule.remote_address_group = f"{name.parent}/addressGroups/a0"
        return rule

    def next_addresses(self, state: State) -> Any:
        """Return the request of a single method about an address group."""
        rng = self.random
        name = AddressGroupName(self._tenant(state), "a0")
        prefixes = rng.sample(PREFIXES, rng.randrange(3))
        if name not in state.address_groups:
            message = address_group_pb2.AddressGroup(prefixes=prefixes)
            return address_group_pb2.CreateAddressGroupRequest(
                parent=str(name.parent), address_group_id="a0", address_group=message
            )
        if rng.random() < 0.3:
            return address_group_pb2.DeleteAddressGroupRequest(name=str(name))
        message = address_group_pb2.AddressGroup(name=str(name), prefixes=prefixes)
        request = address_group_pb2.UpdateAddressGroupRequest(address_group=message)
        request.update_mask.paths.append("prefixes")
        return request

    def fill_port(self, state: State, tenant: str, message: port_pb2.Port) -> None:
        """Put a port into some groups, or none, or take its security away."""
        rng = self.random
        known = sorted(str(name) for name in state.security_groups if name.tenant == tenant)
        kind = rng.random()
        if kind < 0.5 and known:
            message.security_groups.extend(rng.sample(known, rng.randrange(1, len(known) + 1)))
        elif kind < 0.6:
            message.no_security_groups = True
        elif kind < 0.65:
            message.no_port_security = True
            return
        if rng.random() < 0.15:
            message.allowed_address_pairs.add(prefix=rng.choice(("10.0.0.14", "10.0.1.128/25")))
