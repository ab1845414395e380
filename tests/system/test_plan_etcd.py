"""Plans on a real etcd: what it takes of comparisons and operations, and races that one of two wins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from random import Random
from typing import Any

import pytest

from cloison.errors import AlreadyExists, CloisonError, InvalidIntent
from cloison.model import Revision
from cloison.names import NetworkName, PortName, SubnetName
from cloison.v1 import (
    host_pb2,
    network_pb2,
    plan_pb2,
    port_pb2,
    security_group_pb2,
    subnet_pb2,
    tenant_pb2,
)
from controller.api.planning import several
from controller.api.planning.draft import Draft, draft, steps_of
from controller.api.planning.operations import Circumstances
from controller.api.planning.several import Left
from controller.store import ids, keys
from controller.store.etcd import Client, Endpoint
from controller.store.etcd_store import EtcdStore, Settings
from controller.store.store import Store
from controller.store.txn import Limits, Txn, Write
from tests.support.etcd import EtcdCluster
from tests.support.plans import SEED, Operations, alone, meant, of, random_request
from tests.support.store_world import eventually

pytestmark = pytest.mark.system

LIMITS = Limits(ops=20_000, request_bytes=10 << 20)
OPTIONS = (f"--max-txn-ops={LIMITS.ops}", f"--max-request-bytes={LIMITS.request_bytes}")
WEB = NetworkName("acme", "web")


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdCluster]:
    with EtcdCluster(options=OPTIONS) as cluster:
        yield cluster


@pytest.fixture
async def stores(etcd: EtcdCluster) -> AsyncIterator[tuple[EtcdStore, EtcdStore]]:
    """Two controllers on one etcd, which is empty."""
    client = Client(Endpoint.parse(etcd.endpoints[0]), etcd.tls, timeout_s=5)
    await client.connect()
    await client.txn((), (Write(keys.PREFIX, None, keys.range_end(keys.PREFIX)),))
    await client.close()
    made = tuple(EtcdStore(etcd.endpoints, etcd.tls, Settings(limits=LIMITS)) for _ in range(2))
    for store in made:
        await store.start()
        await eventually(lambda store=store: store.healthy)
    yield made[0], made[1]
    for store in made:
        await store.stop()


def planned(store: Store, request: plan_pb2.PlanRequest) -> Draft:
    return draft(store.state, request, SEED, operator=True)


async def apply(store: Store, request: plan_pb2.PlanRequest) -> int:
    """Plan and commit, again if something came between."""
    revision, _ = await store.transact(lambda state: (planned(store, request).txn, None))
    return revision


async def single(store: Store, request: plan_pb2.PlanRequest) -> None:
    for step in steps_of(store.state, request):
        await alone(store, request, step)  # type: ignore[arg-type]  # any store will do


def base(ports: int = 0, name: str = "web") -> plan_pb2.PlanRequest:
    parent = f"tenants/acme/networks/{name}"
    cidr = subnet_pb2.Subnet(cidr="10.0.0.0/16")
    return of(
        network_pb2.CreateNetworkRequest(parent="tenants/acme", network_id=name),
        subnet_pb2.CreateSubnetRequest(parent=parent, subnet_id="v4", subnet=cidr),
        *(port_pb2.CreatePortRequest(parent=parent, port_id=f"p{n}") for n in range(ports)),
    )


def away(ports: int = 0, name: str = "web") -> plan_pb2.PlanRequest:
    parent = f"tenants/acme/networks/{name}"
    return of(
        *(port_pb2.DeletePortRequest(name=f"{parent}/ports/p{n}") for n in range(ports)),
        subnet_pb2.DeleteSubnetRequest(name=f"{parent}/subnets/v4"),
        network_pb2.DeleteNetworkRequest(name=parent),
    )


def tenant() -> plan_pb2.PlanRequest:
    return of(tenant_pb2.CreateTenantRequest(tenant_id="acme"))


async def leftovers(etcd: EtcdCluster, network: str) -> list[str]:
    listed = await asyncio.to_thread(etcd.ctl, "get", keys.PREFIX, "--prefix", "--keys-only")
    return [key for key in listed.stdout.split() if f"/{network}" in key]


async def test_a_network_with_all_that_is_in_it(
    stores: tuple[EtcdStore, EtcdStore], etcd: EtcdCluster
) -> None:
    store, other = stores
    await apply(store, tenant())
    revision = await apply(store, base(50))
    assert len(store.state.ports) == 50
    await eventually(lambda: other.state.revision >= revision)
    assert meant(other.state) == meant(store.state)
    await apply(store, away(50))
    assert not store.state.networks
    assert await leftovers(etcd, "web") == []


async def test_to_the_limit_and_not_beyond(stores: tuple[EtcdStore, EtcdStore]) -> None:
    store, _ = stores
    await apply(store, tenant())
    begun = time.perf_counter()
    request = base(1500)
    made = planned(store, request)
    assert 10_000 < made.txn.ops <= LIMITS.ops
    await apply(store, request)
    assert len(store.state.ports) == 1500
    assert time.perf_counter() - begun < 60
    with pytest.raises(InvalidIntent, match=r"--max-txn-ops"):
        await apply(store, base(3000, "more"))
    assert NetworkName("acme", "more") not in store.state.networks


async def test_a_call_of_several_operations_is_one_transaction(
    stores: tuple[EtcdStore, EtcdStore], etcd: EtcdCluster
) -> None:
    """As BatchService commits it; five at one moment by two controllers, of which all are there or none."""
    store, other = stores
    await apply(store, tenant())
    await apply(store, base())

    def commit(at: EtcdStore, number: int) -> Awaitable[tuple[int, Left]]:
        parent = "tenants/acme"
        group = security_group_pb2.CreateSecurityGroupRequest(
            parent=parent, security_group_id=f"g{number % 3}"
        )
        port = port_pb2.CreatePortRequest(parent=str(WEB), port_id=f"p{number}")
        port.port.security_groups.append(f"{parent}/securityGroups/g{number % 3}")
        request = of(group, port)
        steps = steps_of(at.state, request)
        stamps = [SEED.stamp(b"%d" % number, step.identity, operator=True) for step in steps]
        given = [Circumstances(stamp, ()) for stamp in stamps]
        return at.transact(lambda state: several.carry_out(state, steps, given))

    await eventually(lambda: other.state.revision >= store.state.revision)
    done = await asyncio.gather(
        *(commit(stores[number % 2], number) for number in range(5)), return_exceptions=True
    )
    stored = [outcome for outcome in done if not isinstance(outcome, BaseException)]
    refused = [outcome for outcome in done if isinstance(outcome, BaseException)]
    assert len(stored) == 3  # one for each group
    assert all(isinstance(outcome, AlreadyExists) for outcome in refused)
    for revision, left in stored:
        assert {one.meta.revision for one in left.at(Revision(revision)) if one} == {revision}
        for one in left.at(Revision(revision)):
            assert one is not None
            assert store.state.get(one.name) == one
    # Of those that were refused nothing is left, references included.
    there = {name.port for name in store.state.ports}
    assert len(there) == 3
    assert {key.rpartition("/")[2] for key in await leftovers(etcd, "networks/web/ports/")} == there


def adds(names: list[str]) -> plan_pb2.PlanRequest:
    """For each name a group with a rule, and a port in it."""
    requests: list[Any] = []
    for name in names:
        group = security_group_pb2.CreateSecurityGroupRequest(parent="tenants/acme", security_group_id=name)
        direction = security_group_pb2.SecurityGroupRule.INGRESS
        group.security_group.rules.add(direction=direction, protocol="tcp", port_min=80, port_max=80)
        port = port_pb2.CreatePortRequest(parent=str(WEB), port_id=name)
        port.port.security_groups.append(f"tenants/acme/securityGroups/{name}")
        requests += [group, port]
    return of(*requests)


async def test_full_calls_of_two_controllers_are_all_or_nothing(
    stores: tuple[EtcdStore, EtcdStore], etcd: EtcdCluster
) -> None:
    """Eight calls of a hundred operations at one moment; of each two, one on either side, one wins."""
    store, other = stores
    await apply(store, tenant())
    await apply(store, base())
    await eventually(lambda: other.state.revision >= store.state.revision)

    def commit(number: int) -> Awaitable[tuple[int, Left]]:
        at = stores[number % 2]
        own = [f"c{number}-{n}" for n in range(several.OPERATIONS_MAX // 2 - 1)]
        steps = steps_of(at.state, adds([*own, f"pair{number // 2}"]))
        stamps = [SEED.stamp(b"%d" % number, step.identity, operator=True) for step in steps]
        given = [Circumstances(stamp, ()) for stamp in stamps]
        return at.transact(lambda state: several.carry_out(state, steps, given))

    done = await asyncio.gather(*map(commit, range(8)), return_exceptions=True)
    won = [number for number, outcome in enumerate(done) if not isinstance(outcome, BaseException)]
    assert [number // 2 for number in won] == [0, 1, 2, 3], done
    for outcome in done:
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, AlreadyExists)
            assert outcome.place == "operations[98].create_security_group"
    reached = max(store.state.revision, other.state.revision)
    await eventually(lambda: min(store.state.revision, other.state.revision) >= reached)
    assert meant(store.state) == meant(other.state)
    ports = store.state.ports.values()
    assert len(ports) == 4 * several.OPERATIONS_MAX // 2
    assert len({port.number for port in ports}) == len({port.fixed_ips[0].address for port in ports}) == 200
    kept = {key.split("-")[0].rpartition("/")[2] for key in await leftovers(etcd, "web/c")}
    assert kept == {f"c{number}" for number in won}, "nothing of who lost"


async def test_etcd_agrees_about_the_default_limits() -> None:
    """128 pass and 129 do not, of this etcd as it comes: what we refuse is what it would refuse."""
    with EtcdCluster() as cluster:
        store = EtcdStore(cluster.endpoints, cluster.tls, Settings(limits=LIMITS))
        await store.start()
        try:
            for count, passes in ((127, True), (128, False)):
                txn = Txn()
                for number in range(count):
                    txn.reserve(ids.port_number(1000 * count + number), WEB, "u")
                assert txn.ops == count + 1
                if passes:
                    txn.check_limits()
                    await store.transact(lambda state, txn=txn: (txn, None))
                else:
                    with pytest.raises(InvalidIntent):
                        txn.check_limits()
                    with pytest.raises(CloisonError, match="too many operations"):
                        await store.transact(lambda state, txn=txn: (txn, None))
        finally:
            await store.stop()


@pytest.mark.parametrize("round_", range(12))
async def test_a_port_or_the_deletion_of_its_network(
    stores: tuple[EtcdStore, EtcdStore], etcd: EtcdCluster, round_: int
) -> None:
    """One controller deletes a network with its ports, another creates ports in it: never both."""
    store, other = stores
    rng = Random(round_)
    await apply(store, tenant())
    revision = await apply(store, base(4))
    await eventually(lambda: other.state.revision >= revision)
    late = port_pb2.CreatePortRequest(parent=str(WEB), port_id=rng.choice(("a", "p11", "zz")))

    async def create() -> None:
        await asyncio.sleep(rng.uniform(0, 0.01))
        await single(other, of(late))

    async def delete() -> None:
        await asyncio.sleep(rng.uniform(0, 0.01))
        await apply(store, away(4))

    outcomes = await asyncio.gather(create(), delete(), return_exceptions=True)
    for outcome in outcomes:
        assert outcome is None or isinstance(outcome, CloisonError), outcome
    reached = max(store.state.revision, other.state.revision)
    await eventually(lambda: min(store.state.revision, other.state.revision) >= reached)
    network = WEB in store.state.networks
    port = PortName(*WEB, late.port_id) in store.state.ports
    assert network == port, outcomes
    assert (outcomes[0] is None) == port
    assert (outcomes[1] is None) == (not network)
    if not network:
        assert await leftovers(etcd, "web") == []
    else:
        assert len(store.state.ports) == 5, "nothing of the deletion happened"
    assert meant(store.state) == meant(other.state)


async def test_a_reference_that_the_mirror_does_not_hold(
    stores: tuple[EtcdStore, EtcdStore], etcd: EtcdCluster
) -> None:
    """Whoever refers to a subnet keeps it, even if nothing else is known of it."""
    store, _ = stores
    await apply(store, tenant())
    await apply(store, base(3))
    client = Client(Endpoint.parse(etcd.endpoints[0]), etcd.tls, timeout_s=5)
    await client.connect()
    stray = keys.reference_key(SubnetName(*WEB, "v4"), PortName(*WEB, "p1x"))
    await client.txn((), (Write(stray, b""),))
    with pytest.raises(CloisonError):
        await apply(store, away(3))
    assert len(store.state.ports) == 3
    await client.txn((), (Write(stray, None),))
    await client.close()
    await apply(store, away(3))
    assert not store.state.networks


async def test_no_pair_more_than_was_shown(stores: tuple[EtcdStore, EtcdStore]) -> None:
    """A port that comes into the network in the last moment: the transaction made without it is refused."""
    store, other = stores
    await apply(store, tenant())
    await apply(store, of(host_pb2.CreateHostRequest(host_id="h1")))
    revision = await apply(store, base(2))
    await eventually(lambda: other.state.revision >= revision)
    scheduled = port_pb2.Port(requested_hosts=["hosts/h1"])
    request = of(port_pb2.CreatePortRequest(parent=str(WEB), port_id="new", port=scheduled))
    made = planned(store, request)
    await single(other, of(port_pb2.CreatePortRequest(parent=str(WEB), port_id="late", port=scheduled)))
    tries = 0

    def once(state: Any) -> tuple[Txn, None]:
        nonlocal tries
        tries += 1
        if tries > 1:
            raise CloisonError("refused")
        return made.txn, None

    with pytest.raises(CloisonError, match="refused"):
        await store.transact(once)
    assert PortName(*WEB, "new") not in store.state.ports


@pytest.mark.parametrize("seed", range(6))
async def test_together_is_as_one_by_one(stores: tuple[EtcdStore, EtcdStore], seed: int) -> None:
    """Random operations, undone by an empty etcd in between: etcd does with them what the fake does."""
    store, other = stores
    operations = Operations(seed)
    for _ in range(25):
        request = of(operations.next(store.state))
        try:
            await single(store, request)
        except CloisonError:
            continue
    for _ in range(4):
        request = random_request(operations, store.state, 15)
        made = planned(store, request)
        would_be = meant(made.after)
        await store.transact(lambda state, txn=made.txn: (txn, None))
        assert meant(store.state) == would_be
    await eventually(lambda: other.state.revision >= store.state.revision)
    assert meant(other.state) == meant(store.state)
