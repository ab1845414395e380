"""The wire form of the way out: external networks, floating IPs, edges. Pure. See codec.py."""

from __future__ import annotations

from cloison.codec_parts import (
    meta_to_proto,
    parse_address,
    parse_number,
    parse_range,
)
from cloison.errors import InvalidIntent
from cloison.model import (
    MTU_LIMIT_MAX,
    MTU_LIMIT_MIN,
    VLAN_MAX,
    ExternalNetwork,
    ExternalSubnet,
    FloatingIp,
    Meta,
    Revision,
    RouterEdge,
)
from cloison.names import ExternalNetworkName, FloatingIpName, HostName, PortName, RouterName, TenantName
from cloison.v1 import external_network_pb2, floating_ip_pb2, record_pb2


def external_network_to_proto(network: ExternalNetwork) -> external_network_pb2.ExternalNetwork:
    """Return the message of an external network, without revision and etag."""
    message = external_network_pb2.ExternalNetwork(
        physical_network=network.physical_network,
        vlan=network.vlan,
        shared_with=map(str, network.shared_with),
        gateway_hosts=map(str, network.gateway_hosts),
        mtu=network.mtu,
    )
    for subnet in network.subnets:
        into = message.subnets.add(cidr=str(subnet.cidr))
        if subnet.gateway is not None:
            into.gateway_ip = str(subnet.gateway)
        for first, last in subnet.ranges:
            into.allocation_ranges.add(first=str(first), last=str(last))
    meta_to_proto(network.name, network.meta, message)
    return message


def external_network_from_proto(message: external_network_pb2.ExternalNetwork, meta: Meta) -> ExternalNetwork:
    """Return the external network of a complete message; raises InvalidIntent."""
    if not message.physical_network:
        raise InvalidIntent.of("physical_network", "", "the name of a physical network")
    return ExternalNetwork(
        name=ExternalNetworkName.parse(message.name),
        meta=meta,
        physical_network=message.physical_network,
        vlan=parse_number(message.vlan, "vlan", 0, VLAN_MAX),
        subnets=tuple(
            external_subnet_from_proto(one, f"subnets[{i}]") for i, one in enumerate(message.subnets)
        ),
        shared_with=tuple(TenantName.parse(text, "shared_with") for text in message.shared_with),
        gateway_hosts=tuple(HostName.parse(text, "gateway_hosts") for text in message.gateway_hosts),
        mtu=parse_number(message.mtu, "mtu", MTU_LIMIT_MIN, MTU_LIMIT_MAX),
    )


def external_subnet_from_proto(message: external_network_pb2.ExternalSubnet, field: str) -> ExternalSubnet:
    """Return what a message says of a range, the ranges as they are written; raises InvalidIntent."""
    return ExternalSubnet(
        cidr=parse_range(message.cidr, f"{field}.cidr"),
        gateway=parse_address(message.gateway_ip, f"{field}.gateway_ip") if message.gateway_ip else None,
        ranges=tuple(
            (
                parse_address(one.first, f"{field}.allocation_ranges[{i}].first"),
                parse_address(one.last, f"{field}.allocation_ranges[{i}].last"),
            )
            for i, one in enumerate(message.allocation_ranges)
        ),
    )


def floating_ip_to_proto(floating: FloatingIp) -> floating_ip_pb2.FloatingIp:
    """Return the message of a floating IP, without revision, etag and what is known of where it is."""
    message = floating_ip_pb2.FloatingIp(
        external_network=str(floating.external_network),
        ip_address=str(floating.address),
        ip_version=floating.address.version,
        port=str(floating.port or ""),
        fixed_ip=str(floating.fixed or ""),
        distributed=floating.distributed,
        router=str(floating.router or ""),
    )
    meta_to_proto(floating.name, floating.meta, message)
    return message


def floating_ip_from_proto(message: floating_ip_pb2.FloatingIp, meta: Meta) -> FloatingIp:
    """Return the floating IP of a complete message; raises InvalidIntent."""
    if len({bool(message.port), bool(message.fixed_ip), bool(message.router)}) > 1:
        raise InvalidIntent.of("fixed_ip", message.fixed_ip, "port, fixed_ip and router, or none of them")
    return FloatingIp(
        name=FloatingIpName.parse(message.name),
        meta=meta,
        external_network=ExternalNetworkName.parse(message.external_network, "external_network"),
        address=parse_address(message.ip_address, "ip_address"),
        port=PortName.parse(message.port, "port") if message.port else None,
        fixed=parse_address(message.fixed_ip, "fixed_ip") if message.fixed_ip else None,
        router=RouterName.parse(message.router, "router") if message.router else None,
        distributed=message.distributed,
    )


def edge_to_record(edge: RouterEdge) -> record_pb2.RouterEdgeRecord:
    """Return the record of an edge."""
    return record_pb2.RouterEdgeRecord(
        router=str(edge.router),
        host=str(edge.host or ""),
        port=str(edge.port),
        ip_addresses=map(str, edge.addresses),
    )


def edge_from_record(message: record_pb2.RouterEdgeRecord, mod_revision: int) -> RouterEdge:
    """Return the edge of a record; raises InvalidIntent."""
    return RouterEdge(
        router=RouterName.parse(message.router, "router"),
        host=HostName.parse(message.host, "host") if message.host else None,
        port=PortName.parse(message.port, "port"),
        addresses=tuple(parse_address(text, "ip_addresses") for text in message.ip_addresses),
        revision=Revision(mod_revision),
    )
