"""Security groups on their way to hosts: who gets which rules, who is left alone, when they are enforced."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import ip_network

import pytest

from cloison.model import AddressGroup, Direction, Meta, SecurityGroupRule
from cloison.names import AddressGroupName, SecurityGroupName, TenantName
from cloison.v1 import port_pb2
from controller.compiler.cookies import CookieKind, unpack
from controller.compiler.view import PolicyView
from controller.flows import Flow
from controller.reconcile import policies as policies_module
from controller.reconcile.profiles import ProfileWorker
from tests.support.hosts import MemoryHost, eventually
from tests.support.reconciling import (
    H1,
    H2,
    Controller,
    controller,
    pair,
    port_flows_of,
    settled,
    with_base,
)

SSH = SecurityGroupRule(id="r1", number=1, direction=Direction.INGRESS, protocol=6, port_min=22, port_max=22)
WEB = replace(SSH, id="r2", number=2, port_min=80, port_max=80)
OUT = SecurityGroupRule(id="r3", number=3, direction=Direction.EGRESS)


def policy_of(host: MemoryHost, tenant: int = 1) -> set[Flow]:
    """The flows of a tenant's policy that a host holds."""
    flows = (installed.flow for installed in host.switch.flows.values())
    return {f for f in flows if (c := unpack(f.cookie)) and (c.kind, c.tenant) == (CookieKind.POLICY, tenant)}


def ports_in(flows: set[Flow]) -> set[int]:
    """The destination ports that some flow is about."""
    return {term.value for flow in flows for term in flow.match if term.field.name == "ct_tp_dst"}


def bundles(*hosts: MemoryHost) -> list[int]:
    return [len(host.switch.deltas) for host in hosts]


async def guarded_pair(made: Controller) -> tuple[MemoryHost, MemoryHost]:
    """A port on each of two hosts, and one group that is nobody's yet but has a profile."""
    h1, h2, _, _ = await pair(made)
    group = await made.create_group("ga", SSH, OUT)
    await made.create_profile(16, group)
    await settled(made)
    return h1, h2


async def test_rules_are_where_their_tenant_has_ports_and_nowhere_else() -> None:
    async with controller() as made:
        await with_base(made, "globex", 2)
        h1, h2 = await guarded_pair(made)
        h3 = MemoryHost(made.reconciler, 3)
        await h3.connect("if11")
        other = await made.create_port(11, "h3", tenant="globex")
        await made.active(other)
        assert policy_of(h1)
        assert policy_of(h1) == policy_of(h2)
        assert not policy_of(h3)
        assert not policy_of(h1, tenant=2)
        third = await made.create_port(3, "h3")
        h3.plug("if3")
        await made.active(third)
        assert policy_of(h3) == policy_of(h1)
        await made.delete_port(third)
        await eventually(lambda: not policy_of(h3), "the tenant has left the host")
        assert policy_of(h1)


async def test_a_rule_that_is_withdrawn_is_gone_when_every_host_says_so() -> None:
    async with controller() as made:
        h1, h2 = await guarded_pair(made)
        name = SecurityGroupName("acme", "ga")
        await made.change(name, rules=(SSH, WEB, OUT))
        await settled(made)
        assert ports_in(policy_of(h1)) == {22, 80}
        h2.mute = True
        revision = await made.change(name, rules=(WEB, OUT))
        wait = made.reconciler.tracker.wait_realized
        realized, _, missing = await wait(name, revision, 0.2)
        assert not realized
        assert {c.subjects for c in missing} == {("hosts/h2",)}
        assert ports_in(policy_of(h1)) == {80}
        assert h1.barriers[-1].revalidate, "established connections run on cached flows until then"


