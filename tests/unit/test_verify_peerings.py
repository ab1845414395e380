"""A peering in a small world: what may cross, who is asked, and damage that the proof must see."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from cloison.addresses import ROUTER_MAC, IpNetwork
from cloison.model import Direction
from cloison.names import HostName, NetworkName, PeeringName, PortName, SecurityGroupName
from controller.flows import Ct, Flow, Load, Resubmit, field
from controller.verify.budget import Budget
from controller.verify.intent import (
    CrossingIntent,
    HostIntent,
    Intent,
    IntentDelta,
    NetworkIntent,
    PortIntent,
    RouteIntent,
    RouterIntent,
)
from controller.verify.isolation import Verifier, change_to, verify_all
from controller.verify.packet import ETH_IPV4, PROTO_TCP, Packet, replied
from controller.verify.path import Fabric, HostState
from controller.verify.policy import PROFILE_NONE, PROFILE_OPEN, PolicyIntent, RuleIntent
from controller.verify.reasons import why_nobody
from controller.verify.semantics import meaning
from controller.verify.shapes import PACKETS
from controller.verify.violation import LEAK, SELF_CHECK
from controller.verify.witness import Witness
from controller.verify.world import World
from tests.support.worlds import compile_intent

H1, H2 = HostName("h1"), HostName("h2")
A, B = NetworkName("t1", "n"), NetworkName("t2", "n")
RANGE_A, RANGE_B = ip_network("10.0.0.0/24"), ip_network("10.9.0.0/24")
P_A, P_B, FAR = 100, 200, ip_address("10.9.0.5")
# As whom b is known to a, and a to b.
TO_A, TO_B = 150, 250
SSH = RuleIntent(direction=Direction.EGRESS, protocol=6, port_min=22, port_max=22)


def policy(
    number: int, profile: int, peer: int, may_open: tuple[RuleIntent, ...], taken: int
) -> PolicyIntent:
    """All may open anything; in comes whom a rule by address admits. may_open: what the peer may."""
    tenant = f"t{number}"
    group, peering = SecurityGroupName(tenant, "g"), PeeringName(tenant, "p")
    others = RANGE_B if number == 1 else RANGE_A
    rules = (
        RuleIntent(direction=Direction.EGRESS),
        RuleIntent(direction=Direction.INGRESS, remote_prefix=others),
        RuleIntent(direction=Direction.INGRESS, remote_group=group),
    )
    may_take = (replace(SSH, direction=Direction.INGRESS),) * taken
    return PolicyIntent(
        number=number,
        profiles={profile: (group,), peer: (peering,)},
        groups={group: rules, peering: (*may_open, *may_take)},
    )


def router(range_: IpNetwork, routes: list[RouteIntent]) -> RouterIntent:
    first = (range_[1],)
    return RouterIntent(mac=ROUTER_MAC, here=first, addresses=first, routes=tuple(routes))


def intent(*, joined: bool = True, there: HostName = H2, profile_b: int = P_B) -> Intent:
    """t1's a at 10.0.0.5 on h1, t2's b at 10.9.0.5; b lets ssh be opened, a nothing."""
    routes_a = [RouteIntent(RANGE_A, A)]
    routes_b = [RouteIntent(RANGE_B, B)]
    if joined:
        routes_a.append(RouteIntent(RANGE_B, B, crossing=CrossingIntent(RANGE_A, TO_A, TO_B, "ours")))
        routes_b.append(RouteIntent(RANGE_A, A, crossing=CrossingIntent(RANGE_B, TO_B, TO_A, "theirs")))
    spans = ({H1, there}, {H1, there}) if joined else ({H1}, {there})
    tunnels = [dict.fromkeys(hosts, 10 + n) for n, hosts in enumerate(spans)]
    networks = {
        name: NetworkIntent(
            name=name, vni=vni, subnets=(range_,), tunnels=ofports,
            routers=(router(range_, r),),
        )
        for name, vni, range_, r, ofports in (
            (A, 5001, RANGE_A, routes_a, tunnels[0]), (B, 6001, RANGE_B, routes_b, tunnels[1]),
        )
    }  # fmt: skip
    a = PortIntent(name=PortName(*A, "a"), number=1, mac=0x020000000001, addresses=(RANGE_A[5],), host=H1,
                   ofport=1, profile=P_A)  # fmt: skip
    b = PortIntent(name=PortName(*B, "b"), number=2, mac=0x020000000002, addresses=(RANGE_B[5],), host=there,
                   ofport=2, profile=profile_b)  # fmt: skip
    return Intent(
        hosts={
            h: HostIntent(name=h, vtep=ip_address(f"192.0.2.{n}"), service_ofport=20, mtu=1450)
            for n, h in enumerate((H1, H2), 1)
        },
        networks=networks,
        ports={p.name: p for p in (a, b)},
        policies={
            "t1": policy(1, P_A, TO_A, (), 1),
            "t2": policy(2, P_B, TO_B, (SSH,), 0),
        },
    )


def packet(
    port: int = 22, source: str = "10.0.0.5", target: str = "10.9.0.5", mac: int = 0x020000000001
) -> Packet:
    return Packet(
        eth_dst=ROUTER_MAC, eth_src=mac, eth_type=ETH_IPV4, ipv4_src=int(ip_address(source)),
        ipv4_dst=int(ip_address(target)), ip_proto=PROTO_TCP, ip_ttl=64, tcp_src=40000, tcp_dst=port,
    ).canonical()  # fmt: skip


def received(made: Intent, host: HostName, ofport: int, sent: Packet) -> bool:
    """Whether it arrives, by the meaning and by the flows; they say the same."""
    world = World(made)
    wanted = meaning(world, host, ofport, sent)
    journey = Fabric(compile_intent(made), world.by_vtep).walk(host, ofport, sent)
    assert sorted(journey.deliveries, key=repr) == sorted(wanted, key=repr)
    assert bool(wanted) is (why_nobody(world, host, ofport, sent) == "")
    return bool(wanted)


@pytest.mark.parametrize("there", [H1, H2], ids=str)
def test_what_both_tenants_list_crosses_and_nothing_else(there: HostName) -> None:
    made = intent(there=there)
    assert verify_all(made, compile_intent(made)) == []
    assert received(made, H1, 1, packet())
    assert not received(made, H1, 1, packet(80)), "not listed"
    back = replace(packet(), eth_src=0x020000000002, ipv4_src=int(FAR), ipv4_dst=packet().ipv4_src)
    reply = replied(replace(back, tcp_src=22, tcp_dst=40000, ct_state=0).canonical())
    assert received(made, there, 2, reply), "answers pass"
    opened = replace(back, ct_state=0).canonical()
    assert not received(made, there, 2, opened), "a lets nothing be opened"


@pytest.mark.parametrize("there", [H1, H2], ids=str)
def test_without_a_peering_nothing_crosses(there: HostName) -> None:
    """The services say that there is no route."""
    world = World(made := intent(joined=False, there=there))
    assert verify_all(made, compile_intent(made)) == []
    (told,) = meaning(world, H1, 1, packet())
    assert (told.host, told.ofport) == (H1, 20)


def test_a_port_without_port_security_may_not_take_more() -> None:
    """Its tenant's rules do not hold for it; what the peering lists does."""
    made = intent(profile_b=PROFILE_OPEN)
    assert verify_all(made, compile_intent(made)) == []
    assert received(made, H1, 1, packet())
    assert not received(made, H1, 1, packet(80))


