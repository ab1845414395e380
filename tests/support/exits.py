"""Strategies for what routers go out by: external networks, floating IPs, edges, gateways.

Few names and identifiers, so that what is drawn meets; references may lead to nothing.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import strategies as st

from cloison.model import (
    ExternalNetwork,
    ExternalSubnet,
    FloatingIp,
    Meta,
    Router,
    RouterEdge,
    RouterGateway,
)
from cloison.names import (
    ExternalNetworkName,
    FloatingIpName,
    HostName,
    PortName,
    RouterName,
    TenantName,
)

TENANTS = [TenantName("a"), TenantName("b")]
EXTERNALS = [ExternalNetworkName("inet"), ExternalNetworkName("h1")]
HOSTS = [HostName("h1"), HostName("h2")]
ROUTERS = [RouterName(t.tenant, r) for t in TENANTS for r in "mn"]
FLOATING = [FloatingIpName(t.tenant, f) for t in TENANTS for f in "mn"]
PORTS = [PortName("a", "m", "p"), PortName("a", "m", "q"), PortName("b", "m", "p")]
ADDRESSES = [ip_address("192.0.2.7"), ip_address("192.0.2.8"), ip_address("2001:db8::7")]

metas = st.builds(Meta, uid=st.sampled_from(["u1", "u2"]), revision=st.integers(1, 3))
few_addresses = st.lists(st.sampled_from(ADDRESSES), max_size=2, unique=True).map(tuple)
subnets = st.sampled_from(
    [
        ExternalSubnet(ip_network("192.0.2.0/24"), ip_address("192.0.2.1")),
        ExternalSubnet(
            ip_network("2001:db8::/64"), None, ((ip_address("2001:db8::10"), ip_address("2001:db8::ff")),)
        ),
    ]
)
external_networks = st.builds(
    ExternalNetwork,
    name=st.sampled_from(EXTERNALS),
    meta=metas,
    physical_network=st.sampled_from(["physnet1", "physnet2"]),
    vlan=st.integers(0, 4094),
    subnets=st.lists(subnets, max_size=2, unique=True).map(tuple),
    shared_with=st.lists(st.sampled_from(TENANTS), max_size=2, unique=True).map(tuple),
    gateway_hosts=st.lists(st.sampled_from(HOSTS), max_size=2, unique=True).map(tuple),
    mtu=st.integers(1280, 9000),
)
_floating = {
    "name": st.sampled_from(FLOATING),
    "meta": metas,
    "external_network": st.sampled_from(EXTERNALS),
    "address": st.sampled_from(ADDRESSES),
    "distributed": st.booleans(),
}
floating_ips = st.builds(FloatingIp, **_floating) | st.builds(
    FloatingIp,
    **_floating,
    port=st.sampled_from(PORTS),
    fixed=st.sampled_from(ADDRESSES),
    router=st.sampled_from(ROUTERS),
)
gateways = st.builds(
    RouterGateway,
    external_network=st.sampled_from(EXTERNALS),
    addresses=few_addresses,
    snat=st.booleans(),
    distributed_snat=st.booleans(),
    routed_prefixes=st.sampled_from([(), (ip_network("10.0.0.0/24"),)]),
)
routers = st.builds(Router, name=st.sampled_from(ROUTERS), meta=metas, gateway=st.none() | gateways)
edges = st.builds(
    RouterEdge,
    router=st.sampled_from(ROUTERS),
    host=st.none() | st.sampled_from(HOSTS),
    port=st.sampled_from(PORTS),
    addresses=few_addresses,
    revision=st.integers(1, 3),
)
