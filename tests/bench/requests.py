"""What our side is asked for, as the API takes it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cloison.v1 import network_pb2, plan_pb2, port_pb2, security_group_pb2, subnet_pb2, tenant_pb2
from tests.bench.layout import NETWORKS, TCP_OPEN, Guest

GROUP = "pg"
"""Of each tenant: all its ports are in it."""
Rule = security_group_pb2.SecurityGroupRule


def tenant_operations(tenant: int) -> Iterator[plan_pb2.Operation]:
    """A tenant with its networks and the group of all its ports; no ports yet."""
    name = f"tenants/t{tenant}"
    yield plan_pb2.Operation(create_tenant=tenant_pb2.CreateTenantRequest(tenant_id=f"t{tenant}"))
    for network in range(NETWORKS):
        create = network_pb2.CreateNetworkRequest(parent=name, network_id=f"n{network}")
        yield plan_pb2.Operation(create_network=create)
        prefix = f"10.{tenant & 255}.{network}"
        body = subnet_pb2.Subnet(cidr=f"{prefix}.0/24", gateway_ip=f"{prefix}.1")
        yield plan_pb2.Operation(
            create_subnet=subnet_pb2.CreateSubnetRequest(
                parent=f"{name}/networks/n{network}", subnet_id="v4", subnet=body
            )
        )
    yield plan_pb2.Operation(create_security_group=group_request(tenant, GROUP, []))
    rules = [
        Rule(direction=Rule.INGRESS, ether_type=Rule.IPV4, remote_group=f"{name}/securityGroups/{GROUP}"),
        *(open_rule(tcp) for tcp in TCP_OPEN),
        Rule(direction=Rule.EGRESS, ether_type=Rule.IPV4),
    ]
    yield plan_pb2.Operation(
        add_security_group_rules=security_group_pb2.AddSecurityGroupRulesRequest(
            name=f"{name}/securityGroups/{GROUP}", rules=rules
        )
    )


def group_request(
    tenant: int, group: str, rules: Sequence[Any]
) -> security_group_pb2.CreateSecurityGroupRequest:
    """A group of a tenant."""
    body = security_group_pb2.SecurityGroup(rules=rules)
    return security_group_pb2.CreateSecurityGroupRequest(
        parent=f"tenants/t{tenant}", security_group_id=group, security_group=body
    )


def port_request(guest: Guest, groups: Iterable[str], host: str) -> port_pb2.CreatePortRequest:
    """A guest's port, scheduled to a host."""
    tenant = f"tenants/t{guest.tenant}"
    body = port_pb2.Port(
        mac_address=guest.mac,
        fixed_ips=[port_pb2.FixedIp(ip_address=guest.address)],
        requested_hosts=[f"hosts/{host}"],
        iface_id=guest.id,
        security_groups=[f"{tenant}/securityGroups/{group}" for group in groups],
    )
    return port_pb2.CreatePortRequest(
        parent=f"{tenant}/networks/n{guest.network}", port_id=guest.id, port=body
    )


def own_rule(guest: Guest) -> security_group_pb2.SecurityGroupRule:
    """The rule that a guest has for itself."""
    return open_rule(guest.rule, "own", guest.tenant_range)


def open_rule(tcp: int, rule_id: str = "", source: str = "") -> security_group_pb2.SecurityGroupRule:
    """A rule that admits connections to a TCP port."""
    rule = Rule(id=rule_id, direction=Rule.INGRESS, ether_type=Rule.IPV4, remote_prefix=source)
    rule.protocol, rule.port_min, rule.port_max = "tcp", tcp, tcp
    return rule


def port_name(guest: Guest) -> str:
    """The resource name of a guest's port."""
    return f"tenants/t{guest.tenant}/networks/n{guest.network}/ports/{guest.id}"
