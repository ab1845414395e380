"""The wire form of routers: model <-> message. Pure. See codec.py."""

from __future__ import annotations

from cloison.addresses import format_mac, parse_mac
from cloison.codec_parts import meta_to_proto, parse_address, parse_range, parse_text
from cloison.model import Meta, Router, RouterGateway, RouterInterface, RouterRoute
from cloison.names import ExternalNetworkName, RouterName, SubnetName
from cloison.v1 import router_pb2


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