async def test_an_address_group_is_followed() -> None:
    async with controller() as made:
        h1, _ = await guarded_pair(made)
        office = AddressGroupName("acme", "office")
        await made.change(SecurityGroupName("acme", "ga"), rules=(replace(SSH, remote_address_group=office),))
        await settled(made)
        assert not ports_in(policy_of(h1)), "a group that is not there is nobody"
        group = AddressGroup(name=office, meta=Meta(uid="uid-office"), prefixes=(ip_network("192.0.2.0/24"),))
        revision = await made.commit(lambda txn, state: txn.create(group))
        realized, _, missing = await made.reconciler.tracker.wait_realized(office, revision, 5.0)
        assert realized, missing
        assert ports_in(policy_of(h1)) == {22}


async def test_a_port_that_joins_a_group_is_its_hosts_matter_alone() -> None:
    async with controller() as made:
        h1, h2 = await guarded_pair(made)
        (port,) = [name for name in made.store.state.ports if name.port == "p1"]
        before, flows = bundles(h2), set(port_flows_of(h1, 1))
        await made.change(port, profile=16, security_groups=(SecurityGroupName("acme", "ga"),))
        await settled(made)
        assert set(port_flows_of(h1, 1)) != flows
        assert bundles(h2) == before
        assert h1.switch.flushed == [made.store.state.bindings_of(port)[0].ofport], "once, as it was plugged"


async def test_a_profile_that_is_not_there_allows_nothing() -> None:
    async with controller() as made:
        h1, _ = await guarded_pair(made)
        (port,) = [name for name in made.store.state.ports if name.port == "p1"]
        nothing = set(port_flows_of(h1, 1))
        await made.change(port, profile=4711)
        await settled(made)
        assert set(port_flows_of(h1, 1)) == nothing


async def test_rules_are_compiled_once_however_many_ports_and_hosts_have_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled: list[PolicyView] = []
    right = policies_module.policy_flows

    def policy_flows(view: PolicyView) -> tuple[Flow, ...]:
        compiled.append(view)
        return right(view)

    monkeypatch.setattr(policies_module, "policy_flows", policy_flows)
    async with controller() as made:
        h1, _ = await guarded_pair(made)
        compiled.clear()
        for number in (3, 4, 5):
            h1.plug(f"if{number}")
            await made.active(await made.create_port(number, "h1", profile=16))
        assert not compiled
        await made.change(SecurityGroupName("acme", "ga"), rules=(WEB,))
        await settled(made)
        assert len(compiled) == 1
        actors = made.reconciler.hosts
        unit = ("policy", TenantName("acme"))
        assert actors[H1].flows.flows_of(unit) is actors[H2].flows.flows_of(unit)


async def test_rules_that_cannot_be_compiled_close_their_tenants_ports_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = policies_module.policy_flows

    def policy_flows(view: PolicyView) -> tuple[Flow, ...]:
        if view.tenant_number == 1:
            raise ValueError("no flows for that")
        return right(view)

    async with controller() as made:
        await with_base(made, "globex", 2)
        h1, _ = await guarded_pair(made)
        h1.plug("if11")
        other = await made.create_port(11, "h1", tenant="globex")
        await made.active(other)
        monkeypatch.setattr(policies_module, "policy_flows", policy_flows)
        await made.change(SecurityGroupName("acme", "ga"), rules=(WEB,))
        (port,) = [name for name in made.store.state.ports if name.port == "p1"]
        await eventually(lambda: made.status(port) == port_pb2.Port.ERROR, "said at the port")
        assert {reason for reason, _ in made.reasons(port)} == {"COMPILER_FAILED"}
        await eventually(lambda: not policy_of(h1), "closed")
        await made.active(other)


async def test_a_profile_goes_when_no_port_has_had_it_for_a_while() -> None:
    async with controller() as made:
        await guarded_pair(made)
        (port,) = [name for name in made.store.state.ports if name.port == "p1"]
        worker = ProfileWorker(made.store, idle_s=0.05)
        worker.load(made.store.state)
        task = asyncio.create_task(worker.run())
        await eventually(lambda: 16 not in made.store.state.profiles, "taken away")
        task.cancel()
        assert port in made.store.state.ports
