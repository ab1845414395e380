"""Security groups and address groups of a tenant, as tests say them."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.field_mask_pb2 import FieldMask

from cloison.v1 import address_group_pb2, security_group_pb2
from tests.lab.spine import SETTLE_S, Site
from topologies.client import CALL_S

Rule = security_group_pb2.SecurityGroupRule
FAMILIES = {0: Rule.ETHER_TYPE_UNSPECIFIED, 4: Rule.IPV4, 6: Rule.IPV6}


def rule(
    direction: str = "ingress",
    version: int = 0,
    *,
    protocol: str = "",
    ports: tuple[int, int] = (0, 0),
    icmp: tuple[int, int | None] | None = None,
    prefix: str = "",
    group: str = "",
    addresses: str = "",
    id: str = "",
) -> security_group_pb2.SecurityGroupRule:
    """A rule; `group` and `addresses` are full names, `icmp` type and code."""
    made = Rule(
        id=id,
        direction=Rule.INGRESS if direction == "ingress" else Rule.EGRESS,
        ether_type=FAMILIES[version],
        protocol=protocol,
        port_min=ports[0],
        port_max=ports[1],
        remote_prefix=prefix,
        remote_group=group,
        remote_address_group=addresses,
    )
    if icmp is not None:
        made.icmp_type = icmp[0]
        if icmp[1] is not None:
            made.icmp_code = icmp[1]
    return made


def both(direction: str = "ingress", **what: object) -> list[security_group_pb2.SecurityGroupRule]:
    """A rule for each family."""
    return [rule(direction, version, **what) for version in (4, 6)]  # type: ignore[arg-type]


class Policies:
    """The groups of one tenant."""

    def __init__(self, site: Site, tenant: str) -> None:
        self.site, self.parent = site, f"tenants/{tenant}"

    def name(self, group: str) -> str:
        """The full name of a security group."""
        return f"{self.parent}/securityGroups/{group}"

    def addresses_name(self, group: str) -> str:
        """The full name of an address group."""
        return f"{self.parent}/addressGroups/{group}"

    def group(self, group: str, *rules: security_group_pb2.SecurityGroupRule) -> str:
        """Create a security group; its name."""
        request = security_group_pb2.CreateSecurityGroupRequest(
            parent=self.parent,
            security_group_id=group,
            security_group=security_group_pb2.SecurityGroup(rules=rules),
        )
        return str(self.site.client.security_groups.CreateSecurityGroup(request, timeout=CALL_S).name)

    def add(self, group: str, *rules: security_group_pb2.SecurityGroupRule) -> None:
        """Add rules to a group."""
        request = security_group_pb2.AddSecurityGroupRulesRequest(name=self.name(group), rules=rules)
        self.site.client.security_groups.AddSecurityGroupRules(request, timeout=CALL_S)

    def remove(self, group: str, *ids: str) -> None:
        """Take rules out of a group, by their ids."""
        request = security_group_pb2.RemoveSecurityGroupRulesRequest(name=self.name(group), rule_ids=ids)
        self.site.client.security_groups.RemoveSecurityGroupRules(request, timeout=CALL_S)

    def delete(self, group: str) -> None:
        """Delete a security group."""
        request = security_group_pb2.DeleteSecurityGroupRequest(name=self.name(group))
        self.site.client.security_groups.DeleteSecurityGroup(request, timeout=CALL_S)

    def addresses(self, group: str, *prefixes: str) -> str:
        """Create an address group; its name."""
        request = address_group_pb2.CreateAddressGroupRequest(
            parent=self.parent,
            address_group_id=group,
            address_group=address_group_pb2.AddressGroup(prefixes=prefixes),
        )
        return str(self.site.client.address_groups.CreateAddressGroup(request, timeout=CALL_S).name)

    def change_addresses(self, group: str, *prefixes: str) -> None:
        """Replace the prefixes of an address group."""
        body = address_group_pb2.AddressGroup(name=self.addresses_name(group), prefixes=prefixes)
        request = address_group_pb2.UpdateAddressGroupRequest(
            address_group=body, update_mask=FieldMask(paths=["prefixes"])
        )
        self.site.client.address_groups.UpdateAddressGroup(request, timeout=CALL_S)

    def put(self, port: str, groups: Sequence[str]) -> None:
        """Put a port (by its full name) into groups of the tenant, and no others."""
        self.site.update_port(port, security_groups=[self.name(g) for g in groups])

    def enforced(self, timeout_s: int = int(SETTLE_S)) -> None:
        """Return when everything said so far is enforced everywhere."""
        answer = self.site.client.wait_realized(timeout_s=timeout_s)
        assert answer.realized, list(answer.missing)
