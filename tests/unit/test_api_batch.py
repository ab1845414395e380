"""BatchService: several changes in one call and one transaction, or none; each judged as by itself."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from uuid import uuid4

import grpc
import pytest

from cloison.errors import CloisonError
from cloison.model import PortBinding
from cloison.names import HostName, PortName, SecurityGroupName
from cloison.v1 import batch_pb2, host_pb2, network_pb2, plan_pb2, port_pb2, security_group_pb2, tenant_pb2
from controller.api.planning import several
from controller.api.planning.draft import steps_of
from controller.api.planning.operations import Circumstances
from controller.store.memory import MemoryStore
from controller.store.state import State
from controller.store.txn import Limits
from tests.support.api import AS, Api
from tests.support.plans import SEED, Operations, alone, meant, of, random_world, references, refused, twin
from tests.support.requests import NET, ip, make_world, network, port, subnet, update_port
from tests.support.store_world import content

ADMIN = ((AS, "tenant/acme/admin"),)
OWN = "tenants/acme/securityGroups/own"
ROUNDS = 30


@pytest.fixture
async def world(api: Api) -> Api:
    await make_world(api)
    return api


def call(*requests: Any, **fields: Any) -> batch_pb2.CommitRequest:
    return batch_pb2.CommitRequest(operations=of(*requests).operations, **fields)


def group(group_id: str = "own", **fields: Any) -> security_group_pb2.CreateSecurityGroupRequest:
    body = security_group_pb2.SecurityGroup(**fields)
    return security_group_pb2.CreateSecurityGroupRequest(
        parent="tenants/acme", security_group_id=group_id, security_group=body
    )


def rule(tcp: int = 80) -> security_group_pb2.SecurityGroupRule:
    return security_group_pb2.SecurityGroupRule(
        direction=security_group_pb2.SecurityGroupRule.INGRESS, protocol="tcp", port_min=tcp, port_max=tcp
    )


def add_rules(*rules: security_group_pb2.SecurityGroupRule) -> Any:
    return security_group_pb2.AddSecurityGroupRulesRequest(name=OWN, rules=rules)


def delete_port(port_id: str) -> port_pb2.DeletePortRequest:
    return port_pb2.DeletePortRequest(name=f"{NET}/ports/{port_id}")


# -- what it does ----------------------------------------------------------------------------------


async def test_later_operations_see_earlier_ones_and_all_is_one_revision(world: Api) -> None:
    """A network, a guest with two ports, and the group they are in: everything new, one transaction."""
    before = world.store.state.revision
    answer = await world.batches.Commit(
        call(
            network("db"),
            subnet("v4", "tenants/acme/networks/db", cidr="10.1.0.0/24"),
            group(rules=[rule()]),
            port("a", security_groups=[OWN], requested_hosts=["hosts/h1"]),
            port("b", "tenants/acme/networks/db", security_groups=[OWN]),
            add_rules(rule(443)),
        )
    )
    assert answer.revision == world.store.state.revision == before + 1
    assert [result.WhichOneof("resource") for result in answer.results] == [
        "network", "subnet", "security_group", "port", "port", "security_group",
    ]  # fmt: skip
    made = answer.results[3].port
    assert made == await world.ports.GetPort(port_pb2.GetPortRequest(name=f"{NET}/ports/a"))
    assert made.revision == answer.revision
    assert made.etag
    # As the whole call leaves it behind: the first of its operations sees the last one's rule, too.
    assert len(answer.results[2].security_group.rules) == 2
    assert answer.results[2] == answer.results[5]
    assert world.store.state.security_groups[SecurityGroupName("acme", "own")].meta.revision == before + 1


async def test_what_a_call_makes_and_takes_away_is_gone(world: Api) -> None:
    answer = await world.batches.Commit(call(port("a"), delete_port("p1"), delete_port("a")))
    assert [result.WhichOneof("resource") for result in answer.results] == [None, None, None]
    assert not world.store.state.ports


async def test_an_etag_is_of_what_was_there_before_the_call(world: Api) -> None:
    etag = (await world.ports.GetPort(port_pb2.GetPortRequest(name=f"{NET}/ports/p1"))).etag
    answer = await world.batches.Commit(call(update_port("disabled", disabled=True, etag=etag)))
    assert answer.results[0].port.disabled
    assert answer.results[0].port.etag != etag
    refusal = await refused(world.batches.Commit(call(group(), update_port("disabled", etag=etag))))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert not [g for g in world.store.state.security_groups if g.group == "own"]


async def test_nothing_to_change_is_no_transaction(world: Api) -> None:
    before = world.store.state.revision
    answer = await world.batches.Commit(call(update_port("disabled", disabled=False)))
    assert answer.revision == before == world.store.state.revision
    assert answer.results[0].port.name == f"{NET}/ports/p1"


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_together_is_as_one_by_one(seed: int) -> None:
    """For random operations on a random world: the same objects, identifiers, references, or error."""
    operations = Operations(seed, outside=bool(seed % 2))
    store = await random_world(operations, operations.random.randrange(60))
    single, joined, scout = await twin(store), await twin(store), await twin(store)
    single._limits = joined._limits = Limits(ops=20_000)
    chosen = []
    for _ in range(operations.random.randrange(1, 15)):
        request = operations.next(scout.state)
        if await _fails(scout, of(request)) is None or operations.random.random() < 0.1:
            chosen.append(request)
    request = of(*chosen)
    failure = await _fails(single, request)
    raw = request.SerializeToString(deterministic=True)
    steps = steps_of(joined.state, request)
    given = [Circumstances(SEED.stamp(raw, step.identity, operator=True), ()) for step in steps]
    if failure is not None:
        with pytest.raises(type(failure)) as caught:
            several.carry_out(joined.state, steps, given)
        assert caught.value.place.startswith("operations[")
        assert meant(joined.state) == meant(store.state)
    else:
        before = joined.state.revision
        revision, left = await joined.transact(lambda state: several.carry_out(state, steps, given))
        assert joined.state.revision - before <= 1
        assert meant(joined.state) == meant(single.state)
        assert references(joined.etcd) == references(single.etcd)
        assert [one for one in left.at(revision) if one] == [
            joined.state.get(one.name) for one in left.at(revision) if one
        ]
    for each in (store, single, joined, scout):
        # Who has written something takes it for what it has written; everybody else reads what etcd holds.
        reader = MemoryStore(each.etcd)
        await reader.start()
        assert content(reader.state) == content(each.state)
        await reader.stop()
        await each.stop()


async def _fails(store: MemoryStore, request: plan_pb2.PlanRequest) -> CloisonError | None:
    for step in steps_of(store.state, request):
        try:
            await alone(store, request, step)
        except CloisonError as error:
            return error
    return None


async def test_a_port_that_is_plugged_already_is_bound_at_once(world: Api) -> None:
    """The binding comes in the call's transaction, as with CreatePort."""

    def birth(state: State, made: Any) -> PortBinding:
        assert state.ports[PortName("acme", "web", "p1")]
        return PortBinding(
            port=made.name, port_uid=made.meta.uid, host=HostName("h1"), interface="tap1", ofport=3
        )

    steps = steps_of(world.store.state, of(group(), port("a", security_groups=[OWN]), add_rules(rule())))
    given = [Circumstances(SEED.stamp(b"", step.identity, operator=True), ()) for step in steps]
    revision, _ = await world.store.transact(lambda state: several.carry_out(state, steps, given, birth))
    [binding] = world.store.state.bindings_of(PortName("acme", "web", "a"))
    assert binding.revision == revision


