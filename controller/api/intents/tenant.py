"""Tenants: what creating, changing and deleting one stores. Pure."""

from __future__ import annotations

from dataclasses import replace

from cloison.model import Tenant
from cloison.names import TenantName
from cloison.v1 import tenant_pb2
from controller.api import allocate, masks, validate
from controller.api.intents import common, release, security_group
from controller.store import ids
from controller.store.state import State
from controller.store.txn import Txn


def create(state: State, request: tenant_pb2.CreateTenantRequest, stamp: common.Stamp) -> tuple[Txn, Tenant]:
    """Return the transaction that makes the tenant, its number and its default group.

    An empty one for a repeated request.
    """
    check = validate.Checker()
    validate.check_resource_id(check, request.tenant_id, "tenant_id")
    validate.check_request_id(check, request.request_id)
    common.check_meta(check, request.tenant, "tenant")
    check.done()
    name, txn = TenantName(request.tenant_id), Txn()
    existing = common.repeated(state.tenants.get(name), request)
    if existing is not None:
        return txn, existing
    tenant = Tenant(
        name=name,
        meta=common.new_meta(request.tenant, request, stamp),
        number=allocate.tenant_number(state, stamp),
    )
    txn.create(tenant)
    txn.reserve(ids.tenant_number(tenant.number), name, stamp.uid)
    security_group.add_default(txn, state, name, stamp)
    return txn, tenant


def update(state: State, request: tenant_pb2.UpdateTenantRequest, stamp: common.Stamp) -> tuple[Txn, Tenant]:
    """Return the transaction that changes display name and labels."""
    name = TenantName.parse(request.tenant.name, "tenant.name")
    fields = masks.fields_to_update(request.tenant, request.update_mask, "tenant")
    check = validate.Checker()
    common.check_meta(check, request.tenant, "tenant")
    check.done()
    old = common.found(state.tenants, name)
    common.check_etag(old, request.tenant.etag)
    return common.changed(
        old, replace(old, meta=common.changed_meta(old.meta, request.tenant, fields)), stamp
    )


def delete(state: State, request: tenant_pb2.DeleteTenantRequest) -> tuple[Txn, Tenant]:
    """Return the transaction that removes an empty tenant, and its default group.

    Raises Precondition while it has networks, routers, floating IPs or other groups, and while an external
    network is shared with it.
    """
    name = TenantName.parse(request.name)
    tenant = common.found(state.tenants, name)
    common.check_etag(tenant, request.etag)
    default = state.security_groups.get(security_group.default_of(name))
    left = [child.name for child in state.children_of(name) if child is not default]
    common.refuse_if_referenced(name, left, "still has networks, routers, floating IPs or groups")
    shared = (network.name for network in state.external_networks_of(name))
    common.refuse_if_referenced(name, shared, "is in shared_with of")
    txn = Txn()
    if default is not None:
        security_group.remove(txn, state, default)
    txn.delete(tenant)
    # Its number is in cookies only, where it tells apart but never admits: no host need confirm.
    release.release(txn, state, [ids.tenant_number(tenant.number)], tenant.meta.uid, ())
    return txn, tenant
