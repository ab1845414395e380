"""External networks, gateways of routers and floating IPs of a lab: made by the API, and what guests see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

from google.protobuf.field_mask_pb2 import FieldMask

from cloison.v1 import external_network_pb2 as external_pb
from cloison.v1 import floating_ip_pb2 as floating_pb
from cloison.v1 import router_pb2, security_group_pb2
from tests.lab.spine import SETTLE_S, Site
from topologies.client import CALL_S
from topologies.outside import PHYSICAL_NETWORK
from topologies.wait import wait_until
from topologies.workload import Workload

EXTERNAL = "externalNetworks/inet"
CIDRS, NEAR = {4: "203.0.113.0/24", 6: "2001:db8::/64"}, {4: "203.0.113.1", 6: "2001:db8::1"}
INSIDE = {4: "10.0.0.1", 6: "fd00:10::1"}
CURL_S = 60


def add_external(cloud: Site, *hosts: str, tenants: Sequence[str] = ("red", "blue"), mtu: int = 0) -> None:
    """The network outside of the lab, with these gateway hosts."""
    body = external_pb.ExternalNetwork(
        physical_network=PHYSICAL_NETWORK,
        subnets=[
            external_pb.ExternalSubnet(
                cidr=CIDRS[version],
                gateway_ip=NEAR[version],
                allocation_ranges=[external_pb.AllocationRange(first=first, last=last)],
            )
            for version, first, last in (
                (4, "203.0.113.100", "203.0.113.199"),
                (6, "2001:db8::100", "2001:db8::1ff"),
            )
        ],
        shared_with=[f"tenants/{tenant}" for tenant in tenants],
        gateway_hosts=[f"hosts/{host}" for host in hosts],
        mtu=mtu,
    )
    request = external_pb.CreateExternalNetworkRequest(external_network_id="inet", external_network=body)
    cloud.client.external_networks.CreateExternalNetwork(request, timeout=CALL_S)


def add_router(cloud: Site, tenant: str, **gateway: Any) -> router_pb2.Router:
    """A router of web with a gateway, and the default routes of the guests of web."""
    subnets = [f"tenants/{tenant}/networks/web/subnets/{s}" for s in ("v4", "v6")]
    body = router_pb2.Router(
        interfaces=[router_pb2.RouterInterface(subnet=name) for name in subnets],
        gateway=router_pb2.RouterGateway(external_network=EXTERNAL, **gateway),
    )
    request = router_pb2.CreateRouterRequest(parent=f"tenants/{tenant}", router_id="r1", router=body)
    made: router_pb2.Router = cloud.client.routers.CreateRouter(request, timeout=CALL_S)
    for guest in cloud.tenant(tenant):
        guest.run(["ip", "route", "replace", "default", "via", INSIDE[4]], check=True)
        guest.run(["ip", "-6", "route", "replace", "default", "via", INSIDE[6]], check=True)
    return made


def change_gateway(cloud: Site, tenant: str, **fields: Any) -> None:
    """Give a router's gateway other settings, and wait until they are enforced."""
    body = router(cloud, tenant)
    for name, value in fields.items():
        setattr(body.gateway, name, value)
    body.etag = ""
    request = router_pb2.UpdateRouterRequest(router=body, update_mask=FieldMask(paths=["gateway"]))
    cloud.client.routers.UpdateRouter(request, timeout=CALL_S)
    enforced(cloud)


def router(cloud: Site, tenant: str) -> router_pb2.Router:
    request = router_pb2.GetRouterRequest(name=f"tenants/{tenant}/routers/r1")
    found: router_pb2.Router = cloud.client.routers.GetRouter(request, timeout=CALL_S)
    return found


def gateway_host(cloud: Site, tenant: str) -> str:
    """The host by which a router goes out, as the API says."""
    return str(router(cloud, tenant).gateway.host.removeprefix("hosts/"))


def add_floating(cloud: Site, short: str, version: int = 4, **fields: Any) -> floating_pb.FloatingIp:
    """A floating IP of a guest, once that is enforced."""
    tenant = short.partition("/")[0]
    body = floating_pb.FloatingIp(
        external_network=EXTERNAL, ip_version=version, port=cloud.ports[short].name, **fields
    )
    request = floating_pb.CreateFloatingIpRequest(
        parent=f"tenants/{tenant}", floating_ip_id=f"f-{uuid4().hex[:8]}", floating_ip=body
    )
    made: floating_pb.FloatingIp = cloud.client.floating_ips.CreateFloatingIp(request, timeout=CALL_S)
    enforced(cloud)
    return made


def move_floating(cloud: Site, name: str, short: str) -> None:
    """Let a floating IP stand for another guest."""
    body = floating_pb.FloatingIp(name=name, port=cloud.ports[short].name)
    request = floating_pb.UpdateFloatingIpRequest(
        floating_ip=body, update_mask=FieldMask(paths=["port", "fixed_ip"])
    )
    cloud.client.floating_ips.UpdateFloatingIp(request, timeout=CALL_S)


def drop_floating(cloud: Site, name: str) -> None:
    request = floating_pb.DeleteFloatingIpRequest(name=name)
    cloud.client.floating_ips.DeleteFloatingIp(request, timeout=CALL_S)


def let_in(cloud: Site, tenant: str) -> None:
    """Admit all from everywhere to the members of the default group."""
    rule = security_group_pb2.SecurityGroupRule(direction=security_group_pb2.SecurityGroupRule.INGRESS)
    group = f"tenants/{tenant}/securityGroups/default"
    request = security_group_pb2.AddSecurityGroupRulesRequest(name=group, rules=[rule])
    cloud.client.security_groups.AddSecurityGroupRules(request, timeout=CALL_S)


def enforced(cloud: Site) -> None:
    answer = cloud.client.wait_realized(timeout_s=int(SETTLE_S))
    assert answer.realized, list(answer.missing)


def out(cloud: Site, guest: Workload, version: int) -> bool:
    """Whether a guest reaches what is outside."""
    return guest.ping(cloud.lab.outside.far(version), timeout_s=1).ok


def until(check: Callable[[], bool], what: str, timeout_s: float = SETTLE_S) -> None:
    wait_until(check, timeout_s, what)


def fetched_bytes(guest: Workload, url: str) -> int:
    """How much curl gets, in bytes; 0 if it fails."""
    argv = ["curl", "-sS", "-m", str(CURL_S), "-o", "/dev/null", "-w", "%{size_download}", url]
    done = guest.run(argv, timeout_s=CURL_S + 5)
    return int(done.stdout) if done.returncode == 0 else 0
