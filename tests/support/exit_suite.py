"""What every store promises of addresses outside, whoever does what at the same moment; see store_suite."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cloison.errors import CallerError, Unavailable
from cloison.model import Reservation
from cloison.names import ExternalNetworkName, FloatingIpName, HostName, RouterName, TenantName
from cloison.v1 import (
    external_network_pb2,
    floating_ip_pb2,
    host_pb2,
    network_pb2,
    port_pb2,
    router_pb2,
    subnet_pb2,
    tenant_pb2,
)
from controller.api.intents import (
    edges,
    external_network,
    floating_ip,
    host,
    network,
    port,
    router,
    subnet,
    tenant,
)
from controller.store.keys import EdgeKey
from controller.store.state import State
from controller.store.store import Store
from controller.store.txn import Txn
from tests.support.outside import INET, check_whole, external, floating, gateway, update_router
from tests.support.outside import router as new_router
from tests.support.profile_suite import stamp
from tests.support.store_world import Backend, eventually

ROUNDS, AT_ONCE = 25, 8
TENANTS = ("a", "b")
# Few, so that they are wanted by several at once: a /28 has 13 besides the gateway.
CHOSEN = ("192.0.2.4", "192.0.2.5")
_DELETES = (floating_ip.delete, router.delete, port.delete, external_network.delete)


def doing(store: Store, intent: Callable[..., Any], request: Any) -> Awaitable[Any]:
    """Carry out what a method would."""
    if intent in _DELETES:
        return store.transact(lambda state: intent(state, request))
    made = stamp()
    return store.transact(lambda state: intent(state, request, made))


def web(name: str) -> str:
    return f"tenants/{name}/networks/web"


def share(*tenants: str) -> external_network_pb2.UpdateExternalNetworkRequest:
    message = external_network_pb2.ExternalNetwork(name=INET, shared_with=[f"tenants/{t}" for t in tenants])
    request = external_network_pb2.UpdateExternalNetworkRequest(external_network=message)
    request.update_mask.paths.append("shared_with")
    return request


def stands(name: str, port_name: str, of: str = "a") -> floating_ip_pb2.UpdateFloatingIpRequest:
    message = floating_ip_pb2.FloatingIp(name=f"tenants/{of}/floatingIps/{name}", port=port_name)
    request = floating_ip_pb2.UpdateFloatingIpRequest(floating_ip=message)
    request.update_mask.paths.append("port")
    return request


async def make_world(store: Store) -> None:
    """Two tenants alike, each with a router on its one subnet and two ports; an external network for both."""
    await doing(store, host.create, host_pb2.CreateHostRequest(host_id="g1"))
    await doing(store, host.create, host_pb2.CreateHostRequest(host_id="g2"))
    for name in TENANTS:
        await doing(store, tenant.create, tenant_pb2.CreateTenantRequest(tenant_id=name))
        asked = network_pb2.CreateNetworkRequest(parent=f"tenants/{name}", network_id="web")
        await doing(store, network.create, asked)
        range_ = subnet_pb2.Subnet(cidr="10.0.0.0/24")
        asked_subnet = subnet_pb2.CreateSubnetRequest(parent=web(name), subnet_id="s", subnet=range_)
        await doing(store, subnet.create, asked_subnet)
        for one in "pq":
            await doing(store, port.create, port_pb2.CreatePortRequest(parent=web(name), port_id=one))
        made = new_router("r", f"{web(name)}/subnets/s", parent=f"tenants/{name}")
        await doing(store, router.create, made)
    request = external(subnets=[{"cidr": "192.0.2.0/28", "gateway_ip": "192.0.2.1"}])
    request.external_network.shared_with[:] = [f"tenants/{name}" for name in TENANTS]
    await doing(store, external_network.create, request)


class _History:
    """Random changes of the two tenants' ways out."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def step(self, store: Store) -> Awaitable[Any]:
        choose = self.random.choice
        name = choose(TENANTS)
        chosen = choose(((), (choose(CHOSEN),)))
        router_name = RouterName(name, "r")
        place = HostName(choose(("g1", "g2")))
        one = f"tenants/{name}/floatingIps/{choose('fgh')}"
        at = choose(("", f"{web(name)}/ports/p", f"{web(name)}/ports/q"))
        flags = {"distributed_snat": choose((True, False))}
        wanted = gateway(ip_addresses=chosen, **flags)
        return choose(
            [
                lambda: self._make(store, name, one, choose(("", *CHOSEN)), ""),
                lambda: self._make(store, name, one, "", at),
                lambda: doing(store, floating_ip.update, stands(one.rpartition("/")[2], at, name)),
                lambda: doing(store, floating_ip.delete, floating_ip_pb2.DeleteFloatingIpRequest(name=one)),
                lambda: doing(
                    store, router.update, update_router("gateway", name=str(router_name), gateway=wanted)
                ),
                lambda: doing(
                    store, router.update, update_router("gateway", name=str(router_name), gateway=wanted)
                ),
                lambda: doing(store, router.update, update_router("gateway", name=str(router_name))),
                lambda: self._edge(store, router_name, place),
                lambda: self._edge(store, router_name, place),
                lambda: self._no_edge(store, router_name, place),
                lambda: self._confirm(store),
            ]
        )()

    def _make(self, store: Store, name: str, one: str, address: str, at: str) -> Awaitable[Any]:
        fields = {"ip_address": address} | ({"port": at} if at else {})
        request = floating(one.rpartition("/")[2], parent=f"tenants/{name}", **fields)
        return doing(store, floating_ip.create, request)

    def _edge(self, store: Store, name: RouterName, place: HostName) -> Awaitable[Any]:
        made = stamp()
        return store.transact(lambda state: (edges.edge_txn(state, name, place, made), None))

    def _no_edge(self, store: Store, name: RouterName, place: HostName) -> Awaitable[Any]:
        def build(state: State) -> tuple[Txn, None]:
            edge = state.router_edges.get(EdgeKey(name, place))
            return (edges.drop_edge_txn(state, edge) if edge is not None else Txn()), None

        return store.transact(build)

    def _confirm(self, store: Store) -> Awaitable[Any]:
        """All hosts confirm what was given back, as the release worker notices."""

        def build(state: State) -> tuple[Txn, None]:
            txn = Txn()
            for reservation in state.reservations.released()[:20]:
                txn.release(reservation, ())
            return txn, None

        return store.transact(build)


