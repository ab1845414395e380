"""Service ports and zones in the plan of a host: read, changed, kept on disk, looked up."""

from __future__ import annotations

import itertools
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.plan import EMPTY_PLAN, Actual, full_deltas, plan_faults
from agent.plan.service_port import PortRecord, ServicePort, ServiceRoute
from agent.services.buckets import Buckets
from agent.services.seams import ServicePorts
from agent.state import PlanLog
from cloison.model import Ipv6Mode, Vni
from cloison.v1 import host_sync_pb2 as pb

A4, A6 = ip_address("10.0.0.5"), ip_address("fd01::5")


def message(number: int = 7, **changes: object) -> pb.ServicePort:
    fields: dict[str, object] = {
        "number": number, "vni": 0x1000, "mac": 0xFA163E000005, "mtu": 1450, "hostname": "vm1",
        "port": "tenants/acme/networks/blue/ports/vm1", "domain": "blue.acme.cloison.internal.",
        "next_server": "10.9.9.9", "boot_file_uefi": "shim.efi", "device_id": "d", "project_id": "p",
        "addresses": [
            pb.ServiceAddress(
                address=A4.packed, prefix_length=24, dns_servers=[ip_address("10.0.0.53").packed],
                routes=[
                    pb.ServiceRoute(destination=bytes([192, 168, 0, 0]), prefix_length=16, next_hop=A4.packed)
                ],
            ),
            pb.ServiceAddress(address=A6.packed, prefix_length=64, ipv6_mode=2, no_dhcp=True),
        ],
    }  # fmt: skip
    return pb.ServicePort(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_record_is_read() -> None:
    port = PortRecord.read(message()).port
    assert port is not None
    assert (port.tenant, port.network, port.port, port.vni) == ("acme", "blue", "vm1", 0x1000)
    assert port.addresses == (A4, A6)
    assert (port.domain, port.hostname, port.boot.uefi) == ("blue.acme.cloison.internal", "vm1", "shim.efi")
    first, second = port.subnets
    assert (first.prefix, first.gateway, first.dhcp) == (ip_network("10.0.0.0/24"), None, True)
    assert first.routes == (ServiceRoute(ip_network("192.168.0.0/16"), A4),)
    assert (second.prefix, second.dhcp, second.ipv6_mode) == (
        ip_network("fd01::/64"),
        False,
        Ipv6Mode.STATELESS,
    )
    assert port.subnet_of(A6) is second


@pytest.mark.parametrize(
    "changes",
    [
        {"port": "tenants/acme"},
        {"vni": 0},
        {"mac": 0},
        {"mac": 1 << 48},
        {"mtu": 67},
        {"hostname": "ü"},
        {"domain": "a..b"},
        {"domain": "x" * 64},
        {"boot_file_bios": "x" * 256},
        {"addresses": [pb.ServiceAddress(address=b"\1\2\3", prefix_length=24)]},
        {"addresses": [pb.ServiceAddress(address=A4.packed, prefix_length=33)]},
        {"addresses": [pb.ServiceAddress(address=A6.packed, prefix_length=64, ipv6_mode=9)]},
        {"allowed_prefixes": ["10.0.0.0/99"]},
    ],
)
def test_a_bad_record_is_told_and_stops_no_other(changes: dict[str, object]) -> None:
    plan = EMPTY_PLAN.apply(pb.PlanDelta(revision=1, service_ports=[message(8, **changes), message(7)]))
    assert plan.service_ports[7].port is not None
    assert plan.service_ports[8].port is None
    assert [fault.reason for fault in plan_faults(plan, Actual())] == ["SERVICE_PORT_INVALID"]


def zone(vni: int, *names: str, removed: tuple[str, ...] = ()) -> pb.ZoneDelta:
    hosts = [pb.ZoneHost(name=name, addresses=[A4.packed, A6.packed]) for name in names]
    return pb.ZoneDelta(
        vni=vni, network="tenants/acme/networks/blue", domain="blue.test", upserted=hosts, removed=removed
    )


def test_ports_and_names_come_and_go() -> None:
    plan = EMPTY_PLAN.apply(
        pb.PlanDelta(revision=1, service_ports=[message(7), message(8)], zones=[zone(0x1000, "a", "b")])
    )
    known = plan.zones[Vni(0x1000)]
    assert (known.tenant, known.network, known.domain, set(known.hosts)) == (
        "acme",
        "blue",
        "blue.test",
        {"a", "b"},
    )
    after = plan.apply(
        pb.PlanDelta(revision=2, removed_service_ports=[8], service_ports=[message(7, mtu=1300)])
    )
    assert set(after.service_ports) == {7}
    port = after.service_ports[7].port
    assert port is not None
    assert port.mtu == 1300
    assert after.zones is plan.zones, "what a delta does not touch is the same object"
    after = after.apply(pb.PlanDelta(revision=3, zones=[zone(0x1000, "c", removed=("a",))]))
    assert set(after.zones[Vni(0x1000)].hosts) == {"b", "c"}
    assert not after.apply(pb.PlanDelta(revision=4, removed_zones=[0x1000])).zones


def test_a_restarted_agent_serves_the_same_ports(tmp_path: Path) -> None:
    ports = [message(number) for number in range(600)]
    names = [f"h{number}" for number in range(5000)]
    plan = EMPTY_PLAN.apply(pb.PlanDelta(revision=9, service_ports=ports, zones=[zone(5, *names), zone(6)]))
    rebuilt = EMPTY_PLAN
    for delta in full_deltas(plan):
        assert delta.ByteSize() < 1 << 20
        rebuilt = rebuilt.apply(delta)
    assert rebuilt == plan
    log = PlanLog(tmp_path / "plan")
    log.replace(plan, epoch=3)
    log.append(pb.PlanDelta(revision=10, removed_service_ports=[599]))
    log.save(plan)
    log.close()
    recalled = PlanLog(tmp_path / "plan").load()
    assert recalled is not None
    assert (recalled.revision, len(recalled.service_ports), recalled.zones) == (10, 599, plan.zones)


def test_ports_are_found_by_number_and_by_address() -> None:
    read = [PortRecord.read(message(n, vni=0x1000 + n)).port for n in (7, 8)]
    ports = ServicePorts([port for port in read if port is not None])
    found = ports.get(7)
    assert found is not None
    assert ports.find(Vni(0x1007), A4) is found, "two tenants may have the same address"
    assert ports.find(Vni(0x1008), A4) is ports.get(8)
    assert ports.find(Vni(0x1009), A4) is None
    ports.replace({7: found})
    assert (ports.get(8), ports.find(Vni(0x1008), A4), len(ports)) == (None, None, 1)


CHANGES = st.lists(
    st.dictionaries(
        st.sampled_from([7, 8, 9]), st.one_of(st.none(), st.tuples(st.sampled_from([1, 2]), st.booleans()))
    ),
    max_size=6,
)


def served(number: int, vni: int, both: bool) -> ServicePort:
    port = PortRecord.read(message(number, vni=vni)).port
    assert port is not None
    return port if both else replace(port, addresses=port.addresses[:1])


@given(CHANGES)
def test_ports_that_changed_one_by_one_are_found_as_if_all_were_new(changes: list[dict]) -> None:
    """Also where two are said to have one address, which then goes on to be found at the other."""
    walked, now = ServicePorts(), dict[int, ServicePort]()
    for change in changes:
        ports = {n: None if told is None else served(n, *told) for n, told in change.items()}
        walked.change(ports)
        now = {n: port for n, port in {**now, **ports}.items() if port is not None}
        fresh = ServicePorts(now[number] for number in sorted(now))
        assert {port.number: port for port in walked} == now
        for vni, address in itertools.product((Vni(1), Vni(2)), (A4, A6)):
            assert walked.find(vni, address) == fresh.find(vni, address)


def test_a_port_may_send_no_more_than_its_budget() -> None:
    buckets = Buckets(rate_pps=10, burst_packets=5)
    assert [buckets.take(1, 0.0) for _ in range(6)] == [True] * 5 + [False]
    assert buckets.take(2, 0.0), "another port's budget is its own"
    assert [buckets.take(1, 0.2) for _ in range(3)] == [True, True, False]
    assert sum(buckets.take(1, 1000.0) for _ in range(9)) == 5, "what is saved up is bounded"
    buckets.keep([2])
    assert buckets.take(1, 1000.0)
