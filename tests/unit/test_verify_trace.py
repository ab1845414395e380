"""Trace over the API: what passes, why something does not, words that are no packet, what a tenant sees."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest
import pytest_asyncio

from cloison.names import PortName
from controller.flows.text import flow_text
from tests.support.api import refusal_of
from tests.support.hosts import eventually
from tests.support.proof import ProofSite, iface, leak, of, port, put_quietly, running


async def test_a_ping_is_followed_over_both_hosts_to_its_receiver() -> None:
    async with running() as site:
        answer = await site.trace(port("red", 1), "icmp to 10.0.0.12")
        assert answer.agree
        assert list(answer.meant) == list(answer.delivered) == [port("red", 2)]
        assert not answer.drop_reason
        stages = [(s.host, s.stage) for s in answer.path]
        local = ["ADMISSION", "CLAIMED", "SERVICES", "TRACK", "OPENING", "TRACKED", "ADDRESSING", "FORWARD"]
        local += ["EXIT", "TAG", "OUTPUT", "FDB"]
        remote = ["ADMISSION", "FORWARD", "DELIVER", "DIRECTION", "EGRESS", "INGRESS", "COMMIT"]
        remote += ["SOURCE", "OUTPUT", "PORT"]
        assert stages == [("hosts/h1", s) for s in local] + [("hosts/h2", s) for s in remote]
        admission, addressing = answer.path[1], answer.path[local.index("ADDRESSING")]
        assert admission.resource == port("red", 1)
        assert "FROM_PORT=" in admission.note
        assert addressing.resource == "tenants/red/networks/web"
        assert "dl_dst" in addressing.note
        assert "0a:f0:0a:00:00:0c" in addressing.note
        assert "icmp_type=8,icmp_code=0" in answer.packet
        judged = answer.path[len(local) + remote.index("INGRESS")]
        assert judged.resource == "tenants/red/securityGroups/default"
        assert judged.note.startswith("admitted by rule ")
        assert judged.note.endswith(" of tenants/red/securityGroups/default")
        assert answer.path[local.index("FDB")].rule.startswith("0a:f0:0a:00:00:0c dev vx")
        assert answer.path[local.index("FDB")].rule.endswith("dst 192.0.2.2")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("packet", "to", "reaches"),
    [
        ("", "p2", True),
        ("arp who-has 10.0.0.12", "", True),
        ("tcp dst port 80 to 2001:db8::12", "", True),
        ("who-has 2001:db8::12", "", True),
        ("udp", "p2", True),
        ("icmp to 10.0.0.12 ttl 1", "", True),
        ("arp reply to 10.0.0.12", "", True),
        ("tcp src port 22 reply to 10.0.0.12", "", True),
        ("icmp6 established to 2001:db8::12", "", True),
        ("udp fragment later to 2001:db8::12", "", True),
        (
            "icmp type 3 code 4 to 10.0.0.12",
            "",
            "TRACKED: dropped by a flow of that table: connection tracking",
        ),
        (
            "icmp from 10.0.0.9 to 10.0.0.12",
            "",
            "CLAIMED: dropped by a flow of that table: source address 10.0.0.9 is not the port's own",
        ),
        (
            "eth_src=52:54:00:00:00:01,ip,nw_dst=10.0.0.12",
            "",
            "source MAC 52:54:00:00:00:01 is not the port's own",
        ),
        ("vlan 5 icmp to 10.0.0.12", "", "it is tagged (VLAN 5)"),
        (
            "icmp to 10.0.0.99",
            "",
            "FDB: no entry: nobody on tenants/red/networks/web has the address 10.0.0.99",
        ),
        ("icmp to 10.0.0.11", "", "it would go back to where it came in: it is meant for its own sender"),
        ("icmp to 224.0.0.1", "", "224.0.0.1 is a group address"),
        ("arp who-has 10.9.9.9", "", "10.9.9.9 is in no subnet of tenants/red/networks/web"),
        (
            "icmp6 icmpv6_type=134 to ff02::1",
            "",
            "ND_GUARD: dropped by a flow of that table: ports send no router",
        ),
        ("eth_type=0x88cc", "p2", "not EtherType 0x88cc"),
        ("who-has 2001:db8::12 nd_sll=02:00:00:00:00:01", "", "link-layer address 02:00:00:00:00:01 is not"),
    ],
)
async def test_packets_and_why_they_pass_or_not(
    site: ProofSite, packet: str, to: str, reaches: bool | str
) -> None:
    answer = await site.trace(port("red", 1), packet, to=port("red", 2) if to else "")
    assert answer.agree
    if reaches is True:
        assert list(answer.delivered) == [port("red", 2)], answer
    else:
        assert not answer.delivered
        assert str(reaches) in answer.drop_reason


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[ProofSite]:
    """For questions, which change nothing."""
    async with running() as made:
        yield made


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("packet", "field", "says"),
    [
        ("imcp to 10.0.0.12", "packet", "'imcp' is wrong: words such as icmp"),
        ("icmp to 10.0.0.300", "packet", "'10.0.0.300' is wrong: an IPv4 or IPv6 address"),
        ("icmp to", "packet", "followed by an IPv4 or IPv6 address"),
        ("icmp", "packet", "to ADDRESS"),
        ("ip nw_src=x to 10.0.0.12", "packet", "'x' is wrong: an IPv4"),
        ("arp nw_src=10.0.0.1 arp_tpa=10.0.0.12", "packet", "nw_src"),
        ("icmp to 2001:db8::12", "packet", "an IPv4 address"),
        ("in_port=4 icmp to 10.0.0.12", "packet", "no in_port"),
        ("tcp dst port 99999 to 10.0.0.12", "packet", "0 to 65535"),
        ("icmp dst port 80 to 10.0.0.12", "packet", "tcp or udp"),
        ("reply to 10.0.0.12", "packet", "a reply of what"),
        ("tcp reply established to 10.0.0.12", "packet", "one of reply and established"),
        ("tcp reply ct_state=est to 10.0.0.12", "packet", "one of ct_state and reply"),
        ("tcp ct_state=old to 10.0.0.12", "packet", "new, est, rpl and rel, joined by |"),
        ("tcp ct_state=inv|new to 10.0.0.12", "packet", "ct_state=inv, or"),
        ("tcp ct_state=inv ct_tp_dst=80 to 10.0.0.12", "packet", "no tuple with it"),
        ("ip tcp ct_ipv6_src=2001:db8::1 to 10.0.0.12", "packet", "a field that a packet of this kind has"),
        ("arp established who-has 10.0.0.12", "packet", "an IP packet"),
        ("icmp type 8 reply to 10.0.0.12", "packet", "a reply's type, 0 of icmp"),
        ("icmp type 3 type 4 to 10.0.0.12", "packet", "said once"),
        ("tcp type 3 to 10.0.0.12", "packet", "icmp or icmp6 with it"),
        ("icmp type 256 to 10.0.0.12", "packet", "0 to 255"),
        ("tcp port 80 port 81 to 10.0.0.12", "packet", "80 was said before"),
        ("tcp port 80 tcp_dst=81 to 10.0.0.12", "packet", "one tcp_dst"),
        ("udp tcp_dst=53 to 10.0.0.12", "packet", "a field that a packet of this kind has"),
        ("tcp oversize size 9000 to 10.0.0.12", "packet", "one of oversize and size N"),
        ("tcp size 65536 to 10.0.0.12", "packet", "0 to 65535"),
        ("arp oversize who-has 10.0.0.12", "packet", "others are of any size"),
        ("ether foo 1", "packet", "ether src MAC or ether dst MAC"),
        ("ip to 10.0.0.12 to 10.0.0.11", "packet", "said once"),
        ("frobnicate=1", "packet", "a field of these"),
        ("", "packet", "an expression"),
    ],
)
async def test_what_is_no_packet_is_refused_by_its_word(
    site: ProofSite, packet: str, field: str, says: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await site.trace(port("red", 1), packet)
    refusal = refusal_of(raised.value)
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert says in refusal.fields[field]


async def test_a_leak_is_traced_live_and_does_not_agree() -> None:
    async with running() as site:
        put_quietly(site.hosts[0], leak(site))
        site.hosts[0].trace = lambda flow: f"    output:{of(site, 'blue', 1)}\n"  # type: ignore[method-assign]
        answer = await site.trace(port("red", 1), "icmp to 10.0.0.12", live=True)
        assert not answer.agree
        assert list(answer.delivered) == [port("blue", 1)]
        assert list(answer.meant) == [port("red", 2)]
        assert "cookie 0xbad is of no object of ours" in answer.path[0].note
        assert "output" in answer.switch_traces["hosts/h1"]
        assert (await site.trace(port("red", 1), "icmp to 10.0.0.12")).agree


async def test_a_switch_that_does_otherwise_than_its_flows_does_not_agree() -> None:
    async with running() as site:
        asked: list[str] = []

        def nothing(flow: str) -> str:
            asked.append(flow)
            return "Datapath actions: drop\n"

        site.hosts[0].trace = nothing  # type: ignore[method-assign]
        answer = await site.trace(port("red", 1), "tcp dst port 80 to 10.0.0.12", live=True)
        assert not answer.agree
        assert list(answer.delivered) == [port("red", 2)]
        assert asked[0].startswith(f"in_port={of(site, 'red', 1)},dl_src=")
        flow, *states = asked[0].split(" ")
        assert "tcp_src=50000,tcp_dst=80,ct_state=new|trk,ct_nw_src=10.0.0.11,ct_nw_dst=10.0.0.12" in flow
        assert states == ["--ct-next", "new,trk"]


async def test_a_port_that_is_plugged_nowhere_sends_nothing() -> None:
    async with running() as site:
        site.hosts[0].unplug(iface(site, "red", 1))
        await eventually(lambda: not site.store.state.bindings_of(_name(site, "red", 1)), "unbound")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await site.trace(port("red", 1), "icmp to 10.0.0.12")
        assert refusal_of(raised.value).reason == "NOT_PLUGGED"
        answer = await site.trace(port("red", 2), "icmp to 10.0.0.11")
        assert "tenants/red/networks/web/ports/p1 has 10.0.0.11, but is plugged nowhere" in answer.drop_reason
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await site.trace(port("red", 9), "icmp to 10.0.0.12")
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def _name(site: ProofSite, tenant: str, number: int) -> PortName:
    return next(n for n in site.store.state.ports if str(n) == port(tenant, number))


async def test_a_tenant_traces_from_its_own_ports_and_sees_nothing_of_hosts_or_others() -> None:
    async with running() as site:
        who = "tenant/red/viewer"
        answer = await site.trace(port("red", 1), "icmp to 10.0.0.12", who=who)
        assert answer.agree
        assert list(answer.delivered) == [port("red", 2)]
        text = str(answer)
        for secret in ("hosts/", "192.0.2.", "vx00", "cookie", "in_port", "blue"):
            assert secret not in text
        assert [s.stage for s in answer.path][:3] == ["ADMISSION", "CLAIMED", "SERVICES"]
        notes = {s.stage: s.note for s in answer.path if s.note}
        assert notes.keys() == {"EGRESS", "INGRESS"}
        assert all(note.startswith("admitted by rule ") for note in notes.values())
        refused = (
            lambda: site.trace(port("blue", 1), "icmp to 10.0.0.12", who=who),
            lambda: site.trace(port("red", 1), "", to=port("blue", 1), who=who),
            lambda: site.trace(port("red", 1), "icmp to 10.0.0.12", live=True, who=who),
            lambda: site.verify(who="tenant/red/admin"),
            lambda: site.verify(who="host/h1"),
        )
        for call in refused:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call()
            assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_what_is_for_the_local_services_is_shown_as_such() -> None:
    async with running() as site:
        dhcp = "udp from 0.0.0.0 src port 68 to 255.255.255.255 dst port 67"
        wanted = {
            dhcp: "DHCP",
            "udp to 169.254.169.253": "DNS",
            "tcp to fd00:ec2::254": "metadata",
            "tcp to 169.254.169.254 port 22": "nothing that they do (their address of metadata)",
            "arp who-has 169.254.169.254": "address resolution",
            "tcp oversize to 10.0.0.12": "path MTU (it is too long for the overlay)",
        }
        for packet, service in wanted.items():
            answer = await site.trace(port("red", 1), packet)
            assert answer.agree
            assert list(answer.delivered) == [f"the local services of hosts/h1: {service}"]
        told = await site.trace(port("red", 1), dhcp, who="tenant/red/viewer")
        assert list(told.meant) == list(told.delivered) == ["the local services of a host: DHCP"]


async def test_a_tenant_never_learns_who_else_received_its_packet() -> None:
    async with running() as site:
        actor = site.reconciler.hosts[site.hosts[0].name]
        bad = leak(site)
        actor.flows.desired[bad.key] = bad  # a bug of the compiler
        answer = await site.trace(port("red", 1), "icmp to 10.0.0.12", who="tenant/red/admin")
        assert not answer.agree
        assert list(answer.delivered) == ["a port that is not yours"]
        assert "blue" not in str(answer)
        assert flow_text(replace(bad)) not in str(answer)
