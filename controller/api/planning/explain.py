"""From a draft to the plan that people read. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cloison.model import Port
from cloison.v1 import plan_pb2
from controller.api.planning.diffs import object_changes
from controller.api.planning.draft import Draft, Seed
from controller.api.planning.hosts import HostImpact, host_impacts
from controller.api.planning.reach import PAIRS_MAX, Reach, ReachDiff, Talk

PORTS_NAMED_MAX = 5


def explain(draft: Draft, seed: Seed, *, tenant_view: bool) -> plan_pb2.ChangePlan:
    """Return the plan, but for what verification says of it; in a tenant's view without hosts."""
    hosts = () if tenant_view else host_impacts(draft.before, draft.after, draft.changes)
    plan = plan_pb2.ChangePlan(
        digest=draft.digest,
        seed=bytes(seed),
        base_revision=draft.hypothesis.base_revision,
        changes=object_changes(draft.changes, tenant_view=tenant_view),
        hosts=map(_host, hosts),
        notes=_notes(draft, tenant_view),
    )
    _add_reach(plan, Reach(draft.before, draft.after, draft.touched).diff(), tenant_view)
    return plan


def _add_reach(plan: plan_pb2.ChangePlan, diff: ReachDiff, tenant_view: bool) -> None:
    abroad = sum(_crosses(talk) for talk in (*diff.gained, *diff.lost)) if tenant_view else 0
    if abroad:
        diff = replace(diff, gained=_at_home(diff.gained), lost=_at_home(diff.lost))
        plan.notes.append(f"{abroad} pairs with ports of other tenants, which are not named here")
    plan.becomes_reachable.extend(map(_talk, diff.gained))
    plan.stops_being_reachable.extend(map(_talk, diff.lost))
    if not diff.complete:
        plan.notes.append(
            f"more than {PAIRS_MAX} pairs of ports are concerned: only that many were looked at for who can "
            "talk to whom; the digest covers all of them"
        )


def _crosses(talk: Talk) -> bool:
    return talk.source.tenant != talk.target.tenant


def _at_home(talks: Iterable[Talk]) -> tuple[Talk, ...]:
    return tuple(talk for talk in talks if not _crosses(talk))


def _notes(draft: Draft, tenant_view: bool) -> Iterable[str]:
    idle = [
        str(change.new.name)
        for change in draft.changes
        if isinstance(change.new, Port) and not change.new.disabled and not change.new.requested_hosts
    ]
    if idle:
        more = f" and {len(idle) - PORTS_NAMED_MAX} more" if len(idle) > PORTS_NAMED_MAX else ""
        needed = "an operator has scheduled them" if tenant_view else "requested_hosts is set"
        named = ", ".join(sorted(idle)[:PORTS_NAMED_MAX])
        yield f"scheduled to no host, and reaching nobody until {needed}: {named}{more}"


def _host(impact: HostImpact) -> plan_pb2.HostImpact:
    return plan_pb2.HostImpact(
        host=str(impact.host),
        flows_added=impact.flows_added,
        flows_modified=impact.flows_modified,
        flows_deleted=impact.flows_deleted,
        fdb_added=impact.fdb_added,
        fdb_deleted=impact.fdb_deleted,
    )


def _talk(talk: Talk) -> plan_pb2.Reach:
    return plan_pb2.Reach(
        source=str(talk.source), target=str(talk.target), spaces=talk.spaces, condition=talk.condition
    )
