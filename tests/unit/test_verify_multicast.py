"""What is for a group or for all: what it means, what the compiler makes of it, what the proof notices."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from cloison.addresses import TO_ALL_MAC, host_mac, wire_mac
from cloison.names import HostName, NetworkName, PortName
from controller.api.explain import admissions_of
from controller.compiler.view import METERS_OF_SPREADING
from controller.flows import Flow, Load, Output, Resubmit, SetField, field, match
from controller.verify import violation as kinds
from controller.verify.grammar import fault
from controller.verify.holding import FdbChange, HostChange
from controller.verify.intent import Intent, IntentDelta
from controller.verify.isolation import Verifier, change_to, verify_all
from controller.verify.packet import FRAGMENT, PROTO_UDP, Packet
from controller.verify.path import HostState
from controller.verify.policy import PROFILE_NONE, PROFILE_OPEN
from controller.verify.reasons import why_nobody
from controller.verify.semantics import meaning
from controller.verify.stages import EGRESS, INGRESS
from controller.verify.world import World
from tests.support.worlds import compile_intent
from tests.unit.test_verify_isolation import loaded, numbered, with_flow
from tests.unit.test_verify_semantics import H1, H2, A, ip4, ip6, two_tenants

RED, BLUE = NetworkName("t1", "web"), NetworkName("t2", "web")
MDNS = ip4(dst="224.0.0.251", ip_proto=PROTO_UDP, udp_src=5353, udp_dst=5353)
MDNS6 = ip6(dst="ff02::fb", ip_proto=PROTO_UDP, icmpv6_type=0, udp_src=5353, udp_dst=5353)
BROADCASTS = [replace(MDNS, ipv4_dst=int(IPv4Address(a))) for a in ("10.0.0.255", "255.255.255.255")]
REPORT = ip6(dst="ff02::16", icmpv6_type=143, ip_ttl=1)
FOR_ALL = [MDNS, MDNS6, *BROADCASTS, REPORT]
B_HERE, C_THERE = (H1, 2), (H2, 3)
H2_MAC = int(host_mac(IPv4Address("172.16.0.2")))


@pytest.fixture
def intent() -> Intent:
    """Red's network has multicast, blue's has none."""
    made = numbered(two_tenants())
    return replace(made, networks={**made.networks, RED: replace(made.networks[RED], multicast=True)})


@pytest.fixture
def states(intent: Intent) -> dict[HostName, HostState]:
    return compile_intent(intent)


def with_profile(intent: Intent, port: str, profile: int) -> Intent:
    name = PortName(*RED, port)
    return replace(intent, ports={**intent.ports, name: replace(intent.ports[name], profile=profile)})


def heard(intent: Intent, packet: Packet, ofport: int = 1) -> set[tuple[HostName, int]]:
    return {(d.host, d.ofport) for d in meaning(World(intent), H1, ofport, packet)}


@pytest.mark.parametrize("packet", FOR_ALL)
def test_all_other_ports_of_the_network_get_it(intent: Intent, packet: Packet) -> None:
    assert heard(intent, packet) == {B_HERE, C_THERE}
    assert why_nobody(World(intent), H1, 1, packet) == ""


@pytest.mark.parametrize("packet", FOR_ALL)
def test_nobody_does_without_multicast(intent: Intent, packet: Packet) -> None:
    blue = 4
    assert heard(intent, packet, blue) == set()
    assert why_nobody(World(intent), H1, blue, packet)


def test_it_comes_under_the_groups_mac_from_the_senders_address(intent: Intent) -> None:
    shown = {MDNS: 0x01005E0000FB, MDNS6: 0x3333000000FB, BROADCASTS[0]: 0xFFFFFFFFFFFF}
    for packet, mac in shown.items():
        assert {d.packet.eth_dst for d in meaning(World(intent), H1, 1, packet)} == {mac}
    sources = {d.packet.eth_src for d in meaning(World(intent), H1, 1, MDNS)}
    assert sources == {wire_mac(IPv4Address("10.0.0.1"))}


def test_each_receiver_is_judged_by_itself(intent: Intent) -> None:
    closed = with_profile(intent, "b", PROFILE_NONE)
    assert heard(closed, MDNS) == {C_THERE}
    assert heard(closed, REPORT) == {B_HERE, C_THERE}, "who listens is no connection"
    assert heard(closed, replace(REPORT, ip_frag=1)) == {C_THERE}, "but whole it must be"
    assert heard(closed, ip6(icmpv6_type=143)) == set(), "and to a group"


def test_what_the_overlay_cannot_carry_stays_on_its_host(intent: Intent) -> None:
    assert heard(intent, replace(MDNS, oversize=1)) == {B_HERE}


@pytest.mark.parametrize("address", ["240.0.0.1", "10.0.0.254"])
def test_reserved_and_unused_addresses_are_for_nobody(intent: Intent, address: str) -> None:
    assert heard(intent, replace(MDNS, ipv4_dst=int(IPv4Address(address)))) == set()


@pytest.mark.parametrize("eth_dst", [TO_ALL_MAC, H2_MAC])
def test_our_own_macs_lead_nowhere_from_a_guest(intent: Intent, eth_dst: int) -> None:
    assert heard(intent, ip4(dst="192.0.2.7", eth_dst=eth_dst)) == set()


def test_what_the_compiler_makes_is_right(intent: Intent, states: dict[HostName, HostState]) -> None:
    assert verify_all(intent, states) == []
    assert loaded(intent, states).settled


def copying(states: dict[HostName, HostState], host: HostName = H1) -> Flow:
    """The flow of a host that copies what its ports send to a group of IPv4."""
    return next(
        flow
        for flow in states[host].flows
        if flow.table == 20 and any(t.field.name == "ipv4_dst" for t in flow.match)
        and any(t.field.name == "eth_dst" and t.value == TO_ALL_MAC for t in flow.match)
    )  # fmt: skip


def found(intent: Intent, states: dict[HostName, HostState], change: HostChange) -> set[str]:
    return {v.kind for v in loaded(intent, states).check(None, {H1: change})}


@pytest.mark.slow
def test_a_copy_that_is_missing_is_noticed(intent: Intent, states: dict[HostName, HostState]) -> None:
    flow = copying(states)
    whole = [n for n, action in enumerate(flow.actions) if isinstance(action, Resubmit)]
    assert len(whole) == 3, "one for another host, two for the ports here"
    # Not the one for the sender himself, whom Open vSwitch never sends his own frame.
    for at in (whole[0], whole[2]):
        less = replace(flow, actions=flow.actions[:at] + flow.actions[at + 1 :])
        noticed = found(intent, states, HostChange(removed=[flow], added=[less]))
        assert noticed & {kinds.BLACKHOLE, kinds.ALTERED}


@pytest.mark.slow
def test_a_copy_for_another_tenant_is_a_leak(intent: Intent, states: dict[HostName, HostState]) -> None:
    flow = copying(states)
    astray = (Load(field("reg2"), 0, 16, 4), Load(field("reg5"), 0, 32, 1), Resubmit(22))
    more = replace(flow, actions=(*flow.actions, *astray))
    assert kinds.LEAK in found(intent, states, HostChange(removed=[flow], added=[more]))


@pytest.mark.slow
def test_the_same_copy_twice_is_noticed(intent: Intent, states: dict[HostName, HostState]) -> None:
    flow = copying(states)
    twice = replace(flow, actions=(*flow.actions, Resubmit(22)))
    assert found(intent, states, HostChange(removed=[flow], added=[twice]))


@pytest.mark.slow
def test_copies_out_of_the_overlay_do_not_go_back(intent: Intent, states: dict[HostName, HostState]) -> None:
    own = int(host_mac(IPv4Address("172.16.0.1")))
    back = Flow(
        table=20,
        priority=150,
        match=match(reg0=5000, reg3=(2, 2), eth_dst=own, eth_type=0x800),
        actions=(SetField(field("eth_dst"), H2_MAC), Load(field("reg2"), 0, 16, 101), Resubmit(27)),
        cookie=0x77,
    )
    assert kinds.REFLECTION in {v.kind for v in verify_all(intent, with_flow(states, H1, back))}


@pytest.mark.parametrize(
    "change",
    [
        FdbChange(removed=(H2_MAC,)),
        FdbChange(upserted={H2_MAC: IPv4Address("172.16.0.9")}),
        FdbChange(upserted={int(host_mac(IPv4Address("172.16.0.1"))): IPv4Address("172.16.0.1")}),
    ],
    ids=["missing", "astray", "its own"],
)
def test_where_copies_go_is_proved(
    intent: Intent, states: dict[HostName, HostState], change: FdbChange
) -> None:
    assert found(intent, states, HostChange(fdb={5000: change})) == {kinds.FDB}


def test_switched_on_and_off_with_nothing_else_done_is_wrong(
    intent: Intent, states: dict[HostName, HostState]
) -> None:
    off = replace(intent.networks[RED], multicast=False)
    wrong = {v.kind for v in loaded(intent, states).check(IntentDelta(networks={RED: off}))}
    assert {kinds.LEAK, kinds.FDB} <= wrong
    on = replace(intent.networks[BLUE], multicast=True)
    wrong = {v.kind for v in loaded(intent, states).check(IntentDelta(networks={BLUE: on}))}
    assert {kinds.BLACKHOLE, kinds.FDB} <= wrong


@pytest.mark.slow
def test_a_host_that_gets_its_first_port_is_copied_to(intent: Intent) -> None:
    name = PortName(*RED, "c")
    alone = replace(intent.networks[RED], tunnels={H1: 100})
    before = replace(
        intent,
        networks={**intent.networks, RED: alone},
        ports={**intent.ports, name: replace(intent.ports[name], host=None, ofport=0)},
    )
    states, after = compile_intent(before), compile_intent(intent)
    verifier: Verifier = loaded(before, states)
    delta = IntentDelta(networks={RED: intent.networks[RED]}, ports={name: intent.ports[name]})
    come = change_to(after[H2])
    gone = HostChange(removed=tuple(states[H2].flows))
    assert verifier.check(None, {H2: replace(gone, devices={101: None}, fdb={5001: None})})
    # Everything is as it should be, but for the copies that the other host makes.
    entries = FdbChange(upserted=after[H1].fdb[5000])
    wrong = verifier.check(delta, {H2: come, H1: HostChange(fdb={5000: entries})})
    assert {v.kind for v in wrong} == {kinds.BLACKHOLE} or {v.kind for v in wrong} == {kinds.ALTERED}


@pytest.mark.parametrize(
    "flow",
    [
        Flow(table=10, priority=1, match=match(eth_type=0x800), actions=(Resubmit(22),)),
        Flow(table=20, priority=1, match=match(eth_type=0x800), actions=(Resubmit(30),)),
        Flow(table=20, priority=1, match=match(eth_type=0x806), actions=(Resubmit(22),)),
        Flow(table=20, priority=1, match=match(eth_type=0x800), actions=(Resubmit(22),), goto=22),
        Flow(table=20, priority=1, match=match(eth_type=0x800), actions=(Resubmit(22), Output(3))),
        Flow(
            table=20, priority=1, match=match(eth_type=0x800),
            actions=(SetField(field("eth_src"), A), Resubmit(22)),
        ),
    ],
    ids=["elsewhere", "to OUTPUT", "of ARP", "and goes on", "and sends", "and writes the source"],
)  # fmt: skip
def test_copies_of_any_other_kind_are_not_understood(flow: Flow) -> None:
    assert fault(flow) is not None


@pytest.mark.slow
def test_a_fragment_of_a_report_is_tracked_like_any_other(
    intent: Intent, states: dict[HostName, HostState]
) -> None:
    """It would arrive all the same; but answers to what nobody remembers are judged the wrong way round."""
    [whole] = [
        f
        for f in states[H1].flows
        if f.table == 6 and {("ip_frag", 0, FRAGMENT), ("icmpv6_type", 143, 0xFF)} <= terms(f)
    ]
    any_ = replace(whole, match=tuple(t for t in whole.match if t.field.name != "ip_frag"))
    verifier = Verifier()
    verifier.check(IntentDelta.whole(intent), {h: change_to(s) for h, s in states.items()})
    wrong = verifier.check(None, {H1: HostChange(removed=[whole], added=[any_])})
    assert {v.kind for v in wrong} == {kinds.STAGE}
    assert all(v.packet is not None and v.packet.ip_frag & FRAGMENT for v in wrong)
    assert not verifier.check(None, {H1: HostChange(removed=[any_], added=[whole])})


def terms(flow: Flow) -> set[tuple[str, int, int]]:
    return {(t.field.name, t.value, t.mask) for t in flow.match}


@pytest.mark.slow
def test_what_policy_never_lets_out_of_the_overlay_is_no_leak(intent: Intent) -> None:
    """Copies to a stranger in the place of a port that nobody may send to: DELIVER's judges stop them all."""
    silent = with_profile(intent, "c", PROFILE_NONE)
    assert leaks(silent, "c") == set()
    assert kinds.REFLECTION in leaks(intent, "c")


