"""Real clients in a guest's namespace get what the agent has for them: addresses, answers, the MTU.

The agent is a real process on a real Open vSwitch; the flows are those that a controller would write, put in
by hand, and no controller is alive when it counts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
import pytest_asyncio

from cloison.v1 import host_sync_pb2 as pb
from tests.support.agent_host import AgentHost, eventually
from tests.support.guest_netns import GuestNamespace
from tests.support.guests import DNS4, DNS6, METADATA4, METADATA6
from tests.support.netns import network_namespace, sh
from tests.support.ovs import Ovs
from tests.support.served import MTU, SLAAC, VNI, serve, service_port
from tests.support.sync_peer import SyncPeer

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

MAC_TEXT, EUI64 = "fa:16:3e:00:00:05", "fd01::f816:3eff:fe00:5"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[AgentHost]:
    with network_namespace(), Ovs(dummy=False) as ovs:
        running = AgentHost(tmp_path, ovs)
        try:
            yield running
        finally:
            running.close()


@pytest_asyncio.fixture
async def peer(tmp_path: Path) -> AsyncIterator[SyncPeer]:
    async with SyncPeer(tmp_path / "c1.sock") as running:
        yield running


@pytest.fixture
def guest(host: AgentHost, tmp_path: Path) -> Iterator[GuestNamespace]:
    with GuestNamespace(tmp_path, MAC_TEXT) as running:
        yield running


async def test_a_guest_gets_its_addresses_with_no_controller_alive(
    host: AgentHost, peer: SyncPeer, guest: GuestNamespace
) -> None:
    await serve(host, peer, {"tap1": service_port()})
    await peer.stop()
    told = guest.dhclient(4)
    assert (told["new_ip_address"], told["new_subnet_mask"]) == ("10.0.0.5", "255.255.255.0")
    assert (told["new_dhcp_server_identifier"], told["new_domain_name_servers"]) == (DNS4, DNS4)
    assert (told["new_interface_mtu"], told["new_host_name"]) == (str(MTU), "vm5")
    assert told["new_domain_search"].strip(".") == "blue.acme.cloison.internal"
    assert (
        told["new_rfc3442_classless_static_routes"] == "32 169 254 169 253 0 0 0 0 32 169 254 169 254 0 0 0 0"
    )
    assert "inet 10.0.0.5/24" in guest.addresses()
    told = guest.dhclient(6)
    assert told["new_ip6_address"] == "fd01::5"
    assert told["new_dhcp6_name_servers"] == DNS6
    assert told["new_dhcp6_domain_search"].strip(".") == "blue.acme.cloison.internal"


async def test_the_services_are_there_for_a_guest_that_has_its_addresses(
    host: AgentHost, peer: SyncPeer, guest: GuestNamespace
) -> None:
    await serve(host, peer, {"tap1": service_port()})
    told = guest.udhcpc()
    assert (told["ip"], told["serverid"], told["mtu"]) == ("10.0.0.5", DNS4, str(MTU))
    assert told["staticroutes"] == f"{DNS4}/32 0.0.0.0 {METADATA4}/32 0.0.0.0"
    guest.run(f"ip route add {DNS4}/32 dev eth0")
    guest.run(f"ip route add {METADATA4}/32 dev eth0")
    for address in (DNS4, METADATA4):
        guest.run(f"ping -c 2 -i 0.2 -W 5 {address}")
    assert "0a:f3:00:00:00:01" in guest.run(f"ip neigh show {METADATA4}")
    # The kernel has solicited a router by now: the prefix of the services is on the link.
    guest.run("ip -6 addr add fd01::5/64 dev eth0")
    await eventually(lambda: "fd00:ec2::/64" in guest.run("ip -6 route"), "the prefix of the services")
    for address in (DNS6, METADATA6):
        guest.run(f"ping -6 -c 2 -i 0.2 -W 5 {address}")
    guest.run("ping -c 1 -W 5 -s 4000 -M want 10.0.0.9", check=False)


async def test_names_and_metadata_are_asked_for_through_the_switch(
    host: AgentHost, peer: SyncPeer, guest: GuestNamespace
) -> None:
    session = await serve(host, peer, {"tap1": service_port()})
    named = pb.ZoneHost(name="vm5", addresses=[ip_address("10.0.0.5").packed, ip_address("fd01::5").packed])
    zone = pb.ZoneDelta(
        vni=VNI, network="tenants/acme/networks/blue", domain="blue.acme.cloison.internal", upserted=[named]
    )
    await session.change(pb.PlanDelta(revision=11, zones=[zone]))
    await peer.stop()
    guest.udhcpc()
    guest.dhclient(6)
    guest.run(f"ip route add {DNS4}/32 dev eth0")
    guest.run(f"ip route add {METADATA4}/32 dev eth0")
    name = "vm5.blue.acme.cloison.internal"
    assert guest.run(f"dig +short @{DNS4} {name}").split() == ["10.0.0.5"]
    assert guest.run(f"dig +short +tcp @{DNS6} {name} AAAA").split() == ["fd01::5"]
    assert guest.run(f"dig +short @{DNS6} -x 10.0.0.5").split() == [f"{name}."]
    for address in (METADATA4, f"[{METADATA6}]"):
        # Nobody was named whom the agent could ask; that is said, by HTTP.
        assert guest.run(f"curl -s -m 10 -i http://{address}/").startswith("HTTP/1.1 404 ")


async def test_a_guest_makes_its_address_itself(
    host: AgentHost, peer: SyncPeer, guest: GuestNamespace
) -> None:
    await serve(host, peer, {"tap1": service_port(5, SLAAC, EUI64)})
    guest.run("ip link set eth0 up")
    await eventually(lambda: "fd01::f816:3eff:fe00:5/64" in guest.addresses(), "the address")
    assert "mtu 1450" in guest.run("ip -6 route show fd01::/64 dev eth0") or "1450" in guest.run(
        "sysctl net.ipv6.conf.eth0.mtu"
    )
    assert "default" not in guest.run("ip -6 route"), "there is no router"
    assert "fd00:ec2:" not in guest.addresses(), "no address among the services"


async def test_a_change_reaches_a_guest_at_once(
    host: AgentHost, peer: SyncPeer, guest: GuestNamespace
) -> None:
    session = await serve(host, peer, {"tap1": service_port(5, SLAAC, EUI64)})
    guest.run("ip link set eth0 up")
    mtu = "sysctl -n net.ipv6.conf.eth0.mtu"
    await eventually(lambda: guest.run(mtu).strip() == str(MTU), "the MTU")
    changed = service_port(5, SLAAC, EUI64)
    changed.mtu = 1300
    ack = await session.change(pb.PlanDelta(revision=11, service_ports=[changed]))
    assert not ack.errors
    await eventually(lambda: guest.run(mtu).strip() == "1300", "the new MTU")
    await session.change(pb.PlanDelta(revision=12, removed_service_ports=[changed.number]))
    assert "no lease" in guest.run(f"udhcpc -i eth0 -n -q -f -t 2 -T 1 -s {guest.script}", check=False)


async def test_what_is_too_large_makes_a_guest_learn_the_mtu(
    host: AgentHost, peer: SyncPeer, guest: GuestNamespace
) -> None:
    await serve(host, peer, {"tap1": service_port()})
    guest.run("sysctl -qw net.ipv6.conf.eth0.accept_ra=0")  # it would tell the MTU before it is needed
    guest.run("ip link set eth0 up")
    guest.run("ip addr add 10.0.0.5/24 dev eth0")
    guest.run("ip -6 addr add fd01::5/64 dev eth0")
    for peer_address in ("10.0.0.9", "fd01::9"):
        guest.run(f"ip neigh add {peer_address} lladdr fa:16:3e:00:00:09 dev eth0")
        said = guest.run(f"ping -c 1 -W 15 -s 1440 -M do {peer_address}", check=False)
        assert f"mtu = {MTU}" in said or f"mtu={MTU}" in said, said
        assert f"mtu {MTU}" in guest.run(f"ip route get {peer_address}")


async def test_a_restarted_agent_goes_on_serving(
    host: AgentHost, peer: SyncPeer, guest: GuestNamespace
) -> None:
    await serve(host, peer, {"tap1": service_port()})
    await peer.stop()
    for _ in range(2):
        assert guest.udhcpc()["ip"] == "10.0.0.5"
        host.stop()
        host.start(peer.endpoint)


async def test_devices_of_the_services_are_made_anew_with_the_same_port(
    host: AgentHost, peer: SyncPeer, guest: GuestNamespace
) -> None:
    session = await serve(host, peer, {"tap1": service_port()})
    assert guest.udhcpc()["ip"] == "10.0.0.5"
    before = host.interface("cl-services", "ofport")
    index = sh("ip -o link show cl-services").split(":")[0]
    sh("ip link del cl-services")
    await eventually(lambda: "cl-services@" in sh("ip -o link"), "the device")
    assert sh("ip -o link show cl-services").split(":")[0] != index
    await session.drift("BRIDGE_ALTERED")
    await eventually(lambda: host.interface("cl-services", "ofport") == before, "its old number")
    assert guest.udhcpc()["ip"] == "10.0.0.5"


async def test_the_host_hears_nothing_of_the_services_devices(
    host: AgentHost, peer: SyncPeer, guest: GuestNamespace
) -> None:
    await serve(host, peer, {"tap1": service_port()})
    shown = sh("nft list set inet cloison guarded")
    assert "cl-services" in shown
    assert "cl-services-a" in shown
    assert "inet6" not in sh("ip addr show cl-services") + sh("ip addr show cl-services-a")
    assert host.ovs.appctl("dpctl/ct-get-limits", "netdev@ovs-netdev").split() == ["default", "limit=65536"]
