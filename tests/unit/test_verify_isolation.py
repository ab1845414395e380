"""The verdict on a small state with one thing wrong: what is said, and the packet that shows it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from cloison.names import HostName, NetworkName, PortName
from controller.flows import Flow, Load, Output, field, match
from controller.verify import violation as kinds
from controller.verify.holding import FdbChange, HostChange
from controller.verify.intent import Intent, IntentDelta
from controller.verify.isolation import Verifier, change_to, verify_all
from controller.verify.path import HostState
from controller.verify.stages import POLICY
from tests.mutants import difference
from tests.support.worlds import compile_intent
from tests.unit.test_verify_semantics import H1, H2, policy, two_tenants


@pytest.fixture
def intent() -> Intent:
    return numbered(two_tenants())


def numbered(intent: Intent) -> Intent:
    """Tenants are t1 and t2 for the compiler's cookies."""

    def tenant(name: tuple[str, ...]) -> tuple[str, ...]:
        return ({"red": "t1", "blue": "t2"}[name[0]], *name[1:])

    networks = [replace(n, name=NetworkName(*tenant(n.name))) for n in intent.networks.values()]
    ports = [replace(p, name=PortName(*tenant(p.name))) for p in intent.ports.values()]
    return Intent(
        hosts=intent.hosts,
        networks={n.name: n for n in networks},
        ports={p.name: p for p in ports},
        policies={"t1": policy("t1", 1), "t2": policy("t2", 2)},
    )


@pytest.fixture
def states(intent: Intent) -> dict[HostName, HostState]:
    return compile_intent(intent)


def loaded(intent: Intent, states: dict[HostName, HostState]) -> Verifier:
    verifier = Verifier()
    delta = IntentDelta.whole(intent)
    assert verifier.check(delta, {h: change_to(s) for h, s in states.items()}) == []
    return verifier


def with_flow(states: dict[HostName, HostState], host: HostName, *flows: Flow) -> dict[HostName, HostState]:
    state = states[host]
    return {**states, host: HostState((*state.flows, *flows), state.fdb, state.devices)}


def test_what_the_compiler_makes_is_right(intent: Intent, states: dict[HostName, HostState]) -> None:
    assert verify_all(intent, states) == []


def test_leak_between_tenants_comes_with_packet_objects_and_path(
    intent: Intent, states: dict[HostName, HostState]
) -> None:
    # What the port of one tenant is sent goes to the one of the other.
    bad = Flow(
        table=20,
        priority=130,
        match=match(reg0=5000, eth_dst=0x0AF00A000002),
        actions=(Load(field("reg2"), 0, 16, 4),),
        goto=30,
        cookie=0x77,
    )
    for found in (
        verify_all(intent, with_flow(states, H1, bad)),
        loaded(intent, states).check(None, {H1: HostChange(added=[bad])}),
    ):
        leak = next(v for v in found if v.kind == kinds.LEAK)
        assert leak.host == H1
        assert leak.packet is not None
        assert leak.packet.ipv4_dst == int(IPv4Address("10.0.0.2")) or leak.packet.arp_tpa
        assert "tenants/t2/networks/web/ports/a" in leak.objects
        assert any("cookie=0x77" in line for line in leak.path)


def test_missing_flow_is_a_blackhole(intent: Intent, states: dict[HostName, HostState]) -> None:
    gone = next(f for f in states[H2].flows if f.table == 20 and f.priority == 110)
    verifier = loaded(intent, states)
    found = verifier.check(None, {H2: HostChange(removed=[gone.key])})
    assert {v.kind for v in found} <= {kinds.BLACKHOLE}
    assert verifier.check(None, {H2: HostChange(added=[gone])}) == []


@pytest.mark.parametrize(
    "flow",
    [
        Flow(table=30, priority=20, match=match(), actions=(Output(0xFFFB),)),
        Flow(table=10, priority=1, match=match(ipv4_dst=1), goto=20),
        Flow(table=10, priority=1, match=match(tcp_dst=80), goto=20),
        Flow(table=20, priority=1, match=match(), goto=10),
    ],
    ids=["flood", "no prerequisite", "not understood", "backwards"],
)
def test_flow_that_may_not_be(intent: Intent, states: dict[HostName, HostState], flow: Flow) -> None:
    found = loaded(intent, states).check(None, {H1: HostChange(added=[flow])})
    assert [v.kind for v in found] == [kinds.FORBIDDEN_FLOW]


@pytest.mark.slow
def test_back_into_the_overlay(intent: Intent, states: dict[HostName, HostState]) -> None:
    bad = Flow(
        table=20, priority=5, match=match(reg0=5000), actions=(Load(field("reg2"), 0, 16, 101),), goto=30
    )
    found = loaded(intent, states).check(None, {H1: HostChange(added=[bad])})
    assert kinds.REFLECTION in {v.kind for v in found}