def test_groups_of_either_tenant_count() -> None:
    made = intent()
    silent = replace(made.policies["t1"], profiles={**made.policies["t1"].profiles, P_A: ()})
    closed = replace(made.policies["t2"], profiles={**made.policies["t2"].profiles, P_B: ()})
    assert not received(replace(made, policies={**made.policies, "t1": silent}), H1, 1, packet())
    assert not received(replace(made, policies={**made.policies, "t2": closed}), H1, 1, packet())


def test_the_reason_names_the_peering() -> None:
    made = intent()
    assert "tenants/t1/peerings/p" in why_nobody(World(made), H1, 1, packet(80))


@pytest.mark.parametrize("tenant", ["t1", "t2"])
def test_policy_counts_where_its_tenant_has_ports_not_where_it_has_a_device(tenant: str) -> None:
    """A device is also where another tenant's ports send into the network: no rules of it are there."""
    made, verifier = intent(), Verifier()
    changes = {host: change_to(state) for host, state in compile_intent(made).items()}
    assert verifier.check(IntentDelta.whole(made), changes) == []
    assert verifier.settled
    # Means the same, and so no flow is another one.
    policy = made.policies[tenant]
    again = replace(policy, groups={**policy.groups, SecurityGroupName(tenant, "idle"): ()})
    assert verifier.check(IntentDelta(policies={tenant: again})) == []
    assert verifier.settled


