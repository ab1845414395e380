"""Security groups: what creating, changing and deleting one stores. Pure.

Each tenant has the group "default", made and deleted with it: its ports may reach anybody, and each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from cloison.errors import InvalidIntent, Precondition
from cloison.model import Direction, Meta, SecurityGroup, SecurityGroupRule
from cloison.names import AddressGroupName, SecurityGroupName, TenantName
from cloison.v1 import security_group_pb2 as pb
from controller.api import allocate, masks, validate
from controller.api.intents import budget, common, release, rules
from controller.store import ids, profiles
from controller.store.state import State
from controller.store.txn import Txn

DEFAULT = "default"
GROUPS_PER_TENANT_MAX = 1000


def default_of(tenant: TenantName) -> SecurityGroupName:
    """Return the name of a tenant's default group."""
    return SecurityGroupName(tenant.tenant, DEFAULT)


def create(
    state: State, request: pb.CreateSecurityGroupRequest, stamp: common.Stamp
) -> tuple[Txn, SecurityGroup]:
    """Return the transaction that makes the group; an empty one for a repeated request."""
    check, message = validate.Checker(), request.security_group
    parent = check.take(lambda: TenantName.parse(request.parent, "parent"))
    validate.check_resource_id(check, request.security_group_id, "security_group_id")
    validate.check_request_id(check, request.request_id)
    common.check_meta(check, message, "security_group")
    check.done()
    assert parent is not None
    name = SecurityGroupName(parent.tenant, request.security_group_id)
    wanted = rules.parse_all(check, message.rules, "security_group.rules", name)
    check.done()
    common.found(state.tenants, parent)
    existing = common.repeated(state.security_groups.get(name), request)
    if existing is not None:
        return Txn(), existing
    common.check_room(len(state.groups_of(parent)), GROUPS_PER_TENANT_MAX, parent, "security groups")
    rules.check_remotes(check, state, name, wanted)
    settled = rules.settle(check, (), wanted)
    check.done()
    group = SecurityGroup(
        name=name,
        meta=common.new_meta(message, request, stamp),
        number=allocate.group_number(state, stamp),
        rules=settled,
    )
    txn = Txn()
    _add(txn, group)
    return txn, group


def _add(txn: Txn, group: SecurityGroup) -> None:
    txn.create(group)
    txn.reserve(ids.group_number(group.number), group.name, group.meta.uid)
    _refer(txn, group.name, (), group.rules)


def add_default(txn: Txn, state: State, tenant: TenantName, stamp: common.Stamp) -> None:
    """Make the default group of a tenant that txn creates."""
    name = default_of(tenant)
    inside = SecurityGroupRule(id=rules.made_id(2), number=2, direction=Direction.INGRESS, remote_group=name)
    group = SecurityGroup(
        name=name,
        meta=Meta(uid=stamp.uid_for(DEFAULT), create_time_ns=stamp.now_ns, update_time_ns=stamp.now_ns),
        number=allocate.group_number(state, stamp),
        rules=(SecurityGroupRule(id=rules.made_id(1), number=1, direction=Direction.EGRESS), inside),
    )
    _add(txn, group)


def update(
    state: State, request: pb.UpdateSecurityGroupRequest, stamp: common.Stamp
) -> tuple[Txn, SecurityGroup]:
    """Return the transaction that changes rules, display name or labels."""
    message = request.security_group
    name = SecurityGroupName.parse(message.name, "security_group.name")
    fields = masks.fields_to_update(message, request.update_mask, "security_group")
    check = validate.Checker()
    common.check_meta(check, message, "security_group")
    wanted = rules.parse_all(check, message.rules, "security_group.rules", name) if "rules" in fields else []
    check.done()
    old = common.found(state.security_groups, name)
    common.check_etag(old, message.etag)
    settled = old.rules
    if "rules" in fields:
        rules.check_remotes(check, state, name, wanted)
        settled = rules.settle(check, old.rules, wanted)
        check.done()
    new = replace(old, meta=common.changed_meta(old.meta, message, fields), rules=settled)
    return _changed(state, old, new, stamp, "security_group.rules")


