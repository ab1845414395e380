"""`cloison.v1.BatchService`: several changes in one call and one transaction.

Brings in time, uids and permissions; what the operations do is decided in planning/several.py, by the intents
of the single methods. Nothing else runs in this process while they are worked out, hence their limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import structlog

from cloison.model import Resource, Revision
from cloison.v1 import batch_pb2, batch_pb2_grpc
from controller.api import auth
from controller.api.auth import Caller, current_caller
from controller.api.intents.common import request_digest
from controller.api.planning import several
from controller.api.planning.operations import Circumstances, Step, hosts_going
from controller.api.planning.several import Birth, Left
from controller.api.standard import Api
from controller.reconcile.tracker import Tracker
from controller.store.state import State
from controller.store.txn import Txn

log = structlog.get_logger(__name__)


class BatchService(batch_pb2_grpc.BatchServiceServicer):
    """See batch.proto."""

    def __init__(self, api: Api, tracker: Tracker, birth: Birth | None = None) -> None:
        """birth: what is plugged already, None: nothing is."""
        self._api, self._tracker, self._birth = api, tracker, birth

    async def Commit(self, request: batch_pb2.CommitRequest, context: Any) -> batch_pb2.CommitResponse:
        """Carry out all operations, or none."""
        caller, store = current_caller(), self._api.store
        steps = several.steps_of(request)
        for step in steps:
            with several.placed(step):
                auth.check_call(caller, step.method, step.request)
        given = self._given(request, steps, caller)

        def build(state: State) -> tuple[Txn, Left]:
            known = several.repeated(state, steps, request)
            if known is not None:
                return Txn(), known
            return several.carry_out(state, steps, given, self._birth)

        if request.validate_only:
            txn, left = build(store.state)
            txn.check_limits(store.limits)
            return self._answer(Revision(0), steps, left.at(Revision(0)), caller)
        revision, left = await store.transact(build)
        log.info("batch committed", revision=revision, operations=len(steps), by=str(caller.identity))
        return self._answer(revision, steps, left.at(revision), caller)

    def _given(
        self, request: batch_pb2.CommitRequest, steps: Sequence[Step], caller: Caller
    ) -> list[Circumstances]:
        """Return time, a uid and what else each operation depends on."""
        digest = request_digest(request) if request.request_id else b""
        tracker = self._tracker
        connected = frozenset(
            host for host in hosts_going(steps) if tracker.host_status(host).agent_connected
        )
        stamps = (self._api.stamp(caller) for _ in steps)
        return [
            Circumstances(replace(stamp, request_id=request.request_id, request_digest=digest), connected)
            for stamp in stamps
        ]

    def _answer(
        self, revision: int, steps: Sequence[Step], left: Sequence[Resource | None], caller: Caller
    ) -> batch_pb2.CommitResponse:
        answer = batch_pb2.CommitResponse(revision=revision)
        for step, resource in zip(steps, left, strict=True):
            result = answer.results.add()
            if resource is not None:
                shown = self._api.views.resource(resource, tenant_view=caller.tenant is not None)
                getattr(result, several.noun_of(step)).CopyFrom(shown)
        return answer
