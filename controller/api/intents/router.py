"""Routers: what creating, changing and deleting one stores. Pure.

A router's MAC is reserved in each of its networks, an address of an interface that is not the subnet's
gateway in its network; the gateway's is the subnet's already. Its networks are written with it: of two
routers that come into one network at one moment, the second is judged with the first in view.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from cloison.addresses import ROUTER_MAC
from cloison.codec import resource_to_proto
from cloison.model import FloatingIp, Meta, Revision, Router
from cloison.names import RouterName, SubnetName, TenantName
from cloison.v1 import router_pb2 as pb
from controller.api import masks, validate
from controller.api.intents import common, peering, release, router_parts
from controller.api.intents import gateway as gateways
from controller.store import ids, keys, transit
from controller.store.hypothesis import Hypothesis
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
    router = _parsed(state, message, name, meta, None, stamp)
    if router.gateway is None:
        return _created(state, router, stamp), router
    made = Hypothesis(state)
    made.carry_out(_created(state, replace(router, gateway=None), stamp))
    gateways.put(made, name, router.gateway, stamp)
    return _outcome(made, name)


def _created(state: State, router: Router, stamp: common.Stamp) -> Txn:
    txn = Txn()
    txn.create(router)
    _connect(txn, state, None, router, stamp)
    return txn


def _outcome(made: Hypothesis, name: RouterName) -> tuple[Txn, Router]:
    """Return several changes as one, and the router that they leave behind."""
    router = made.after.routers[name]
    return made.txn, replace(router, meta=replace(router.meta, revision=Revision(0)))


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
        elif field == "gateway" and message.HasField("gateway"):
            merged.gateway.CopyFrom(message.gateway)
            if not message.gateway.ip_addresses and old.gateway is not None:
                merged.gateway.ip_addresses.extend(map(str, old.gateway.addresses))
    new = _parsed(state, merged, name, common.changed_meta(old.meta, message, fields), old, stamp)
    if (old.gateway is None) == (new.gateway is None):
        return _changed(state, old, new, stamp)
    made = Hypothesis(state)
    if old.gateway is not None:
        gateways.take_away(made, name, stamp)
    there = made.after.routers[name]
    wanted = replace(new, gateway=None, meta=replace(new.meta, revision=there.meta.revision))
    txn, _ = _changed(made.after, there, wanted, stamp)
    if txn:
        made.carry_out(txn)
    if new.gateway is not None:
        gateways.put(made, name, new.gateway, stamp)
    return _outcome(made, name)


def _changed(state: State, old: Router, new: Router, stamp: common.Stamp) -> tuple[Txn, Router]:
    """Return what changes a router that keeps, or keeps to have none of, its gateway."""
    kept = tuple(i for i in old.interfaces if i not in gateways.own(old))
    new = replace(new, interfaces=tuple(sorted((*new.interfaces, *kept), key=lambda i: i.subnet)))
    txn, new = common.changed(old, new, stamp)
    if (new.mac, new.interfaces) != (old.mac, old.interfaces):
        _keep_floating(txn, state, old, new)
        _connect(txn, state, old, new, stamp)
    if txn:
        gateways.exchange(txn, state, old, new, stamp)
    return txn, new


def _keep_floating(txn: Txn, state: State, old: Router, new: Router) -> None:
    """Refuse to leave a subnet whose ports have floating IPs by this router."""
    for subnet in sorted({i.subnet for i in old.interfaces} - {i.subnet for i in new.interfaces}):
        floating = [f.name for f in state.floating_ips_by(old.name) if _fixed_in(state, f) == subnet]
        what = f"still joins {subnet} to {old.gateway.external_network if old.gateway else 'nothing'} for"
        common.refuse_if_referenced(old.name, floating, what)
        txn.require_unreferenced(keys.interface_of(old.name, subnet))


def _fixed_in(state: State, floating: FloatingIp) -> SubnetName | None:
    port = state.ports.get(floating.port) if floating.port is not None else None
    found = (f.subnet for f in port.fixed_ips if f.address == floating.fixed) if port is not None else ()
    return next(iter(found), None)


def delete(state: State, request: pb.DeleteRouterRequest) -> tuple[Txn, Router]:
    """Return the transaction that removes a router: at once its networks are apart."""
    name = RouterName.parse(request.name)
    router = common.found(state.routers, name)
    common.check_etag(router, request.etag)
    peerings = (p.name for p in state.peerings_at(name))
    common.refuse_if_referenced(name, peerings, "is still joined with others by")
    if router.gateway is None:
        return _deleted(state, router), router
    made = Hypothesis(state)
    gateways.take_away(made, name, common.Stamp(router.meta.update_time_ns, router.meta.uid))
    made.carry_out(_deleted(made.after, made.after.routers[name]))
    return made.txn, router


def _deleted(state: State, router: Router) -> Txn:
    txn, name = Txn(), router.name
    for interface in router.interfaces:
        txn.drop_reference(interface.subnet, name)
    txn.delete(router)
    _release(txn, state, router, _reserved(state, router))
    return txn


def _parsed(
    state: State, message: pb.Router, name: RouterName, meta: Meta, old: Router | None, stamp: common.Stamp
) -> Router:
    """Return the router of a message, without interfaces of a way out; raises InvalidIntent with all wrong.

    old: the router as it is.
    """
    if old is not None:
        _leave_out_transit(message, old)
    check = validate.Checker()
    mac = router_parts.mac(check, message.mac_address)
    interfaces = router_parts.interfaces(check, state, message.interfaces, name, meta.uid)
    routes = router_parts.routes(check, state, message.routes, interfaces)
    check.done()
    made = Router(name=name, meta=meta, mac=mac, interfaces=interfaces, routes=routes)
    router_parts.check_mac(check, state, made)
    if message.HasField("gateway"):
        before = old.gateway if old is not None else None
        made = replace(made, gateway=gateways.parse(check, state, message, made, before, stamp))
    peering.refuse_odds(check, state, made)
    check.done()
    return made


def _leave_out_transit(message: pb.Router, old: Router) -> None:
    """Take out of a message what a router's way out is made of: it comes and goes with its gateway."""
    own = {str(subnet) for subnet in transit.subnets_of(old.name)}
    others = [interface for interface in message.interfaces if interface.subnet not in own]
    del message.interfaces[:]
    message.interfaces.extend(others)


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
