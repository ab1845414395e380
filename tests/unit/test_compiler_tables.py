"""Each table alone: which packet goes where, with what written. Asked of the flows by a small interpreter."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from cloison.model import PROFILE_NONE, PROFILE_OPEN, AddressPair
from controller.compiler import HostView, host_unit_flows, network_flows, port_flows
from controller.compiler.pipeline import (
    ADDRESSING,
    ADMISSION,
    CLAIMED,
    COMMIT,
    DELIVER,
    DIRECTION,
    EGRESS,
    EXIT,
    FORWARD,
    INGRESS,
    METER,
    ND_GUARD,
    OPENING,
    OUTPUT,
    SERVICE,
    SERVICES,
    SOURCE,
    TABLES,
    TAG,
    TRACK,
    TRACKED,
    Table,
)
from controller.compiler.registers import (
    FROM_PORT,
    FROM_PROFILE,
    NETWORK,
    ORIGIN,
    TENANT,
    TO_PORT,
    TO_PROFILE,
)
from controller.compiler.view import METERS_OF_CONNECTIONS
from controller.flows import CT_STATE, CheckPacketLarger, Ct, Flow, Load, Move, Output
from controller.reconcile.zones import may_keep, owner_of, zone_of
from tests.support.compiled import (
    ME,
    MTU,
    OTHER,
    TUNNEL,
    VNI,
    YOU,
    flows_of,
    host_of,
    network,
    port,
)
from tests.support.compiled import (
    SERVICE as SERVICE_PORT,
)
from tests.support.compiled import (
    TENANT as TENANT_NUMBER,
)
from tests.support.flow_interpreter import Tables

IPV4, ARP, IPV6, LLDP = 0x0800, 0x0806, 0x86DD, 0x88CC
UDP, ICMP6 = 17, 58
RS, RA, NS, NA, REDIRECT = 133, 134, 135, 136, 137
TRK, NEW, EST, RPL, INV, REL = (CT_STATE[n] for n in ("trk", "new", "est", "rpl", "inv", "rel"))
MINE, MAC = int(ip_address("10.0.0.3")), 0x525400000003
MINE6, LOCAL6 = int(ip_address("2001:db8::3")), int(ip_address("fe80::5054:ff:fe00:3"))
OPEN_PORT = port(OTHER, profile=PROFILE_OPEN)
HOST = host_of(port(ME), port(YOU), OPEN_PORT)


def hit(table: Table, host: HostView = HOST, **packet: int) -> Flow:
    """The flow that a packet hits; the miss too is one."""
    found = Tables(flows_of(host)).find(packet, table.number)
    assert found is not None
    return found


def next_of(table: Table, host: HostView = HOST, **packet: int) -> str:
    """The name of the table that a packet goes to, at once or after the tracker; 'drop' if to none."""
    flow = hit(table, host, **packet)
    tables = {flow.goto, *(a.table for a in flow.actions if isinstance(a, Ct))} - {None}
    (name,) = {t.name for t in TABLES if t.number in tables} or {"drop"}
    return name


def admitting(host: HostView = HOST, **packet: int) -> Flow:
    """What admits a frame or not, in ADMISSION, or in CLAIMED with what that was told of it."""
    flow = hit(ADMISSION, host, **packet)
    if flow.goto != CLAIMED.number:
        return flow
    noted = dict(packet)
    for action in flow.actions:
        if isinstance(action, Move):
            value = noted.get(action.src.name, 0) >> action.src_start & (1 << action.bits) - 1
            noted[action.dst.name] = noted.get(action.dst.name, 0) | value << action.dst_start
        elif isinstance(action, Load):
            noted[action.field.name] = noted.get(action.field.name, 0) | action.value << action.start
    return hit(CLAIMED, host, **noted)


def admits(host: HostView = HOST, **packet: int) -> str:
    """The name of the table where what admits a frame sends it; 'drop' if nothing does."""
    flow = admitting(host, **packet)
    return next((t.name for t in TABLES if t.number == flow.goto), "drop")


def loaded(flow: Flow) -> dict[str, int]:
    return {f"{a.field.name}[{a.start}]": a.value for a in flow.actions if isinstance(a, Load)}


def mine(**told: int) -> dict[str, int]:
    return {"in_port": ME, "eth_src": MAC, **told}


@pytest.mark.parametrize(
    ("packet", "goes"),
    [
        (mine(eth_type=IPV4, ipv4_src=MINE), "SERVICES"),
        (mine(eth_type=IPV4, ipv4_src=MINE + 1), "drop"),
        (mine(eth_type=IPV4, ipv4_src=MINE, vlan_vid=0x1001), "drop"),
        (mine(eth_type=IPV4, ipv4_src=MINE, in_port=YOU), "drop"),
        (mine(eth_type=ARP, arp_sha=MAC, arp_spa=MINE), "SERVICES"),
        (mine(eth_type=ARP, arp_sha=MAC + 1, arp_spa=MINE), "drop"),
        (mine(eth_type=ARP, arp_sha=MAC, arp_spa=0), "drop"),
        (mine(eth_type=IPV6, ipv6_src=MINE6), "ND_GUARD"),
        (mine(eth_type=IPV6, ipv6_src=LOCAL6), "ND_GUARD"),
        (mine(eth_type=IPV6, ipv6_src=MINE6 + 1), "drop"),
        (mine(eth_type=LLDP), "drop"),
        (mine(eth_type=IPV4, ipv4_dst=0xFFFFFFFF, ip_proto=UDP, udp_src=68, udp_dst=67), "SERVICES"),
        (mine(eth_type=IPV4, ipv4_dst=0xFFFFFFFF, ip_proto=UDP, udp_src=68, udp_dst=69), "drop"),
        (mine(eth_type=IPV4, ipv4_dst=MINE, ip_proto=UDP, udp_src=68, udp_dst=67), "drop"),
        ({"in_port": OTHER, "eth_src": 5, "eth_type": LLDP}, "SERVICES"),
        ({"in_port": OTHER, "eth_src": 5, "eth_type": IPV4, "vlan_vid": 0x1000}, "drop"),
        ({"in_port": TUNNEL, "eth_type": IPV4, "ipv4_src": 77}, "FORWARD"),
        ({"in_port": TUNNEL, "eth_type": IPV4, "vlan_vid": 0x1001}, "drop"),
        ({"in_port": SERVICE_PORT, "eth_src": 0x0AF300 << 24 | VNI}, "FORWARD"),
        ({"in_port": SERVICE_PORT, "eth_src": MAC}, "drop"),
        ({"in_port": 9, "eth_type": IPV4, "eth_src": MAC, "ipv4_src": MINE}, "drop"),
    ],
)
def test_admission(packet: dict[str, int], goes: str) -> None:
    assert admits(**packet) == goes


def test_admission_writes_who_it_is() -> None:
    assert loaded(admitting(**mine(eth_type=IPV4, ipv4_src=MINE))) == {
        f"{NETWORK.field.name}[0]": VNI,
        f"{TENANT.field.name}[0]": TENANT_NUMBER,
        f"{FROM_PORT.field.name}[0]": 70 + ME,
        f"{FROM_PROFILE.field.name}[0]": 13 + ME,
        f"{ORIGIN.field.name}[0]": 1,
    }


def test_a_pair_is_admitted_with_its_own_mac_only() -> None:
    pair = AddressPair(ip_network("10.0.0.64/28"), 0x5E000101)  # type: ignore[arg-type]
    host = host_of(port(ME, allowed_address_pairs=(pair,)))
    for mac, last, goes in ((0x5E000101, 65, "SERVICES"), (MAC, 65, "drop"), (0x5E000101, 80, "drop")):
        source = int(ip_address(f"10.0.0.{last}"))
        packet = {"in_port": ME, "eth_src": mac, "eth_type": IPV4, "ipv4_src": source}
        assert admits(host, **packet) == goes


def test_arp_for_a_pair_is_the_agents_until_the_address_lives_here() -> None:
    pair = AddressPair(ip_network("10.0.0.0/28"), None)
    told, claimed = int(ip_address("10.0.0.9")), (ip_address("10.0.0.9"),)
    before, after = (host_of(port(ME, allowed_address_pairs=(pair,), claimed=c)) for c in ((), claimed))
    spoken = mine(eth_type=ARP, arp_sha=MAC, arp_spa=told)
    assert admits(before, **spoken) == "METER"
    assert admits(after, **spoken) == "SERVICES"
    for host in (before, after):
        assert admits(host, **mine(eth_type=ARP, arp_sha=MAC, arp_spa=MINE)) == "SERVICES"
        assert admits(host, **mine(eth_type=ARP, arp_sha=MAC, arp_spa=told - 1)) == "METER"
        assert admits(host, **mine(eth_type=ARP, arp_sha=MAC, arp_spa=told + 9)) == "drop"
        assert admits(host, **mine(eth_type=IPV4, ipv4_src=told)) == "SERVICES"


def test_a_claimed_address_is_delivered_and_says_nothing_new_of_who_owns_the_zone() -> None:
    plain = port(ME, allowed_address_pairs=(AddressPair(ip_network("10.0.0.0/28")),))
    claimed = replace(plain, claimed=(ip_address("10.0.0.9"),))
    come = {f.table for f in set(port_flows(claimed)) - set(port_flows(plain))}
    assert come == {ADMISSION.number, FORWARD.number}
    owners = [owner_of(f for f in port_flows(view) if zone_of(f) is not None) for view in (plain, claimed)]
    assert owners[0] == owners[1]


RARP = 0x8035


def of_mine(kind: int, target: int) -> dict[str, int]:
    fields = {"icmpv6_type": kind, "ip_ttl": 255, "ipv6_nd_target": target}
    return {"eth_type": IPV6, "ip_proto": ICMP6, **fields}


@pytest.mark.parametrize(
    ("packet", "goes"),
    [
        ({"eth_type": RARP}, "METER"),
        ({"eth_type": RARP, "eth_src": MAC + 1}, "drop"),
        ({"eth_type": RARP, "vlan_vid": 0x1005}, "drop"),
        ({"eth_type": ARP, "arp_sha": MAC, "arp_spa": MINE, "arp_tpa": MINE}, "METER"),
        ({"eth_type": ARP, "arp_sha": MAC, "arp_spa": MINE, "arp_tpa": MINE + 1}, "drop"),
        ({"eth_type": ARP, "arp_sha": MAC, "arp_spa": MINE + 1, "arp_tpa": MINE + 1}, "drop"),
        ({"eth_type": ARP, "arp_sha": MAC + 1, "arp_spa": MINE, "arp_tpa": MINE}, "drop"),
        (of_mine(NA, MINE6), "METER"),
        (of_mine(NA, MINE6) | {"ip_ttl": 64}, "drop"),
        (of_mine(NA, MINE6 + 1), "drop"),
        (of_mine(NS, MINE6), "drop"),
        ({"eth_type": IPV4, "ipv4_src": MINE}, "drop"),
        ({"eth_type": IPV6, "ipv6_src": MINE6}, "drop"),
    ],
)  # fmt: skip
def test_a_port_that_stands_by_may_but_announce_itself(packet: dict[str, int], goes: str) -> None:
    host = host_of(port(ME, standby=True))
    assert admits(host, **(mine() | packet)) == goes


def test_a_port_that_stands_by_is_not_delivered_to() -> None:
    assert {f.table for f in port_flows(port(ME, standby=True))} == {
        ADMISSION.number,
        CLAIMED.number,
        METER.number,
    }


def test_coming_to_live_flushes_no_zone_and_leaving_does() -> None:
    views = (port(ME), port(ME, standby=True))
    live, standby = (owner_of(f for f in port_flows(view) if zone_of(f) is not None) for view in views)
    assert may_keep(standby, live)
    assert not may_keep(live, standby)


def test_a_pair_that_is_the_port_itself_changes_nothing_but_that_its_mac_leads_to_it() -> None:
    plain = port(ME)
    same = replace(plain, allowed_address_pairs=(AddressPair(ip_network("10.0.0.3/32")),))
    more = {f.key for f in port_flows(same)} - {f.key for f in port_flows(plain)}
    assert sorted(key.table for key in more) == [ADMISSION.number, FORWARD.number], "ARP, and its MAC"
    assert {f.key for f in port_flows(plain)} <= {f.key for f in port_flows(same)}
    assert len(port_flows(same)) == len(port_flows(plain)) + 2


@pytest.mark.parametrize(
    ("fields", "by_mac"),
    [
        ({}, False),
        ({"profile": PROFILE_OPEN}, True),
        ({"allowed_address_pairs": (AddressPair(ip_network("0.0.0.0/0")),)}, True),
        ({"addresses": (ip_address("2001:db8::3"),)}, True),
    ],
    ids=["plain", "open", "pairs", "IPv6 only"],
)
def test_whose_real_mac_leads_to_it(fields: dict[str, Any], by_mac: bool) -> None:
    made = replace(port(ME), **fields)
    macs = {term.value for f in port_flows(made) if f.table == FORWARD.number for term in f.match}
    assert (made.mac in macs) == by_mac


def nd(kind: int, **told: int) -> dict[str, int]:
    about_me = {"reg1": 70 + ME, "ip_ttl": 255}
    return {"eth_type": IPV6, "ip_proto": ICMP6, "icmpv6_type": kind, **about_me, **told}


@pytest.mark.parametrize(
    ("packet", "goes"),
    [
        (nd(RS, ipv6_src=LOCAL6), "SERVICES"),
        (nd(RS, ipv6_src=MINE6), "drop"),
        (nd(RS, ipv6_src=LOCAL6, ip_ttl=64), "drop"),
        (nd(RS, ipv6_src=LOCAL6, ip_frag=1), "drop"),
        (nd(RA, ipv6_src=LOCAL6), "drop"),
        (nd(REDIRECT, ipv6_src=LOCAL6), "drop"),
        (nd(NS, ipv6_nd_sll=MAC), "SERVICES"),
        (nd(NS, ipv6_nd_sll=MAC + 1), "drop"),
        (nd(NA, ipv6_nd_target=MINE6, ipv6_nd_tll=MAC), "SERVICES"),
        (nd(NA, ipv6_nd_target=MINE6, ipv6_nd_tll=MAC + 1), "drop"),
        (nd(NA, ipv6_nd_target=MINE6 + 1, ipv6_nd_tll=MAC), "drop"),
        (nd(128), "SERVICES"),
    ],
)
def test_nd_guard(packet: dict[str, int], goes: str) -> None:
    assert next_of(ND_GUARD, **packet) == goes


def test_nd_guard_knows_pairs() -> None:
    pair = AddressPair(ip_network("2001:db8::/112"), 0x5E000201)  # type: ignore[arg-type]
    host = host_of(port(ME, allowed_address_pairs=(pair,)))
    about_nine = nd(NA, ipv6_nd_target=MINE6 + 9, ipv6_nd_tll=0x5E000201)
    assert next_of(ND_GUARD, host, **about_nine) == "METER", "the agent alone hears that it lives here now"
    known = host_of(port(ME, allowed_address_pairs=(pair,), claimed=(ip_address(MINE6 + 9),)))
    assert next_of(ND_GUARD, known, **about_nine) == "SERVICES"
    assert next_of(ND_GUARD, known, **(about_nine | {"ipv6_nd_target": MINE6 + 8})) == "METER"
    assert next_of(ND_GUARD, host, **nd(NA, ipv6_nd_target=MINE6 + 9, ipv6_nd_tll=MAC)) == "drop"
    assert next_of(ND_GUARD, host, **nd(NS, ipv6_nd_sll=0x5E000201)) == "SERVICES"


@pytest.mark.parametrize(
    ("packet", "goes", "free"),
    [
        ({"eth_type": IPV4, "ip_proto": UDP, "udp_src": 68, "udp_dst": 67}, "METER", "METER"),
        ({"eth_type": IPV6, "ip_proto": UDP, "udp_src": 546, "udp_dst": 547}, "METER", "METER"),
        ({"eth_type": IPV4, "ip_proto": UDP, "udp_src": 67, "udp_dst": 68}, "drop", "TRACK"),
        ({"eth_type": IPV6, "ip_proto": UDP, "udp_src": 547, "udp_dst": 546}, "drop", "TRACK"),
        ({"eth_type": IPV4, "ip_proto": UDP, "ip_frag": 1}, "drop", "TRACK"),
        ({"eth_type": IPV4, "ip_proto": UDP, "ip_frag": 3}, "TRACK", "TRACK"),
        ({"eth_type": IPV4, "ipv4_dst": int(ip_address("169.254.169.254"))}, "METER", "METER"),
        ({"eth_type": IPV4, "ipv4_dst": int(ip_address("169.254.169.252"))}, "TRACK", "TRACK"),
        ({"eth_type": IPV6, "ipv6_dst": int(ip_address("fd00:ec2::253"))}, "METER", "METER"),
        ({"eth_type": ARP, "arp_op": 1, "arp_tpa": int(ip_address("169.254.169.253"))}, "METER", "METER"),
        ({"eth_type": ARP, "arp_op": 1, "arp_tpa": MINE}, "ADDRESSING", "ADDRESSING"),
        (nd(NS, ipv6_nd_target=int(ip_address("fe80::a9fe:a9fd"))), "METER", "METER"),
        (nd(NS, ipv6_nd_target=MINE6), "ADDRESSING", "ADDRESSING"),
        (nd(RS), "METER", "METER"),
        ({"eth_type": IPV6, "ip_proto": 6}, "TRACK", "TRACK"),
        (nd(RA), "TRACK", "TRACK"),
        ({"eth_type": LLDP}, "drop", "ADDRESSING"),
    ],
)
def test_services(packet: dict[str, int], goes: str, free: str) -> None:
    assert next_of(SERVICES, **packet, reg4=16) == goes
    assert next_of(SERVICES, **packet, reg4=PROFILE_OPEN) == free


@pytest.mark.parametrize(("eth_type", "goes"), [(IPV4, "OPENING"), (IPV6, "OPENING"), (ARP, "drop")])
def test_track(eth_type: int, goes: str) -> None:
    assert next_of(TRACK, eth_type=eth_type) == goes


@pytest.mark.parametrize("table", [TRACKED, COMMIT])
@pytest.mark.parametrize("eth_type", [IPV4, IPV6])
def test_new_connections_are_remembered_in_the_zone_of_the_port(table: Table, eth_type: int) -> None:
    (remember,) = hit(table, eth_type=eth_type, ct_state=TRK | NEW).actions
    assert remember == Ct(commit=True, zone=(table.zone, 0, 16))  # type: ignore[arg-type]
    assert hit(table, eth_type=eth_type, ct_state=TRK | EST).actions == ()
    assert (
        next_of(table, eth_type=eth_type, ct_state=TRK | REL | RPL)
        == {9: "ADDRESSING", 26: "SOURCE"}[table.number]
    )
    assert next_of(table, eth_type=eth_type, ct_state=TRK | INV) == "drop"
    assert next_of(table, eth_type=eth_type, ct_state=0) == "drop"


def test_what_is_invalid_passes_from_and_to_ports_without_port_security() -> None:
    for profile, tracked in ((PROFILE_OPEN, "ADDRESSING"), (PROFILE_NONE, "drop")):
        invalid = {"eth_type": IPV4, "ct_state": TRK | INV, "reg4": profile}
        assert next_of(TRACKED, **invalid) == tracked
        assert hit(TRACKED, **invalid).actions == (), "no connection is remembered"
    assert next_of(DIRECTION, ct_state=TRK | INV, reg4=16, reg5=PROFILE_OPEN) == "SOURCE"
    assert next_of(DIRECTION, ct_state=TRK | INV, reg4=PROFILE_OPEN, reg5=16) == "drop"


def test_zones_are_of_sender_and_receiver() -> None:
    assert TRACK.zone == TRACKED.zone != DELIVER.zone == COMMIT.zone == TO_PORT.field


@pytest.mark.parametrize(
    ("packet", "goes"),
    [
        ({"eth_type": IPV4, "ipv4_dst": MINE}, "FORWARD"),
        ({"eth_type": IPV4, "ipv4_dst": 0xE0000001}, "drop"),
        ({"eth_type": IPV4, "eth_dst": 0x0AF000000001}, "drop"),
        ({"eth_type": LLDP}, "drop"),
        ({"eth_type": LLDP, "reg4": PROFILE_OPEN}, "FORWARD"),
        ({"eth_type": LLDP, "reg4": PROFILE_OPEN, "eth_dst": 0x0180C200000E}, "drop"),
    ],
)
def test_addressing(packet: dict[str, int], goes: str) -> None:
    assert next_of(ADDRESSING, **{"reg0": VNI, **packet}) == goes


@pytest.mark.parametrize(("origin", "goes"), [(1, "EXIT"), (2, "drop"), (4, "drop")])
def test_forward_sends_to_other_hosts_only_what_a_local_port_sent(origin: int, goes: str) -> None:
    assert next_of(FORWARD, reg0=VNI, reg3=origin, eth_dst=0x0AF00A000063, eth_type=IPV4) == goes


def test_forward_notes_the_receiver() -> None:
    flow = hit(FORWARD, reg0=VNI, reg3=2, eth_type=IPV4, eth_dst=0x0AF00A000004)
    assert loaded(flow) == {f"{TO_PORT.field.name}[0]": YOU, f"{TO_PROFILE.field.name}[0]": 13 + YOU}
    assert flow.goto == DELIVER.number


@pytest.mark.parametrize(
    ("packet", "goes", "to_open", "both_open"),
    [
        ({"eth_type": IPV4}, "DIRECTION", "DIRECTION", "SOURCE"),
        ({"eth_type": IPV6, "ip_proto": 6}, "DIRECTION", "DIRECTION", "SOURCE"),
        ({"eth_type": ARP}, "OUTPUT", "OUTPUT", "OUTPUT"),
        (nd(NS), "OUTPUT", "OUTPUT", "OUTPUT"),
        (nd(RA), "DIRECTION", "DIRECTION", "SOURCE"),
        ({"eth_type": LLDP}, "drop", "SOURCE", "SOURCE"),
        ({"eth_type": IPV4, "reg3": 4}, "OUTPUT", "OUTPUT", "OUTPUT"),
    ],
)
def test_deliver(packet: dict[str, int], goes: str, to_open: str, both_open: str) -> None:
    for sender in (16, PROFILE_OPEN):
        assert next_of(DELIVER, **{"reg4": sender, "reg5": 17, **packet}) == goes
    assert next_of(DELIVER, **{"reg4": 16, "reg5": PROFILE_OPEN, **packet}) == to_open
    assert next_of(DELIVER, **{"reg4": PROFILE_OPEN, "reg5": PROFILE_OPEN, **packet}) == both_open


@pytest.mark.parametrize(
    ("state", "ends"),
    [(TRK | NEW, (16, 17)), (TRK | EST, (16, 17)), (TRK | EST | RPL, (17, 16)), (TRK | REL | RPL, (17, 16))],
)
def test_direction(state: int, ends: tuple[int, int]) -> None:
    flow = hit(DIRECTION, ct_state=state, reg4=16, reg5=17)
    moved = {a.dst.name: {"reg4": 16, "reg5": 17}[a.src.name] for a in flow.actions}  # type: ignore[union-attr]
    assert (moved["reg6"], moved["reg7"]) == ends
    assert next_of(DIRECTION, ct_state=state | INV) == "drop"


def test_without_port_security_policy_is_passed_by() -> None:
    assert next_of(EGRESS, reg6=PROFILE_OPEN) == "INGRESS"
    assert next_of(INGRESS, reg7=PROFILE_OPEN) == "COMMIT"
    assert next_of(EGRESS, reg6=PROFILE_NONE) == next_of(INGRESS, reg7=PROFILE_NONE) == "drop"


@pytest.mark.parametrize(
    ("packet", "goes"),
    [
        ({"eth_type": IPV4}, "TAG"),
        ({"eth_type": IPV6, "ip_proto": 6}, "TAG"),
        ({"eth_type": ARP}, "OUTPUT"),
        (nd(NS), "OUTPUT"),
        (nd(NA), "OUTPUT"),
        (nd(RA), "TAG"),
        ({"eth_type": LLDP}, "OUTPUT"),
    ],
)
def test_exit(packet: dict[str, int], goes: str) -> None:
    assert next_of(EXIT, **packet) == goes
    assert next_of(EXIT, HostView({VNI: network()}, {}), **packet) == "drop"


def test_exit_measures_the_packet_with_its_ethernet_header() -> None:
    (larger,) = hit(EXIT, eth_type=IPV4).actions
    assert isinstance(larger, CheckPacketLarger)
    assert larger.length_bytes == MTU + 14
    assert next_of(TAG, reg3=1 | 1 << larger.bit) == "METER"
    assert next_of(TAG, reg3=1) == "OUTPUT"


@pytest.mark.parametrize("eth_type", [IPV4, IPV6, ARP])
def test_source_leaves_no_profile_to_be_seen(eth_type: int) -> None:
    flow = hit(SOURCE, eth_type=eth_type)
    assert flow.goto == OUTPUT.number
    assert bool(flow.actions) == (eth_type != ARP)


def test_each_local_port_has_its_meter() -> None:
    for ofport in (ME, YOU, OTHER):
        flow = hit(METER, reg1=70 + ofport)
        assert (flow.meter, flow.goto) == (ofport, SERVICE.number)
    assert next_of(METER, reg1=99) == "drop"


def test_each_local_port_opens_connections_by_a_meter_of_its_own() -> None:
    ids = set()
    for ofport in (ME, YOU, OTHER):
        flow = hit(OPENING, reg1=70 + ofport, ct_state=TRK | NEW)
        assert (flow.meter, flow.goto) == (METERS_OF_CONNECTIONS + ofport, TRACKED.number)
        ids |= {flow.meter, hit(METER, reg1=70 + ofport).meter}
        for known in (EST, EST | RPL, REL, REL | RPL, INV):
            passing = hit(OPENING, reg1=70 + ofport, ct_state=TRK | known)
            assert (passing.meter, passing.goto) == (None, TRACKED.number)
    assert len(ids) == 6, "no two ports share one, nor a port's services and its connections"
    assert next_of(OPENING, reg1=99, ct_state=TRK | NEW) == "drop"
    assert next_of(OPENING, reg1=70 + ME, ct_state=0) == "drop"


def test_services_without_a_service_port_are_silent() -> None:
    assert Output(SERVICE_PORT) in hit(SERVICE).actions
    host = replace(HOST, unit=replace(HOST.unit, service_ofport=None))  # type: ignore[type-var]
    assert hit(SERVICE, host).actions == ()
    assert admits(host, in_port=SERVICE_PORT, eth_src=0x0AF300 << 24 | VNI) == "drop"


def test_a_port_costs_few_flows() -> None:
    one = port(ME, addresses=(ip_address("10.0.0.3"),))
    assert len(port_flows(one)) <= 8
    assert len(port_flows(port(ME, profile=PROFILE_OPEN))) <= len(port_flows(port(ME)))


def test_units_say_nothing_of_each_other() -> None:
    """Any two units together have the flows of both, whatever the order: no key twice."""
    units: list[tuple[Flow, ...]] = [network_flows(network()), *(port_flows(p) for p in HOST.ports.values())]
    assert HOST.unit is not None
    units.append(host_unit_flows(HOST.unit))
    keys: list[Any] = [f.key for unit in units for f in unit]
    assert len(keys) == len(set(keys))
