"""Which objects a change makes, changes and removes, field by field, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cloison.codec import resource_to_proto
from cloison.model import (
    AddressGroup,
    ExternalNetwork,
    FloatingIp,
    Host,
    Network,
    Peering,
    Port,
    Resource,
    Router,
    SecurityGroup,
    Subnet,
    Tenant,
)
from cloison.protocols import service_text
from cloison.v1 import plan_pb2, subnet_pb2
from controller.api.intents.rules import describe
from controller.store.changes import Change

# What changes with every change, or is the object's address.
_UNTOLD = frozenset({"name", "uid", "etag", "revision", "create_time", "update_time", "profile"})
# Where things are is the operator's knowledge, as in views.py.
_OPERATORS = frozenset({"requested_hosts"})
_DEPTH: dict[type, int] = {
    Tenant: 0,
    Host: 0,
    AddressGroup: 1,
    SecurityGroup: 2,
    Network: 3,
    Subnet: 4,
    Router: 5,
    Peering: 6,
    Port: 7,
    ExternalNetwork: 0,
    FloatingIp: 8,
}


def object_changes(changes: Iterable[Change], *, tenant_view: bool) -> list[plan_pb2.ObjectChange]:
    """Return what becomes of resources, deletions first; one that is replaced is deleted and created."""
    gone: list[Resource] = []
    there: list[tuple[Resource | None, Resource]] = []
    for change in changes:
        old, new = change.old, change.new
        if isinstance(old, Resource) and (not isinstance(new, Resource) or new.meta.uid != old.meta.uid):
            gone.append(old)
            old = None
        if isinstance(new, Resource):
            there.append((old if isinstance(old, Resource) else None, new))
    gone.sort(key=lambda resource: (-_DEPTH[type(resource)], resource.name))
    there.sort(key=lambda pair: (_DEPTH[type(pair[1])], pair[1].name))
    told = [_change(resource, None, tenant_view) for resource in gone]
    told += [_change(old, new, tenant_view) for old, new in there]
    return [change for change in told if change.fields or change.action != plan_pb2.ObjectChange.UPDATE]


def _change(old: Resource | None, new: Resource | None, tenant_view: bool) -> plan_pb2.ObjectChange:
    actions = plan_pb2.ObjectChange
    resource = new if new is not None else old
    assert resource is not None
    action = actions.DELETE if new is None else actions.CREATE if old is None else actions.UPDATE
    before = _fields(old, tenant_view) if old is not None else {}
    after = _fields(new, tenant_view) if new is not None else {}
    if old is not None and new is not None:
        before, after = _truths(old) | before, _truths(new) | after
    return plan_pb2.ObjectChange(
        action=action,
        name=str(resource.name),
        fields=[
            plan_pb2.FieldChange(field=name, before=before.get(name, ""), after=after.get(name, ""))
            for name in (*after, *(name for name in before if name not in after))
            if before.get(name, "") != after.get(name, "")
        ],
    )


def _fields(resource: Resource, tenant_view: bool) -> dict[str, str]:
    untold = _UNTOLD | _OPERATORS if tenant_view else _UNTOLD
    message: Any = resource_to_proto(resource)
    found = {
        field.name: _text(field.name, value)
        for field, value in message.ListFields()
        if field.name not in untold
    }
    if isinstance(resource, SecurityGroup):
        found["rules"] = "; ".join(sorted(f"{rule.id}: {describe(rule)}" for rule in resource.rules))
    return found


def _truths(resource: Resource) -> dict[str, str]:
    """Return fields that are true or false, all false: a change of one has two sides."""
    message: Any = resource_to_proto(resource)
    fields = message.DESCRIPTOR.fields
    return {field.name: _text(field.name, False) for field in fields if field.type == field.TYPE_BOOL}


def _gateway(value: Any) -> str:
    flags = [(value.no_snat, "no SNAT"), (value.distributed_snat, "distributed SNAT")]
    told = [text for flag, text in flags if flag]
    if value.routed_prefixes:
        told.append(f"routed {' '.join(value.routed_prefixes)}")
    addresses = " ".join(value.ip_addresses)
    text = f"{value.external_network.rpartition('/')[2]} {addresses}".strip()
    return f"{text} ({', '.join(told)})" if told else text


def _text(field: str, value: Any) -> str:
    """Return a field's value as a person writes it."""
    if field == "fixed_ips":
        return ", ".join(f"{item.ip_address} ({item.subnet.rpartition('/')[2]})" for item in value)
    if field == "allocation_pools":
        return ", ".join(f"{item.start}-{item.end}" for item in value)
    if field == "requested_hosts":
        return ", ".join(name.removeprefix("hosts/") for name in value)
    if field == "security_groups":
        return ", ".join(name.rpartition("/")[2] for name in value)
    if field == "allowed_address_pairs":
        return ", ".join(f"{item.prefix} {item.mac_address}".strip() for item in value)
    if field == "interfaces":
        return ", ".join(f"{'/'.join(item.subnet.split('/')[3::2])} {item.ip_address}" for item in value)
    if field == "routes" and value and hasattr(value[0], "next_hops"):
        return ", ".join(f"{item.destination} via {' '.join(item.next_hops)}" for item in value)
    if field == "routes":
        return ", ".join(f"{item.destination} via {item.next_hop}" for item in value)
    if field == "gateway":
        return _gateway(value)
    if field == "subnets":
        return ", ".join(f"{item.cidr} {item.gateway_ip}".strip() for item in value)
    if field in ("gateway_hosts", "shared_with"):
        return ", ".join(name.rpartition("/")[2] for name in value)
    if field == "dhcp_options":
        return ", ".join(f"{part.name}={told}" for part, told in value.ListFields())
    if field == "ipv6_mode":
        return str(subnet_pb2.Ipv6Mode.Name(value))
    if field == "services":
        return ", ".join(service_text(item.protocol, item.port_min, item.port_max) for item in value)
    if field in ("dns_servers", "ntp_servers", "prefixes", "peer_prefixes"):
        return ", ".join(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={value[key]}" for key in sorted(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