def leaks(intent: Intent, port: str) -> set[str]:
    """What is wrong when copies out of the overlay for a port go to an OpenFlow port that nobody has."""
    states = compile_intent(intent)
    own = intent.ports[PortName(*RED, port)]
    assert own.host == H2
    [old] = [
        f
        for f in states[H2].flows
        if f.table == 20
        and {("eth_dst", H2_MAC, (1 << 48) - 1), ("ipv4_dst", 0xE0000000, 0xF0000000)} <= terms(f)
    ]
    to = field("reg2")
    moved = [Load(to, 0, 16, 999) if isinstance(a, Load) and a.field == to else a for a in old.actions]
    change = HostChange(removed=[old], added=[replace(old, actions=tuple(moved))])
    return {v.kind for v in loaded(intent, states).check(None, {H2: change})}


def test_a_copy_to_a_reserved_port_is_no_flow() -> None:
    to = match(reg0=7, eth_type=0x0800, eth_dst=TO_ALL_MAC, ipv4_dst=(0xE0000000, 0xF0000000))
    flow = Flow(table=20, priority=140, match=to, actions=(Load(field("reg2"), 0, 16, 0xFFFB), Resubmit(22)))
    assert fault(flow) == "would send to the reserved port 0xfffb"


def test_what_a_port_sends_to_all_goes_through_its_own_meter(
    intent: Intent, states: dict[HostName, HostState]
) -> None:
    flows = [f for f in states[H1].flows if f.table == 15 and f.meter is not None]
    assert {f.meter for f in flows} == {METERS_OF_SPREADING + 1, METERS_OF_SPREADING + 2}, "red's, not blue's"
    for meter in (None, 1, flows[1].meter):
        other = replace(flows[0], meter=meter)
        assert found(intent, states, HostChange(removed=[flows[0]], added=[other])) == {kinds.STAGE}
    assert found(intent, states, HostChange(removed=[flows[0]])) & {kinds.STAGE, kinds.BLACKHOLE}
    passing = replace(flows[0], match=match(), priority=1, meter=None)
    assert found(intent, states, HostChange(added=[passing])) == set(), "nobody comes by there without a flow"


def test_a_trace_names_the_rules_that_admit_all_copies(intent: Intent) -> None:
    """Where copies pass by different rules it names none, rather than a wrong one."""
    world = World(intent)
    named = admissions_of(world, (H1, 1), MDNS)
    assert {table: admission.group for table, admission in named.items()} == {
        EGRESS: "tenants/t1/securityGroups/default",
        INGRESS: "tenants/t1/securityGroups/default",
    }
    opened = World(with_profile(intent, "b", PROFILE_OPEN))
    assert INGRESS not in admissions_of(opened, (H1, 1), MDNS)
    assert admissions_of(opened, (H1, 1), REPORT) == {}, "who listens is not judged"
