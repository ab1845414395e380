"""`cloison.v1.PlanService`: many changes as one, shown before they are made, and made only as shown.

Brings in time and chance (the seed), permissions, and threads: a plan may take long to work out, and nothing
else waits for it. What a plan is, is decided in planning/.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from cloison.errors import CallerError, PermissionDenied, Precondition, Unavailable
from cloison.model import Resource
from cloison.names import HostName, TenantName
from cloison.v1 import plan_pb2, plan_pb2_grpc, verify_pb2
from controller.api import auth
from controller.api.auth import Caller, current_caller
from controller.api.errors import PlanMoved
from controller.api.planning.diffs import object_changes
from controller.api.planning.draft import CHANCE_BYTES, Draft, Seed, draft
from controller.api.planning.explain import explain
from controller.api.planning.operations import hosts_going, steps_of
from controller.api.planning.proof import TOO_LARGE, violations_of
from controller.api.standard import Api
from controller.reconcile.tracker import Tracker
from controller.store import keys
from controller.store.state import State
from controller.store.store import HistoryGone
from controller.store.txn import Txn

log = structlog.get_logger(__name__)

T = TypeVar("T")

ATTEMPTS_MAX = 10
RETRY_DELAY_MAX_S = 0.05
# A plan that was saved is good for a day: its time becomes that of the objects it makes.
AGE_MAX_NS = 24 * 3600 * 1_000_000_000
SKEW_MAX_NS = 60 * 1_000_000_000
MOVED_NAMED_MAX = 5


@dataclass(frozen=True, slots=True)
class Proof:
    """What verification says of a draft (see proof.py), and whether that can refuse a plan."""

    violations_of: Callable[[Draft], Sequence[verify_pb2.Violation] | None] = violations_of
    enforce: bool = True


NO_PROOF = Proof(lambda _: (), enforce=False)


class _Overtaken(Exception):
    """The store asks for the transaction again: what it was made on has changed, or may have."""


class PlanService(plan_pb2_grpc.PlanServiceServicer):
    """See plan.proto."""

    def __init__(self, api: Api, tracker: Tracker, proof: Proof | None = None) -> None:
        self._api = api
        self._tracker = tracker
        self._proof = proof if proof is not None else Proof()

    async def Plan(self, request: plan_pb2.PlanRequest, context: Any) -> plan_pb2.ChangePlan:
        """Say what the change would do."""
        caller = current_caller()
        _admit(caller, request)
        seed = Seed(self._api.now_ns(), secrets.token_bytes(CHANCE_BYTES))

        def work(state: State) -> plan_pb2.ChangePlan:
            made = self._draft(state, request, seed, caller)
            made.txn.check_limits(self._api.store.limits)
            plan = explain(made, seed, tenant_view=caller.tenant is not None)
            found = self._proof.violations_of(made)
            plan.violations.extend(_seen_by(caller, found or ()))
            plan.notes.extend([TOO_LARGE] if found is None else [])
            return plan

        return await self._on_state(work)

    async def Apply(self, request: plan_pb2.ApplyRequest, context: Any) -> plan_pb2.ApplyResponse:
        """Do what was shown, or nothing."""
        caller = current_caller()
        _admit(caller, request.request)
        seed = Seed.parse(request.seed)
        self._check_age(seed)
        for attempt in range(ATTEMPTS_MAX):
            txn, changes = await self._again(request, seed, caller)
            try:
                revision, _ = await self._api.store.transact(_once(txn))
            except _Overtaken:
                await asyncio.sleep(random.uniform(0, RETRY_DELAY_MAX_S * attempt))
                continue
            log.info("plan applied", revision=revision, objects=len(changes), by=str(caller.identity))
            return plan_pb2.ApplyResponse(revision=revision, changes=changes)
        raise Unavailable(f"others changed the same objects {ATTEMPTS_MAX} times in a row; try again")

    async def _again(
        self, request: plan_pb2.ApplyRequest, seed: Seed, caller: Caller
    ) -> tuple[Txn, list[plan_pb2.ObjectChange]]:
        """Return the transaction of a plan that was shown, and what it changes.

        Raises PlanMoved if it is another plan by now, and Precondition if it may not be done.
        """

        def work(
            state: State,
        ) -> tuple[Txn, list[plan_pb2.ObjectChange], Sequence[verify_pb2.Violation]]:
            made = self._draft(state, request.request, seed, caller)
            if made.digest != request.digest:
                raise self._moved(request.base_revision, made)
            changes = object_changes(made.changes, tenant_view=caller.tenant is not None)
            found = self._proof.violations_of(made) if self._proof.enforce else ()
            return made.txn, changes, _seen_by(caller, found or ())

        try:
            txn, changes, violations = await self._on_state(work)
        except (PermissionDenied, PlanMoved):
            raise
        except CallerError as error:
            # It could be planned, so the world has moved; the error says how.
            raise PlanMoved(str(error)) from error
        if violations:
            raise Precondition("VIOLATION", "plan", violations[0].message, violations[0].subjects)
        return txn, changes

    async def _on_state(self, work: Callable[[State], T]) -> T:
        """Run work in a thread, on the state of one moment.

        On the mirror itself at first, which costs nothing; if it moved meanwhile, whatever was found is void,
        and the work is done once more, on a copy.
        """
        state = self._api.store.state
        revision = state.revision
        try:
            done = await asyncio.to_thread(work, state)
        except Exception:
            if state.revision == revision:
                raise
        else:
            if state.revision == revision:
                return done
        return await asyncio.to_thread(work, state.copy())

    def _draft(self, state: State, request: plan_pb2.PlanRequest, seed: Seed, caller: Caller) -> Draft:
        connected = self._connected(request)
        made = draft(state, request, seed, operator=caller.is_operator, connected=connected)
        for step in made.steps:
            auth.check_role(caller, step.method)
        return made

    def _connected(self, request: plan_pb2.PlanRequest) -> frozenset[HostName]:
        """Return which of the hosts that are to be deleted have an agent that is connected."""
        hosts = hosts_going(steps_of(request.operations))
        return frozenset(host for host in hosts if self._tracker.host_status(host).agent_connected)

    def _check_age(self, seed: Seed) -> None:
        now_ns = self._api.now_ns()
        if not now_ns - AGE_MAX_NS <= seed.now_ns <= now_ns + SKEW_MAX_NS:
            raise PlanMoved("it was made more than a day ago, or by a clock that differs; plan again")

    def _moved(self, base_revision: int, made: Draft) -> PlanMoved:
        """Return the error that says what has changed since a plan was made."""
        relevant = {compare.key for compare in made.txn.compares}
        stored = (change.stored for change in made.changes)
        relevant.update(keys.resource_key(one.name) for one in stored if isinstance(one, Resource))
        prefixes = made.relied_on
        try:
            since = self._api.store.changes_since(base_revision)
        except HistoryGone:
            return PlanMoved("what it relied on has changed; plan again to see what it would be now")
        moved: dict[str, str] = {}
        for revision in since:
            for change in revision.changes:
                key = keys.locate(change.key)
                if not change.is_reservation and (key in relevant or key.startswith(prefixes)):
                    how = "created" if change.old is None else "deleted" if change.new is None else "changed"
                    name = _named_to(current_caller(), str(getattr(change.stored, "name", key)))
                    moved[name] = f"{how} at revision {revision.revision}"
        if not moved:
            return PlanMoved(
                "an identifier that it would have given is taken, or it is not the request planned"
            )
        told = [f"{name} was {how}" for name, how in list(moved.items())[:MOVED_NAMED_MAX]]
        more = f", and {len(moved) - MOVED_NAMED_MAX} more" if len(moved) > MOVED_NAMED_MAX else ""
        return PlanMoved(f"{', '.join(told)}{more}; plan again to see what it would be now", list(moved))


def _once(txn: Txn) -> Callable[[State], tuple[Txn, None]]:
    """Return a build that gives the transaction once: what it was made on may be gone the next time."""
    given = False

    def build(state: State) -> tuple[Txn, None]:
        nonlocal given
        if given:
            raise _Overtaken
        given = True
        return txn, None

    return build


def _named_to(caller: Caller, name: str) -> str:
    """Return a name as the caller may see it: what is of another tenant is not named to a tenant's people."""
    foreign = name.startswith("tenants/") and not f"{name}/".startswith(f"tenants/{caller.tenant}/")
    return "something of another tenant" if caller.tenant is not None and foreign else name


def _seen_by(caller: Caller, found: Sequence[verify_pb2.Violation]) -> Sequence[verify_pb2.Violation]:
    """Return violations as the caller may see them: where things are is not a tenant's to know."""
    if caller.tenant is None:
        return found
    message = "the outcome would not keep what was promised; an operator can see how"
    return [verify_pb2.Violation(kind=violation.kind, message=message) for violation in found]


def _admit(caller: Caller, request: plan_pb2.PlanRequest) -> None:
    """Raise PermissionDenied unless each operation is the caller's to ask for, as the single method decides.

    What a desired tenant comes to is known only when it has been drafted: there only whose it is counts here.
    """
    for step in steps_of(request.operations):
        auth.check_call(caller, step.method, step.request)
    for wanted in request.desired:
        if caller.tenant is not None and wanted.tenant.name != str(TenantName(caller.tenant)):
            raise PermissionDenied(
                f"{caller.identity} may only use names under tenants/{caller.tenant}; "
                "desired.tenant.name is another"
            )
