"""Several operations of one call, each on what the ones before it leave behind, as one transaction. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from cloison.errors import CloisonError, FieldViolation, InvalidIntent
from cloison.model import Port, PortBinding, Resource, Revision
from cloison.names import (
    AddressGroupName,
    ExternalNetworkName,
    FloatingIpName,
    HostName,
    NetworkName,
    PeeringName,
    PortName,
    ResourceName,
    RouterName,
    SecurityGroupName,
    SubnetName,
    TenantName,
)
from cloison.v1 import batch_pb2
from controller.api import validate
from controller.api.intents import common
from controller.api.planning import operations
from controller.api.planning.operations import Circumstances, Step
from controller.store.hypothesis import Hypothesis
from controller.store.state import State
from controller.store.txn import Txn

# What is carried out while everything else waits: some 50 ms. Plans are made in threads, and may be larger.
OPERATIONS_MAX = 100

# Returns the binding that a port about to be created has, as its interface is plugged already.
Birth = Callable[[State, Port], PortBinding | None]

_NAMES: Mapping[str, Callable[[str], ResourceName]] = {
    "tenant": TenantName.parse,
    "network": NetworkName.parse,
    "subnet": SubnetName.parse,
    "port": PortName.parse,
    "host": HostName.parse,
    "security_group": SecurityGroupName.parse,
    "address_group": AddressGroupName.parse,
    "router": RouterName.parse,
    "floating_ip": FloatingIpName.parse,
    "external_network": ExternalNetworkName.parse,
    "peering": PeeringName.parse,
}


@dataclass(frozen=True, slots=True)
class Left:
    """What a call leaves behind of what its operations were about, in their order; None: it is gone.

    pretended: the revision of what it has written, until there is one.
    """

    resources: tuple[Resource | None, ...]
    pretended: int = 0

    def at(self, revision: Revision) -> tuple[Resource | None, ...]:
        """Return them as written at a revision."""
        return tuple(self._at(one, revision) for one in self.resources)

    def _at(self, one: Resource | None, revision: Revision) -> Resource | None:
        if one is None or not self.pretended or one.meta.revision != self.pretended:
            return one
        return replace(one, meta=replace(one.meta, revision=revision))


def steps_of(request: batch_pb2.CommitRequest) -> tuple[Step, ...]:
    """Return the operations of a call that is well formed but for them; raises InvalidIntent."""
    check, count = validate.Checker(), len(request.operations)
    expected = f"1 to {OPERATIONS_MAX} operations; plans may have more (PlanService)"
    check.that(0 < count <= OPERATIONS_MAX, "operations", f"{count} operations", expected)
    check.done()
    validate.check_request_id(check, request.request_id)
    steps = tuple(operations.steps_of(request.operations))
    for step in steps:
        own = getattr(step.request, "request_id", "")
        check.that(not own, f"{step.field}.request_id", own, "none: one request_id is for the whole call")
    check.that(
        not request.request_id or any(map(_creates, steps)),
        "request_id",
        request.request_id,
        "none: the call creates nothing that would remember it",
    )
    check.done()
    return steps


@contextmanager
def placed(step: Step) -> Iterator[None]:
    """Have errors say which operation they are of."""
    try:
        yield
    except InvalidIntent as error:
        there = InvalidIntent(
            [FieldViolation(f"{step.field}.{v.field}", v.value, v.expected) for v in error.violations]
        )
        there.place = step.field
        raise there from error
    except CloisonError as error:
        error.place = step.field
        raise


def repeated(state: State, steps: Sequence[Step], request: batch_pb2.CommitRequest) -> Left | None:
    """Return what is there of a call that was carried out before, None if it was not.

    All that a call creates comes in one transaction and remembers the call, so one of them tells. Raises
    InvalidIntent for a request_id that was used for something else.
    """
    if not request.request_id:
        return None
    for step in filter(_creates, steps):
        name = _named(step)
        there = state.get(name) if name is not None else None
        if there is None or there.meta.request_id != request.request_id.lower():
            continue
        if there.meta.request_digest != common.request_digest(request):
            expected = f"a new UUID: {there.name} was created with this one by a call with different contents"
            raise InvalidIntent.of("request_id", request.request_id, expected)
        names = map(_named, steps)
        return Left(tuple(state.get(name) if name is not None else None for name in names))
    return None


def carry_out(
    state: State, steps: Sequence[Step], given: Sequence[Circumstances], birth: Birth | None = None
) -> tuple[Txn, Left]:
    """Return the one transaction of all operations, and what it leaves behind.

    given: of each operation. Raises what the single methods raise, placed.
    """
    hypothesis, names = Hypothesis(state), []
    for step, circumstances in zip(steps, given, strict=True):
        with placed(step):
            txn, resource = operations.done(hypothesis.after, step, circumstances)
            if txn and birth is not None and isinstance(resource, Port) and _creates(step):
                binding = birth(hypothesis.after, resource)
                if binding is not None:
                    txn.create(binding)
            if txn:
                hypothesis.carry_out(txn)
        names.append(resource.name)
    after = tuple(map(hypothesis.after.get, names))
    return hypothesis.txn, Left(after, hypothesis.revision)


def noun_of(step: Step) -> str:
    """Return what kind of object an operation is about, as results call it."""
    return step.kind.partition("_")[2].removesuffix("_rules")


def _creates(step: Step) -> bool:
    return step.kind.startswith("create_")


def _named(step: Step) -> ResourceName | None:
    """Return the name of what an operation is about, None if it is no name (which its intent will say)."""
    noun, request = noun_of(step), step.request
    if _creates(step):
        text = _path(getattr(request, "parent", ""), noun, getattr(request, f"{noun}_id"))
    else:
        text = getattr(request, noun).name if step.kind.startswith("update_") else request.name
    try:
        return _NAMES[noun](text)
    except InvalidIntent:
        return None


def _path(parent: str, noun: str, resource_id: Any) -> str:
    first, *rest = noun.split("_")
    collection = first + "".join(word.capitalize() for word in rest) + "s"
    return "/".join(part for part in (parent, collection, resource_id) if part)
