"""A peering's routers, prefixes and services in YAML documents, each service one text."""

from __future__ import annotations

from typing import Any

from cloison.protocols import parse_service, service_text
from controller.cli.manifest_values import Wrong, text_of, texts_of
from controller.cli.names import tenant_of


def router(message: Any, value: Any, network: str) -> None:
    """Set the own router from its short name."""
    text = text_of(value, "router")
    tenant = tenant_of(network)
    message.router = text if "/" in text else f"{tenant}/routers/{text}"


def services(message: Any, value: Any, network: str) -> None:
    """Set the services from texts such as `tcp:443` and `icmp`; raises Wrong."""
    for index, text in enumerate(texts_of(value, "services")):
        try:
            protocol, low, high = parse_service(text)
        except ValueError as error:
            raise Wrong(f"services[{index}]", f"{error}, not {text!r}") from error
        message.services.add(protocol=protocol, port_min=low, port_max=high)


def peering_document(message: Any) -> dict[str, Any]:
    """Return what is said of a peering."""
    document: dict[str, Any] = {
        "router": message.router.rpartition("/")[2],
        "peer_router": message.peer_router,
        "prefixes": list(message.prefixes),
        "peer_prefixes": list(message.peer_prefixes),
    }
    if message.services:
        document["services"] = [service_text(s.protocol, s.port_min, s.port_max) for s in message.services]
    return document