def test_two_flows_of_one_priority(intent: Intent, states: dict[HostName, HostState]) -> None:
    rival = Flow(table=10, priority=300, match=match(reg0=5000, eth_type=0x0800, ipv4_dst=0x0A000002))
    found = loaded(intent, states).check(None, {H1: HostChange(added=[rival])})
    assert {v.kind for v in found} == {kinds.UNDEFINED}


def test_port_nobody_has(intent: Intent, states: dict[HostName, HostState]) -> None:
    open_door = Flow(
        table=0,
        priority=60,
        match=match(eth_type=0x0806, vlan_vid=0),
        actions=(Load(field("reg0"), 0, 32, 5000), Load(field("reg3"), 0, 2, 1)),
        goto=10,
    )
    found = loaded(intent, states).check(None, {H1: HostChange(added=[open_door])})
    assert any("which no port has" in v.message for v in found)


def test_forwarding_databases(intent: Intent, states: dict[HostName, HostState]) -> None:
    verifier = loaded(intent, states)
    mac = 0x0AF00A000003
    wrong = IPv4Address("172.16.0.1")
    for change in (
        FdbChange(removed=[mac]),
        FdbChange(upserted={mac: wrong}),
        FdbChange(upserted={0: wrong}),
        None,
    ):
        found = verifier.check(None, {H1: HostChange(fdb={5000: change})})
        assert {v.kind for v in found} == {kinds.FDB}, change
        whole = FdbChange(upserted=states[H1].fdb[5000], removed=[0])
        assert verifier.check(None, {H1: HostChange(fdb={5000: whole})}) == []


def test_device_of_another_network(intent: Intent, states: dict[HostName, HostState]) -> None:
    found = loaded(intent, states).check(None, {H1: HostChange(devices={100: 5001})})
    assert kinds.DEVICE in {v.kind for v in found}


def test_identifier_of_two_objects(intent: Intent, states: dict[HostName, HostState]) -> None:
    blue = intent.networks[NetworkName("t2", "web")]
    found = loaded(intent, states).check(IntentDelta(networks={blue.name: replace(blue, vni=5000)}))
    assert kinds.IDENTIFIER in {v.kind for v in found}


def test_intent_that_moves_on_without_the_flows(intent: Intent, states: dict[HostName, HostState]) -> None:
    port = intent.ports[PortName("t1", "web", "c")]
    moved = replace(port, host=H1, ofport=9)
    networks = {
        n.name: replace(n, tunnels={H1: n.tunnels[H1]}) for n in intent.networks.values() if n.vni == 5000
    }
    delta = IntentDelta(ports={port.name: moved}, networks=networks)
    found = loaded(intent, states).check(delta)
    assert {kinds.BLACKHOLE, kinds.FDB} <= {v.kind for v in found}
    after = compile_intent(
        Intent(
            hosts=intent.hosts,
            networks={**intent.networks, **networks},
            ports={**intent.ports, port.name: moved},
            policies=intent.policies,
        )
    )
    assert loaded(intent, states).check(delta, difference(states, after)) == []


def test_steps_in_any_order_end_the_same(intent: Intent, states: dict[HostName, HostState]) -> None:
    """Hosts first or intent first: what is wrong in between is said, and nothing is left at the end."""
    everything = IntentDelta.whole(intent)
    flows_first, intent_first = Verifier(), Verifier()
    for host, state in states.items():
        flows_first.check(None, {host: change_to(state)})
    flows_first.check(everything)
    intent_first.check(everything)
    for host, state in states.items():
        intent_first.check(None, {host: change_to(state)})
    assert flows_first.check_everything() == intent_first.check_everything() == []


def test_a_port_comes_and_entries_are_held_against_it(
    intent: Intent, states: dict[HostName, HostState]
) -> None:
    """What changes on other hosts when a port comes: exactly its entries, to its host, and nothing else."""
    port = next(p for p in intent.ports.values() if p.host == H1 and p.name.tenant == "t1")
    vni, vtep = intent.networks[port.name.parent].vni, intent.hosts[H1].vtep
    assert vtep is not None
    without = Intent(
        hosts=intent.hosts,
        networks=intent.networks,
        policies=intent.policies,
        ports=intent.ports | {port.name: replace(port, host=None, ofport=0)},
    )
    before = compile_intent(without)
    right = difference(before, states)
    entries = dict.fromkeys(port.frame_macs, vtep)
    wrong = {
        "to another host": FdbChange(upserted=entries | {min(entries): IPv4Address("172.16.9.9")}),
        "one missing": FdbChange(upserted={mac: vtep for mac in entries if mac != min(entries)}),
        "its real MAC": FdbChange(upserted=entries | {port.mac: vtep}),
        "one too many": FdbChange(upserted=entries | {0x02AABBCCDDEE: vtep}),
        "taken away at once": FdbChange(removed=tuple(port.frame_macs)),
    }
    for name, change in {"": FdbChange(upserted=entries), **wrong}.items():
        verifier = loaded(without, before)
        changes = {**right, H2: HostChange(fdb={vni: change})}
        found = {v.kind for v in verifier.check(IntentDelta(ports={port.name: port}), changes)}
        assert found == ({kinds.FDB} if name else set()), name


