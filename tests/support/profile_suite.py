"""Races about groups and their profiles, for every store: of two that cannot both be, one happens."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from cloison.errors import CallerError
from cloison.names import NetworkName, PortName, SecurityGroupName, TenantName
from cloison.v1 import network_pb2, port_pb2, security_group_pb2, tenant_pb2
from controller.api.intents import network, port, security_group, tenant
from controller.api.intents.common import Stamp
from controller.store import profiles
from controller.store.store import Store
from tests.support.groups import DEFAULT, GROUPS, add, check_groups, delete_group, group, ingress
from tests.support.store_world import Backend, eventually

ROUNDS = 25
WEB = NetworkName("acme", "web")
_times = count(1)


def stamp() -> Stamp:
    return Stamp(next(_times), str(uuid4()))


def doing(store: Store, intent: Callable[..., Any], request: Any) -> Awaitable[Any]:
    """Carry out what a method would."""
    made = stamp()
    if intent in (port.delete, security_group.delete, tenant.delete, network.delete):
        return store.transact(lambda state: intent(state, request))
    return store.transact(lambda state: intent(state, request, made))


def new_port(name: str, *groups: str) -> port_pb2.CreatePortRequest:
    message = port_pb2.Port(security_groups=[f"{GROUPS}/{g}" for g in groups])
    return port_pb2.CreatePortRequest(parent=str(WEB), port_id=name, port=message)


def no_port(name: str) -> port_pb2.DeletePortRequest:
    return port_pb2.DeletePortRequest(name=f"{WEB}/ports/{name}")


async def collect(store: Store, number: int) -> None:
    await store.transact(lambda state: (profiles.collect(state, number), None))


async def one_of(*calls: Awaitable[Any]) -> tuple[bool, ...]:
    """Do all at once; who fails is told why, and is not at fault for it."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        assert not isinstance(result, BaseException) or isinstance(result, CallerError), result
    return tuple(not isinstance(result, BaseException) for result in results)


