"""Address groups: what creating, changing and deleting one stores. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cloison.addresses import IpNetwork
from cloison.model import AddressGroup
from cloison.names import AddressGroupName, TenantName
from cloison.v1 import address_group_pb2 as pb
from controller.api import masks, validate
from controller.api.intents import budget, common
from controller.store.state import State
from controller.store.txn import Txn

PREFIXES_MAX = 512
GROUPS_PER_TENANT_MAX = 1000


def _prefixes(check: validate.Checker, texts: Sequence[str]) -> tuple[IpNetwork, ...]:
    """Return the ranges in order, each once: what is in a range that is there too is kept as it was said."""
    field = "address_group.prefixes"
    if not check.that(
        len(texts) <= PREFIXES_MAX, field, f"{len(texts)} ranges", f"at most {PREFIXES_MAX} ranges in a group"
    ):
        return ()
    found: dict[IpNetwork, str] = {}
    for i, text in enumerate(texts):
        place = f"{field}[{i}]"
        prefix = check.take(lambda text=text, place=place: validate.prefix(text, place))  # type: ignore[misc]
        if prefix is not None:
            first = found.setdefault(prefix, place)
            check.that(first == place, place, text, f"each range once: {first} has it")
    return tuple(sorted(found, key=lambda p: (p.version, int(p.network_address), p.prefixlen)))


def create(
    state: State, request: pb.CreateAddressGroupRequest, stamp: common.Stamp
) -> tuple[Txn, AddressGroup]:
    """Return the transaction that makes the group; an empty one for a repeated request."""
    check, message = validate.Checker(), request.address_group
    parent = check.take(lambda: TenantName.parse(request.parent, "parent"))
    validate.check_resource_id(check, request.address_group_id, "address_group_id")
    validate.check_request_id(check, request.request_id)
    common.check_meta(check, message, "address_group")
    prefixes = _prefixes(check, message.prefixes)
    check.done()
    assert parent is not None
    common.found(state.tenants, parent)
    name = AddressGroupName(parent.tenant, request.address_group_id)
    existing = common.repeated(state.address_groups.get(name), request)
    if existing is not None:
        return Txn(), existing
    common.check_room(len(state.address_groups_of(parent)), GROUPS_PER_TENANT_MAX, parent, "address groups")
    group = AddressGroup(name=name, meta=common.new_meta(message, request, stamp), prefixes=prefixes)
    txn = Txn()
    txn.create(group)
    return txn, group


def update(
    state: State, request: pb.UpdateAddressGroupRequest, stamp: common.Stamp
) -> tuple[Txn, AddressGroup]:
    """Return the transaction that changes ranges, display name or labels."""
    message = request.address_group
    name = AddressGroupName.parse(message.name, "address_group.name")
    fields = masks.fields_to_update(message, request.update_mask, "address_group")
    check = validate.Checker()
    common.check_meta(check, message, "address_group")
    prefixes = _prefixes(check, message.prefixes) if "prefixes" in fields else ()
    check.done()
    old = common.found(state.address_groups, name)
    common.check_etag(old, message.etag)
    new = replace(
        old,
        meta=common.changed_meta(old.meta, message, fields),
        prefixes=prefixes if "prefixes" in fields else old.prefixes,
    )
    if new.prefixes != old.prefixes:
        budget.check(state, name.parent, "address_group.prefixes", address_groups=[new])
    return common.changed(old, new, stamp)


def delete(state: State, request: pb.DeleteAddressGroupRequest) -> tuple[Txn, AddressGroup]:
    """Return the transaction that removes a group that no rule names."""
    name = AddressGroupName.parse(request.name)
    group = common.found(state.address_groups, name)
    common.check_etag(group, request.etag)
    naming = (other.name for other in state.groups_naming(name))
    common.refuse_if_referenced(name, naming, "is still named by rules of")
    txn = Txn()
    txn.delete(group)
    return txn, group
