"""PlanService: what is shown, that exactly this is applied or nothing, and who may ask for what."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from cloison.names import NetworkName, PortName
from cloison.v1 import host_pb2, network_pb2, plan_pb2, port_pb2, subnet_pb2, tenant_pb2, verify_pb2
from controller.api.plan_service import Proof
from controller.api.planning.draft import Draft
from controller.store.txn import Limits
from tests.support.api import AS, Api, refusal_of, serving
from tests.support.plans import apply_request, both, meant, of, refused, told
from tests.support.requests import NET, ip, make_world, network, port, subnet
from tests.support.store_world import eventually

ADMIN = ((AS, "tenant/acme/admin"),)


@pytest.fixture
async def world(api: Api) -> Api:
    await make_world(api)
    return api


def deleting(port_id: str) -> port_pb2.DeletePortRequest:
    return port_pb2.DeletePortRequest(name=f"{NET}/ports/{port_id}")


def changing(port_id: str, *paths: str, **fields: Any) -> port_pb2.UpdatePortRequest:
    request = port_pb2.UpdatePortRequest(port=port_pb2.Port(name=f"{NET}/ports/{port_id}", **fields))
    request.update_mask.paths.extend(paths or fields)
    return request


# -- what is shown ---------------------------------------------------------------------------------


async def test_a_plan_changes_nothing_and_apply_does_just_it(world: Api) -> None:
    before, revision = meant(world.store.state), world.store.state.revision
    request = of(
        network("db"), subnet("v4", f"{NET[:-3]}db", cidr="10.0.0.0/24"), port("new"), deleting("p1")
    )
    plan = await world.plans.Plan(request)
    assert told(plan) == [("DELETE", "p1"), ("CREATE", "db"), ("CREATE", "v4"), ("CREATE", "new")]
    assert (meant(world.store.state), world.store.state.revision) == (before, revision)
    answer = await world.plans.Apply(apply_request(request, plan))
    assert answer.revision == world.store.state.revision == revision + 1
    assert list(answer.changes) == list(plan.changes)
    made = world.store.state.ports[PortName("acme", "web", "new")]
    fields = {f.field: f.after for f in plan.changes[3].fields}
    assert fields["fixed_ips"].startswith(str(made.fixed_ips[0].address))
    assert fields["number"] == str(made.number)
    assert fields["iface_id"] == made.meta.uid


async def test_fields_before_and_after(world: Api) -> None:
    plan = await world.plans.Plan(
        of(changing("p1", fixed_ips=[ip("10.0.0.9")], labels={"b": "2", "a": "1"}, disabled=True))
    )
    [change] = plan.changes
    assert {f.field: (f.before, f.after) for f in change.fields} == {
        "fixed_ips": ("10.0.0.5 (s4), 2001:db8::5 (s6)", "10.0.0.9 (s4)"),
        "labels": ("", "a=1, b=2"),
        "disabled": ("no", "yes"),
    }
    assert not (await world.plans.Plan(of(changing("p1", disabled=False)))).changes


async def test_reach_says_when(world: Api) -> None:
    """Created: once plugged. Plugged and moved: until plugged again. Deleted or disabled: at once."""
    await world.hosts.CreateHost(host_pb2.CreateHostRequest(host_id="h2"))
    h1, h2 = ["hosts/h1"], ["hosts/h2"]
    request = of(
        port("a", fixed_ips=[ip("10.0.0.11")], requested_hosts=h1),
        port("b", fixed_ips=[ip("10.0.0.12")], requested_hosts=h2),
        port("idle", fixed_ips=[ip("10.0.0.13")]),
    )
    plan = await world.plans.Plan(request)
    gained = {(r.source[-1], r.target[-1], r.spaces[0], r.condition) for r in plan.becomes_reachable}
    assert gained == {
        ("a", "b", "IPv4 10.0.0.11 -> 10.0.0.12, any protocol", "once plugged"),
        ("b", "a", "IPv4 10.0.0.12 -> 10.0.0.11, any protocol", "once plugged"),
    }
    assert "idle" in plan.notes[0]
    assert "requested_hosts" in plan.notes[0]
    await world.plans.Apply(apply_request(request, plan))
    for name, host, ofport in (("a", "hosts/h1", 5), ("b", "hosts/h2", 6)):
        await world.bind(f"{NET}/ports/{name}", host, ofport)
    for changes, when in (
        ([changing("a", requested_hosts=h2)], "until plugged again"),
        ([changing("b", disabled=True)], ""),
        ([deleting("a")], ""),
        ([changing("a", "requested_hosts")], ""),
    ):
        plan = await world.plans.Plan(of(*changes))
        assert {r.condition for r in plan.stops_being_reachable} == {when}
        assert {(r.source[-1], r.target[-1]) for r in plan.stops_being_reachable} == {("a", "b"), ("b", "a")}
        assert not plan.becomes_reachable
    # To where it is plugged already, though it does not count there yet: at once.
    await world.bind(f"{NET}/ports/b", "hosts/h1", 7)
    await both(world, of(changing("a", "requested_hosts")))
    plan = await world.plans.Plan(of(changing("a", requested_hosts=h1)))
    assert {r.condition for r in plan.becomes_reachable} == {""}
    plan = await world.plans.Plan(of(changing("b", labels={"x": "y"})))
    assert not plan.becomes_reachable
    assert not plan.stops_being_reachable


async def test_hosts_are_told(world: Api) -> None:
    await both(world, of(port("a", requested_hosts=["hosts/h1"])))
    await world.bind(f"{NET}/ports/a", "hosts/h1")
    [impact] = (await world.plans.Plan(of(deleting("a")))).hosts
    assert (impact.host, impact.flows_added) == ("hosts/h1", 0)
    assert impact.flows_deleted > 5
    [impact] = (await world.plans.Plan(of(changing("a", mac_address="52:54:00:00:00:77")))).hosts
    assert impact.flows_added
    assert impact.flows_deleted


# -- exactly that, or nothing ----------------------------------------------------------------------


RELEVANT: list[tuple[str, list[Any], list[Any], str]] = [
    ("the object was changed", [deleting("p1")], [changing("p1", labels={"a": "b"})], "ports/p1 was changed"),
    ("it is gone", [changing("p1", labels={"a": "b"})], [deleting("p1")], "ports/p1 does not exist"),
    ("it came by itself", [port("new")], [port("new")], "ports/new exists already"),
    (
        "its address was taken",
        [port("new", fixed_ips=[ip("10.0.0.7")])],
        [port("other", fixed_ips=[ip("10.0.0.7")])],
        "10.0.0.7",
    ),
    (
        "its subnet was changed",
        [port("new", fixed_ips=[ip("10.0.0.7")])],
        [
            subnet_pb2.UpdateSubnetRequest(
                subnet=subnet_pb2.Subnet(name=f"{NET}/subnets/s4", display_name="x"),
            )
        ],
        "subnets/s4 was changed",
    ),
    (
        "its network is gone",
        [port("new", f"{NET[:-3]}db")],
        [network_pb2.DeleteNetworkRequest(name=f"{NET[:-3]}db")],
        "networks/db does not exist",
    ),
    (
        "one more that it would talk to",
        [port("new", fixed_ips=[ip("10.0.0.7")], requested_hosts=["hosts/h1"])],
        [port("late", requested_hosts=["hosts/h1"])],
        "ports/late was created",
    ),
    (
        "somebody lies under what goes",
        [network_pb2.DeleteNetworkRequest(name=f"{NET[:-3]}db")],
        [subnet("v4", f"{NET[:-3]}db", cidr="10.9.0.0/24")],
        "networks/db",
    ),
]
IRRELEVANT: list[tuple[str, list[Any]]] = [
    ("another tenant", [tenant_pb2.CreateTenantRequest(tenant_id="zed"), network("n", "tenants/zed")]),
    ("a network beside it", [network("more")]),
    ("a port of another network", [port("x", f"{NET[:-3]}db")]),
    ("labels of a port beside it", [changing("p1", labels={"a": "b"})]),
    ("a host", [host_pb2.CreateHostRequest(host_id="h9")]),
]


@pytest.fixture
async def wider(world: Api) -> Api:
    await both(world, of(network("db")))
    return world


@pytest.mark.parametrize(("planned", "moved", "why"), [c[1:] for c in RELEVANT], ids=[c[0] for c in RELEVANT])
async def test_a_world_that_moved_is_told(wider: Api, planned: list[Any], moved: list[Any], why: str) -> None:
    request = of(*planned)
    plan = await wider.plans.Plan(request)
    await both(wider, of(*moved))
    before = meant(wider.store.state)
    refusal = await refused(wider.plans.Apply(apply_request(request, plan)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "PLAN_MOVED")
    assert why in refusal.message
    assert "nothing was changed" in refusal.message
    assert meant(wider.store.state) == before


@pytest.mark.parametrize("moved", [c[1] for c in IRRELEVANT], ids=[c[0] for c in IRRELEVANT])
async def test_a_world_that_moved_elsewhere_is_no_matter(wider: Api, moved: list[Any]) -> None:
    request = of(
        port("new", requested_hosts=["hosts/h1"]),
        network("other"),
        subnet("v4", f"{NET[:-3]}other", cidr="10.0.0.0/24"),
    )
    plan = await wider.plans.Plan(request)
    await both(wider, of(*moved))
    answer = await wider.plans.Apply(apply_request(request, plan))
    assert list(answer.changes) == list(plan.changes)


async def test_plugging_meanwhile_does_not_make_it_another_plan(world: Api) -> None:
    await world.hosts.CreateHost(host_pb2.CreateHostRequest(host_id="h2"))
    await both(world, of(*(port(name, requested_hosts=["hosts/h1"]) for name in ("a", "b"))))
    request = of(changing("a", requested_hosts=["hosts/h2"]), deleting("p1"))
    plan = await world.plans.Plan(request)
    assert not plan.stops_being_reachable
    await world.bind(f"{NET}/ports/a", "hosts/h1", 5)
    await world.bind(f"{NET}/ports/b", "hosts/h1", 6)
    assert (await world.plans.Plan(request)).stops_being_reachable
    await world.plans.Apply(apply_request(request, plan))


async def test_another_request_is_another_plan(world: Api) -> None:
    plan = await world.plans.Plan(of(port("new")))
    refusal = await refused(world.plans.Apply(apply_request(of(port("other")), plan)))
    assert refusal.reason == "PLAN_MOVED"
    wrong = apply_request(of(port("new")), plan)
    wrong.seed = b"short"
    assert (await refused(world.plans.Apply(wrong))).code is grpc.StatusCode.INVALID_ARGUMENT
    old = apply_request(of(port("new")), plan)
    old.seed = bytes(8) + plan.seed[8:]
    assert "more than a day ago" in (await refused(world.plans.Apply(old))).message
    assert PortName("acme", "web", "new") not in world.store.state.ports


@pytest.mark.slow
async def test_what_comes_between_planning_again_and_committing(world: Api) -> None:
    """Something lies under a network that this controller has not heard of, or cannot even read."""
    await both(world, of(network("db")))
    request = of(network_pb2.DeleteNetworkRequest(name=f"{NET[:-3]}db"))
    plan = await world.plans.Plan(request)
    world.store.pause()
    world.store.etcd.put("/cloison/v1/ports/acme/db/late", b"whatever it is")
    applying = asyncio.ensure_future(refused(world.plans.Apply(apply_request(request, plan))))
    await eventually(lambda: world.store._flights)
    world.store.resume()
    assert (await applying).code is grpc.StatusCode.UNAVAILABLE
    assert NetworkName("acme", "db") in world.store.state.networks


@pytest.mark.parametrize("fault", ["down", "lost", "late"])
async def test_all_or_nothing_when_etcd_fails(world: Api, fault: str) -> None:
    request = of(deleting("p1"), *(port(f"n{i}") for i in range(5)), network("db"))
    plan = await world.plans.Plan(request)
    before = meant(world.store.state)
    world.store.faults = [fault]
    if fault == "down":
        refusal = await refused(world.plans.Apply(apply_request(request, plan)))
        assert refusal.code is grpc.StatusCode.UNAVAILABLE
        assert meant(world.store.state) == before
        await world.plans.Apply(apply_request(request, plan))
    else:
        await world.plans.Apply(apply_request(request, plan))
    await eventually(lambda: NetworkName("acme", "db") in world.store.state.networks)
    names = {name.port for name in world.store.state.ports}
    assert names == {f"n{i}" for i in range(5)}


async def test_applied_once_however_often_it_is_asked(world: Api) -> None:
    request = of(port("new"))
    plan = await world.plans.Plan(request)
    answers = await asyncio.gather(
        *(world.plans.Apply(apply_request(request, plan)) for _ in range(5)), return_exceptions=True
    )
    done = [a for a in answers if not isinstance(a, BaseException)]
    assert len(done) == 1
    assert {refusal_of(a).reason for a in answers if isinstance(a, grpc.aio.AioRpcError)} == {"PLAN_MOVED"}


async def test_two_plans_at_once_for_what_there_is_one_of(world: Api) -> None:
    requests = [of(port(f"n{i}", fixed_ips=[ip("10.0.0.7")])) for i in range(4)]
    plans = [await world.plans.Plan(request) for request in requests]
    answers = await asyncio.gather(
        *(world.plans.Apply(apply_request(r, p)) for r, p in zip(requests, plans, strict=True)),
        return_exceptions=True,
    )
    assert sum(not isinstance(a, BaseException) for a in answers) == 1


@pytest.mark.slow
async def test_too_large_says_what_to_set(world: Api) -> None:
    request = of(*(port(f"n{i}", requested_hosts=["hosts/h1"]) for i in range(30)))
    refusal = await refused(world.plans.Plan(request))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "at most 128" in refusal.fields["request"]
    assert "--max-txn-ops" in refusal.fields["request"]
    assert "--etcd-max-txn-ops" in refusal.fields["request"]
    world.store._limits = Limits(ops=1000)
    await both(world, request)


@pytest.mark.slow
async def test_large_plans_are_made_beside_everything_else(world: Api) -> None:
    """So many that a thread works them out, on a copy, while others go on changing the state."""
    world.store._limits = Limits(ops=20_000)
    request = of(*(port(f"n{i}") for i in range(120)))
    planning = asyncio.ensure_future(world.plans.Plan(request))
    for i in range(10):
        await both(world, of(tenant_pb2.CreateTenantRequest(tenant_id=f"t{i}")))
    plan = await planning
    answer = await world.plans.Apply(apply_request(request, plan))
    assert len(answer.changes) == 120
    assert len(world.store.state.ports) == 121


async def test_proof_has_the_last_word(tmp_path: Path) -> None:
    def proof(made: Draft) -> list[verify_pb2.Violation]:
        bad = [str(c.key) for c in made.changes if str(c.key).endswith("ports/bad")]
        return [verify_pb2.Violation(kind="leak", message="it leaks", subjects=bad)] if bad else []

    async with serving(tmp_path, proof=Proof(proof)) as api:
        await make_world(api)
        request = of(port("bad"))
        plan = await api.plans.Plan(request)
        assert [v.message for v in plan.violations] == ["it leaks"]
        refusal = await refused(api.plans.Apply(apply_request(request, plan)))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "VIOLATION")
        assert refusal.subjects == (f"{NET}/ports/bad",)
        await both(api, of(port("good")))
        assert {name.port for name in api.store.state.ports} == {"p1", "good"}


# -- who may -------------------------------------------------------------------------------------------


async def test_each_operation_is_judged_as_its_own_method(world: Api) -> None:
    await both(world, of(tenant_pb2.CreateTenantRequest(tenant_id="blue"), network("n", "tenants/blue")))
    plan, seed = world.plans.Plan, (await world.plans.Plan(of(port("new")))).seed
    for identity, request, allowed in [
        ("tenant/acme/admin", of(port("new")), True),
        ("tenant/acme/admin", of(port("new", requested_hosts=["hosts/h1"])), False),
        ("tenant/acme/admin", of(port("new"), network("x", "tenants/blue")), False),
        ("tenant/acme/admin", of(tenant_pb2.CreateTenantRequest(tenant_id="mine")), False),
        ("tenant/acme/admin", of(host_pb2.DeleteHostRequest(name="hosts/h1")), False),
        ("tenant/acme/viewer", of(port("new")), False),
        ("host/h1", of(port("new")), False),
        ("controller/c1", of(port("new")), False),
        ("operator/o", of(host_pb2.CreateHostRequest(host_id="h3")), True),
    ]:
        call = plan(request, metadata=((AS, identity),))
        if allowed:
            assert (await call).changes
        else:
            assert (await refused(call)).code is grpc.StatusCode.PERMISSION_DENIED, (identity, request)
            applying = plan_pb2.ApplyRequest(request=request, digest=b"x" * 32, seed=seed)
            refusal = await refused(world.plans.Apply(applying, metadata=((AS, identity),)))
            assert refusal.code is grpc.StatusCode.PERMISSION_DENIED, (identity, request)


async def test_a_tenant_does_not_see_hosts(world: Api) -> None:
    await both(world, of(port("a", requested_hosts=["hosts/h1"])))
    await world.bind(f"{NET}/ports/a", "hosts/h1")
    plan = await world.plans.Plan(of(deleting("a"), port("b")), metadata=ADMIN)
    assert not plan.hosts
    assert "h1" not in str(plan)
    assert "an operator has scheduled" in plan.notes[0]
    full = await world.plans.Plan(of(deleting("a"), port("b")))
    assert "h1" in str(full)
