"""A router's interfaces and routes in YAML documents, one line of text each."""

from __future__ import annotations

from typing import Any

from cloison.addresses import ROUTER_MAC, format_mac
from controller.cli.manifest_outside import is_transit
from controller.cli.manifest_values import Wrong, texts_of
from controller.cli.names import tenant_of


def interfaces(message: Any, value: Any, network: str) -> None:
    """Set the interfaces from texts such as `web/v4` and `web/v4 10.0.0.9`; raises Wrong."""
    tenant = tenant_of(network)
    for index, text in enumerate(texts_of(value, "interfaces")):
        subnet, _, address = text.partition(" ")
        of, slash, short = subnet.partition("/")
        if not (of and slash and short) or "/" in short:
            expected = f"NETWORK/SUBNET or NETWORK/SUBNET ADDRESS such as web/v4 10.0.0.9, not {text!r}"
            raise Wrong(f"interfaces[{index}]", expected)
        name = f"{tenant}/networks/{of}/subnets/{short}"
        message.interfaces.add(subnet=name, ip_address=address.strip())


def routes(message: Any, value: Any, network: str) -> None:
    """Set the routes from texts such as `192.0.2.0/24 via 10.0.0.7`; raises Wrong."""
    for index, text in enumerate(texts_of(value, "routes")):
        destination, via, hops = text.partition(" via ")
        if not via:
            expected = f"RANGE via ADDRESS such as 192.0.2.0/24 via 10.0.0.7, not {text!r}"
            raise Wrong(f"routes[{index}]", expected)
        message.routes.add(destination=destination.strip(), next_hops=[h.strip() for h in hops.split(",")])


def router_field(path: str) -> str:
    """Return what a part of an interface or route is called: the line it is in."""
    return f"{path.partition(']')[0]}]"


def router_document(message: Any) -> dict[str, Any]:
    """Return what is said of a router; the common MAC is left out."""
    document: dict[str, Any] = {}
    if message.mac_address != format_mac(ROUTER_MAC):
        document["mac"] = message.mac_address
    own = [interface for interface in message.interfaces if not is_transit(interface.subnet)]
    if own:
        document["interfaces"] = [f"{'/'.join(i.subnet.split('/')[3::2])} {i.ip_address}" for i in own]
    if message.routes:
        document["routes"] = [f"{r.destination} via {', '.join(r.next_hops)}" for r in message.routes]
    return document
