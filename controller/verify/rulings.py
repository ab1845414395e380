"""What EGRESS or INGRESS does with one tenant's connections, decided by regions: for flows of any form.

policing.py reads what flows admit off their form, which is fast, and understands the form that the compiler
gives them and no other. Where it does not understand, this looks at what happens to packets: a conjunction is
multiplied out, and each part of the packets meets the flow of the highest priority. Exact, or Refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

from controller.verify.frame import Frame
from controller.verify.grammar import Refused
from controller.verify.packet import ETH_IPV4, ETH_IPV6, FIELD_MASKS, INVALID, OFFSETS, TRACKED, Cube, cube
from controller.verify.policing import Admitted, Difference, Judged, cubes
from controller.verify.policy import PROFILE_NONE, PROFILE_OPEN
from controller.verify.rules import Rule, Table
from controller.verify.space import Region, member, within
from controller.verify.stages import TENANT
from controller.verify.symbolic import Bridge

FLAT_MAX = 2_000
_CONJUNCTION = FIELD_MASKS["conj_id"]


def ruled(judge: Judged, rules: Iterable[Rule], tenant: int, wanted: Admitted) -> Iterator[Difference]:
    """Yield, for each profile, one connection that the rules judge otherwise than is wanted, if there is one.

    Raises Refused if a packet meets what does not just admit or drop it, or if there is too much to look at.
    """
    bridge = Bridge()
    bridge.tables[judge.table] = _flat(list(rules), cube(**{TENANT: tenant}))
    for subject in sorted({*wanted, PROFILE_OPEN, PROFILE_NONE}):
        meant = list(cubes(judge, wanted.get(subject, ())))
        found = (_of_family(judge, bridge, tenant, subject, meant, kind) for kind in (ETH_IPV4, ETH_IPV6))
        yield from (difference for difference in found if difference is not None)


def _of_family(
    judge: Judged, bridge: Bridge, tenant: int, subject: int, meant: list[Cube], kind: int
) -> Difference | None:
    fixed: dict[str, int | tuple[int, int]] = {TENANT: tenant, judge.subject: subject, "eth_type": kind}
    asked = cube(**fixed, ct_state=(TRACKED, TRACKED | INVALID), conj_id=0)
    for rule, part in bridge.lookup(judge.table, Frame(Region(*asked))):
        admits = rule is not None and not rule.drops
        if rule is not None and admits and (rule.steps or rule.goto != judge.onward):
            if member(part.region) is None:
                continue
            raise Refused("a flow of policy does not just admit", rule.flow)
        if subject == PROFILE_OPEN:
            wrong = [] if admits else [part.region]
        elif admits:
            wrong = [part.region._replace(holes=(*part.region.holes, *meant))]
        else:
            wrong = [w for w in (within(part.region, cut) for cut in meant) if w is not None]
        number = next((n for n in map(member, wrong) if n is not None), None)
        if number is not None:
            return Difference(judge, subject, admits, number)
    return None


def _flat(rules: list[Rule], asked: Cube) -> Table:
    """The rules without conjunctions: each is one rule for each choice of a flow from every clause.

    asked: the packets that matter.
    """
    table = Table(filed=False)
    parts: dict[int, list[tuple[Rule, int, int]]] = {}
    openers: dict[int, list[Rule]] = {}
    for rule in rules:
        steps = [step for step in rule.steps if step[0] == "conjunction"]
        for _, number, clause, size in steps:
            parts.setdefault(number, []).append((rule, clause, size))
        if not steps and rule.cube[1] & _CONJUNCTION:
            number = next(t.value for t in rule.flow.match if t.field.name == "conj_id")
            openers.setdefault(number, []).append(rule)
        elif not steps:
            _put(table, rule)
    for number, flows in parts.items():
        for rule in _multiplied(flows, openers.get(number, []), rules, asked):
            _put(table, rule)
    return table


def _multiplied(
    flows: list[tuple[Rule, int, int]], openers: list[Rule], rules: list[Rule], asked: Cube
) -> Iterator[Rule]:
    first, _, size = flows[0]
    if any((rule.priority, n) != (first.priority, size) for rule, _, n in flows):
        raise Refused("the flows of a conjunction do not have one priority and size", first.flow)
    if any(rule.priority != first.priority for rule in openers):
        raise Refused("a conjunction leads to a flow of another priority", openers[0].flow)
    clauses = [[rule for rule, clause, _ in flows if clause == n] for n in range(1, size + 1)]
    below = (rule for rule in rules if 0 < rule.priority < first.priority)
    if any(rule.cube != (0, 0) or not rule.drops for rule in below):
        raise Refused("there are flows below a conjunction", first.flow)
    # Where it leads to no flow, a switch takes a complete conjunction to what is below: the default.
    nowhere = first.idle()
    for chosen in product(*clauses):
        met: Region | None = Region(*asked)
        for rule in chosen:
            met = within(met, rule.cube) if met is not None else None
        rest = [] if met is None else [met]
        for opener in openers:
            there = opener.cube[0] & ~_CONJUNCTION, opener.cube[1] & ~_CONJUNCTION
            here = within(met, there) if met is not None else None
            if here is not None:
                yield opener.matching((here.value, here.mask))
            rest = [part for whole in rest for part in _outside(whole, there)]
        for part in rest:
            yield nowhere.matching((part.value, part.mask))


def _outside(region: Region, cut: Cube) -> Iterator[Region]:
    """Yield, as cubes, what of a cube is not in another one."""
    if (region.value ^ cut[0]) & region.mask & cut[1]:
        yield region
        return
    value, mask = region.value, region.mask
    left = cut[1] & ~mask
    while left:
        bit = left & -left
        left ^= bit
        yield Region(value | ~cut[0] & bit, mask | bit)
        value, mask = value | cut[0] & bit, mask | bit


def _put(table: Table, rule: Rule) -> None:
    if len(table.rules) >= FLAT_MAX:
        raise Refused("flows of policy of an unknown form, and too many to look at one by one", rule.flow)
    known = table.rules.get(rule.key)
    if known is not None and known.effect == rule.effect:
        return
    if known is not None:
        # Conjunctions that admit the same: a rule each, told apart by bits of conj_id, which is 0 here.
        # Whether a packet meets both is seen when it is looked up.
        value, mask = rule.cube
        rule = rule.matching((value, mask | len(table.rules) << OFFSETS["conj_id"]))
    table.add(rule)
