"""Networks: what creating, changing and deleting one stores. Pure."""

from __future__ import annotations

from dataclasses import replace

from cloison.errors import InvalidIntent
from cloison.model import MTU_LIMIT_MAX, MTU_LIMIT_MIN, Network
from cloison.names import HostName, NetworkName, TenantName
from cloison.v1 import network_pb2
from controller.api import allocate, masks, validate
from controller.api.intents import common, multicast, release
from controller.store import ids, transit
from controller.store.state import State
from controller.store.txn import Txn


def default_domain(name: NetworkName) -> str:
    """Return the domain of a network's names that has chosen none."""
    return f"{name.network}.{name.tenant}.cloison.internal"


def _check(check: validate.Checker, message: network_pb2.Network) -> None:
    common.check_meta(check, message, "network")
    check.that(
        message.mtu_limit == 0 or MTU_LIMIT_MIN <= message.mtu_limit <= MTU_LIMIT_MAX,
        "network.mtu_limit",
        message.mtu_limit,
        f"{MTU_LIMIT_MIN} to {MTU_LIMIT_MAX} bytes (IPv6 needs {MTU_LIMIT_MIN}), "
        "or 0 for what the underlay carries",
    )
    if message.dns_domain:
        check.take(lambda: validate.dns_domain(message.dns_domain, "network.dns_domain"))


def create(
    state: State, request: network_pb2.CreateNetworkRequest, stamp: common.Stamp
) -> tuple[Txn, Network]:
    """Return the transaction that makes the network and its VNI; an empty one for a repeated request."""
    check = validate.Checker()
    parent = check.take(lambda: TenantName.parse(request.parent, "parent"))
    validate.check_resource_id(check, request.network_id, "network_id")
    validate.check_request_id(check, request.request_id)
    _check(check, request.network)
    check.done()
    assert parent is not None
    common.found(state.tenants, parent)
    name = NetworkName(parent.tenant, request.network_id)
    _refuse_transit(name, stamp)
    existing = common.repeated(state.networks.get(name), request)
    if existing is not None:
        return Txn(), existing
    txn = Txn()
    network = Network(
        name=name,
        meta=common.new_meta(request.network, request, stamp),
        vni=allocate.vni(state, stamp),
        mtu_limit=request.network.mtu_limit,
        dns_domain=request.network.dns_domain or default_domain(name),
        multicast=request.network.multicast,
    )
    txn.create(network)
    txn.reserve(ids.vni(network.vni), name, stamp.uid)
    return txn, network


def _refuse_transit(name: NetworkName, stamp: common.Stamp) -> None:
    """Raise InvalidIntent for an id that the ways out of routers have."""
    if transit.is_transit(name) and not stamp.system:
        raise InvalidIntent.of(
            "network_id",
            name.network,
            f"an id that does not begin with {transit.PREFIX}: such are for the ways out of routers",
        )


def update(
    state: State, request: network_pb2.UpdateNetworkRequest, stamp: common.Stamp
) -> tuple[Txn, Network]:
    """Return the transaction that changes what the mask names."""
    message = request.network
    name = NetworkName.parse(message.name, "network.name")
    fields = masks.fields_to_update(message, request.update_mask, "network")
    check = validate.Checker()
    _check(check, message)
    check.done()
    old = common.found(state.networks, name)
    transit.refuse(state, name, name)
    common.check_etag(old, message.etag)
    domain = message.dns_domain or default_domain(name)
    new = replace(
        old,
        meta=common.changed_meta(old.meta, message, fields),
        mtu_limit=message.mtu_limit if "mtu_limit" in fields else old.mtu_limit,
        dns_domain=domain if "dns_domain" in fields else old.dns_domain,
        multicast=message.multicast if "multicast" in fields else old.multicast,
    )
    if new.multicast and not old.multicast:
        multicast.check_switched_on(state, new)
    return common.changed(old, new, stamp)


def delete(state: State, request: network_pb2.DeleteNetworkRequest) -> tuple[Txn, Network]:
    """Return the transaction that removes an empty network; its VNI waits for the hosts with its device."""
    name = NetworkName.parse(request.name)
    network = common.found(state.networks, name)
    transit.refuse(state, name, name)
    common.check_etag(network, request.etag)
    children = (child.name for child in state.children_of(name))
    common.refuse_if_referenced(name, children, "still has subnets or ports")
    return remove(state, network, release.holders(state, network)), network


def remove(state: State, network: Network, hosts: tuple[HostName, ...]) -> Txn:
    """Return the transaction that removes a network; its VNI waits for these hosts."""
    txn = Txn()
    txn.delete(network)
    release.release(txn, state, [ids.vni(network.vni)], network.meta.uid, hosts)
    return txn
