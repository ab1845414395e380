"""Edges in the plan: what is read and refused, what follows from a record, what differs, who may go on."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import click
import pytest

from agent.command import _mappings
from agent.edges import Edges
from agent.netlink.announce import frames
from agent.ovsdb.view import BridgeView
from agent.plan import (
    EMPTY_PLAN,
    OUTSIDE,
    Actual,
    Address,
    Connection,
    EdgeRecord,
    EdgeState,
    HostPlan,
    Scope,
    Standing,
    WantedEdge,
    changed,
    differences,
    edge_of_link,
    fdb_digest,
    full_deltas,
    inside_link,
    outside_link,
    plan_faults,
    scope_of,
    with_edges,
)
from agent.plan.edge_rules import ruleset
from agent.state import PlanLog
from cloison.addresses import Mac
from cloison.errors import Unavailable
from cloison.v1 import host_sync_pb2 as pb
from tests.support.edge_site import (
    BRIDGE,
    FAR4,
    FAR6,
    FLOAT4,
    FLOAT6,
    GUEST4,
    GUEST6,
    OTHER4,
    PHYSNET,
    ROUTED4,
    SNAT4,
    SNAT6,
    at,
    edge,
    floating,
    packed,
    prefix,
)

FLOATING = floating((FLOAT4, GUEST4), (FLOAT6, GUEST6))


def wanted(message: pb.Edge) -> WantedEdge:
    record = EdgeRecord.read(message)
    assert record.edge is not None, record.fault
    return WantedEdge(record.edge)


def plan_of(*edges: pb.Edge, revision: int = 5) -> HostPlan:
    return EMPTY_PLAN.apply(pb.PlanDelta(revision=revision, edges=edges))


def outside_of(state: EdgeState) -> set[str]:
    return {str(a.address) for a in state.addresses if a.leg == OUTSIDE}


BAD = {
    "no name of a router": edge(router="tenants/acme"),
    "VLAN 4095 is outside 0..4094": edge(vlan=4095),
    "no iface-id": edge(iface_id=""),
    "no name of a physical network": edge(physical_network="phys net"),
    "is of a group": edge(outside_mac=0x010000000001),
    "inside MTU 1000 is outside 1280": edge(inside_mtu=1000),
    "router's address 100.64.0.1 is not on the link": edge(
        router_addresses=packed("100.64.0.1", "fd00:c101:50::1")
    ),
    "inside prefix fd00:10::/64: the router has no address": edge(router_addresses=packed("100.127.0.1")),
    "at most one of each family": edge(gateways=packed("203.0.113.1", "203.0.113.9")),
    "192.0.2.7 is not inside": edge(floating=floating((FLOAT4, "192.0.2.7"))),
    "stands for two things": edge(floating=floating((FLOAT4, GUEST4), (FLOAT4, OTHER4))),
    "203.0.113.2 stands for two": edge(floating=floating((SNAT4, GUEST4))),
    "not of one family": edge(floating=floating((FLOAT4, GUEST6))),
    "is both inside and outside": edge(outside_prefixes=[prefix("10.0.0.0/24")]),
    "10.0.0.9 outside is one of the inside": edge(snat=packed("10.0.0.9")),
    "is an address of the edge's own": edge(gateways=packed(SNAT4)),
    "cannot be routed to": edge(snat=packed("224.0.0.5")),
    "inside prefix:": edge(inside_prefixes=[pb.EdgePrefix(address=b"abc", prefix_length=8)]),
    "prefix length 33": edge(outside=[pb.EdgeAddress(address=packed(SNAT4)[0], prefix_length=33)]),
}


@pytest.mark.parametrize("words", BAD)
def test_a_record_that_cannot_be_is_told_and_stops_no_other(words: str) -> None:
    plan = plan_of(BAD[words], edge(8))
    assert words in plan.edges[7].fault
    assert plan.edges[8].edge is not None
    faults = plan_faults(plan, Actual())
    assert [fault.reason for fault in faults] == ["EDGE_INVALID"]
    assert "edge 7 of " in faults[0].message


def test_a_plan_with_edges_is_the_same_from_disk(tmp_path: Path) -> None:
    plan = plan_of(edge(floating=FLOATING), edge(8), edge(9, iface_id=""))
    log = PlanLog(tmp_path / "plan")
    log.save(plan)
    log.append(change := pb.PlanDelta(revision=6, removed_edges=[8], edges=[edge(snat=packed(SNAT4))]))
    log.close()
    again = PlanLog(tmp_path / "plan").load()
    assert again == plan.apply(change)
    assert again is not None
    assert set(again.edges) == {7, 9}
    assert again.edges[9].fault
    rebuilt = EMPTY_PLAN
    for delta in full_deltas(again):
        rebuilt = rebuilt.apply(delta)
    assert rebuilt == again


def test_the_scope_of_a_change_is_the_edges_it_names() -> None:
    before = plan_of(edge(), edge(8))
    delta = pb.PlanDelta(revision=6, removed_edges=[8], edges=[edge(), edge(9)])
    assert scope_of(delta, before).edges == {7, 8, 9}
    assert changed(before, before.apply(delta)).edges == {8, 9}, "7 is as it was"


def test_the_digest_covers_edges_and_is_as_ever_without() -> None:
    plain = fdb_digest({})
    assert with_edges(plain, {}) == plain
    assert with_edges(plain, {7: b"a" * 32}) != with_edges(plain, {8: b"a" * 32}) != plain


def test_names_of_devices_stand_for_their_edge() -> None:
    for number in (1, 7, 0xFFFFFFFF):
        for link in (inside_link(number), outside_link(number)):
            assert len(link) <= 15
            assert edge_of_link(link) == number
    assert [edge_of_link(name) for name in ("cl-services", "cli", "clx00000001", "tap1")] == [None] * 4


def test_standing_by_it_holds_nothing_outside() -> None:
    state = wanted(edge(floating=FLOATING, active=False)).state
    assert outside_of(state) == set()
    assert {route.leg for route in state.routes} == {"inside"}
    assert state.legs["inside"].up
    assert not state.legs["outside"].up
    active = wanted(edge(floating=FLOATING)).state
    assert outside_of(active) == {SNAT4, SNAT6, FLOAT4, FLOAT6}
    assert {a.prefix_length for a in active.addresses if str(a.address) in (FLOAT4, FLOAT6)} == {32, 128}
    assert active.rules == state.rules, "so that activation loads none"


def test_without_an_address_of_the_subnet_the_gateway_is_on_the_link() -> None:
    state = wanted(edge(outside=[], snat=[], floating=FLOATING)).state
    assert outside_of(state) == {FLOAT4, FLOAT6}
    outer = {(str(r.destination), str(r.via)) for r in state.routes if r.leg == "outside"}
    assert outer == {
        ("203.0.113.0/24", "None"),
        ("2001:db8::/64", "None"),
        ("0.0.0.0/0", "203.0.113.1"),
        ("::/0", "2001:db8::1"),
    }


def test_rules_name_a_family_only_where_it_goes_out() -> None:
    text = ruleset(wanted(edge(snat=packed(SNAT4), outside=[at(f"{SNAT4}/24")])).edge)
    ip4, ip6 = text.split("table ip6 cloison {")[-2:]
    assert f"snat to {SNAT4}:1024-65535" in ip4
    assert "snat to" not in ip6
    assert 'oifname "outside" ip6 saddr' not in ip6.split("chain outward")[1]


def test_differences_are_told_in_words() -> None:
    state = wanted(edge(floating=FLOATING)).state
    assert differences(state, state) == []
    lost = next(a for a in state.addresses if str(a.address) == FLOAT4)
    extra = Address(OUTSIDE, ip_address("203.0.113.77"), 32)
    found = differences(
        state, replace(state, addresses=state.addresses - {lost} | {extra}, rules="", settings={"x": "1"})
    )
    assert found == [
        f"address {FLOAT4} outside is missing",
        "address 203.0.113.77 outside is not ours",
        "rules",
    ]


def connection(source: str, target: str, answerer: str, answered: str) -> Connection:
    return Connection(*map(ip_address, (source, target, answerer, answered)))


CONNECTIONS = {
    "inward": (connection(FAR4, FLOAT4, GUEST4, FAR4), True),
    "inward6": (connection(FAR6, FLOAT6, GUEST6, FAR6), True),
    "inward to another than now": (connection(FAR4, FLOAT4, OTHER4, FAR4), False),
    "inward under what is gone": (connection(FAR4, "203.0.113.9", GUEST4, FAR4), False),
    "outward": (connection(GUEST4, FAR4, FAR4, FLOAT4), True),
    "outward before it had one": (connection(GUEST4, FAR4, FAR4, SNAT4), True),
    "outward under another's": (connection(OTHER4, FAR4, FAR4, FLOAT4), False),
    "outward of none inside": (connection("10.9.0.1", FAR4, FAR4, SNAT4), False),
    "hairpin": (connection(GUEST4, FLOAT4, GUEST4, FLOAT4), True),
    "untranslated": (connection(OTHER4, FAR4, FAR4, OTHER4), False),
    "routed": (connection(ROUTED4, FAR4, FAR4, ROUTED4), True),
    "routed inward": (connection(FAR4, ROUTED4, ROUTED4, FAR4), True),
    "to the edge": (connection(GUEST4, "100.127.0.2", "100.127.0.2", GUEST4), True),
    "to the edge from outside": (connection(FAR4, SNAT4, SNAT4, FAR4), True),
}


@pytest.mark.parametrize("what", CONNECTIONS)
def test_a_connection_stands_by_the_addresses_it_goes_under(what: str) -> None:
    given, holds = CONNECTIONS[what]
    message = edge(floating=FLOATING, routed_prefixes=[prefix("10.0.1.0/24")])
    assert Standing(wanted(message).edge).holds(given) is holds


def test_an_announcement_says_the_address_and_nothing_of_the_inside() -> None:
    mac = Mac(0x020000001007)
    request, reply, advertisement = frames(mac, [ip_address(FLOAT4), ip_address(FLOAT6)])
    four, six, own = packed(FLOAT4)[0], packed(FLOAT6)[0], mac.to_bytes(6, "big")
    for frame, kind in ((request, 1), (reply, 2)):
        assert frame[:14] == b"\xff" * 6 + own + b"\x08\x06"
        assert (frame[21], frame[22:28], frame[28:32], frame[38:42]) == (kind, own, four, four)
    assert advertisement[:14] == bytes.fromhex("333300000001") + own + b"\x86\xdd"
    header, body = advertisement[14:54], advertisement[54:]
    assert (header[7], header[8:24], body[0], body[8:24], body[26:32]) == (255, six, 136, six, own)
    pseudo = header[8:40] + len(body).to_bytes(4, "big") + b"\0\0\0\x3a" + body
    total = sum(int.from_bytes(pseudo[i : i + 2], "big") for i in range(0, len(pseudo), 2))
    assert total % 0xFFFF == 0, "the checksum is right (RFC 1071)"


def test_bridge_mappings_are_checked() -> None:
    assert _mappings("physnet1:br-ex, physnet2:br-2", "br-int") == {"physnet1": "br-ex", "physnet2": "br-2"}
    assert _mappings("", "br-int") == {}
    for wrong in (
        "physnet1",
        "Phys:br-ex",
        "physnet1:",
        "p:br-int",
        "p:br-ex,p:br-2",
        "p:br-ex,q:br-ex",
        "p:a b",
    ):
        with pytest.raises(click.BadParameter, match=r"PHYSNET|integration|once"):
            _mappings(wrong, "br-int")


class MemoryEdges:
    """Holds states; `broken` numbers cannot be changed, `announced` are those that were."""

    def __init__(self) -> None:
        self.states: dict[int, EdgeState] = {}
        self.announced: list[int] = []
        self.broken: set[int] = set()

    async def numbers(self) -> set[int]:
        return set(self.states)

    async def ports(self, number: int) -> dict[str, int]:
        return {"inside": number * 2, "outside": number * 2 + 1}

    async def read(self, number: int) -> EdgeState:
        return self.states.get(number, EdgeState())

    async def apply(self, wanted: WantedEdge, actual: EdgeState) -> tuple[EdgeState, list[str]]:
        if wanted.edge.number in self.broken:
            raise Unavailable("no")
        self.states[wanted.edge.number] = wanted.state
        return wanted.state, []

    async def announce(self, wanted: WantedEdge) -> None:
        self.announced.append(wanted.edge.number)

    async def remove(self, number: int) -> None:
        del self.states[number]


def confirmed(kernel: MemoryEdges) -> Edges:
    edges = Edges(kernel, {PHYSNET: BRIDGE}, "br-int")
    edges.confirm()
    return edges


VIEW = BridgeView(connected=True, bridges={"br-int": "netdev", BRIDGE: "netdev"})


async def test_edges_follow_the_plan_and_one_that_fails_stops_no_other() -> None:
    kernel = MemoryEdges()
    kernel.broken, kernel.states[99] = {8}, EdgeState()
    edges = confirmed(kernel)
    plan = plan_of(edge(vlan=5), edge(8), edge(9))
    settled = await edges.settle(plan, VIEW, Scope(everything=True), look=True)
    assert [(f.reason, f.subject) for f in settled.faults] == [("EDGE_FAILED", "tenants/acme/routers/r8")]
    assert not settled.drifts
    assert set(edges.held) == {7, 9}
    assert 99 in kernel.states, "bridges may have ports of it still"
    ports = edges.ports
    assert ports is not None
    assert (ports[inside_link(7)].bridge, ports[inside_link(7)].iface_id) == ("br-int", "gw-7")
    assert (ports[outside_link(7)].bridge, ports[outside_link(7)].tag) == (BRIDGE, 5)
    assert await edges.remove() == []
    assert set(kernel.states) == {7, 9}
    plan = plan.apply(pb.PlanDelta(revision=6, removed_edges=[9]))
    await edges.settle(plan, VIEW, Scope(edges={9}), look=False)
    assert outside_link(9) not in (edges.ports or {})
    await edges.remove()
    assert set(kernel.states) == {7}


async def test_drift_is_what_no_change_of_the_plan_explains() -> None:
    kernel = MemoryEdges()
    edges = confirmed(kernel)
    plan = plan_of(edge())
    await edges.settle(plan, VIEW, Scope(everything=True), look=True)
    kernel.states[7] = replace(kernel.states[7], rules="")
    settled = await edges.settle(plan, VIEW, Scope(), look=False)
    assert not settled.drifts, "no audit, not looked at"
    settled = await edges.settle(plan, VIEW, Scope(), look=True)
    assert settled.drifts == [("EDGE_ALTERED", "edge 7 of tenants/acme/routers/r7: rules")]
    assert kernel.states[7].rules
    kernel.states[7] = EdgeState()
    settled = await edges.settle(plan, VIEW, Scope(edges={7}), look=True)
    assert not settled.drifts, "the plan touched it"
    kernel.states[5] = EdgeState()
    settled = await edges.settle(plan, VIEW, Scope(), look=True)
    assert settled.drifts == [("EDGE_FOREIGN", "edge 5")]


async def test_offloads_are_kept_where_the_datapath_is_the_kernels() -> None:
    kernel = MemoryEdges()
    edges = confirmed(kernel)
    view = replace(VIEW, bridges={"br-int": "netdev", BRIDGE: "system"})
    await edges.settle(plan_of(edge()), view, Scope(everything=True), look=True)
    legs = kernel.states[7].legs
    assert (legs["inside"].finished, legs["outside"].finished) == (True, False)


async def test_the_disk_alone_makes_no_edge_active() -> None:
    kernel = MemoryEdges()
    kernel.states[8] = wanted(edge(8)).state
    edges = Edges(kernel, {PHYSNET: BRIDGE}, "br-int")
    plan = plan_of(edge(), edge(8))
    await edges.settle(plan, VIEW, Scope(everything=True), look=True)
    assert (kernel.states[7].legs["outside"].up, kernel.states[8].legs["outside"].up) == (False, True)
    edges.confirm()
    settled = await edges.settle(plan, VIEW, Scope(edges={7, 8}), look=False)
    assert kernel.states[7].legs["outside"].up
    assert not settled.drifts


async def test_each_confirmation_has_active_edges_announced_once() -> None:
    """While nobody told this host of it, another may have answered for their addresses."""
    kernel = MemoryEdges()
    kernel.states = {number: wanted(edge(number)).state for number in (7, 8)}
    edges = Edges(kernel, {PHYSNET: BRIDGE}, "br-int")
    plan = plan_of(edge(7), edge(8), edge(9, active=False))
    await edges.settle(plan, VIEW, Scope(everything=True), look=True)
    assert kernel.announced == [], "the disk alone says nothing"
    for _ in range(2):
        edges.confirm()
        for look in (False, True):
            await edges.settle(plan, VIEW, Scope(edges={7, 8, 9}), look=look)
        assert kernel.announced == [7, 8]
        kernel.announced.clear()


async def test_an_audit_takes_turns_and_what_fails_is_told_until_it_does_not() -> None:
    kernel = MemoryEdges()
    edges = confirmed(kernel)
    plan = plan_of(*(edge(number) for number in range(1, 31)))
    await edges.settle(plan, VIEW, Scope(everything=True), look=True)
    kernel.states[30] = replace(kernel.states[30], rules="")
    kernel.broken = {30}
    settled = await edges.settle(plan, VIEW, Scope(), look=True)
    rounds = 1
    while settled.more:
        assert not settled.faults
        settled = await edges.settle(plan, VIEW, Scope(), look=False)
        rounds += 1
    assert rounds > 1
    assert [kind for kind, _ in settled.drifts] == ["EDGE_ALTERED"]
    for _ in range(2):
        assert [fault.reason for fault in settled.faults] == ["EDGE_FAILED"]
        settled = await edges.settle(plan, VIEW, Scope(), look=False)
    kernel.broken = set()
    settled = await edges.settle(plan, VIEW, Scope(), look=False)
    assert not settled.faults
    assert kernel.states[30].rules
