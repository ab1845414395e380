"""Rules of security groups in YAML documents, such as {direction: ingress, protocol: tcp, ports: 22}."""

from __future__ import annotations

import re
from typing import Any

from cloison.v1 import security_group_pb2 as pb
from controller.cli.manifest_values import Wrong, number_of, text_of
from controller.cli.names import tenant_of

_FIELDS = (
    *("id", "direction", "ether_type", "protocol", "ports", "icmp_type", "icmp_code"),
    *("prefix", "group", "address_group", "description"),
)
# Fields of the message by their names in a document, where these differ.
_NAMES = {
    "port_min": "ports",
    "port_max": "ports",
    "remote_prefix": "prefix",
    "remote_group": "group",
    "remote_address_group": "address_group",
}
_MADE_ID = re.compile(r"rule-[0-9]+")


def rules(message: Any, value: Any, network: str) -> None:
    """Set the rules of a group from a list of mappings; raises Wrong."""
    if value == "":
        return
    if not isinstance(value, list):
        raise Wrong("rules", "a list of mappings such as {direction: ingress, protocol: tcp, ports: 22}")
    tenant = tenant_of(network)
    for index, data in enumerate(value):
        _rule(message.rules.add(), data, f"rules[{index}]", tenant)


def _rule(message: Any, data: Any, field: str, tenant: str) -> None:
    if not isinstance(data, dict):
        raise Wrong(field, "a mapping such as {direction: ingress, protocol: tcp, ports: 22}")
    if unknown := sorted(data.keys() - set(_FIELDS)):
        raise Wrong(f"{field}.{unknown[0]}", f"no field of a rule; it has {', '.join(sorted(_FIELDS))}")
    texts = {name: text_of(text, f"{field}.{name}") for name, text in data.items()}
    message.direction = _enum(
        pb.SecurityGroupRule.Direction, texts.get("direction", ""), f"{field}.direction"
    )
    if "ether_type" in texts:
        message.ether_type = _enum(pb.SecurityGroupRule.EtherType, texts["ether_type"], f"{field}.ether_type")
    if "ports" in texts:
        message.port_min, message.port_max = _ports(texts["ports"], f"{field}.ports")
    for name in ("icmp_type", "icmp_code"):
        if name in texts:
            setattr(message, name, number_of(texts[name], f"{field}.{name}"))
    for name in ("id", "protocol", "description"):
        setattr(message, name, texts.get(name, ""))
    message.remote_prefix = texts.get("prefix", "")
    for name, plural in (("group", "securityGroups"), ("address_group", "addressGroups")):
        if name in texts:
            setattr(message, f"remote_{name}", f"{tenant}/{plural}/{texts[name]}")


def _enum(enum: Any, text: str, field: str) -> int:
    known: dict[str, int] = {name.lower(): number for name, number in enum.items() if number}
    if text.lower() not in known:
        raise Wrong(field, f"one of {', '.join(known)}, not {text!r}")
    return known[text.lower()]


def _ports(text: str, field: str) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    return number_of(low.strip(), field), number_of(high.strip() if dash else low.strip(), field)


def rule_field(path: str) -> str:
    """Return what a field of a rule's message is called in a document."""
    rule, dot, name = path.partition(".")
    return f"{rule}{dot}{_NAMES.get(name, name)}"


def rule_document(message: Any) -> dict[str, Any]:
    """Return the mapping that asks for just this rule; an id that was made for it is left out."""
    document: dict[str, Any] = {} if _MADE_ID.fullmatch(message.id) else {"id": message.id}
    document["direction"] = pb.SecurityGroupRule.Direction.Name(message.direction).lower()
    if message.ether_type:
        document["ether_type"] = pb.SecurityGroupRule.EtherType.Name(message.ether_type).lower()
    if message.protocol:
        document["protocol"] = message.protocol
    if message.port_min or message.port_max:
        low, high = message.port_min, message.port_max
        document["ports"] = low if low == high else f"{low}-{high}"
    for name in ("icmp_type", "icmp_code"):
        if message.HasField(name):
            document[name] = getattr(message, name)
    if message.remote_prefix:
        document["prefix"] = message.remote_prefix
    for name in ("group", "address_group"):
        if remote := getattr(message, f"remote_{name}"):
            document[name] = remote.rpartition("/")[2]
    if message.description:
        document["description"] = message.description
    return document
