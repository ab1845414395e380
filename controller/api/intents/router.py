"""Routers: what creating, changing and deleting one stores. Pure.

A router's MAC is reserved in each of its networks, an address of an interface that is not the subnet's
gateway in its network; the gateway's is the subnet's already. Its networks are written with it: of two
routers that come into one network at one moment, the second is judged with the first in view.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cloison.addresses import ROUTER_MAC
from cloison.codec import resource_to_proto
from cloison.model import Meta, Router
from cloison.names import RouterName, TenantName
from cloison.v1 import router_pb2 as pb
from controller.api import masks, validate
from controller.api.intents import common, release, router_parts
from controller.store import ids
from controller.store.state import State
from controller.store.txn import Txn

ROUTERS_PER_TENANT_MAX = 1000


def create(state: State, request: pb.CreateRouterRequest, stamp: common.Stamp) -> tuple[Txn, Router]:
    """Return the transaction that makes the router; an empty one for a repeated request."""
    check, message = validate.Checker(), request.router
    parent = check.take(lambda: TenantName.parse(request.parent, "parent"))
    validate.check_resource_id(check, request.router_id, "router_id")
    validate.check_request_id(check, request.request_id)
    common.check_meta(check, message, "router")
    check.done()
    assert parent is not None
    common.found(state.tenants, parent)
    name = RouterName(parent.tenant, request.router_id)
    existing = common.repeated(state.routers.get(name), request)
    if existing is not None:
        return Txn(), existing
    common.check_room(len(state.routers_of(parent)), ROUTERS_PER_TENANT_MAX, parent, "routers")
    meta = common.new_meta(message, request, stamp)
    router = _parsed(state, message, name, meta)
    txn = Txn()
    txn.create(router)
    _connect(txn, state, None, router, stamp)
    return txn, router


def update(state: State, request: pb.UpdateRouterRequest, stamp: common.Stamp) -> tuple[Txn, Router]:
    """Return the transaction that changes what the mask names."""
    message = request.router
    name = RouterName.parse(message.name, "router.name")
    fields = masks.fields_to_update(message, request.update_mask, "router")
    check = validate.Checker()
    common.check_meta(check, message, "router")
    check.done()
    old = common.found(state.routers, name)
    common.check_etag(old, message.etag)
    merged = resource_to_proto(old)
    for field in fields:
        merged.ClearField(field)
        if field in ("interfaces", "routes"):
            getattr(merged, field).extend(getattr(message, field))
        elif field == "mac_address":
            merged.mac_address = message.mac_address
    new = _parsed(state, merged, name, common.changed_meta(old.meta, message, fields))
    txn, new = common.changed(old, new, stamp)
    if (new.mac, new.interfaces) != (old.mac, old.interfaces):
        _connect(txn, state, old, new, stamp)
    return txn, new


def delete(state: State, request: pb.DeleteRouterRequest) -> tuple[Txn, Router]:
    """Return the transaction that removes a router: at once its networks are apart."""
    name = RouterName.parse(request.name)
    router = common.found(state.routers, name)
    common.check_etag(router, request.etag)
    txn = Txn()
    for interface in router.interfaces:
        txn.drop_reference(interface.subnet, name)
    txn.delete(router)
    _release(txn, state, router, _reserved(state, router))
    return txn, router


def _parsed(state: State, message: pb.Router, name: RouterName, meta: Meta) -> Router:
    """Return the router of a message; raises InvalidIntent with all that is wrong."""
    check = validate.Checker()
    mac = router_parts.mac(check, message.mac_address)
    interfaces = router_parts.interfaces(check, state, message.interfaces, name, meta.uid)
    routes = router_parts.routes(check, state, message.routes, interfaces)
    check.done()
    made = Router(name=name, meta=meta, mac=mac, interfaces=interfaces, routes=routes)
    router_parts.check_mac(check, state, made)
    check.done()
    return made


def _connect(txn: Txn, state: State, old: Router | None, new: Router, stamp: common.Stamp) -> None:
    """Take what a router needs in its networks, and give back what it needs no more."""
    before = set(_reserved(state, old)) if old is not None else set()
    after = set(_reserved(state, new))
    for key in sorted(after - before):
        txn.reserve(key, new.name, new.meta.uid)
    if old is not None:
        _release(txn, state, old, before - after)
    had = {i.subnet for i in old.interfaces} if old is not None else set()
    has = {i.subnet for i in new.interfaces}
    for subnet in sorted(has):
        txn.require(state.subnets[subnet])
    for subnet in sorted(has - had):
        txn.add_reference(subnet, new.name)
    for subnet in sorted(had - has):
        txn.drop_reference(subnet, new.name)
    for network in sorted(set(new.networks)):
        there = state.networks[network]
        txn.update(there, common.touched(there, stamp))


def _reserved(state: State, router: Router) -> Iterator[str]:
    """Yield the identifiers that are a router's own."""
    for network in router.networks:
        yield ids.mac(network, router.mac)
    for interface in router.interfaces:
        subnet = state.subnets.get(interface.subnet)
        if subnet is None or subnet.gateway_ip != interface.address:
            yield ids.ip(interface.subnet.parent, interface.address)


def _release(txn: Txn, state: State, router: Router, given_up: Iterable[str]) -> None:
    """Give identifiers back: those that ports may get next wait for the hosts that may hold them."""
    hosts = {
        host
        for name in router.networks
        if (network := state.networks.get(name)) is not None
        for host in release.holders(state, network)
    }
    waiting = tuple(sorted(hosts))
    for key in sorted(given_up):
        # Nobody but a router can have that MAC.
        only_routers = key.endswith(f"/{ROUTER_MAC:012x}")
        release.release(txn, state, [key], router.meta.uid, () if only_routers else waiting)
