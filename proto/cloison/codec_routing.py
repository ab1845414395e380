"""The wire forms of routers and peerings: models <-> messages. Pure. See codec.py."""

from __future__ import annotations

from cloison.addresses import format_mac, parse_mac
from cloison.codec_parts import meta_to_proto, parse_address, parse_number, parse_range, parse_text
from cloison.codec_policy import PORT_MAX
from cloison.model import (
    PROFILE_FIRST,
    PROFILE_MAX,
    AllowedService,
    Meta,
    Peering,
    Router,
    RouterGateway,
    RouterInterface,
    RouterRoute,
)
from cloison.names import ExternalNetworkName, PeeringName, RouterName, SubnetName
from cloison.protocols import EXPECTED, protocol_name, protocol_number
from cloison.v1 import peering_pb2, router_pb2


def router_to_proto(router: Router) -> router_pb2.Router:
    """Return the message of a router, without revision and etag."""
    message = router_pb2.Router(mac_address=format_mac(router.mac))
    for interface in router.interfaces:
        message.interfaces.add(subnet=str(interface.subnet), ip_address=str(interface.address))
    for route in router.routes:
        message.routes.add(destination=str(route.destination), next_hops=map(str, route.next_hops))
    if (gateway := router.gateway) is not None:
        message.gateway.CopyFrom(
            router_pb2.RouterGateway(
                external_network=str(gateway.external_network),
                ip_addresses=map(str, gateway.addresses),
                no_snat=not gateway.snat,
                distributed_snat=gateway.distributed_snat,
                routed_prefixes=map(str, gateway.routed_prefixes),
            )
        )
    meta_to_proto(router.name, router.meta, message)
    return message


def router_from_proto(message: router_pb2.Router, meta: Meta) -> Router:
    """Return the router of a complete message; raises InvalidIntent."""
    return Router(
        name=RouterName.parse(message.name),
        meta=meta,
        mac=parse_text(parse_mac, message.mac_address, "mac_address", "a MAC such as 52:54:00:12:34:56"),
        interfaces=tuple(
            RouterInterface(
                SubnetName.parse(interface.subnet, f"interfaces[{i}].subnet"),
                parse_address(interface.ip_address, f"interfaces[{i}].ip_address"),
            )
            for i, interface in enumerate(message.interfaces)
        ),
        routes=tuple(
            RouterRoute(
                parse_range(route.destination, f"routes[{i}].destination"),
                tuple(parse_address(text, f"routes[{i}].next_hops") for text in route.next_hops),
            )
            for i, route in enumerate(message.routes)
        ),
        gateway=_gateway_from_proto(message.gateway) if message.HasField("gateway") else None,
    )


def _gateway_from_proto(message: router_pb2.RouterGateway) -> RouterGateway:
    return RouterGateway(
        external_network=ExternalNetworkName.parse(message.external_network, "gateway.external_network"),
        addresses=tuple(parse_address(text, "gateway.ip_addresses") for text in message.ip_addresses),
        snat=not message.no_snat,
        distributed_snat=message.distributed_snat,
        routed_prefixes=tuple(
            parse_range(text, "gateway.routed_prefixes") for text in message.routed_prefixes
        ),
    )


def peering_to_proto(peering: Peering) -> peering_pb2.Peering:
    """Return the message of a peering, without revision, etag and status."""
    message = peering_pb2.Peering(
        router=str(peering.router),
        peer_router=str(peering.peer_router),
        prefixes=map(str, peering.prefixes),
        peer_prefixes=map(str, peering.peer_prefixes),
        services=map(service_to_proto, peering.services),
        number=peering.number,
    )
    meta_to_proto(peering.name, peering.meta, message)
    return message


def service_to_proto(service: AllowedService) -> peering_pb2.AllowedService:
    """Return the message of a kind of connections."""
    return peering_pb2.AllowedService(
        protocol="" if service.protocol is None else protocol_name(service.protocol),
        port_min=service.port_min or 0,
        port_max=service.port_max or 0,
    )


def peering_from_proto(message: peering_pb2.Peering, meta: Meta) -> Peering:
    """Return the peering of a complete message; raises InvalidIntent."""
    return Peering(
        name=PeeringName.parse(message.name),
        meta=meta,
        router=RouterName.parse(message.router, "router"),
        peer_router=RouterName.parse(message.peer_router, "peer_router"),
        number=parse_number(message.number, "number", PROFILE_FIRST, PROFILE_MAX),
        prefixes=tuple(parse_range(text, f"prefixes[{i}]") for i, text in enumerate(message.prefixes)),
        peer_prefixes=tuple(
            parse_range(text, f"peer_prefixes[{i}]") for i, text in enumerate(message.peer_prefixes)
        ),
        services=tuple(_service(service, f"services[{i}]") for i, service in enumerate(message.services)),
    )


def _service(message: peering_pb2.AllowedService, field: str) -> AllowedService:
    protocol = None
    if message.protocol:
        protocol = parse_text(protocol_number, message.protocol, f"{field}.protocol", EXPECTED)
    # No range is 0 and 0: a range that begins at 0 ends later.
    if not (message.port_min or message.port_max):
        return AllowedService(protocol)
    return AllowedService(
        protocol,
        parse_number(message.port_min, f"{field}.port_min", 0, PORT_MAX),
        parse_number(message.port_max, f"{field}.port_max", 0, PORT_MAX),
    )
