"""Which flows of EGRESS and INGRESS are of which tenant, and what is wrong with those of one.

A packet in a network of a tenant has that tenant's number in TENANT, and as its ends two profiles of the
tenant or reserved ones (contracts.py, intent.py: nobody else has these numbers). So it can meet only flows
that match the tenant's number or one of its profiles, and the few that are of nobody in particular.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from functools import partial
from itertools import chain
from typing import NamedTuple

from controller.verify.admitting import Parsed, joined, parsed
from controller.verify.grammar import Refused
from controller.verify.packet import FIELD_MASKS, OFFSETS
from controller.verify.policing import (
    JUDGES,
    Admitted,
    Difference,
    Judged,
    Members,
    Piece,
    by_profile,
    differences,
    is_open,
    is_static,
    members_of,
    pieces_of,
)
from controller.verify.policy import PROFILE_FIRST, PROFILE_OPEN, GroupName, PolicyIntent, RuleIntent
from controller.verify.rules import Rule, Rules, Shares
from controller.verify.rulings import ruled
from controller.verify.stages import TENANT
from controller.verify.symbolic import Bridge
from controller.verify.world import World

POLICIES_MAX, SHARES_MAX = 20_000, 40_000
Wrong = tuple[Difference | Refused, ...]
# Whose a rule is. A number or a profile that no tenant has is on no packet either.
Owner = tuple[str, int]
_BY_TENANT, _BY_PROFILE = "tenant", "profile"
_NOBODYS, _STRANGE = ("nobody", 0), ("strange", 0)
_EMPTY = Shares(lambda _: _STRANGE, ())


class _Meaning(NamedTuple):
    """What a tenant's policy means. version: another number whenever that may be something else.

    wanted: in each table; pieces: all of which that is made, each under itself.
    """

    policy: PolicyIntent
    version: int
    owners: tuple[Owner, ...]
    wanted: tuple[Admitted, ...]
    pieces: tuple[Mapping[Piece, Piece], ...]
    groups: Mapping[GroupName, GroupMeaning]


class GroupMeaning(NamedTuple):
    """What the rules of one group admit, in each table; and all that this depends on."""

    rules: tuple[RuleIntent, ...]
    named: tuple[Hashable, ...]
    admits: tuple[frozenset[Piece], ...]


class Policed:
    """Answers for one tenant on one bridge. Holds no reference to bridges.

    An answer costs what has changed, and a look at each of the tenant's profiles: what rules say is
    remembered by their content, share by share, what groups mean by their rules, and the answer by both.
    """

    def __init__(self) -> None:
        self._wrong: dict[Hashable, Wrong] = {}
        self._parsed: dict[Hashable, Parsed] = {}
        self._meant: dict[str, _Meaning] = {}
        self._versions = 0

    def wrong(self, bridge: Bridge, world: World, tenant: str) -> Wrong:
        """Return what is wrong with the flows that judge a tenant's packets; nothing if they are as meant."""
        meaning, number = self._meaning(world, tenant), world.tenant_number(tenant)
        found: Wrong = ()
        for at, judge in enumerate(JUDGES):
            shares = shares_of(judge, bridge)
            known = shares.known.get(tenant)
            if known is None or known[0] != (meaning.version, number):
                known = (meaning.version, number), self._judged(at, shares, number, meaning)
                if shares is not _EMPTY:
                    shares.known[tenant] = known
            found += known[1]
        return found

    def _judged(self, at: int, shares: Shares, number: int, meaning: _Meaning) -> Wrong:
        """What is wrong with one table."""
        judge = JUDGES[at]
        strange, nobodys = shares.of(_STRANGE).rules, shares.of(_NOBODYS).rules
        own = [share for owner in meaning.owners if (share := shares.of(owner)).rules]
        if strange:
            rules = chain.from_iterable(share.rules for share in own)
            return self._looked_at(judge, (*rules, *nobodys, *strange), number, meaning.wanted[at])
        found: Wrong = ()
        if not any(is_open(judge, rule) for rule in nobodys):
            found = (Difference(judge, PROFILE_OPEN, admitted=False),)
        return found + self._of_tenant(at, own, nobodys, number, meaning)

    def _of_tenant(
        self, at: int, own: list[Rules], nobodys: Iterable[Rule], tenant: int, meaning: _Meaning
    ) -> Wrong:
        judge, wanted = JUDGES[at], meaning.wanted[at]
        key = meaning.version, judge.table, tuple(share.content for share in own)
        found = self._wrong.get(key)
        if found is None:
            if len(self._wrong) >= POLICIES_MAX:
                self._wrong.clear()
            try:
                says = [self._read(judge, share, tenant) for share in own]
                found = tuple(differences(judge, joined(says, meaning.pieces[at]), wanted))
            except Refused:
                # Another form than is read off; nobody's rules may be other ones the next time.
                rules = chain.from_iterable(share.rules for share in own)
                return self._looked_at(judge, (*rules, *nobodys), tenant, wanted)
            self._wrong[key] = found
        return found

    def _read(self, judge: Judged, share: Rules, tenant: int) -> Parsed:
        key = judge.table, tenant, share.content
        known = self._parsed.get(key)
        if known is None:
            if len(self._parsed) >= SHARES_MAX:
                self._parsed.clear()
            known = self._parsed[key] = parsed(judge, share.rules, tenant)
        return known

    @staticmethod
    def _looked_at(judge: Judged, rules: Iterable[Rule], tenant: int, wanted: Admitted) -> Wrong:
        try:
            return tuple(ruled(judge, rules, tenant, wanted))
        except Refused as refused:
            return (refused,)

    def _meaning(self, world: World, tenant: str) -> _Meaning:
        policy = world.policy_of(tenant)
        known = self._meant.get(tenant)
        if known is None or (known.policy is not policy and known.policy != policy):
            self._versions += 1
            groups = _groups(policy, known.groups if known is not None else {})
            wanted, pieces = [], []
            for at in range(len(JUDGES)):
                by_group = {name: group.admits[at] for name, group in groups.items()}
                wanted.append(by_profile(policy, by_group))
                pieces.append({piece: piece for admits in by_group.values() for piece in admits})
            owners: list[Owner] = [(_BY_TENANT, policy.number)]
            owners += ((_BY_PROFILE, profile) for profile in sorted(policy.profiles))
            known = self._meant[tenant] = _Meaning(
                policy, self._versions, tuple(owners), tuple(wanted), tuple(pieces), groups
            )
        return known


def _groups(policy: PolicyIntent, before: Mapping[GroupName, GroupMeaning]) -> dict[GroupName, GroupMeaning]:
    """Return what each group means; as before where it depends on nothing that is another."""
    members, found = members_of(policy), {}
    for name, rules in policy.groups.items():
        named = tuple(who for rule in rules if (who := _named(policy, rule, members)) is not None)
        known = before.get(name)
        if known is None or known.rules != rules or known.named != named:
            admits = tuple(pieces_of(policy, rules, members, judge.direction) for judge in JUDGES)
            known = GroupMeaning(rules, named, admits)
        found[name] = known
    return found


def _named(policy: PolicyIntent, rule: RuleIntent, members: Members) -> Hashable:
    """Return whom a rule means by the group that it names, None if it names none."""
    if rule.remote_group is not None:
        return members.get(rule.remote_group, frozenset())
    if rule.remote_address_group is not None:
        return policy.address_groups.get(rule.remote_address_group, ())
    return None


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
