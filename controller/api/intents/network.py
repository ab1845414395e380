"""Networks: what creating, changing and deleting one stores. Pure."""

from __future__ import annotations

from dataclasses import replace

from cloison.model import Network
from cloison.names import NetworkName, TenantName
from cloison.v1 import network_pb2
from controller.api import allocate, masks, validate
from controller.api.intents import common, release
from controller.store import keys
from controller.store.state import State
from controller.store.txn import Txn


def create(
    state: State, request: network_pb2.CreateNetworkRequest, stamp: common.Stamp
) -> tuple[Txn, Network]:
    """Return the transaction that makes the network and its VNI; an empty one for a repeated request."""
    check = validate.Checker()
    parent = check.take(lambda: TenantName.parse(request.parent, "parent"))
    validate.check_resource_id(check, request.network_id, "network_id")
    validate.check_request_id(check, request.request_id)
    common.check_meta(check, request.network, "network")
    check.done()
    assert parent is not None
    common.found(state.tenants, parent)
    name = NetworkName(parent.tenant, request.network_id)
    existing = common.repeated(state.networks.get(name), request)
    if existing is not None:
        return Txn(), existing
    txn = Txn()
    network = Network(
        name=name,
        meta=common.new_meta(request.network, request, stamp),
        vni=allocate.vni(state, stamp),
    )
    txn.create(network)
    txn.reserve(keys.vni(network.vni), name, stamp.uid)
    return txn, network


def update(
    state: State, request: network_pb2.UpdateNetworkRequest, stamp: common.Stamp
) -> tuple[Txn, Network]:
    """Return the transaction that changes display name and labels."""
    name = NetworkName.parse(request.network.name, "network.name")
    fields = masks.fields_to_update(request.network, request.update_mask, "network")
    check = validate.Checker()
    common.check_meta(check, request.network, "network")
    check.done()
    old = common.found(state.networks, name)
    common.check_etag(old, request.network.etag)
    return common.changed(
        old, replace(old, meta=common.changed_meta(old.meta, request.network, fields)), stamp
    )


def delete(state: State, request: network_pb2.DeleteNetworkRequest) -> tuple[Txn, Network]:
    """Return the transaction that removes an empty network; its VNI waits for the hosts with its device."""
    name = NetworkName.parse(request.name)
    network = common.found(state.networks, name)
    common.check_etag(network, request.etag)
    children = (child.name for child in state.children_of(name))
    common.refuse_if_referenced(name, children, "still has subnets or ports")
    txn = Txn()
    txn.delete(network)
    release.release(txn, state, [keys.vni(network.vni)], network.meta.uid, release.holders(state, network))
    return txn, network
