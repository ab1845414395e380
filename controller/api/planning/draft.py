"""A plan before it is explained: operations done on a hypothesis, one transaction, and its digest. Pure.

The same request and seed give the same draft on any state that does not differ in what matters to it. That is
what the digest says: what would be stored, the versions of what was relied on, and everything on which it
depends who can talk to whom in the networks concerned. So a plan that was shown can be made again where it is
to be applied, and is applied only if it is the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from uuid import UUID

from cloison.errors import FieldViolation, InvalidIntent
from cloison.model import Reservation
from cloison.names import HostName, NetworkName, PortName
from cloison.v1 import plan_pb2
from controller.api.intents.common import Stamp
from controller.api.planning import desired, operations, reach
from controller.api.planning.operations import Circumstances, Step
from controller.store import keys
from controller.store.changes import Change
from controller.store.hypothesis import Hypothesis
from controller.store.state import State
from controller.store.txn import Condition, Txn

CHANCE_BYTES = 16
_TIME_BYTES = 8


@dataclass(frozen=True, slots=True)
class Seed:
    """What is chosen once for a plan: the time, in nanoseconds since 1970, and chance."""

    now_ns: int
    chance: bytes

    def __bytes__(self) -> bytes:
        return self.now_ns.to_bytes(_TIME_BYTES) + self.chance

    @classmethod
    def parse(cls, raw: bytes) -> Seed:
        """Inverse of bytes(); raises InvalidIntent."""
        if len(raw) != _TIME_BYTES + CHANCE_BYTES:
            raise InvalidIntent.of("seed", raw.hex(), "the seed of a plan, as Plan answered it")
        return cls(int.from_bytes(raw[:_TIME_BYTES]), raw[_TIME_BYTES:])

    def stamp(self, request: bytes, identity: str, *, operator: bool) -> Stamp:
        """Return time and uid for one operation of a request: no two have the same, with any seed."""
        parts = sha256(b"/".join((bytes(self), sha256(request).digest(), identity.encode())))
        return Stamp(self.now_ns, str(UUID(bytes=parts.digest()[:16], version=4)), operator)


@dataclass(frozen=True)
class Draft:
    """What would become of a state. steps: those operations that do something."""

    hypothesis: Hypothesis
    steps: tuple[Step, ...]

    @property
    def before(self) -> State:
        """The state it was made on."""
        return self.hypothesis.before

    @property
    def after(self) -> State:
        """The state it would leave behind."""
        return self.hypothesis.after

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """What is not as before."""
        return self.hypothesis.changes

    @cached_property
    def touched(self) -> tuple[PortName, ...]:
        """Ports that may come to talk with others, or cease to."""
        return reach.touched_ports(self.before, self.after, self.changes)

    @cached_property
    def networks(self) -> frozenset[NetworkName]:
        """Networks in which it changes who may talk to whom; where ports are plugged does not count."""
        return reach.permitted_elsewise(self.before, self.after, self.touched, self.changes)

    @cached_property
    def txn(self) -> Txn:
        """One transaction that does all of it.

        It also asks that no port and no subnet came or changed in the networks concerned since the state was
        read, nor these themselves, and no group of their tenants: with it, other pairs might come to talk
        than the plan says. (One that went can only make fewer.)
        """
        txn = self.hypothesis.txn
        for name in sorted(self.networks) if txn else ():
            if name in self.before.networks:
                txn.require(self.before.networks[name])
        for prefix in self.relied_on if txn else ():
            txn.require_none_newer(prefix, self.hypothesis.base_revision)
        return txn

    @cached_property
    def relied_on(self) -> tuple[str, ...]:
        """Prefixes of the keys that decide who may talk to whom where it changes that."""
        tenants = sorted({network.parent for network in self.networks})
        return (
            *(prefix for network in sorted(self.networks) for prefix in keys.child_prefixes(network)),
            *(prefix for tenant in tenants for prefix in keys.group_prefixes(tenant)),
        )

    @cached_property
    def digest(self) -> bytes:
        """Identifies what it does, and what it relies on."""
        digest = sha256()
        for line in (*_written(self.txn), *_relied_on(self.txn)):
            digest.update(len(line).to_bytes(8))
            digest.update(line)
        for state in (self.before, self.after):
            for text in reach.standing_of(state, self.networks):
                digest.update(text.encode() + b"\n")
        return digest.digest()


def _written(txn: Txn) -> Iterator[bytes]:
    """Yield what is stored, in order of the keys.

    Of an identifier that is given back, not whether and which hosts must confirm: that may change with every
    port that is plugged meanwhile.
    """
    for write in sorted(txn.writes, key=lambda write: write.key):
        if keys.is_reservation(write.key):
            stored = write.stored
            owner = stored.owner_uid if isinstance(stored, Reservation) and not stored.released else "-"
            yield f"{write.key} {owner}".encode()
        elif not write.range_end:
            yield write.key.encode() + b"\0" + (b"-" if write.value is None else b"+" + write.value)


def _relied_on(txn: Txn) -> Iterator[bytes]:
    """Yield which versions of which objects must still be there."""
    for compare in sorted(txn.compares, key=lambda compare: (compare.key, compare.condition.value)):
        exact = compare.condition is Condition.UNCHANGED
        if exact and not keys.is_reservation(compare.key):
            yield f"{compare.key} {compare.revision}".encode()


def draft(
    state: State,
    request: plan_pb2.PlanRequest,
    seed: Seed,
    *,
    operator: bool,
    connected: Collection[HostName] = (),
) -> Draft:
    """Work a request out on a state, which must not change as long as the draft is used.

    connected: hosts whose agent is connected. Raises what the single methods raise, fields given
    with their place in the request.
    """
    hypothesis, raw = Hypothesis(state), request.SerializeToString(deterministic=True)
    effective = []
    for step in steps_of(state, request):
        given = Circumstances(seed.stamp(raw, step.identity, operator=operator), connected)
        try:
            txn = operations.carry_out(hypothesis.after, step, given)
        except InvalidIntent as error:
            raise InvalidIntent([_placed(step, violation) for violation in error.violations]) from error
        if txn:
            hypothesis.carry_out(txn)
            effective.append(step)
    return Draft(hypothesis, tuple(effective))


def steps_of(state: State, request: plan_pb2.PlanRequest) -> list[Step]:
    """Return the operations of a request, or those that make tenants what they should be."""
    if request.operations and request.desired:
        raise InvalidIntent.of("desired", f"{len(request.desired)} tenants", "nothing, or no operations")
    if request.desired:
        return desired.steps_of(state, request.desired)
    return list(operations.steps_of(request.operations))


def _placed(step: Step, violation: FieldViolation) -> FieldViolation:
    """Return a violation with the whole path of its field."""
    field = violation.field
    if step.field.startswith("desired"):
        field = field.removeprefix(f"{step.kind.partition('_')[2]}.")
    return FieldViolation(f"{step.field}.{field}", violation.value, violation.expected)
