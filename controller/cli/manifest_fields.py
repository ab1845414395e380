"""The fields of a tenant's YAML documents: what each sets in a message, and a message as a document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cloison.v1 import subnet_pb2
from controller.cli.manifest_outside import (
    external_network,
    floating_ip_document,
    gateway,
    gateway_document,
    port,
)
from controller.cli.manifest_peerings import peering_document, services
from controller.cli.manifest_peerings import router as own_router
from controller.cli.manifest_routers import interfaces, router_document, router_field, routes
from controller.cli.manifest_rules import rule_document, rule_field, rules
from controller.cli.manifest_values import Wrong, number_of, text_of, texts_of, truth_of
from controller.cli.names import tenant_of

# Sets a field of a message from the value in a document; network is the full name of the one it is in.
Apply = Callable[[Any, Any, str], None]


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
    for index, text in enumerate(texts_of(value, "pools")):
        start, dash, end = text.partition("-")
        if not dash:
            raise Wrong(f"pools[{index}]", f"FIRST-LAST such as 10.0.0.10-10.0.0.99, not {text!r}")
        message.allocation_pools.add(start=start.strip(), end=end.strip())


def _ips(message: Any, value: Any, network: str) -> None:
    for text in texts_of(value, "ips"):
        message.fixed_ips.add(ip_address=text)


def _subnets(message: Any, value: Any, network: str) -> None:
    for text in texts_of(value, "subnets"):
        message.fixed_ips.add(subnet=f"{network}/subnets/{text}")


def _hosts(message: Any, value: Any, network: str) -> None:
    names = texts_of(value, "hosts")
    if not names:
        raise Wrong(
            "hosts",
            "at least one; leave it out to keep the hosts it has, or take it off all of them with "
            "`cloison port update --clear requested_hosts`",
        )
    message.requested_hosts.extend(f"hosts/{name}" for name in names)


def _disabled(message: Any, value: Any, network: str) -> None:
    message.disabled = truth_of(value, "disabled")


def _flag(field: str, proto_field: str, *, inverse: bool = False) -> Apply:
    def apply(message: Any, value: Any, network: str) -> None:
        setattr(message, proto_field, truth_of(value, field) is not inverse)

    return apply


def _list(field: str, proto_field: str) -> Apply:
    def apply(message: Any, value: Any, network: str) -> None:
        getattr(message, proto_field).extend(texts_of(value, field))

    return apply


def _mtu(message: Any, value: Any, network: str) -> None:
    message.mtu_limit = number_of(value, "mtu")


def _routes(message: Any, value: Any, network: str) -> None:
    for index, text in enumerate(texts_of(value, "routes")):
        destination, via, next_hop = text.partition(" via ")
        if not via:
            raise Wrong(
                f"routes[{index}]", f"RANGE via ADDRESS such as 192.0.2.0/24 via 10.0.0.7, not {text!r}"
            )
        message.routes.add(destination=destination.strip(), next_hop=next_hop.strip())


def _ipv6_mode(message: Any, value: Any, network: str) -> None:
    known = {name.lower(): number for name, number in subnet_pb2.Ipv6Mode.items() if number}
    text = text_of(value, "ipv6_mode")
    if text.lower() not in known:
        raise Wrong("ipv6_mode", f"one of {', '.join(known)}, not {text!r}")
    message.ipv6_mode = known[text.lower()]


def _groups(message: Any, value: Any, network: str) -> None:
    names = texts_of(value, "security_groups")
    if not names or names == ["none"]:
        message.no_security_groups = True
        return
    message.security_groups.extend(f"{tenant_of(network)}/securityGroups/{name}" for name in names)


def _pairs(message: Any, value: Any, network: str) -> None:
    for text in texts_of(value, "address_pairs"):
        prefix, _, mac = text.partition(" ")
        message.allowed_address_pairs.add(prefix=prefix, mac_address=mac.strip())


def _boot(message: Any, value: Any, network: str) -> None:
    names = [field.name for field in message.dhcp_options.DESCRIPTOR.fields]
    if not isinstance(value, dict) or not set(value) <= set(names):
        raise Wrong("boot", f"a mapping of {', '.join(names)}")
    for name, text in value.items():
        setattr(message.dhcp_options, name, text_of(text, f"boot.{name}"))


_COMMON: dict[str, Apply] = {"display_name": _display_name, "labels": _labels}
FIELDS: dict[str, dict[str, Apply]] = {
    "Tenant": _COMMON,
    "AddressGroup": _COMMON | {"prefixes": _list("prefixes", "prefixes")},
    "SecurityGroup": _COMMON | {"rules": rules},
    "Network": _COMMON
    | {
        "mtu": _mtu,
        "dns_domain": _plain("dns_domain", "dns_domain"),
        "multicast": _flag("multicast", "multicast"),
    },
    "Subnet": _COMMON
    | {
        "cidr": _plain("cidr", "cidr"),
        "gateway": _gateway,
        "pools": _pools,
        "dhcp": _flag("dhcp", "no_dhcp", inverse=True),
        "dns": _list("dns", "dns_servers"),
        "routes": _routes,
        "ntp": _list("ntp", "ntp_servers"),
        "ipv6_mode": _ipv6_mode,
    },
    "Router": _COMMON
    | {
        "mac": _plain("mac", "mac_address"),
        "interfaces": interfaces,
        "routes": routes,
        "gateway": gateway,
    },
    "FloatingIp": _COMMON
    | {
        "external_network": external_network,
        "address": _plain("address", "ip_address"),
        "port": port,
        "fixed_ip": _plain("fixed_ip", "fixed_ip"),
        "distributed": _flag("distributed", "distributed"),
    },
    "Peering": _COMMON
    | {
        "router": own_router,
        "peer_router": _plain("peer_router", "peer_router"),
        "prefixes": _list("prefixes", "prefixes"),
        "peer_prefixes": _list("peer_prefixes", "peer_prefixes"),
        "services": services,
    },
    # In this order: `ips` come before `subnets` in fixed_ips (see yaml_field).
    "Port": _COMMON
    | {
        "mac": _plain("mac", "mac_address"),
        "ips": _ips,
        "subnets": _subnets,
        "hosts": _hosts,
        "disabled": _disabled,
        "iface_id": _plain("iface_id", "iface_id"),
        "security_groups": _groups,
        "port_security": _flag("port_security", "no_port_security", inverse=True),
        "address_pairs": _pairs,
        "dns_name": _plain("dns_name", "dns_name"),
        "device_id": _plain("device_id", "device_id"),
        "project_id": _plain("project_id", "project_id"),
        "boot": _boot,
    },
}
PARENTS: dict[str, tuple[str, ...]] = {
    "Tenant": (),
    "AddressGroup": ("tenant",),
    "SecurityGroup": ("tenant",),
    "Network": ("tenant",),
    "Subnet": ("tenant", "network"),
    "Router": ("tenant",),
    "FloatingIp": ("tenant",),
    "Peering": ("tenant",),
    "Port": ("tenant", "network"),
}

# Names of the lists of a desired tenant.
PLURALS = {
    "AddressGroup": "address_groups",
    "SecurityGroup": "security_groups",
    "Network": "networks",
    "Subnet": "subnets",
    "Router": "routers",
    "FloatingIp": "floating_ips",
    "Peering": "peerings",
    "Port": "ports",
}


def yaml_field(data: Mapping[str, Any], path: str) -> str:
    """Return what a field of a message is called in a document."""
    top, bracket, rest = path.partition("[")
    number, _, _ = rest.partition("]")
    if top == "fixed_ips" and bracket:
        ips = data.get("ips", [])
        count = len(ips) if isinstance(ips, list) else 1
        return f"ips[{number}]" if int(number) < count else f"subnets[{int(number) - count}]"
    if top in ("interfaces", "routes") and bracket and data.get("kind") == "Router":
        return router_field(path)
    if top == "services" and bracket:
        return router_field(path)
    if top == "rules" and bracket:
        return rule_field(path)
    names = {
        "mtu_limit": "mtu",
        "no_dhcp": "dhcp",
        "dns_servers": "dns",
        "ntp_servers": "ntp",
        "no_security_groups": "security_groups",
        "no_port_security": "port_security",
        "allowed_address_pairs": "address_pairs",
        "dhcp_options": "boot",
        "mac_address": "mac",
        "fixed_ips": "ips",
        "requested_hosts": "hosts",
        "gateway_ip": "gateway",
        "ip_address": "address",
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
    match kind:
        case "AddressGroup":
            document["prefixes"] = list(message.prefixes)
        case "SecurityGroup":
            document["rules"] = [rule_document(rule) for rule in message.rules]
        case "Network":
            document |= _network_document(message, ids)
        case "Subnet":
            document |= _subnet_document(message)
        case "Router":
            document |= router_document(message) | gateway_document(message)
        case "FloatingIp":
            document |= floating_ip_document(message)
        case "Peering":
            document |= peering_document(message)
        case "Port":
            document |= _port_document(message) | _guest_document(message, ids)
    return document


def _network_document(message: Any, ids: list[str]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if message.mtu_limit:
        document["mtu"] = message.mtu_limit
    if message.dns_domain != f"{ids[1]}.{ids[0]}.cloison.internal":
        document["dns_domain"] = message.dns_domain
    if message.multicast:
        document["multicast"] = True
    return document


def _subnet_document(message: Any) -> dict[str, Any]:
    document: dict[str, Any] = {"cidr": message.cidr, "gateway": message.gateway_ip or "none"}
    document["pools"] = [f"{pool.start}-{pool.end}" for pool in message.allocation_pools]
    if message.no_dhcp:
        document["dhcp"] = False
    for name, values in (("dns", message.dns_servers), ("ntp", message.ntp_servers)):
        if values:
            document[name] = list(values)
    if message.routes:
        document["routes"] = [f"{route.destination} via {route.next_hop}" for route in message.routes]
    if message.ipv6_mode not in (subnet_pb2.IPV6_MODE_UNSPECIFIED, subnet_pb2.STATEFUL):
        document["ipv6_mode"] = subnet_pb2.Ipv6Mode.Name(message.ipv6_mode).lower()
    return document


def _guest_document(message: Any, ids: list[str]) -> dict[str, Any]:
    """Return what is said of a port's guest; the default group is left out, as all defaults are."""
    document: dict[str, Any] = {}
    groups = [name.rpartition("/")[2] for name in message.security_groups]
    if message.no_port_security:
        document["port_security"] = False
    elif groups != ["default"]:
        document["security_groups"] = groups
    if message.allowed_address_pairs:
        pairs = message.allowed_address_pairs
        document["address_pairs"] = [f"{pair.prefix} {pair.mac_address}".strip() for pair in pairs]
    defaults = {"dns_name": ids[-1], "device_id": message.uid, "project_id": ids[0]}
    for name, default in defaults.items():
        if getattr(message, name) not in ("", default):
            document[name] = getattr(message, name)
    if message.HasField("dhcp_options"):
        document["boot"] = {field.name: text for field, text in message.dhcp_options.ListFields()}
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
