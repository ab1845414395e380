"""Which flows of EGRESS and INGRESS are of which tenant, and what is wrong with those of one.

A packet in a network of a tenant has that tenant's number in TENANT, and as its ends two profiles of the
tenant or reserved ones (contracts.py, intent.py: nobody else has these numbers). So it can meet only flows
that match the tenant's number or one of its profiles, and the few that are of nobody in particular.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

from controller.verify.grammar import Refused
from controller.verify.intent import World
from controller.verify.packet import FIELD_MASKS, OFFSETS
from controller.verify.policing import (
    JUDGES,
    Admitted,
    Difference,
    Judged,
    admitted,
    differences,
    is_open,
    is_static,
    meant,
)
from controller.verify.policy import PROFILE_FIRST, PROFILE_OPEN, PolicyIntent
from controller.verify.rules import Rule, Rules
from controller.verify.rulings import ruled
from controller.verify.stages import TENANT
from controller.verify.symbolic import Bridge

POLICIES_MAX = 20_000
Wrong = tuple[Difference | Refused, ...]
_NOBODY = ""
_NO_RULES = Rules(())


class Policed:
    """Answers for one tenant on one bridge. Holds no reference to bridges."""

    def __init__(self) -> None:
        self._wrong: dict[Hashable, Wrong] = {}
        # Of each tenant: its policy when last asked, a number for it, and what it means in each table.
        self._meant: dict[str, tuple[PolicyIntent, int, tuple[Admitted, ...]]] = {}
        self._versions = 0

    def wrong(self, bridge: Bridge, world: World, tenant: str) -> Wrong:
        """Return what is wrong with the flows that judge a tenant's packets; nothing if they are as meant."""
        number, meanings = self._meaning(world, tenant)
        found: Wrong = ()
        for judge, wanted in zip(JUDGES, meanings, strict=True):
            by_tenant = sorted_rules(judge, bridge, world)
            strange = by_tenant.get(None, _NO_RULES).rules
            if strange:
                rules = (*by_tenant.get(tenant, _NO_RULES).rules, *by_tenant.get(_NOBODY, _NO_RULES).rules)
                found += self._looked_at(judge, (*rules, *strange), world.tenant_number(tenant), wanted)
                continue
            if not any(is_open(judge, rule) for rule in by_tenant.get(_NOBODY, _NO_RULES).rules):
                found += (Difference(judge, PROFILE_OPEN, admitted=False),)
            nobodys = by_tenant.get(_NOBODY, _NO_RULES).rules
            found += self._of_tenant(
                judge, by_tenant.get(tenant, _NO_RULES), nobodys, world.tenant_number(tenant), wanted, number
            )
        return found

    def _of_tenant(
        self,
        judge: Judged,
        rules: Rules,
        nobodys: Iterable[Rule],
        tenant: int,
        wanted: Admitted,
        version: int,
    ) -> Wrong:
        key = version, judge.table, rules.content
        found = self._wrong.get(key)
        if found is None:
            if len(self._wrong) >= POLICIES_MAX:
                self._wrong.clear()
            try:
                found = tuple(differences(judge, admitted(judge, rules.rules, tenant), wanted))
            except Refused:
                # Another form than is read off; nobody's rules may be other ones the next time.
                return self._looked_at(judge, (*rules.rules, *nobodys), tenant, wanted)
            self._wrong[key] = found
        return found

    @staticmethod
    def _looked_at(judge: Judged, rules: Iterable[Rule], tenant: int, wanted: Admitted) -> Wrong:
        try:
            return tuple(ruled(judge, rules, tenant, wanted))
        except Refused as refused:
            return (refused,)

    def _meaning(self, world: World, tenant: str) -> tuple[int, tuple[Admitted, ...]]:
        policy = world.policy_of(tenant)
        known = self._meant.get(tenant)
        if known is None or (known[0] is not policy and known[0] != policy):
            self._versions += 1
            meanings = tuple(meant(policy, judge.direction) for judge in JUDGES)
            known = self._meant[tenant] = policy, self._versions, meanings
        return known[1], known[2]


def sorted_rules(judge: Judged, bridge: Bridge, world: World) -> Mapping[str | None, Rules]:
    """Return the rules of a table by tenant; under "" those of nobody, under None strange ones."""
    table = bridge.tables.get(judge.table)
    if table is None:
        return {}
    if table.tenants is None or table.tenants[0] != world.policy_version:
        found: dict[str | None, list[Rule]] = {}
        for rule in table.rules.values():
            found.setdefault(_tenant_of(judge, rule, world), []).append(rule)
        sorted_ = {tenant: Rules(tuple(rules)) for tenant, rules in found.items()}
        table.tenants = world.policy_version, sorted_
    return table.tenants[1]


def _tenant_of(judge: Judged, rule: Rule, world: World) -> str | None:
    number = _exact(rule, TENANT)
    if number is not None:
        # A number that no tenant has: no packet has it either.
        return world.tenant_by_number.get(number, _NOBODY)
    if is_static(judge, rule):
        return _NOBODY
    subject, remote = _exact(rule, judge.subject), _exact(rule, judge.remote)
    profile = remote if subject is None else subject
    if profile is not None and profile < PROFILE_FIRST:
        # A reserved one: ports of every tenant have it.
        return None
    return world.tenant_by_profile.get(profile, _NOBODY) if profile is not None else None


def _exact(rule: Rule, name: str) -> int | None:
    value, mask = rule.cube
    wanted = FIELD_MASKS[name]
    return (value & wanted) >> OFFSETS[name] if mask & wanted == wanted else None
