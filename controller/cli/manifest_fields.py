"""The fields of a tenant's YAML documents: what each sets in a message, and a message as a document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# Sets a field of a message from the value in a document; network is the full name of the one it is in.
Apply = Callable[[Any, Any, str], None]


class Wrong(Exception):
    """A field is not what it should be; expected says what is."""

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field}: {expected}")


def text_of(value: Any, field: str) -> str:
    """Return a value that is one text; raises Wrong."""
    if not isinstance(value, str):
        raise Wrong(field, "one value, not a list or mapping")
    return value


def _texts(value: Any, field: str) -> list[str]:
    """A list; one value alone will do."""
    if value == "":
        return []
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Wrong(field, "a list of values such as [a, b]")
    return value


def _truth(value: Any, field: str) -> bool:
    known = {"true": True, "yes": True, "false": False, "no": False}
    if not isinstance(value, str) or value.lower() not in known:
        raise Wrong(field, f"true or false, not {value!r}")
    return known[value.lower()]


def _labels(message: Any, value: Any, network: str) -> None:
    if value == "":
        return
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise Wrong("labels", "a mapping such as {tier: front}")
    message.labels.update(value)


def _display_name(message: Any, value: Any, network: str) -> None:
    message.display_name = text_of(value, "display_name")


def _plain(field: str, proto_field: str) -> Callable[[Any, Any, str], None]:
    def apply(message: Any, value: Any, network: str) -> None:
        setattr(message, proto_field, text_of(value, field))

    return apply


def _gateway(message: Any, value: Any, network: str) -> None:
    if text_of(value, "gateway") == "none":
        message.no_gateway = True
    else:
        message.gateway_ip = value


def _pools(message: Any, value: Any, network: str) -> None:
    for index, text in enumerate(_texts(value, "pools")):
        start, dash, end = text.partition("-")
        if not dash:
            raise Wrong(f"pools[{index}]", f"FIRST-LAST such as 10.0.0.10-10.0.0.99, not {text!r}")
        message.allocation_pools.add(start=start.strip(), end=end.strip())


def _ips(message: Any, value: Any, network: str) -> None:
    for text in _texts(value, "ips"):
        message.fixed_ips.add(ip_address=text)


def _subnets(message: Any, value: Any, network: str) -> None:
    for text in _texts(value, "subnets"):
        message.fixed_ips.add(subnet=f"{network}/subnets/{text}")


def _hosts(message: Any, value: Any, network: str) -> None:
    names = _texts(value, "hosts")
    if not names:
        raise Wrong(
            "hosts",
            "at least one; leave it out to keep the hosts it has, or take it off all of them with "
            "`cloison port update --clear requested_hosts`",
        )
    message.requested_hosts.extend(f"hosts/{name}" for name in names)


def _disabled(message: Any, value: Any, network: str) -> None:
    message.disabled = _truth(value, "disabled")


_COMMON: dict[str, Apply] = {"display_name": _display_name, "labels": _labels}
FIELDS: dict[str, dict[str, Apply]] = {
    "Tenant": _COMMON,
    "Network": _COMMON,
    "Subnet": _COMMON | {"cidr": _plain("cidr", "cidr"), "gateway": _gateway, "pools": _pools},
    # In this order: `ips` come before `subnets` in fixed_ips (see yaml_field).
    "Port": _COMMON
    | {
        "mac": _plain("mac", "mac_address"),
        "ips": _ips,
        "subnets": _subnets,
        "hosts": _hosts,
        "disabled": _disabled,
        "iface_id": _plain("iface_id", "iface_id"),
    },
}
PARENTS: dict[str, tuple[str, ...]] = {
    "Tenant": (),
    "Network": ("tenant",),
    "Subnet": ("tenant", "network"),
    "Port": ("tenant", "network"),
}


def yaml_field(data: Mapping[str, Any], path: str) -> str:
    """Return what a field of a message is called in a document."""
    top, bracket, rest = path.partition("[")
    number, _, _ = rest.partition("]")
    if top == "fixed_ips" and bracket:
        ips = data.get("ips", [])
        count = len(ips) if isinstance(ips, list) else 1
        return f"ips[{number}]" if int(number) < count else f"subnets[{int(number) - count}]"
    names = {
        "mac_address": "mac",
        "fixed_ips": "ips",
        "requested_hosts": "hosts",
        "gateway_ip": "gateway",
        "no_gateway": "gateway",
        "allocation_pools": "pools",
    }
    plain = names.get(top.partition(".")[0], path)
    return f"{plain}[{number}]" if bracket and plain != path else plain


# -- the other way ---------------------------------------------------------------------------------------


def document_of(kind: str, message: Any) -> dict[str, Any]:
    """Return the document that asks for just what there is; what is as by default is left out."""
    ids = message.name.split("/")[1::2]
    document: dict[str, Any] = {"kind": kind, "name": ids[-1]}
    document |= dict(zip(PARENTS[kind], ids, strict=False))
    if message.display_name:
        document["display_name"] = message.display_name
    if message.labels:
        document["labels"] = {key: message.labels[key] for key in sorted(message.labels)}
    if kind == "Subnet":
        document |= {"cidr": message.cidr, "gateway": message.gateway_ip or "none"}
        document["pools"] = [f"{pool.start}-{pool.end}" for pool in message.allocation_pools]
    elif kind == "Port":
        document |= _port_document(message)
    return document


def _port_document(message: Any) -> dict[str, Any]:
    document: dict[str, Any] = {"mac": message.mac_address}
    if message.fixed_ips:
        document["ips"] = [item.ip_address for item in message.fixed_ips]
    if message.requested_hosts:
        document["hosts"] = [name.removeprefix("hosts/") for name in message.requested_hosts]
    if message.disabled:
        document["disabled"] = True
    # By default it is the uid, which is another one wherever the document is applied.
    if message.iface_id != message.uid:
        document["iface_id"] = message.iface_id
    return document
