"""Hosts: announcing, labelling and removing one. What a host reports is not written here. Pure."""

from __future__ import annotations

from dataclasses import replace

from cloison.errors import Precondition
from cloison.model import Host
from cloison.names import HostName
from cloison.v1 import host_pb2
from controller.api import masks, validate
from controller.api.intents import common, release
from controller.store import ids
from controller.store.state import State
from controller.store.txn import Txn


def create(state: State, request: host_pb2.CreateHostRequest, stamp: common.Stamp) -> tuple[Txn, Host]:
    """Return the transaction that announces a host; its agent fills in the rest when it registers."""
    check = validate.Checker()
    validate.check_resource_id(check, request.host_id, "host_id")
    validate.check_request_id(check, request.request_id)
    common.check_meta(check, request.host, "host")
    check.done()
    name, txn = HostName(request.host_id), Txn()
    existing = common.repeated(state.hosts.get(name), request)
    if existing is not None:
        return txn, existing
    host = Host(name=name, meta=common.new_meta(request.host, request, stamp))
    txn.create(host)
    return txn, host


def update(state: State, request: host_pb2.UpdateHostRequest, stamp: common.Stamp) -> tuple[Txn, Host]:
    """Return the transaction that changes display name and labels."""
    name = HostName.parse(request.host.name, "host.name")
    fields = masks.fields_to_update(request.host, request.update_mask, "host")
    check = validate.Checker()
    common.check_meta(check, request.host, "host")
    check.done()
    old = common.found(state.hosts, name)
    common.check_etag(old, request.host.etag)
    return common.changed(old, replace(old, meta=common.changed_meta(old.meta, request.host, fields)), stamp)


def _deletable(state: State, request: host_pb2.DeleteHostRequest, connected: bool) -> Host:
    name = HostName.parse(request.name)
    host = common.found(state.hosts, name)
    common.check_etag(host, request.etag)
    if connected:
        raise Precondition(
            "AGENT_CONNECTED", str(name), f"the agent of {name} is connected; stop it first", [str(name)]
        )
    common.refuse_if_referenced(
        name, (p.name for p in state.ports_on(name)), "is in requested_hosts of ports"
    )
    outside = (n.name for n in state.external_networks.values() if name in n.gateway_hosts)
    common.refuse_if_referenced(name, outside, "is in gateway_hosts of")
    bound = (binding.port for binding in state.bindings_on(name))
    common.refuse_if_referenced(name, bound, "still has ports plugged")
    return host


def delete(state: State, request: host_pb2.DeleteHostRequest, connected: bool) -> tuple[Txn, Host]:
    """Return the transaction that removes a host that no port is scheduled to and no agent speaks for.

    Its tunnel ports go with it. Nobody waits for it any more: whoever deletes a host says that it is dead.
    """
    host, txn = _deletable(state, request, connected), Txn()
    txn.delete(host)
    taken = [ids.dpid(host.datapath_id)] if host.datapath_id else []
    if host.vtep is not None:
        taken.append(ids.vtep(host.vtep))
    release.release(txn, state, taken, host.meta.uid, ())
    return txn, host
