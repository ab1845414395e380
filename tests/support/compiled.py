"""A small host for tests of the compiler: ports of a network, a policy, and what differs between tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from cloison.model import Direction, Meta, SecurityGroup, SecurityGroupRule, Vni
from cloison.names import PortName, SecurityGroupName, TenantName
from controller.compiler import HostUnitView, HostView, NetworkView, PolicyView, PortView, compile_host
from controller.flows import Flow

SERVICE, TUNNEL, ME, YOU, OTHER = 1, 2, 3, 4, 5
VNI, TENANT = Vni(5001), 1
MTU = 1450


def port(ofport: int, **told: Any) -> PortView:
    """The port with that ofport: its MAC and addresses end in it, its number is 70 more, its profile 13."""
    return PortView(
        **{
            "tenant_number": TENANT,
            "port_number": 70 + ofport,
            "vni": VNI,
            "ofport": ofport,
            "mac": 0x525400000000 | ofport,
            "addresses": (ip_address(f"10.0.0.{ofport}"), ip_address(f"2001:db8::{ofport}")),
            "profile": 13 + ofport,
            **told,
        }
    )


def network(**told: Any) -> NetworkView:
    """The network of these ports."""
    return NetworkView(
        **{
            "tenant_number": TENANT,
            "vni": VNI,
            "subnets": (ip_network("10.0.0.0/24"), ip_network("2001:db8::/64")),
            "tunnel_ofport": TUNNEL,
            **told,
        }
    )


def group_name(name: str) -> SecurityGroupName:
    return SecurityGroupName("acme", name)


def rule(direction: Direction, number: int = 1, **told: Any) -> SecurityGroupRule:
    return SecurityGroupRule(id=f"{direction}{number}", number=number, direction=direction, **told)


def policy(
    profiles: Mapping[int, Iterable[str]],
    groups: Mapping[str, Iterable[SecurityGroupRule]],
    tenant_number: int = TENANT,
    **told: Any,
) -> PolicyView:
    """A policy of groups of short names; a group's number is its place."""
    made = (
        SecurityGroup(name=group_name(name), meta=Meta(uid=""), number=n, rules=tuple(rules))
        for n, (name, rules) in enumerate(groups.items(), 1)
    )
    return PolicyView(
        tenant_number=tenant_number,
        profiles={number: tuple(map(group_name, names)) for number, names in profiles.items()},
        groups={group.name: group for group in made},
        **{"address_groups": {}, **told},
    )


def host_of(*ports: PortView, policies: Iterable[PolicyView] = (), **told: Any) -> HostView:
    """A host with these ports, their network and a service port."""
    return HostView(
        networks={VNI: network()},
        ports={PortName("acme", "n", f"p{p.ofport}"): p for p in ports},
        unit=HostUnitView(service_ofport=SERVICE, mtu=MTU),
        policies={TenantName(f"t{p.tenant_number}"): p for p in policies},
        **told,
    )


def flows_of(host: HostView) -> list[Flow]:
    return list(compile_host(host).values())