def test_what_is_right_on_other_hosts_is_not_where_the_port_is(
    intent: Intent, states: dict[HostName, HostState]
) -> None:
    port = next(p for p in intent.ports.values() if p.host == H1 and p.name.tenant == "t1")
    vni, vtep = intent.networks[port.name.parent].vni, intent.hosts[H1].vtep
    assert vtep is not None
    gone = replace(port, host=None, ofport=0)
    without = replace(intent, ports=intent.ports | {port.name: gone})
    before = compile_intent(without)
    here = difference(before, states)
    entries = FdbChange(upserted=dict.fromkeys(port.frame_macs, vtep))
    everywhere = {**here, H1: replace(here[H1], fdb={vni: entries}), H2: HostChange(fdb={vni: entries})}
    found = loaded(without, before).check(IntentDelta(ports={port.name: port}), everywhere)
    assert {(v.kind, v.host) for v in found} == {(kinds.FDB, H1)}
    # And the other way round: all that goes, goes everywhere else.
    kept = {
        **difference(states, before),
        H2: HostChange(fdb={vni: FdbChange(removed=sorted(port.frame_macs)[1:])}),
    }
    found = loaded(intent, states).check(IntentDelta(ports={port.name: gone}), kept)
    assert {(v.kind, v.host) for v in found} == {(kinds.FDB, H2)}


def test_ports_that_come_at_once_are_asked_about_as_one_would_be(
    intent: Intent, states: dict[HostName, HostState]
) -> None:
    """The flows of policy were there before them, and nobody had to ask what they admit."""
    here = {n: p for n, p in intent.ports.items() if p.host == H1 and n.tenant == "t1"}
    assert len(here) > 1
    nothing = replace(intent.policies["t1"], groups={})
    web = next(n for n in intent.networks.values() if n.name.tenant == "t1")
    elsewhere = replace(web, tunnels={H2: web.tunnels[H2]})
    without = replace(
        intent,
        networks={**intent.networks, web.name: elsewhere},
        ports={n: p for n, p in intent.ports.items() if n not in here},
        policies={**intent.policies, "t1": nothing},
    )
    before = compile_intent(without)
    left = [f for f in states[H1].flows if f.table in POLICY and f not in before[H1].flows]
    verifier = loaded(without, with_flow(before, H1, *left))
    assert verifier.settled
    found = verifier.check(IntentDelta(ports=here))
    assert any("admits, and should not" in v.message for v in found), {v.message for v in found}


@pytest.mark.slow
@pytest.mark.parametrize("comes", [True, False])
def test_the_first_ports_and_the_last_ones_make_others_copy_for_their_host_or_no_longer(
    intent: Intent, comes: bool
) -> None:
    """Others' copies for all are asked about, however many ports come or go at once."""
    web = next(n for n in intent.networks.values() if n.name.tenant == "t1")
    spread, left = replace(web, multicast=True), replace(web, multicast=True, tunnels={H2: web.tunnels[H2]})
    there = replace(intent, networks={**intent.networks, web.name: spread})
    here = {n: p for n, p in there.ports.items() if p.host == H1 and n.tenant == "t1"}
    assert len(here) > 1
    gone = replace(
        there,
        networks={**intent.networks, web.name: left},
        ports={n: p for n, p in there.ports.items() if n not in here},
    )
    first, then = (gone, there) if comes else (there, gone)
    delta = IntentDelta(
        ports=dict(here) if comes else dict.fromkeys(here), networks={web.name: then.networks[web.name]}
    )
    change = difference(compile_intent(first), compile_intent(then))
    forgets = {**change, H2: replace(change[H2], added=(), removed=())}
    verifier = loaded(first, compile_intent(first))
    found = verifier.check(delta, forgets)
    assert {v.host for v in found} == ({H2} if comes else set()), {v.message for v in found}
    assert not verifier.settled, "a copy too many harms nobody as yet"
    verifier = loaded(first, compile_intent(first))
    assert verifier.check(delta, change) == []
    assert verifier.settled