def add_rules(
    state: State, request: pb.AddSecurityGroupRulesRequest, stamp: common.Stamp
) -> tuple[Txn, SecurityGroup]:
    """Return the transaction that adds rules to a group; one that is there already is refused."""
    name = SecurityGroupName.parse(request.name, "name")
    check = validate.Checker()
    check.that(bool(request.rules), "rules", "", "at least one rule")
    wanted = rules.parse_all(check, request.rules, "rules", name)
    check.done()
    old = common.found(state.security_groups, name)
    common.check_etag(old, request.etag)
    total = len(old.rules) + len(wanted)
    check.that(
        total <= rules.RULES_MAX,
        "rules",
        f"{len(wanted)} rules",
        f"at most {rules.RULES_MAX} rules in a group: {name} has {len(old.rules)}",
    )
    rules.check_remotes(check, state, name, wanted)
    settled = rules.settle(check, old.rules, [*((rule.id, rule) for rule in old.rules), *wanted])
    check.done()
    return _changed(state, old, replace(old, rules=settled), stamp, "rules")


def remove_rules(
    state: State, request: pb.RemoveSecurityGroupRulesRequest, stamp: common.Stamp
) -> tuple[Txn, SecurityGroup]:
    """Return the transaction that takes rules out of a group, by their ids."""
    name = SecurityGroupName.parse(request.name, "name")
    if not request.rule_ids:
        raise InvalidIntent.of("rule_ids", "", "at least one id of a rule")
    old = common.found(state.security_groups, name)
    common.check_etag(old, request.etag)
    check, known = validate.Checker(), {rule.id for rule in old.rules}
    for i, rule_id in enumerate(request.rule_ids):
        check.that(rule_id in known, f"rule_ids[{i}]", rule_id, f"the id of a rule of {name}{_few(known)}")
    check.done()
    going = set(request.rule_ids)
    left = tuple(rule for rule in old.rules if rule.id not in going)
    return _changed(state, old, replace(old, rules=left), stamp, "rule_ids")


def _few(known: Iterable[str]) -> str:
    shown = ", ".join(sorted(known)[:8])
    return f", such as: {shown}" if shown else "; it has none"


def _changed(
    state: State, old: SecurityGroup, new: SecurityGroup, stamp: common.Stamp, field: str
) -> tuple[Txn, SecurityGroup]:
    if new.rules != old.rules:
        budget.check(state, new.name.parent, field, groups=[new])
    txn, new = common.changed(old, new, stamp)
    _refer(txn, new.name, old.rules, new.rules)
    return txn, new


def _refer(
    txn: Txn,
    name: SecurityGroupName,
    old: Sequence[SecurityGroupRule],
    new: Sequence[SecurityGroupRule],
) -> None:
    """Add and drop references so that the groups which old rules name become those of the new ones."""
    before, after = _named(name, old), _named(name, new)
    for text in sorted(after.keys() - before.keys()):
        txn.add_reference(after[text], name)
    for text in sorted(before.keys() - after.keys()):
        txn.drop_reference(before[text], name)


def _named(
    name: SecurityGroupName, group_rules: Iterable[SecurityGroupRule]
) -> dict[str, SecurityGroupName | AddressGroupName]:
    """Return the groups that rules name, but for their own, by name: those of two kinds may be equal."""
    named: dict[str, SecurityGroupName | AddressGroupName] = {}
    for rule in group_rules:
        if rule.remote_group is not None and rule.remote_group != name:
            named[str(rule.remote_group)] = rule.remote_group
        if rule.remote_address_group is not None:
            named[str(rule.remote_address_group)] = rule.remote_address_group
    return named


def delete(state: State, request: pb.DeleteSecurityGroupRequest) -> tuple[Txn, SecurityGroup]:
    """Return the transaction that removes a group that no port is in and no rule of another names.

    Profiles that no port has any more go with it.
    """
    name = SecurityGroupName.parse(request.name)
    group = common.found(state.security_groups, name)
    common.check_etag(group, request.etag)
    if name.group == DEFAULT:
        raise Precondition(
            "DEFAULT_GROUP",
            str(name),
            f"{name} goes with its tenant only; take rules out of it with RemoveSecurityGroupRules instead",
        )
    common.refuse_if_referenced(name, (port.name for port in state.ports_in(name)), "still has ports in it")
    naming = (other.name for other in state.groups_naming(name) if other.name != name)
    common.refuse_if_referenced(name, naming, "is still named by rules of")
    txn = Txn()
    remove(txn, state, group)
    return txn, group


def remove(txn: Txn, state: State, group: SecurityGroup) -> None:
    """Delete a group that nobody uses; its number waits for the hosts that may have it in a flow."""
    for profile in state.profiles_with(group.name):
        profiles.retire(txn, state, profile)
    _refer(txn, group.name, group.rules, ())
    txn.delete(group)
    hosts = profiles.hosts_of(state, group.name.parent)
    release.release(txn, state, [ids.group_number(group.number)], group.meta.uid, hosts)