def damaged(states: dict[HostName, HostState], change: object) -> dict[HostName, HostState]:
    return {
        h: replace(s, flows=tuple(f for flow in s.flows if (f := change(flow)) is not None))  # type: ignore[operator]
        for h, s in states.items()
    }


def reload(name: str, value: int) -> object:
    def change(flow: Flow) -> Flow:
        if not any(isinstance(a, Ct) and flow.table == 12 for a in flow.actions):
            return flow
        actions = (
            replace(a, value=value) if isinstance(a, Load) and a.field.name == name else a
            for a in flow.actions
        )
        return replace(flow, actions=tuple(actions))

    return change


def unasked(flow: Flow) -> Flow:
    if flow.table == 12 and any(isinstance(a, Ct) for a in flow.actions):
        return replace(flow, actions=flow.actions[:-1], goto=20)
    return flow


def for_ever(flow: Flow) -> Flow:
    if flow.table == 26 and any(isinstance(a, Resubmit) for a in flow.actions):
        return replace(flow, actions=tuple(a for a in flow.actions if not isinstance(a, Load)))
    return flow


def from_anywhere(flow: Flow) -> Flow:
    if flow.table == 12 and any(isinstance(a, Ct) for a in flow.actions):
        return replace(flow, match=tuple(t for t in flow.match if t.field.name != "ipv4_src"))
    return flow


DAMAGE = {
    "as a port of the other tenant": reload("reg12", P_B),
    "its own tenant takes it for nobody": reload("reg5", PROFILE_NONE),
    "its own tenant is not asked": unasked,
    "it comes back again and again": for_ever,
    "from anywhere": from_anywhere,
}


@pytest.mark.parametrize("there", [H1, H2], ids=str)
@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_seen(what: str, there: HostName) -> None:
    made = intent(there=there)
    if what == "from anywhere":
        a = next(p for p in made.ports.values() if p.name.parent == A)
        made = replace(made, ports={**made.ports, a.name: replace(a, profile=PROFILE_OPEN)})
    assert verify_all(made, damaged(compile_intent(made), DAMAGE[what]))


def led_astray(flow: Flow) -> Flow | None:
    """Of a's route to its own subnet: one to b's network, as if it were of the same tenant."""
    own = Load(field("reg0"), 0, 32, 5001)
    if flow.table != 12 or own not in flow.actions or any(isinstance(a, Ct) for a in flow.actions):
        return None
    far = (int(RANGE_B.network_address), int(RANGE_B.netmask))
    terms = (t._replace(value=far[0], mask=far[1]) if t.field.name == "ipv4_dst" else t for t in flow.match)
    actions = (Load(field("reg0"), 0, 32, 6001) if a == own else a for a in flow.actions)
    return replace(flow, match=tuple(terms), actions=tuple(actions), priority=360)


@pytest.mark.parametrize("joined", [True, False])
def test_a_route_into_another_tenants_network_is_a_leak_where_flows_of_one_profile_let_in(
    joined: bool,
) -> None:
    """No tenant's policy says so of ends of two tenants; flows that do not ask for the tenant do."""
    made = intent(joined=joined, there=H1)
    states = compile_intent(made)
    astray = tuple(f for flow in states[H1].flows if (f := led_astray(flow)) is not None)
    assert len(astray) == 1
    bad = {**states, H1: replace(states[H1], flows=(*states[H1].flows, *astray))}
    found = {v.kind for v in verify_all(made, bad)}
    assert found
    assert SELF_CHECK not in found
    verifier = Verifier()
    verifier.load(IntentDelta.whole(made), {host: change_to(state) for host, state in bad.items()})
    witness = Witness(verifier.world, verifier.hosts, Budget())
    assert LEAK in {witness.of(H1, 1, fault).kind for fault in witness.judge.faults(H1, 1, PACKETS)}