# -- all or nothing, and which one is at fault -----------------------------------------------------


FAULTS: list[tuple[str, Any, grpc.StatusCode, str, str]] = [
    (
        "a field",
        port("a", mac_address="nonsense"),
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
        "port.mac_address",
    ),
    ("not there", delete_port("none"), grpc.StatusCode.NOT_FOUND, "NOT_FOUND", ""),
    ("there already", port("p1"), grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS", ""),
    (
        "in use",
        network_pb2.DeleteNetworkRequest(name=NET),
        grpc.StatusCode.FAILED_PRECONDITION,
        "",
        "",
    ),
    ("twice", group(), grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS", ""),
]


@pytest.mark.parametrize(
    ("request_", "code", "reason", "field"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
async def test_one_that_fails_fails_all_and_is_named(
    world: Api, request_: Any, code: grpc.StatusCode, reason: str, field: str
) -> None:
    before = meant(world.store.state)
    refusal = await refused(world.batches.Commit(call(group(), request_, delete_port("p1"))))
    assert refusal.code is code
    assert reason in refusal.reason
    kind = re.sub(r"(?<!^)(?=[A-Z])", "_", type(request_).__name__.removesuffix("Request")).lower()
    place = f"operations[1].{kind}"
    assert refusal.operation == place
    assert refusal.message.startswith(place)
    assert set(refusal.fields) == ({f"{place}.{field}"} if field else set())
    assert meant(world.store.state) == before


MALFORMED: list[tuple[str, batch_pb2.CommitRequest, str]] = [
    ("nothing", call(), "operations"),
    ("too many", call(*[delete_port("p1")] * 101), "operations"),
    ("no kind", batch_pb2.CommitRequest(operations=[plan_pb2.Operation()]), "operations[0]"),
    (
        "a request id of its own",
        call(group(), port("a", request_id=str(uuid4()))),
        "operations[1].create_port.request_id",
    ),
    (
        "validate_only of its own",
        call(port_pb2.DeletePortRequest(name=f"{NET}/ports/p1", validate_only=True)),
        "operations[0].delete_port.validate_only",
    ),
    ("no UUID", call(group(), request_id="mine"), "request_id"),
    ("nobody to remember it", call(delete_port("p1"), request_id=str(uuid4())), "request_id"),
]


@pytest.mark.parametrize(("request_", "field"), [m[1:] for m in MALFORMED], ids=[m[0] for m in MALFORMED])
async def test_malformed_calls(world: Api, request_: batch_pb2.CommitRequest, field: str) -> None:
    before = world.store.state.revision
    refusal = await refused(world.batches.Commit(request_))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert list(refusal.fields) == [field]
    assert world.store.state.revision == before


async def test_more_than_etcd_takes_is_refused_with_what_to_do(world: Api) -> None:
    refusal = await refused(world.batches.Commit(call(*(port(f"q{n}") for n in range(40)))))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "--max-txn-ops" in refusal.message
    assert len(world.store.state.ports) == 1


async def test_validate_only(world: Api) -> None:
    before = world.store.state.revision
    answer = await world.batches.Commit(call(network("db"), port("a"), delete_port("p1"), validate_only=True))
    assert (answer.revision, world.store.state.revision) == (0, before)
    assert answer.results[1].port.fixed_ips
    assert not answer.results[1].port.revision
    refusal = await refused(world.batches.Commit(call(port("p1"), validate_only=True)))
    assert refusal.code is grpc.StatusCode.ALREADY_EXISTS
    refusal = await refused(
        world.batches.Commit(call(*(port(f"q{n}") for n in range(40)), validate_only=True))
    )
    assert "--max-txn-ops" in refusal.message


# -- who may ---------------------------------------------------------------------------------------


FORBIDDEN: list[tuple[str, Any]] = [
    ("another tenant's", network("n", "tenants/beta")),
    ("of a tenant that may not be there", network_pb2.DeleteNetworkRequest(name="tenants/x/networks/y")),
    ("tenants are the operators'", tenant_pb2.CreateTenantRequest(tenant_id="beta")),
    ("hosts are the operators'", host_pb2.DeleteHostRequest(name="hosts/h1")),
    ("where a port is, is the operators'", port("a", requested_hosts=["hosts/h1"])),
    ("what is not checked, is the operators'", port("a", no_port_security=True)),
]  # fmt: skip


@pytest.mark.parametrize("request_", [f[1] for f in FORBIDDEN], ids=[f[0] for f in FORBIDDEN])
async def test_each_operation_takes_the_right_to_it(world: Api, request_: Any) -> None:
    before = world.store.state.revision
    refusal = await refused(world.batches.Commit(call(group(), request_), metadata=ADMIN))
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
    assert refusal.operation.startswith("operations[1].")
    assert world.store.state.revision == before


async def test_a_tenants_people_see_their_side(world: Api) -> None:
    answer = await world.batches.Commit(
        call(group(), port("a", security_groups=[OWN]), update_port("disabled", disabled=True)),
        metadata=ADMIN,
    )
    assert [result.WhichOneof("resource") for result in answer.results][1] == "port"
    await world.batches.Commit(call(update_port("requested_hosts", requested_hosts=["hosts/h1"])))
    answer = await world.batches.Commit(call(update_port("disabled", disabled=False)), metadata=ADMIN)
    assert not answer.results[0].port.requested_hosts
    viewer = ((AS, "tenant/acme/viewer"),)
    refusal = await refused(world.batches.Commit(call(delete_port("a")), metadata=viewer))
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED


# -- again -----------------------------------------------------------------------------------------


async def test_the_same_call_again_changes_nothing(world: Api) -> None:
    """Deletions and rules that were added, which by themselves could not be repeated, included."""
    wanted = call(
        delete_port("p1"), group(), add_rules(rule()), port("a", fixed_ips=[ip("10.0.0.9")]),
        request_id=str(uuid4()),
    )  # fmt: skip
    first = await world.batches.Commit(wanted)
    wanted.request_id = wanted.request_id.upper()
    assert await world.batches.Commit(wanted) == first
    # Though one of two is gone by now, and the other one was changed.
    await world.ports.DeletePort(delete_port("a"))
    await world.groups.AddSecurityGroupRules(add_rules(rule(443)))
    revision = world.store.state.revision
    again = await world.batches.Commit(wanted)
    assert again.revision == revision == world.store.state.revision
    assert [result.WhichOneof("resource") for result in again.results] == [
        None, "security_group", "security_group", None,
    ]  # fmt: skip
    assert len(again.results[1].security_group.rules) == 2


async def test_the_same_call_twice_at_one_moment_is_one(world: Api) -> None:
    wanted = call(group(), port("a", security_groups=[OWN]), request_id=str(uuid4()))
    before = world.store.state.revision
    answers = await asyncio.gather(*(world.batches.Commit(wanted) for _ in range(5)))
    assert world.store.state.revision == before + 1
    assert {answer.results[1].port.uid for answer in answers} == {answers[0].results[1].port.uid}


async def test_a_request_id_is_for_one_content(world: Api) -> None:
    request_id = str(uuid4())
    await world.batches.Commit(call(group(), request_id=request_id))
    for other in (
        world.batches.Commit(call(group(), port("a"), request_id=request_id)),
        world.batches.Commit(call(group(display_name="x"), request_id=request_id)),
        world.groups.CreateSecurityGroup(_with_id(request_id)),
    ):
        refusal = await refused(other)
        assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
        assert list(refusal.fields) == ["request_id"]
    refusal = await refused(world.batches.Commit(call(group(), request_id=str(uuid4()))))
    assert refusal.code is grpc.StatusCode.ALREADY_EXISTS


def _with_id(request_id: str) -> security_group_pb2.CreateSecurityGroupRequest:
    request = group()
    request.request_id = request_id
    return request


def test_every_operation_has_a_name_and_a_result() -> None:
    """Kinds of operations that come later must not be forgotten here."""
    results = {field.name for field in batch_pb2.OperationResult.DESCRIPTOR.fields}
    for field in plan_pb2.Operation.DESCRIPTOR.fields:
        operation = plan_pb2.Operation()
        getattr(operation, field.name).SetInParent()
        [step] = steps_of(State(), plan_pb2.PlanRequest(operations=[operation]))
        assert several.noun_of(step) in results
        assert several.noun_of(step) in several._NAMES
        several._named(step)
    port_made, group_made = port("a"), group("g")
    steps = steps_of(State(), of(port_made, group_made, delete_port("b"), update_port(), add_rules()))
    assert [str(several._named(step)) for step in steps] == [
        f"{NET}/ports/a", "tenants/acme/securityGroups/g", f"{NET}/ports/b", f"{NET}/ports/p1", OWN,
    ]  # fmt: skip
