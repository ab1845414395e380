"""External networks: what creating, changing and deleting one stores. Pure.

Its gateways' addresses are reserved like any other outside, and so is the VLAN of the physical network that
it is: no two external networks are the same wire.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from cloison.codec import resource_to_proto
from cloison.errors import Precondition
from cloison.model import ExternalNetwork, Meta
from cloison.names import ExternalNetworkName, HostName, TenantName
from cloison.v1 import external_network_pb2 as pb
from controller.api import masks, validate
from controller.api.intents import common, external_parts, release
from controller.api.intents import gateway as gateways
from controller.store import ids
from controller.store.state import State
from controller.store.txn import Txn

N = TypeVar("N", HostName, TenantName)

_FIELD = "external_network"
_WHERE = ("physical_network", "vlan")


def create(
    state: State, request: pb.CreateExternalNetworkRequest, stamp: common.Stamp
) -> tuple[Txn, ExternalNetwork]:
    """Return the transaction that makes the external network; an empty one for a repeated request."""
    check, message = validate.Checker(), request.external_network
    validate.check_resource_id(check, request.external_network_id, "external_network_id")
    validate.check_request_id(check, request.request_id)
    common.check_meta(check, message, _FIELD)
    check.done()
    name = ExternalNetworkName(request.external_network_id)
    existing = common.repeated(state.external_networks.get(name), request)
    if existing is not None:
        return Txn(), existing
    network = _parsed(state, message, name, common.new_meta(message, request, stamp))
    txn = Txn()
    txn.create(network)
    _exchange(txn, state, None, network)
    return txn, network


def update(
    state: State, request: pb.UpdateExternalNetworkRequest, stamp: common.Stamp
) -> tuple[Txn, ExternalNetwork]:
    """Return the transaction that changes what the mask names.

    Of changed gateway_hosts the ports of routers there learn each by a transaction of its own: edges.follow.
    """
    message = request.external_network
    name = ExternalNetworkName.parse(message.name, f"{_FIELD}.name")
    fields = masks.fields_to_update(message, request.update_mask, _FIELD)
    check = validate.Checker()
    common.check_meta(check, message, _FIELD)
    check.done()
    old = common.found(state.external_networks, name)
    common.check_etag(old, message.etag)
    merged = resource_to_proto(old)
    for field in fields:
        merged.ClearField(field)
    chosen = pb.ExternalNetwork()
    chosen.CopyFrom(message)
    for field in {f.name for f in message.DESCRIPTOR.fields} - fields:
        chosen.ClearField(field)
    merged.MergeFrom(chosen)
    new = _parsed(state, merged, name, common.changed_meta(old.meta, message, fields))
    txn, new = common.changed(old, new, stamp)
    if txn:
        _refuse_moving(txn, state, old, new)
        _refuse_taking_away(txn, state, old, new)
        _refuse_overlapping(state, merged, old)
        _exchange(txn, state, old, new)
    return txn, new


def delete(state: State, request: pb.DeleteExternalNetworkRequest) -> tuple[Txn, ExternalNetwork]:
    """Return the transaction that removes an external network that no router and no floating IP uses."""
    name = ExternalNetworkName.parse(request.name)
    network = common.found(state.external_networks, name)
    common.check_etag(network, request.etag)
    common.refuse_if_referenced(name, _users(state, network), "is still used by")
    txn = Txn()
    for host in network.gateway_hosts:
        txn.drop_reference(host, name)
    for tenant in network.shared_with:
        txn.drop_reference(tenant, name)
    txn.delete(network)
    release.release(txn, state, _reserved(network), network.meta.uid, ())
    return txn, network


def _users(state: State, network: ExternalNetwork) -> list[object]:
    routers = (router.name for router in state.routers_out(network.name))
    return [*routers, *(floating.name for floating in state.floating_ips_in(network.name))]


def _parsed(
    state: State, message: pb.ExternalNetwork, name: ExternalNetworkName, meta: Meta
) -> ExternalNetwork:
    """Return the external network of a message; raises InvalidIntent with all that is wrong."""
    check = validate.Checker()
    network = ExternalNetwork(
        name=name,
        meta=meta,
        physical_network=external_parts.physical_network(check, message.physical_network),
        vlan=external_parts.vlan(check, message.vlan),
        subnets=external_parts.subnets(check, message.subnets),
        shared_with=external_parts.tenants(check, state, message.shared_with),
        gateway_hosts=external_parts.hosts(check, state, message.gateway_hosts),
        mtu=external_parts.mtu(check, message.mtu),
    )
    check.done()
    _check_segment(check, state, network)
    _check_gateways(check, state, network)
    check.done()
    return network


def _check_segment(check: validate.Checker, state: State, network: ExternalNetwork) -> None:
    key = ids.segment(network.physical_network, network.vlan)
    held = release.foreign(state.reservations.get(key), network.meta.uid)
    if held is not None:
        expected = f"a VLAN of {network.physical_network} that is free: {held.owner} is this one"
        check.wrong(f"{_FIELD}.vlan", network.vlan, expected)


def _check_gateways(check: validate.Checker, state: State, network: ExternalNetwork) -> None:
    for i, subnet in enumerate(network.subnets):
        if subnet.gateway is None or subnet.gateway not in subnet.cidr:
            continue
        field = f"{_FIELD}.subnets[{i}].gateway_ip"
        reservation = state.reservations.get(ids.external(network.name, subnet.gateway))
        held = release.foreign(reservation, network.meta.uid)
        if held is not None:
            release.refuse_released(held, field, subnet.gateway)
            check.wrong(field, subnet.gateway, f"an address that is not taken: {held.owner} has it")


def _reserved(network: ExternalNetwork) -> Iterator[str]:
    """Yield the identifiers that are its own."""
    yield ids.segment(network.physical_network, network.vlan)
    for subnet in network.subnets:
        if subnet.gateway is not None and subnet.gateway in subnet.cidr:
            yield ids.external(network.name, subnet.gateway)


def _exchange(txn: Txn, state: State, old: ExternalNetwork | None, new: ExternalNetwork) -> None:
    """Take what it needs, give back what it needs no more, and keep hosts and tenants there."""
    before = set(_reserved(old)) if old is not None else set()
    after = set(_reserved(new))
    for key in sorted(after - before):
        txn.reserve(key, new.name, new.meta.uid)
    # No host of ours has answered for these: they are free at once.
    release.release(txn, state, before - after, new.meta.uid, ())
    _refer(txn, new.name, old.gateway_hosts if old is not None else (), new.gateway_hosts)
    _refer(txn, new.name, old.shared_with if old is not None else (), new.shared_with)


# (A host and a tenant may have names that are equal as tuples: each kind by itself.)
def _refer(txn: Txn, name: ExternalNetworkName, old: Iterable[N], new: Iterable[N]) -> None:
    had, has = set(old), set(new)
    for referred in sorted(has - had):
        txn.add_reference(referred, name)
    for referred in sorted(had - has):
        txn.drop_reference(referred, name)


def _refuse_moving(txn: Txn, state: State, old: ExternalNetwork, new: ExternalNetwork) -> None:
    """Refuse to make it another wire, or other ranges, under the feet of those who use it."""
    if any(getattr(old, field) != getattr(new, field) for field in _WHERE):
        users = _users(state, old)
        common.refuse_if_referenced(old.name, users, "is the way out, by this physical network and VLAN, of")
        txn.require_unreferenced(old.name)
    kept = {subnet.cidr for subnet in new.subnets}
    if all(subnet.cidr in kept for subnet in old.subnets):
        return
    own = set(_reserved(old))
    scopes = [ids.external_scope(old.name, version) for version in (4, 6)]
    addresses = [key for key in own if not key.startswith("segment/")]
    if sum(map(state.reservations.in_scope, scopes)) > len(addresses):
        users = _users(state, old)
        common.refuse_if_referenced(old.name, users, "has addresses in its subnets that are taken by")
        raise Precondition(
            "REFERENCED",
            str(old.name),
            f"addresses in the subnets of {old.name} were given back and are not free yet; try again",
        )
    txn.require_no_reservations(f"ext/{old.name.external_network}", addresses)


def _refuse_overlapping(state: State, merged: pb.ExternalNetwork, old: ExternalNetwork) -> None:
    """Refuse further subnets that overlap what is behind a router which goes out here (gateway.parse)."""
    check, known = validate.Checker(), {subnet.cidr for subnet in old.subnets}
    for i, message in enumerate(merged.subnets):
        field = f"{_FIELD}.subnets[{i}].cidr"
        cidr = validate.prefix(message.cidr, field)
        for router in state.routers_out(old.name) if cidr not in known else ():
            for range_, whose in gateways.inward(state, router):
                expected = f"a range that does not overlap {range_}, {whose}"
                check.that(not cidr.overlaps(range_), field, message.cidr, expected)
    check.done()


def _refuse_taking_away(txn: Txn, state: State, old: ExternalNetwork, new: ExternalNetwork) -> None:
    """Refuse that a tenant may use it no longer, as long as it does."""
    for tenant in sorted(set(old.shared_with) - set(new.shared_with)):
        routers = [r.name for r in state.routers_out(old.name) if r.name.parent == tenant]
        floating = [f.name for f in state.floating_ips_in(old.name) if f.name.parent == tenant]
        common.refuse_if_referenced(old.name, [*routers, *floating], f"is still used in {tenant} by")
        txn.require_unused_by(old.name, tenant)
