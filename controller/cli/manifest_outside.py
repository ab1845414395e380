"""The way out in YAML documents: a router's gateway, and floating IPs."""

from __future__ import annotations

from typing import Any

from controller.cli.manifest_values import Wrong, text_of, texts_of, truth_of
from controller.cli.names import tenant_of

# Networks that routers' ways out are made of come and go with these: they are in no document.
_TRANSIT = "/networks/cl-"
_GATEWAY = ("external_network", "ip_addresses", "snat", "distributed_snat", "routed_prefixes")


def is_transit(name: str) -> bool:
    """Tell whether a full name is of a part of a router's way out."""
    return _TRANSIT in name


def _external(text: str) -> str:
    return text if "/" in text else f"externalNetworks/{text}"


def gateway(message: Any, value: Any, network: str) -> None:
    """Set a router's gateway from the external network's name, or a mapping; raises Wrong."""
    if isinstance(value, str):
        value = {"external_network": value}
    if not isinstance(value, dict) or not {"external_network"} <= set(value) <= set(_GATEWAY):
        raise Wrong("gateway", f"the name of an external network, or a mapping of {', '.join(_GATEWAY)}")
    into = message.gateway
    into.external_network = _external(text_of(value["external_network"], "gateway.external_network"))
    if "snat" in value:
        into.no_snat = not truth_of(value["snat"], "gateway.snat")
    if "distributed_snat" in value:
        into.distributed_snat = truth_of(value["distributed_snat"], "gateway.distributed_snat")
    for field in ("ip_addresses", "routed_prefixes"):
        if field in value:
            getattr(into, field).extend(texts_of(value[field], f"gateway.{field}"))


def gateway_document(message: Any) -> dict[str, Any]:
    """Return what is said of a router's gateway, nothing if it has none."""
    if not message.HasField("gateway"):
        return {}
    found = message.gateway
    document: dict[str, Any] = {"external_network": found.external_network.rpartition("/")[2]}
    document["ip_addresses"] = list(found.ip_addresses)
    if found.no_snat:
        document["snat"] = False
    if found.distributed_snat:
        document["distributed_snat"] = True
    if found.routed_prefixes:
        document["routed_prefixes"] = list(found.routed_prefixes)
    return {"gateway": document}


def external_network(message: Any, value: Any, network: str) -> None:
    """Set where a floating IP is from."""
    message.external_network = _external(text_of(value, "external_network"))


def port(message: Any, value: Any, network: str) -> None:
    """Set what a floating IP stands for, from NETWORK/PORT; raises Wrong."""
    text = text_of(value, "port")
    of, slash, short = text.partition("/")
    if not (of and slash and short) or "/" in short:
        raise Wrong("port", f"NETWORK/PORT such as web/p1, not {text!r}")
    tenant = tenant_of(network)
    message.port = f"{tenant}/networks/{of}/ports/{short}"


def floating_ip_document(message: Any) -> dict[str, Any]:
    """Return what is said of a floating IP."""
    document: dict[str, Any] = {
        "external_network": message.external_network.rpartition("/")[2],
        "address": message.ip_address,
    }
    if message.port:
        document["port"] = "/".join(message.port.split("/")[3::2])
        document["fixed_ip"] = message.fixed_ip
    if message.distributed:
        document["distributed"] = True
    return document
