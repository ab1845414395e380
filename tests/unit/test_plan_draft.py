"""A plan is its operations one after the other, as one; and made again it is the same plan, or another."""

from __future__ import annotations

import pytest

from cloison.errors import CallerError, CloisonError, InvalidIntent
from cloison.v1 import plan_pb2, tenant_pb2
from controller.api.planning.draft import Draft, Seed, draft, steps_of
from controller.store.memory import MemoryStore
from controller.store.state import State
from controller.store.txn import Limits
from tests.support.plans import SEED, Operations, alone, meant, of, random_world, references, twin

ROUNDS = 60


def drafted(state: State, request: plan_pb2.PlanRequest, seed: Seed = SEED) -> Draft:
    return draft(state, request, seed, operator=True)


async def commit(store: MemoryStore, made: Draft) -> int:
    revision = store.state.revision
    await store.transact(lambda state: (made.txn, None))
    return store.state.revision - revision


@pytest.mark.parametrize("outside", [False, True], ids=["", "with ways out"])
@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_together_is_as_one_by_one(seed: int, outside: bool) -> None:
    """For random operations on a random world: the same objects, identifiers, references, or error."""
    operations = Operations(seed, outside=outside)
    store = await random_world(operations, operations.random.randrange(60))
    single, joined = await twin(store), await twin(store)
    single._limits = joined._limits = Limits(ops=20_000)
    # Which operations: found out on one more store, so that most of them can be carried out.
    scout, chosen = await twin(store), []
    for _ in range(operations.random.randrange(1, 25)):
        request = operations.next(scout.state)
        try:
            await alone(scout, of(request), steps_of(scout.state, of(request))[0])
        except CloisonError:
            if operations.random.random() < 0.9:
                continue
        chosen.append(request)
    request = of(*chosen)
    failure: CloisonError | None = None
    for step in steps_of(single.state, request):
        try:
            await alone(single, request, step)
        except CloisonError as error:
            failure = error
            break
    if failure is not None:
        with pytest.raises(type(failure)):
            drafted(joined.state, request)
        assert meant(joined.state) == meant(store.state)
    else:
        made = drafted(joined.state, request)
        would_be = meant(made.after)
        assert await commit(joined, made) <= 1
        assert meant(joined.state) == meant(single.state) == would_be
        assert references(joined.etcd) == references(single.etcd)
    for each in (store, single, joined, scout):
        await each.stop()


async def test_the_same_on_any_state_that_does_not_differ_in_what_matters() -> None:
    operations = Operations(5)
    store = await random_world(operations, 40)
    request = of(tenant_pb2.CreateTenantRequest(tenant_id="new"))
    first = drafted(store.state, request)
    await alone(
        store,
        of(tenant_pb2.CreateTenantRequest(tenant_id="other")),
        steps_of(store.state, of(tenant_pb2.CreateTenantRequest(tenant_id="other")))[0],
    )
    again = drafted(store.state.copy(), request)
    assert again.digest == first.digest
    assert again.txn.writes == first.txn.writes
    other = Seed(SEED.now_ns, bytes(16))
    assert drafted(store.state, request, other).digest != first.digest
    await store.stop()


def test_no_two_operations_have_a_uid_in_common() -> None:
    seeds = (SEED, Seed(SEED.now_ns, bytes(16)), Seed(SEED.now_ns + 1, SEED.chance))
    uids = {
        seed.stamp(request, identity, operator=True).uid
        for seed in seeds
        for request in (b"", b"a", b"b")
        for identity in ("0", "1", "tenants/acme")
    }
    assert len(uids) == 27
    assert Seed.parse(bytes(SEED)) == SEED
    with pytest.raises(InvalidIntent, match="seed"):
        Seed.parse(b"short")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (plan_pb2.PlanRequest(operations=[plan_pb2.Operation()]), r"operations\[0\]"),
        (
            of(tenant_pb2.CreateTenantRequest(tenant_id="a", validate_only=True)),
            r"operations\[0\]\.create_tenant\.validate_only",
        ),
        (
            of(tenant_pb2.CreateTenantRequest(tenant_id="a"), tenant_pb2.CreateTenantRequest(tenant_id="B")),
            r"operations\[1\]\.create_tenant\.tenant_id",
        ),
        (
            plan_pb2.PlanRequest(
                operations=of(tenant_pb2.CreateTenantRequest(tenant_id="a")).operations,
                desired=[plan_pb2.DesiredTenant()],
            ),
            "desired",
        ),
    ],
    ids=["empty", "validate_only", "second", "both"],
)
def test_errors_say_where(request_: plan_pb2.PlanRequest, field: str) -> None:
    with pytest.raises(InvalidIntent, match=field):
        drafted(State(), request_)


def test_an_empty_plan_is_nothing() -> None:
    made = drafted(State(), plan_pb2.PlanRequest())
    assert not made.txn
    assert made.changes == ()
    assert isinstance(made.digest, bytes)
    assert issubclass(InvalidIntent, CallerError)