class ProfileSuite:
    """Say what two controllers at the same moment cannot spoil."""

    @pytest.fixture
    async def pair(self, backend: Backend) -> tuple[Store, Store]:
        one, other = await backend.new_store(), await backend.new_store()
        await doing(one, tenant.create, tenant_pb2.CreateTenantRequest(tenant_id="acme"))
        await doing(
            one, network.create, network_pb2.CreateNetworkRequest(parent="tenants/acme", network_id="web")
        )
        await eventually(lambda: WEB in other.state.networks)
        return one, other

    async def settled(self, backend: Backend, one: Store, other: Store) -> None:
        newest = max(one.state.revision, other.state.revision)
        await eventually(lambda: one.state.revision >= newest and other.state.revision >= newest)
        refs = {key for key in await backend.keys() if "/refs/" in key}
        check_groups(one.state, refs)
        assert dict(one.state.profiles) == dict(other.state.profiles)

    async def test_the_same_new_set_at_once_is_one_profile(
        self, backend: Backend, pair: tuple[Store, Store]
    ) -> None:
        for name in "abc":
            await doing(pair[0], security_group.create, group(name))
        last = SecurityGroupName("acme", "c")
        await eventually(lambda: last in pair[1].state.security_groups)
        sets = [("a",), ("a", "b"), ("b", "a"), ("a", "b", "c"), ("c", "b", "a")]
        wishes = [
            doing(pair[n % 2], port.create, new_port(f"p{n}", *sets[n // 2 % len(sets)])) for n in range(40)
        ]
        await asyncio.gather(*wishes)
        await eventually(lambda: all(len(store.state.ports) == 40 for store in pair))
        assert len(pair[0].state.profiles) == 3
        by_set = Counter(frozenset(p.security_groups) for p in pair[0].state.ports.values())
        assert sorted(by_set.values()) == [8, 16, 16]
        await self.settled(backend, *pair)

    @pytest.mark.parametrize("known", [False, True], ids=["new profile", "idle profile"])
    async def test_a_port_that_joins_and_the_end_of_its_group_never_both_happen(
        self, backend: Backend, pair: tuple[Store, Store], known: bool
    ) -> None:
        one, other = pair
        outcomes = Counter()
        name = SecurityGroupName("acme", "g")
        for _ in range(ROUNDS):
            await doing(one, security_group.create, group("g"))
            if known:
                await doing(one, port.create, new_port("p", "g", "default"))
                await doing(one, port.delete, no_port("p"))
            await eventually(lambda: other.state.revision >= one.state.revision)
            created, deleted = await one_of(
                doing(one, port.create, new_port("p", "g", "default")),
                doing(other, security_group.delete, delete_group("g")),
            )
            assert created != deleted
            outcomes[created] += 1
            await eventually(lambda: one.state.revision == other.state.revision)
            if created:
                assert PortName(*WEB, "p") in other.state.ports
                await doing(other, port.delete, no_port("p"))
                await doing(other, security_group.delete, delete_group("g"))
            await eventually(lambda: name not in one.state.security_groups)
            assert not one.state.profiles
        await self.settled(backend, one, other)

    async def test_a_port_that_joins_keeps_its_profile(
        self, backend: Backend, pair: tuple[Store, Store]
    ) -> None:
        """Another controller takes the profile away as idle at that moment: then the port brings it again."""
        one, other = pair
        for _ in range(ROUNDS):
            await doing(one, port.create, new_port("p"))
            [profile] = one.state.profiles.values()
            await doing(one, port.delete, no_port("p"))
            await eventually(lambda: other.state.revision == one.state.revision)
            await asyncio.gather(
                doing(one, port.create, new_port("p")), collect(other, profile.number), return_exceptions=True
            )
            await eventually(lambda: other.state.revision == one.state.revision)
            [joined] = one.state.ports.values()
            assert one.state.profiles[joined.profile].groups == (SecurityGroupName("acme", "default"),)
            await self.settled(backend, one, other)
            await doing(other, port.delete, no_port("p"))
            await collect(other, joined.profile)
            await eventually(lambda: not one.state.profiles)

    async def test_a_rule_and_the_end_of_the_group_it_names_never_both_happen(
        self, backend: Backend, pair: tuple[Store, Store]
    ) -> None:
        one, other = pair
        await doing(one, security_group.create, group("names"))
        for _ in range(ROUNDS):
            await doing(one, security_group.create, group("g"))
            await eventually(lambda: other.state.revision == one.state.revision)
            named, deleted = await one_of(
                doing(one, security_group.add_rules, add("names", ingress(remote_group=f"{GROUPS}/g"))),
                doing(other, security_group.delete, delete_group("g")),
            )
            assert named != deleted
            await eventually(lambda: other.state.revision == one.state.revision)
            await self.settled(backend, one, other)
            if named:
                message = security_group_pb2.SecurityGroup(name=f"{GROUPS}/names")
                request = security_group_pb2.UpdateSecurityGroupRequest(security_group=message)
                request.update_mask.paths.append("rules")
                await doing(one, security_group.update, request)
                await doing(one, security_group.delete, delete_group("g"))

    async def test_a_group_and_the_end_of_its_tenant_never_both_happen(
        self, backend: Backend, pair: tuple[Store, Store]
    ) -> None:
        one, other = pair
        await doing(one, network.delete, network_pb2.DeleteNetworkRequest(name=str(WEB)))
        for _ in range(ROUNDS):
            await eventually(lambda: other.state.revision == one.state.revision)
            created, deleted = await one_of(
                doing(one, security_group.create, group("g", ingress(remote_group=DEFAULT))),
                doing(other, tenant.delete, tenant_pb2.DeleteTenantRequest(name="tenants/acme")),
            )
            assert created != deleted
            await eventually(lambda: other.state.revision == one.state.revision)
            await self.settled(backend, one, other)
            if created:
                await doing(one, security_group.delete, delete_group("g"))
            else:
                assert TenantName("acme") not in one.state.tenants
                assert not one.state.security_groups
                await doing(one, tenant.create, tenant_pb2.CreateTenantRequest(tenant_id="acme"))
