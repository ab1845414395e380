"""Edges for real: a kernel, an Open vSwitch, an agent process; inside and outside are namespaces."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from cloison.v1 import host_sync_pb2 as pb
from tests.support.agent_host import eventually
from tests.support.edge_site import (
    BRIDGE,
    FAR4,
    FAR6,
    FLOAT4,
    FLOAT6,
    GUEST4,
    GUEST6,
    OTHER4,
    OTHER6,
    PHYSNET,
    ROUTED4,
    ROUTED6,
    SNAT4,
    SNAT6,
    TARGET,
    EdgeSite,
    edge,
    edge_site,
    floating,
    pings,
    prefix,
    reaches,
    settled,
)
from tests.support.netns import sh
from tests.support.sync_peer import SyncPeer

pytestmark = pytest.mark.system
BOTH = ((GUEST4, FAR4, SNAT4), (GUEST6, FAR6, SNAT6))
FLOATING = floating((FLOAT4, GUEST4), (FLOAT6, GUEST6))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[EdgeSite]:
    with edge_site(tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def peer(tmp_path: Path) -> AsyncIterator[SyncPeer]:
    async with SyncPeer(tmp_path / "c1.sock") as running:
        yield running


def received(site: EdgeSite) -> int:
    """Echo requests that the inside has got."""
    lines = [line.split() for line in site.inside.netns.run("cat /proc/net/snmp").splitlines()]
    names, values = (line for line in lines if line[0] == "Icmp:")
    return int(values[names.index("InEchos")])


async def test_guests_go_out_under_the_routers_address(site: EdgeSite, peer: SyncPeer) -> None:
    session = await settled(site, peer, edge())
    assert list(session.hello.physical_networks) == [PHYSNET]
    for guest, far, own in BOTH:
        await reaches(site.inside.netns, guest, far)
        site.serve(site.outside, far)
        assert site.talk(site.inside.netns, guest, far) == own
        assert site.talk(site.inside.netns, guest, far, size=500_000) == own
    assert session.interfaces["cli00000007"].iface_id == "gw-7"
    assert not session.drifts()


async def test_a_floating_address_stands_for_a_guest_in_both_directions(
    site: EdgeSite, peer: SyncPeer
) -> None:
    await settled(site, peer, edge(floating=FLOATING))
    inside = site.inside.netns
    for guest, far, own, float_ in ((GUEST4, FAR4, SNAT4, FLOAT4), (GUEST6, FAR6, SNAT6, FLOAT6)):
        other = OTHER6 if ":" in guest else OTHER4
        await reaches(site.outside, far, float_)
        site.serve(inside, guest)
        site.serve(site.outside, far)
        assert site.talk(site.outside, far, float_) == far, "the guest sees who it is"
        assert site.talk(inside, guest, far) == float_
        assert site.talk(inside, other, far) == own, "who has none goes out as before"


async def test_an_edge_may_have_floating_addresses_alone(site: EdgeSite, peer: SyncPeer) -> None:
    """Of ports of its own host: the gateway is asked for under such an address, and answers to it."""
    await settled(site, peer, edge(outside=[], snat=[], floating=FLOATING))
    inside = site.inside.netns
    for guest, far, float_, other in ((GUEST4, FAR4, FLOAT4, OTHER4), (GUEST6, FAR6, FLOAT6, OTHER6)):
        await reaches(inside, guest, far)
        site.serve(site.outside, far)
        site.serve(inside, guest)
        assert site.talk(inside, guest, far) == float_
        assert site.talk(site.outside, far, float_) == far
        assert not pings(inside, other, far), "who has no address outside does not get there"


async def test_guests_reach_each_other_by_floating_addresses(site: EdgeSite, peer: SyncPeer) -> None:
    both = floating((FLOAT4, GUEST4), ("203.0.113.6", OTHER4), (FLOAT6, GUEST6), ("2001:db8::6", OTHER6))
    await settled(site, peer, edge(floating=both))
    inside = site.inside.netns
    for guest, other, own, there, snat, third in (
        (GUEST4, OTHER4, FLOAT4, "203.0.113.6", SNAT4, ROUTED4),
        (GUEST6, OTHER6, FLOAT6, "2001:db8::6", SNAT6, ROUTED6),
    ):
        await reaches(inside, guest, there)
        site.serve(inside, other)
        site.serve(inside, guest)
        assert site.talk(inside, guest, there) == own
        assert site.talk(inside, third, there) == snat, "one without a floating address"
        assert site.talk(inside, guest, own) == own, "one to itself"


async def test_a_routed_prefix_is_not_translated(site: EdgeSite, peer: SyncPeer) -> None:
    routed = [prefix("10.0.1.0/24"), prefix("fd00:11::/64")]
    session = await settled(site, peer, edge(routed_prefixes=routed))
    inside = site.inside.netns
    for guest, far in ((ROUTED4, FAR4), (ROUTED6, FAR6)):
        await reaches(site.outside, far, guest)
        site.serve(inside, guest)
        site.serve(site.outside, far)
        assert site.talk(inside, guest, far) == guest
        assert site.talk(site.outside, far, guest) == far
    await session.change(pb.PlanDelta(revision=11, edges=[edge()]))
    for guest, far in ((ROUTED4, FAR4), (ROUTED6, FAR6)):
        assert not pings(site.outside, far, guest)
        assert site.talk(inside, guest, far) in (SNAT4, SNAT6)


async def test_errors_tell_of_hops_and_of_sizes(site: EdgeSite, peer: SyncPeer) -> None:
    session = await settled(site, peer, edge(floating=FLOATING))
    inside = site.inside.netns
    for guest, far, float_, hop in (
        (GUEST4, FAR4, FLOAT4, "100.127.0.2"),
        (GUEST6, FAR6, FLOAT6, "fd00:c101:50::2"),
    ):
        await reaches(inside, guest, far)
        ping = "ping -n -c 1 -W 9 -I"
        assert f"From {hop}" in inside.run(f"{ping} {guest} -t 1 {far}", check=False)
        assert "exceeded" in site.outside.run(f"{ping} {far} -t 1 {float_}", check=False)
        assert re.search(
            r"mtu[ =]+1450", site.outside.run(f"{ping} {far} -M do -s 1440 {float_}", check=False)
        )
    await session.change(pb.PlanDelta(revision=11, edges=[edge(floating=FLOATING, outside_mtu=1400)]))
    for guest, far in ((GUEST4, FAR4), (GUEST6, FAR6)):
        said = inside.run(f"ping -n -c 1 -W 9 -I {guest} -M do -s 1390 {far}", check=False)
        assert re.search(r"mtu[ =]+1400", said), said


async def test_nothing_comes_in_unasked(site: EdgeSite, peer: SyncPeer) -> None:
    await settled(site, peer, edge(floating=floating((FLOAT4, OTHER4), (FLOAT6, OTHER6))))
    await reaches(site.inside.netns, GUEST4, FAR4)
    await reaches(site.outside, FAR6, FLOAT6)
    site.outside.run(f"ip route add 10.0.0.0/24 via {SNAT4}")
    site.outside.run(f"ip -6 route add fd00:10::/64 via {SNAT6}")
    site.outside.run(f"ip route add 100.127.0.0/16 via {SNAT4}")
    before = received(site)
    strange = [(FAR4, GUEST4), (FAR6, GUEST6), (FAR4, ROUTED4), (FAR4, "100.127.0.2"), (FAR4, "100.127.0.1")]
    for source, target in strange:
        assert not pings(site.outside, source, target), (source, target)
    # From outside, with an address of the inside.
    for source, target in ((ROUTED4, FLOAT4), (ROUTED6, FLOAT6)):
        site.outside.run(f"ip address add {source} dev lo")
        assert not pings(site.outside, source, target), (source, target)
    assert received(site) == before
    # The router answers for itself.
    await reaches(site.outside, FAR4, SNAT4)
    await reaches(site.outside, FAR6, SNAT6)
    refused = site.outside.run(f"curl -sS -m 1 http://{SNAT4}:22/", check=False)
    assert "timed out" in refused, "and says nothing else, not even no"
    site.inside.netns.run("ip address add 10.9.9.9/32 dev lo")
    assert not pings(site.inside.netns, "10.9.9.9", FAR4), "not inside, so not out"


async def test_standing_by_it_is_silent_and_activation_is_heard(
    site: EdgeSite, peer: SyncPeer, tmp_path: Path
) -> None:
    capture, inside_capture = tmp_path / "frames", tmp_path / "inside"
    # What would be taken for a move of the port.
    words = "ether src 02:00:00:00:00:07 and (arp[6:2] = 1 or rarp or (icmp6[0] = 136 and dst ff02::1))"
    listening = site.inside.netns.start(
        "tcpdump", "-i", "eth0", "-nn", "-U", "-w", str(inside_capture), words
    )
    tcpdump = site.outside.start("tcpdump", "-i", "eth0", "-nn", "-e", "-U", "-w", str(capture))
    session = await settled(site, peer, edge(floating=FLOATING, active=False))
    own = "02:00:00:00:10:07"
    for address in (SNAT4, FLOAT4):
        asked = site.outside.run(f"arping -c 2 -w 1 -I eth0 {address}", check=False)
        assert "Received 0" in asked, asked
    assert not pings(site.outside, FAR6, FLOAT6)
    assert not pings(site.inside.netns, GUEST4, FAR4)
    heard = lambda words: site.outside.run(f"tcpdump -nn -e -r {capture} {words}", check=False)  # noqa: E731
    assert own not in heard(f"ether src {own}")
    await session.change(pb.PlanDelta(revision=11, edges=[edge(floating=FLOATING)]))
    for words in (
        f"arp src {SNAT4}",
        f"arp src {FLOAT4}",
        f"icmp6 and src {FLOAT6}",
        f"icmp6 and src {SNAT6}",
    ):
        await eventually(lambda words=words: heard(f"ether src {own} and {words}").count(own) >= 3, words)
    for guest, far in ((GUEST4, FAR4), (GUEST6, FAR6)):
        await reaches(site.inside.netns, guest, far)
    for address in (FLOAT4, FLOAT6):
        await reaches(site.outside, FAR6 if ":" in address else FAR4, address)
    await session.change(pb.PlanDelta(revision=12, edges=[edge(floating=FLOATING, active=False)]))
    assert not pings(site.outside, FAR4, FLOAT4)
    assert "203.0.113" not in site.nsenter("ip address")
    for process in (tcpdump, listening):
        process.terminate()
        process.communicate()
    # 24 bytes are the header of the file (pcap-savefile(5)).
    assert inside_capture.stat().st_size == 24, "nothing is announced inside"


async def test_what_is_withdrawn_ends_at_once(site: EdgeSite, peer: SyncPeer) -> None:
    session = await settled(site, peer, edge(floating=FLOATING))
    inside, revision = site.inside.netns, 10
    for guest, far, float_ in ((GUEST4, FAR4, FLOAT4), (GUEST6, FAR6, FLOAT6)):
        await reaches(inside, guest, far)
        site.serve(inside, guest)
        site.serve(site.outside, far)
        inward, outward = site.connect(site.outside, far, float_), site.connect(inside, guest, far)
        plain = site.connect(inside, OTHER6 if ":" in guest else OTHER4, far)
        assert inward.works()
        assert outward.works()
        assert outward.peer == float_
        revision += 1
        await session.change(pb.PlanDelta(revision=revision, edges=[edge()]))
        assert inward.is_cut()
        assert outward.is_cut()
        assert plain.works(), "what it had no part in goes on"
        assert float_ not in site.nsenter("cat /proc/net/nf_conntrack")
        revision += 1
        await session.change(pb.PlanDelta(revision=revision, edges=[edge(snat=[], floating=FLOATING)]))
        assert plain.is_cut(), "the router has no address of its own any more"
        assert site.talk(inside, guest, far) == float_
        revision += 1
        await session.change(pb.PlanDelta(revision=revision, edges=[edge(floating=FLOATING)]))


async def test_a_guest_that_goes_on_sending_gets_its_new_address(site: EdgeSite, peer: SyncPeer) -> None:
    session = await settled(site, peer, edge(floating=FLOATING))
    await reaches(site.inside.netns, GUEST4, FAR4)
    # Echo requests of one identifier are one connection for connection tracking.
    ping = site.inside.netns.start("ping", "-n", "-i", "0.1", "-I", GUEST4, FAR4)
    assert ping.stdout is not None
    ping.stdout.readline()
    assert "bytes from" in ping.stdout.readline()
    await session.change(pb.PlanDelta(revision=11, edges=[edge()]))
    tracked = site.nsenter("cat /proc/net/nf_conntrack")
    assert FLOAT4 not in tracked
    await eventually(lambda: f"dst={SNAT4}" in site.nsenter("cat /proc/net/nf_conntrack"), "goes out anew")
    ping.kill()
    ping.communicate()


async def test_a_floating_address_moves_between_guests_and_edges(site: EdgeSite, peer: SyncPeer) -> None:
    session = await settled(site, peer, edge(floating=FLOATING), edge(8, last=3))
    second = site.add_inside(8)
    site.join(second)
    await reaches(site.outside, FAR4, FLOAT4)
    site.serve(site.inside.netns, GUEST4)
    site.serve(second.netns, OTHER4)
    talk = site.connect(site.outside, FAR4, FLOAT4)
    assert talk.works()
    moved = [edge(), edge(8, last=3, floating=floating((FLOAT4, OTHER4)))]
    await session.change(pb.PlanDelta(revision=11, edges=moved))
    assert talk.is_cut()
    # The outside had the MAC of the other edge in its cache: it was told.
    assert site.talk(site.outside, FAR4, FLOAT4) == FAR4
    assert "02:00:00:00:10:08" in site.outside.run(f"ip neigh show {FLOAT4}")


async def test_tenants_with_the_same_addresses_stay_apart(site: EdgeSite, peer: SyncPeer) -> None:
    await settled(site, peer, edge(), edge(8, last=3, floating=floating((FLOAT4, OTHER4))))
    second = site.add_inside(8)
    site.join(second)
    site.serve(site.outside, FAR4)
    for inside, own in ((site.inside, SNAT4), (second, "203.0.113.3")):
        await reaches(inside.netns, GUEST4, FAR4)
        assert site.talk(inside.netns, GUEST4, FAR4) == own
    site.serve(second.netns, OTHER4)
    assert site.talk(site.inside.netns, GUEST4, FLOAT4) == SNAT4, "they meet outside, under outside addresses"
    site.inside.netns.run("ip route add 203.0.113.0/24 via 100.127.0.2")
    assert not pings(site.inside.netns, GUEST4, "100.127.0.7")


async def test_a_restarted_agent_drops_nothing(site: EdgeSite, peer: SyncPeer) -> None:
    await settled(site, peer, edge(floating=FLOATING))
    inside = site.inside.netns
    await reaches(inside, OTHER4, FAR4)
    site.serve(site.outside, FAR4)
    site.serve(inside, GUEST6)
    talks = [site.connect(inside, OTHER4, FAR4), site.connect(site.outside, FAR6, FLOAT6)]
    assert all(talk.works() for talk in talks)
    tracked = site.nsenter("ip -o link")
    capture, own = site.directory / "again", "02:00:00:00:10:07"
    flags = ("-i", "eth0", "-nn", "-U", "--immediate-mode", "-w", str(capture))
    tcpdump = site.outside.start("tcpdump", *flags, "arp")
    ofport = site.host.interface("cli00000007", "ofport")

    def said() -> int:
        unasked = f"ether broadcast and ether src {own}"
        heard = site.outside.run(f"tcpdump -nn -r {capture} {unasked}", check=False)
        return heard.count(f"Reply {FLOAT4} is-at {own}")

    site.host.stop(signal.SIGKILL)
    assert all(talk.works() for talk in talks), "no agent is needed"
    before = said()
    site.start("tcp:127.0.0.1:1")
    await eventually(lambda: site.host.logged("plan recalled from disk"), "headless")
    site.host.stop()
    assert said() == before, "another host may have taken its place"
    # As another host would, that answered for it while this one was away.
    site.outside.run(f"ip neigh replace {FLOAT4} lladdr 02:00:00:00:99:99 dev eth0 nud reachable")
    site.start(peer.endpoint)
    session = await peer.session()
    session.welcome(1, TARGET)
    ack = await session.snapshot(10, pb.PlanDelta(revision=10, edges=[edge(floating=FLOATING)]))
    assert not ack.errors
    assert all(talk.works() for talk in talks)
    assert site.nsenter("ip -o link") == tracked
    assert site.host.interface("cli00000007", "ofport") == ofport
    await eventually(lambda: said() > before, "announced when a controller has confirmed it")
    await eventually(lambda: own in site.outside.run(f"ip neigh show {FLOAT4}"), "believed")
    tcpdump.terminate()
    tcpdump.communicate()
    assert not session.drifts()


async def test_after_a_restart_of_the_machine_it_waits_for_a_controller(
    site: EdgeSite, peer: SyncPeer
) -> None:
    await settled(site, peer, edge(floating=FLOATING))
    await reaches(site.outside, FAR4, FLOAT4)
    held = site.host.state_dir / "edges" / "e7"
    site.host.stop(signal.SIGKILL)
    sh(f"umount {held}")
    await eventually(lambda: "cli00000007" not in sh("ip -br link"), "gone with the namespace")
    site.start("tcp:127.0.0.1:1")
    await eventually(lambda: site.host.logged("edge is as planned")[1:], "made anew")
    assert "state DOWN" in site.nsenter("ip link show outside")
    assert not pings(site.outside, FAR4, FLOAT4), "another host may have taken its place"
    site.host.stop()
    site.start(peer.endpoint)
    session = await peer.session()
    session.welcome(1, TARGET)
    ack = await session.snapshot(10, pb.PlanDelta(revision=10, edges=[edge(floating=FLOATING)]))
    assert not ack.errors
    site.ovs.ofctl("del-flows", "br-int")
    site.join(site.inside)
    await reaches(site.outside, FAR4, FLOAT4)


async def test_leftovers_go_and_nothing_else(site: EdgeSite, peer: SyncPeer) -> None:
    session = await settled(site, peer, edge(), edge(8, last=3))
    held = site.host.state_dir / "edges"
    site.host.stop(signal.SIGKILL)
    sh("ip link add cli000000aa type veth peer name clo000000aa")
    sh("ip link add mine type veth peer name yours")
    site.ovs.vsctl("add-port", BRIDGE, "clo000000aa", "--", "add-port", BRIDGE, "mine")
    (held / "e99").touch()
    (held / "notes").touch()
    site.start(peer.endpoint)
    session = await peer.session()
    session.welcome(1, TARGET)
    ack = await session.snapshot(11, pb.PlanDelta(revision=11, edges=[edge()]))
    assert not ack.errors
    assert {path.name for path in held.iterdir()} == {"e7", "e7.rules", "notes"}
    names = {line.split("@")[0].split()[0] for line in sh("ip -br link").splitlines()}
    assert {n for n in names if n[:3] in ("cli", "clo")} == {"cli00000007", "clo00000007"}
    assert "mine" in names
    assert set(site.ovs.vsctl("list-ports", BRIDGE).split()) == {"clo00000007", "mine", "tapx"}
    await session.change(pb.PlanDelta(revision=12, removed_edges=[7]))
    assert {path.name for path in held.iterdir()} == {"notes"}
    assert "cli00000007" not in site.ovs.vsctl("list-ports", "br-int")
    assert str(held) not in Path("/proc/self/mounts").read_text()


TAMPERINGS = {
    "address": "ip address del 203.0.113.5/32 dev outside",
    "foreign address": "ip address add 203.0.113.77/32 dev outside",
    "route": "ip route del default",
    "inside route": "ip -6 route del fd00:10::/64",
    "neighbour": "ip neigh replace 100.127.0.1 lladdr 02:00:00:00:00:99 dev inside nud permanent",
    "rules": "nft flush ruleset",
    "policy": "nft 'chain ip cloison forward { policy accept ; }'",
    "foreign rules": "nft add table ip other",
    "link": "ip link set outside down",
    "leg": "ip link del inside",
    "setting": "sysctl -qw net.ipv4.conf.outside.arp_ignore=0",
    "forwarding": "sysctl -qw net.ipv4.ip_forward=0",
}


async def test_what_others_change_is_told_and_put_right(site: EdgeSite, peer: SyncPeer) -> None:
    session = await settled(site, peer, edge(floating=FLOATING), audit_interval_s=0.3)
    for what, command in TAMPERINGS.items():
        await reaches(site.inside.netns, GUEST4, FAR4)
        known = len(session.drifts())
        site.nsenter(command)
        drift = await session.until(lambda known=known: session.drifts()[known:], what)
        assert drift[0].kind == "EDGE_ALTERED", what
        assert "edge 7 of tenants/acme/routers/r7" in drift[0].details[0], what
        if what == "leg":
            await eventually(
                lambda: int(site.host.interface("cli00000007", "ofport") or 0) > 0, "plugged anew"
            )
            site.ovs.ofctl("del-flows", "br-int")
            site.join(site.inside)
        await reaches(site.inside.netns, GUEST4, FAR4)
        await reaches(site.outside, FAR4, FLOAT4)
    assert "other" not in site.nsenter("nft list tables")
    assert "policy accept" not in site.nsenter("nft list chain ip cloison forward")


async def test_a_port_that_is_taken_off_a_bridge_comes_back(site: EdgeSite, peer: SyncPeer) -> None:
    session = await settled(site, peer, edge())
    site.ovs.vsctl("del-port", "clo00000007")
    await session.drift("EDGE_PORT_ALTERED")
    await reaches(site.inside.netns, GUEST4, FAR4)
    site.ovs.vsctl("set", "port", "clo00000007", "tag=9")
    await eventually(lambda: site.ovs.vsctl("get", "port", "clo00000007", "tag").strip() == "0", "tag")


async def test_edges_are_in_the_vlan_of_their_network(site: EdgeSite, peer: SyncPeer) -> None:
    await settled(site, peer, edge(vlan=100))
    assert not pings(site.inside.netns, GUEST4, FAR4)
    site.ovs.vsctl("set", "port", "tapx", "tag=100")
    await reaches(site.inside.netns, GUEST4, FAR4)
    await reaches(site.inside.netns, GUEST6, FAR6)


async def test_an_edge_that_cannot_be_is_told_of_and_stops_no_other(site: EdgeSite, peer: SyncPeer) -> None:
    session = await settled(site, peer, edge())
    wrong = [
        edge(8, last=3, physical_network="physnet9"),
        edge(9, last=4, floating=floating(("203.0.113.9", "192.0.2.1"))),
        edge(10, last=5, floating=floating(("203.0.113.10", GUEST4))),
    ]
    ack = await session.change(pb.PlanDelta(revision=11, edges=wrong))
    reasons = {error.reason: error for error in ack.errors}
    assert set(reasons) == {"EDGE_UNMAPPED", "EDGE_INVALID"}
    assert "tenants/acme/routers/r8" in reasons["EDGE_UNMAPPED"].subjects
    assert "edge 9 of tenants/acme/routers/r9" in reasons["EDGE_INVALID"].message
    assert "192.0.2.1 is not inside" in reasons["EDGE_INVALID"].message
    assert "203.0.113.10" in site.nsenter("ip address", 10)
    ack = await session.change(pb.PlanDelta(revision=12, removed_edges=[8, 9]))
    assert not ack.errors


async def test_a_bridge_that_is_not_there_is_told_and_edges_follow_it(site: EdgeSite, peer: SyncPeer) -> None:
    site.ovs.vsctl("del-br", BRIDGE)
    site.start(peer.endpoint)
    session = await peer.session()
    assert not session.hello.physical_networks
    session.welcome(1, TARGET)
    ack = await session.snapshot(10, pb.PlanDelta(revision=10, edges=[edge()]))
    assert [error.reason for error in ack.errors] == ["EDGE_BRIDGE_MISSING"]
    assert site.host.logged("bridge of a physical network is not there")
    site.ovs.vsctl("add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev")
    site.ovs.vsctl("add-port", BRIDGE, "tapx", "tag=0")
    session = await peer.session()
    assert list(session.hello.physical_networks) == [PHYSNET]
    session.welcome(1, TARGET)
    ack = await session.snapshot(10, pb.PlanDelta(revision=10, edges=[edge()]))
    assert not ack.errors
    site.join(site.inside)
    await reaches(site.inside.netns, GUEST4, FAR4)
