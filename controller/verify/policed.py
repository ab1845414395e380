"""Which flows of EGRESS and INGRESS are of which tenant, and what is wrong with those of one.

A packet in a network of a tenant has that tenant's number in TENANT, and as its ends two profiles of the
tenant or reserved ones (contracts.py, intent.py: nobody else has these numbers). So it can meet only flows
that match the tenant's number or one of its profiles, and the few that are of nobody in particular.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from functools import partial

from controller.verify.grammar import Refused
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
from controller.verify.rules import Rule, Rules, Shares
from controller.verify.rulings import ruled
from controller.verify.stages import TENANT
from controller.verify.symbolic import Bridge
from controller.verify.world import World

POLICIES_MAX = 20_000
Wrong = tuple[Difference | Refused, ...]
# Whose a rule is. A number or a profile that no tenant has is on no packet either.
Owner = tuple[str, int]
_BY_TENANT, _BY_PROFILE = "tenant", "profile"
_NOBODYS, _STRANGE = ("nobody", 0), ("strange", 0)
_EMPTY = Shares(lambda _: _STRANGE, ())


class Policed:
    """Answers for one tenant on one bridge. Holds no reference to bridges."""

    def __init__(self) -> None:
        self._wrong: dict[Hashable, Wrong] = {}
        # Of each tenant and table: the shares that its rules are, and those put together.
        self._rules: dict[tuple[str, int], tuple[tuple[Rules, ...], Rules]] = {}
        # Of each tenant: its policy when last asked, a number for it, and what it means in each table.
        self._meant: dict[str, tuple[PolicyIntent, int, tuple[Admitted, ...]]] = {}
        self._versions = 0

    def wrong(self, bridge: Bridge, world: World, tenant: str) -> Wrong:
        """Return what is wrong with the flows that judge a tenant's packets; nothing if they are as meant."""
        number, meanings = self._meaning(world, tenant)
        found: Wrong = ()
        for judge, wanted in zip(JUDGES, meanings, strict=True):
            shares = shares_of(judge, bridge)
            strange, nobodys = shares.of(_STRANGE).rules, shares.of(_NOBODYS).rules
            rules = self._rules_of(judge, shares, world, tenant)
            of_tenant = world.tenant_number(tenant)
            if strange:
                found += self._looked_at(judge, (*rules.rules, *nobodys, *strange), of_tenant, wanted)
                continue
            if not any(is_open(judge, rule) for rule in nobodys):
                found += (Difference(judge, PROFILE_OPEN, admitted=False),)
            found += self._of_tenant(judge, rules, nobodys, of_tenant, wanted, number)
        return found

    def _rules_of(self, judge: Judged, shares: Shares, world: World, tenant: str) -> Rules:
        """Return the rules that a tenant's packets can meet, besides those that anybody's can."""
        owners: list[Owner] = [(_BY_TENANT, world.tenant_number(tenant))]
        owners += ((_BY_PROFILE, profile) for profile in sorted(world.policy_of(tenant).profiles))
        parts = tuple(part for owner in owners if (part := shares.of(owner)).rules)
        known = self._rules.get((tenant, judge.table))
        if known is None or known[0] != parts:
            if len(self._rules) >= POLICIES_MAX:
                self._rules.clear()
            made = Rules(tuple(rule for part in parts for rule in part.rules))
            known = self._rules[tenant, judge.table] = parts, made
        return known[1]

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


def shares_of(judge: Judged, bridge: Bridge) -> Shares:
    """Return the rules of a table by whose packets can meet them."""
    table = bridge.tables.get(judge.table)
    if table is None:
        return _EMPTY
    if table.shares is None:
        table.shares = Shares(partial(owner_of, judge), table.rules.values())
    return table.shares


def owner_of(judge: Judged, rule: Rule) -> Owner:
    """Return whose a rule is: of a tenant's number, a profile, nobody in particular; else it is strange."""
    number = _exact(rule, TENANT)
    if number is not None:
        return _BY_TENANT, number
    if is_static(judge, rule):
        return _NOBODYS
    subject, remote = _exact(rule, judge.subject), _exact(rule, judge.remote)
    profile = remote if subject is None else subject
    # A reserved one: ports of every tenant have it.
    return (_BY_PROFILE, profile) if profile is not None and profile >= PROFILE_FIRST else _STRANGE


def _exact(rule: Rule, name: str) -> int | None:
    value, mask = rule.cube
    wanted = FIELD_MASKS[name]
    return (value & wanted) >> OFFSETS[name] if mask & wanted == wanted else None