class ExitSuite:
    """Say what two controllers at the same moment cannot spoil."""

    @pytest.fixture
    async def pair(self, backend: Backend) -> tuple[Store, Store]:
        one, other = await backend.new_store(), await backend.new_store()
        await make_world(one)
        await eventually(lambda: other.state.revision >= one.state.revision)
        return one, other

    async def settled(self, backend: Backend, one: Store, other: Store) -> None:
        newest = max(one.state.revision, other.state.revision)
        await eventually(lambda: one.state.revision >= newest and other.state.revision >= newest)
        check_whole(one.state, {key for key in await backend.keys() if "/refs/" in key})
        assert dict(one.state.reservations) == dict(other.state.reservations)
        assert dict(one.state.router_edges) == dict(other.state.router_edges)
        assert dict(one.state.floating_ips) == dict(other.state.floating_ips)

    @pytest.mark.parametrize("seed", range(3))
    async def test_an_address_is_never_two_tenants(
        self, backend: Backend, pair: tuple[Store, Store], seed: int
    ) -> None:
        """Whatever is done at once: one owner at a time, and between two of them all hosts confirmed."""
        history, outcomes = _History(seed), Counter[bool]()
        followed = pair[1].subscribe()
        for _ in range(ROUNDS):
            steps = [history.step(pair[n % 2]) for n in range(AT_ONCE)]
            results = await asyncio.gather(*steps, return_exceptions=True)
            for result in results:
                told = not isinstance(result, BaseException)
                assert told or isinstance(result, CallerError | Unavailable), result
                outcomes[told] += 1
            await self.settled(backend, *pair)
        assert outcomes[True] > 20
        assert outcomes[False] > 5
        for changes in followed.pending():
            for change in changes.changes:
                old, new = change.old, change.new
                if (
                    isinstance(new, Reservation)
                    and new.key.startswith("ext/")
                    and isinstance(old, Reservation)
                ):
                    assert old.owner_uid == new.owner_uid, f"{new.key} went over without being free"
                if isinstance(old, Reservation) and old.key.startswith("ext/") and new is None:
                    assert old.released, f"{old.key} was free at once"

    async def test_of_many_that_want_one_address_one_gets_it(
        self, backend: Backend, pair: tuple[Store, Store]
    ) -> None:
        wishes = []
        for n in range(20):
            asked = floating(f"f{n}", parent=f"tenants/{TENANTS[n % 2]}", ip_address="192.0.2.9")
            wishes.append(doing(pair[n % 2], floating_ip.create, asked))
        results = await asyncio.gather(*wishes, return_exceptions=True)
        assert len([r for r in results if not isinstance(r, BaseException)]) == 1
        await self.settled(backend, *pair)

    async def test_of_many_that_stand_for_one_address_one_does(
        self, backend: Backend, pair: tuple[Store, Store]
    ) -> None:
        await doing(
            pair[0], router.update, update_router("gateway", name="tenants/a/routers/r", gateway=gateway())
        )
        await eventually(lambda: pair[1].state.revision >= pair[0].state.revision)
        wanted = [floating(f"f{n}", parent="tenants/a", port=f"{web('a')}/ports/p") for n in range(8)]
        wishes = [doing(pair[n % 2], floating_ip.create, request) for n, request in enumerate(wanted)]
        results = await asyncio.gather(*wishes, return_exceptions=True)
        assert len([r for r in results if not isinstance(r, BaseException)]) == 1, results
        await self.settled(backend, *pair)

    @pytest.mark.parametrize("end", ["port", "gateway", "share", "router"])
    async def test_a_floating_ip_and_the_end_of_what_it_needs_never_both_happen(
        self, backend: Backend, pair: tuple[Store, Store], end: str
    ) -> None:
        one, other = pair
        router_name = "tenants/a/routers/r"
        back = new_router("r", f"{web('a')}/subnets/s", parent="tenants/a", gateway=gateway())
        await doing(one, router.update, update_router("gateway", name=router_name, gateway=gateway()))
        for turn in range(8):
            await eventually(lambda: one.state.revision == other.state.revision)
            asked = floating("f", parent="tenants/a", port=f"{web('a')}/ports/p")
            if end == "share":
                await doing(one, router.update, update_router("gateway", name=router_name))
                asked = floating("f", parent="tenants/a")
                await eventually(lambda: one.state.revision == other.state.revision)
            ends = {
                "port": lambda: doing(
                    other, port.delete, port_pb2.DeletePortRequest(name=f"{web('a')}/ports/p")
                ),
                "gateway": lambda: doing(other, router.update, update_router("gateway", name=router_name)),
                "router": lambda: doing(
                    other, router.delete, router_pb2.DeleteRouterRequest(name=router_name)
                ),
                "share": lambda: doing(other, external_network.update, share("b")),
            }
            both = [doing(one, floating_ip.create, asked), ends[end]()]
            # Now the one, now the other is the first to be sent; neither has seen the other.
            results = await asyncio.gather(*both[:: -1 if turn % 2 else 1], return_exceptions=True)
            made, ended = (not isinstance(r, BaseException) for r in results[:: -1 if turn % 2 else 1])
            assert made != ended, results
            assert all(isinstance(r, CallerError) for r in results if isinstance(r, BaseException)), results
            await self.settled(backend, one, other)
            if made:
                await doing(
                    one,
                    floating_ip.delete,
                    floating_ip_pb2.DeleteFloatingIpRequest(name="tenants/a/floatingIps/f"),
                )
            elif end == "port":
                await doing(one, port.create, port_pb2.CreatePortRequest(parent=web("a"), port_id="p"))
            elif end == "router":
                await doing(one, router.create, back)
            elif end == "gateway":
                await doing(one, router.update, update_router("gateway", name=router_name, gateway=gateway()))
            if end == "share":
                await doing(one, external_network.update, share("a", "b"))
            await _History(0)._confirm(one)
        assert FloatingIpName("a", "f") not in one.state.floating_ips
        assert ExternalNetworkName("inet") in one.state.external_networks
        assert TenantName("a") in one.state.tenants
