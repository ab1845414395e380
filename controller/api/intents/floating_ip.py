"""Floating IPs: what creating, moving and deleting one stores. Pure.

One that stands for a port keeps that address of it, and the interface of the router by which it is reached,
by references to just these parts: all else of port and router may change.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from cloison.addresses import IpAddress
from cloison.errors import InvalidIntent
from cloison.model import ExternalNetwork, FixedIp, FloatingIp, Port, Router
from cloison.names import FloatingIpName, PortName, TenantName
from cloison.v1 import floating_ip_pb2 as pb
from controller.api import allocate, masks, validate
from controller.api.intents import common, external_addresses
from controller.store import keys, transit
from controller.store.state import State
from controller.store.txn import Txn

FLOATING_IPS_PER_TENANT_MAX = 1000
_FIELD = "floating_ip"


class _Joined(NamedTuple):
    """What a floating IP stands for, and by which router it is reached."""

    port: Port
    fixed: FixedIp
    router: Router


def create(state: State, request: pb.CreateFloatingIpRequest, stamp: common.Stamp) -> tuple[Txn, FloatingIp]:
    """Return the transaction that makes the floating IP; an empty one for a repeated request."""
    check, message = validate.Checker(), request.floating_ip
    parent = check.take(lambda: TenantName.parse(request.parent, "parent"))
    validate.check_resource_id(check, request.floating_ip_id, "floating_ip_id")
    validate.check_request_id(check, request.request_id)
    common.check_meta(check, message, _FIELD)
    _check_version(check, message)
    check.done()
    assert parent is not None
    common.found(state.tenants, parent)
    name = FloatingIpName(parent.tenant, request.floating_ip_id)
    existing = common.repeated(state.floating_ips.get(name), request)
    if existing is not None:
        return Txn(), existing
    count = len(state.floating_ips_of(parent))
    common.check_room(count, FLOATING_IPS_PER_TENANT_MAX, parent, "floating IPs")
    there = external_addresses.shared(state, message.external_network, parent, f"{_FIELD}.external_network")
    made = FloatingIp(
        name=name,
        meta=common.new_meta(message, request, stamp),
        external_network=there.name,
        address=_address(state, there, message, parent, stamp),
        distributed=message.distributed,
    )
    joined = _joined(state, there, made, message.port, message.fixed_ip)
    made = _standing_for(made, joined)
    txn = Txn()
    txn.create(made)
    external_addresses.reserve(txn, there, [made.address], name, stamp.uid)
    txn.add_reference(there.name, name)
    _refer(txn, state, None, made, joined)
    return txn, made


def update(state: State, request: pb.UpdateFloatingIpRequest, stamp: common.Stamp) -> tuple[Txn, FloatingIp]:
    """Return the transaction that changes what the mask names: where it stands for another port, at once."""
    message = request.floating_ip
    name = FloatingIpName.parse(message.name, f"{_FIELD}.name")
    fields = masks.fields_to_update(message, request.update_mask, _FIELD)
    check = validate.Checker()
    common.check_meta(check, message, _FIELD)
    check.done()
    old = common.found(state.floating_ips, name)
    common.check_etag(old, message.etag)
    _check_immutable(message, fields, old)
    new = replace(
        old,
        meta=common.changed_meta(old.meta, message, fields),
        distributed=message.distributed if "distributed" in fields else old.distributed,
    )
    joined = None
    if fields & {"port", "fixed_ip"}:
        port = message.port if "port" in fields else str(old.port or "")
        fixed = message.fixed_ip if "fixed_ip" in fields else ""
        there = state.external_networks[old.external_network]
        # (Where the same port is named again, the address that it stood for is as good as the first.)
        kept = str(old.fixed or "") if not fixed and port == str(old.port or "") else fixed
        joined = _joined(state, there, old, port, kept)
        new = _standing_for(new, joined)
    txn, new = common.changed(old, new, stamp)
    if txn and _parts(state, old) != _parts(state, new):
        _refer(txn, state, old, new, joined)
    return txn, new


def delete(state: State, request: pb.DeleteFloatingIpRequest) -> tuple[Txn, FloatingIp]:
    """Return the transaction that removes it; its address waits for every host that may answer for it."""
    name = FloatingIpName.parse(request.name)
    floating = common.found(state.floating_ips, name)
    common.check_etag(floating, request.etag)
    txn = Txn()
    txn.drop_reference(floating.external_network, name)
    for part in _parts(state, floating):
        txn.drop_reference(part, name)
    txn.delete(floating)
    there, uid = floating.external_network, floating.meta.uid
    external_addresses.give_back(txn, state, there, [floating.address], uid)
    return txn, floating


def _check_version(check: validate.Checker, message: pb.FloatingIp) -> None:
    field, version = f"{_FIELD}.ip_version", message.ip_version
    check.that(version in (0, 4, 6), field, version, "4 or 6, or 0 for 4")
    if message.ip_address and version:
        address = check.take(lambda: validate.address(message.ip_address, f"{_FIELD}.ip_address"))
        right = address is None or address.version == version
        check.that(right, field, version, "the family of ip_address, or 0: it says that itself")


def _check_immutable(message: pb.FloatingIp, fields: frozenset[str], old: FloatingIp) -> None:
    current = {
        "external_network": str(old.external_network),
        "ip_address": str(old.address),
        "ip_version": old.address.version,
    }
    for field in sorted(fields & current.keys()):
        if sent := getattr(message, field):
            common.check_immutable(f"{_FIELD}.{field}", sent, current[field])


def _address(
    state: State, there: ExternalNetwork, message: pb.FloatingIp, tenant: TenantName, stamp: common.Stamp
) -> IpAddress:
    if not message.ip_address:
        return allocate.external_address(state, there, message.ip_version or 4, stamp)
    field, text = f"{_FIELD}.ip_address", message.ip_address
    return external_addresses.chosen(state, there, text, field, tenant=tenant, uid=stamp.uid)


def _standing_for(floating: FloatingIp, joined: _Joined | None) -> FloatingIp:
    if joined is None:
        return replace(floating, port=None, fixed=None, router=None)
    port, fixed, router = joined
    return replace(floating, port=port.name, fixed=fixed.address, router=router.name)


def _joined(
    state: State, there: ExternalNetwork, floating: FloatingIp, port_text: str, fixed_text: str
) -> _Joined | None:
    """Return what it is to stand for, None for nothing; raises InvalidIntent."""
    if not port_text:
        if fixed_text:
            raise InvalidIntent.of(f"{_FIELD}.fixed_ip", fixed_text, "nothing, since port is empty")
        return None
    port = _port(state, port_text, floating.name.parent)
    fixed = _fixed(port, fixed_text, floating.address.version)
    for other in state.floating_ips_at(port.name):
        if other.fixed == fixed.address and other.name != floating.name:
            expected = f"an address that no floating IP stands for: {other.name} does for {fixed.address}"
            raise InvalidIntent.of(f"{_FIELD}.fixed_ip", fixed_text or fixed.address, expected)
    return _Joined(port, fixed, _router(state, there, port, fixed))


def _port(state: State, text: str, tenant: TenantName) -> Port:
    field = f"{_FIELD}.port"
    name = PortName.parse(text, field)
    if name.parent.parent != tenant:
        raise InvalidIntent.of(field, text, f"a port of {tenant}, as the floating IP is")
    port = state.ports.get(name)
    if port is None:
        raise InvalidIntent.of(field, text, "a port that exists")
    if transit.is_transit(name.parent):
        raise InvalidIntent.of(field, text, "a port of a guest: this is the way out of a router")
    return port


def _fixed(port: Port, text: str, version: int) -> FixedIp:
    field = f"{_FIELD}.fixed_ip"
    own = [fixed for fixed in port.fixed_ips if fixed.address.version == version]
    if not own:
        raise InvalidIntent.of(
            f"{_FIELD}.port", port.name, f"a port with an IPv{version} address, as the floating IP is"
        )
    if not text:
        return own[0]
    address = validate.address(text, field)
    found = next((fixed for fixed in own if fixed.address == address), None)
    if found is None:
        shown = ", ".join(str(fixed.address) for fixed in own)
        raise InvalidIntent.of(field, text, f"an IPv{version} address of {port.name}, which has {shown}")
    return found


def _router(state: State, there: ExternalNetwork, port: Port, fixed: FixedIp) -> Router:
    """Return the one router that joins the subnet of an address to the external network."""
    routers = sorted(
        (
            router
            for router in state.routers_using(fixed.subnet)
            if router.gateway is not None and router.gateway.external_network == there.name
        ),
        key=lambda router: router.name,
    )
    if len(routers) == 1:
        return routers[0]
    joined = " and ".join(str(router.name) for router in routers)
    how = (
        f"{joined} do: take it out of one" if routers else "none does: add an interface to one, or a gateway"
    )
    raise InvalidIntent.of(
        f"{_FIELD}.port",
        port.name,
        f"a port in a subnet that just one router joins to {there.name}; for {fixed.subnet} {how}",
    )


def _parts(state: State, floating: FloatingIp) -> tuple[keys.PartKey, ...]:
    """Return what it keeps of others while it stands for a port."""
    if floating.port is None or floating.fixed is None or floating.router is None:
        return ()
    port = state.ports.get(floating.port)
    subnets = (f.subnet for f in port.fixed_ips if f.address == floating.fixed) if port is not None else ()
    interfaces = (keys.interface_of(floating.router, subnet) for subnet in subnets)
    return (keys.address_of(floating.port, floating.fixed), *interfaces)


def _refer(txn: Txn, state: State, old: FloatingIp | None, new: FloatingIp, joined: _Joined | None) -> None:
    """Keep what it stands for, as it was read, and let go of what it stood for."""
    before = set(_parts(state, old)) if old is not None else set()
    after = set(_parts(state, new))
    for part in sorted(before - after, key=str):
        txn.drop_reference(part, new.name)
    if joined is not None:
        txn.require(joined.port)
        txn.require(joined.router)
        address = keys.address_of(joined.port.name, joined.fixed.address)
        if address not in before:
            # Of two that want to stand for one address at one moment, one does.
            txn.require_unreferenced(address)
    for part in sorted(after - before, key=str):
        txn.add_reference(part, new.name)
