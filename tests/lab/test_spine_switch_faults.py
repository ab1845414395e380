"""Open vSwitch dies, loses its database, a whole host dies: closed meanwhile, ACTIVE afterwards.

While each of it happens one tenant floods, and nothing of that may reach the other tenant.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from cloison.v1 import port_pb2
from tests.lab.observe import reinstalled, table, tables
from tests.lab.spine import ACTIVE, SETTLE_S, Site, site, unconfirmed
from tests.lab.traffic import Pings, reaches, wait_reaches
from topologies.capture import settle
from topologies.daemon import Daemon
from topologies.demo import probes
from topologies.demo.guests import Token, guests
from topologies.host import Host
from topologies.state import LabState
from topologies.switch import BRIDGE
from topologies.wait import wait_until
from topologies.workload import Workload

BACK_S = 30.0
FLOOD_PAUSE_S = 0.03


@pytest.fixture(scope="module")
def lab_site(module_run_dir: Path) -> Iterator[Site]:
    with site(module_run_dir) as built:
        yield built


@pytest.fixture
def cloud(lab_site: Site) -> Site:
    """The lab with everything up."""
    lab_site.lab.wait_connected()
    lab_site.wait_active(timeout_s=BACK_S)
    return lab_site


def agent(host: Host) -> Daemon:
    assert host.agent is not None
    return host.agent


@contextlib.contextmanager
def flooding(cloud: Site, tenant: str = "red") -> Iterator[None]:
    """Every guest of a tenant sends all that a switch might spread; none of it may reach the others.

    Each frame carries a token of its sender, so the others may talk among themselves meanwhile.
    """
    people = guests(LabState.load(cloud.lab.run_dir), {n: n.split("-")[0] for n in cloud.lab.workloads})
    senders = {g.index: g for g in people if g.tenant == tenant}
    victims = [g for g in people if g.tenant != tenant]
    bursts = {g.name: [f for _, f in probes.flood(g, victims, 2)] for g in senders.values()}
    over = threading.Event()
    sent: Counter[str] = Counter()

    def flood() -> None:
        while not over.wait(FLOOD_PAUSE_S):
            for name, burst in bursts.items():
                sent[name] += cloud.lab.workloads[name].send(burst)

    sender = threading.Thread(target=flood, name="flood", daemon=True)
    with contextlib.ExitStack() as stack:
        captures = {g.name: stack.enter_context(cloud.lab.workloads[g.name].capture()) for g in victims}
        sender.start()
        try:
            yield
        finally:
            over.set()
            sender.join()
        settle(list(captures.values()), timeout_s=1)
    assert all(sent.values())
    leaks = {
        name: [
            f"{found} in {frame.data[:60].hex()}"
            for frame in capture.frames
            if (found := Token.find(frame.data)) and found.source in senders
        ][:3]
        for name, capture in captures.items()
    }
    assert not any(leaks.values()), leaks


def replug(host: Host, guest: Workload) -> None:
    """What the IaaS does when a host has lost its database: put the guest's interface on the bridge again."""
    tap, ids = guest.plug.tap, f"external_ids:iface-id={guest.plug.iface_id}"
    host.switch.vsctl("--may-exist", "add-port", BRIDGE, tap, "--", "set", "Interface", tap, ids)


def test_a_killed_vswitchd_is_closed_until_the_controller_has_filled_it_again(cloud: Site) -> None:
    host = cloud.host("h1")
    before = table(host)
    cloud.lab.controller.kill()
    with flooding(cloud):
        host.vswitchd.kill()
        host.vswitchd.start()
        # Nobody has said anything yet: not one flow, and not one frame passes, within a tenant either.
        assert table(host).flows == {}
        assert not reaches(cloud.guests["red/p1"], cloud.guests["red/p2"], timeout_s=0.5)
        cloud.lab.controller.start()
        cloud.wait_active(timeout_s=BACK_S)
        wait_until(lambda: set(table(host).flows) == set(before.flows), BACK_S, "the same flows")
    for tenant in ("red", "blue"):
        wait_reaches(cloud.guests[f"{tenant}/p1"], cloud.guests[f"{tenant}/p2"])


def test_a_killed_vswitchd_comes_back_by_itself_and_leaks_nothing_meanwhile(cloud: Site) -> None:
    host, others = cloud.host("h2"), ("h1", "h3")
    before, drifts = tables(cloud.lab), cloud.drifts()
    with Pings(cloud.guests["red/p1"], cloud.guests["red/p3"]) as untouched, flooding(cloud):
        host.vswitchd.kill()
        host.vswitchd.start()
        wait_until(lambda: set(table(host).flows) == set(before["h2"].flows), BACK_S, "the same flows")
        cloud.wait_active(timeout_s=BACK_S)
    wait_reaches(cloud.guests["red/p1"], cloud.guests["red/p2"])
    wait_reaches(cloud.guests["blue/p3"], cloud.guests["blue/p2"], 6)
    assert untouched.lost == []
    after = tables(cloud.lab)
    assert reinstalled({h: before[h] for h in others}, {h: after[h] for h in others}) == {}
    # A switch that lost its flows in a restart is no drift.
    assert cloud.drifts() == drifts


def test_a_killed_ovsdb_server_comes_back_and_leaks_nothing_meanwhile(cloud: Site) -> None:
    host = cloud.host("h3")
    before = set(table(host).flows)
    with flooding(cloud):
        host.ovsdb.kill()
        host.ovsdb.start()
        wait_reaches(cloud.guests["red/p1"], cloud.guests["red/p3"], timeout_s=BACK_S)
        cloud.wait_active(timeout_s=BACK_S)
    wait_until(lambda: set(table(host).flows) == before, BACK_S, "the same flows")


def test_a_host_that_lost_its_database_is_closed_and_converges(cloud: Site) -> None:
    host = cloud.host("h2")
    dpid = cloud.host_status("h2").datapath_id
    with flooding(cloud):
        host.ovsdb.kill()
        host.switch.create_database()
        host.ovsdb.start()

        def made_again() -> bool:
            secure = host.switch.vsctl("get-fail-mode", BRIDGE).stdout.strip()
            # It is never there without it: one transaction.
            assert secure == "secure"
            return True

        wait_until(made_again, BACK_S, "br-int made again by the agent")
        for tenant in ("red", "blue"):
            name = cloud.ports[f"{tenant}/p2"].name
            wait_until(lambda name=name: cloud.state(name)[0] != ACTIVE, BACK_S, f"{name} not ACTIVE")
            replug(host, cloud.guests[f"{tenant}/p2"])
        cloud.wait_active(timeout_s=BACK_S)
    for tenant in ("red", "blue"):
        wait_reaches(cloud.guests[f"{tenant}/p1"], cloud.guests[f"{tenant}/p2"], timeout_s=BACK_S)
        wait_reaches(cloud.guests[f"{tenant}/p2"], cloud.guests[f"{tenant}/p3"], 6, timeout_s=BACK_S)
    assert cloud.host_status("h2").switch_connected
    assert cloud.host_status("h2").datapath_id != dpid or host.switch.has_bridge()


def test_ports_that_come_back_under_other_numbers_stay_apart(cloud: Site) -> None:
    """The database is lost while the agent is down, and the guests get each other's former OpenFlow ports.

    What etcd still says of those numbers must not let one tenant in where the other was.
    """
    host = cloud.host("h3")
    red, blue = cloud.guests["red/p3"], cloud.guests["blue/p3"]
    former = {w.name: _ofport(host, w) for w in (red, blue)}
    agent(host).kill()
    host.ovsdb.kill()
    host.switch.create_database()
    host.ovsdb.start()
    wait_until(lambda: BRIDGE not in host.switch.appctl("ofproto/list").stdout, 10, "the bridge gone")
    with flooding(cloud):
        # The IaaS is quicker than the agent, and plugs in the other order.
        host.switch.make_bridge()
        for guest, number in ((blue, former[red.name]), (red, former[blue.name])):
            replug(host, guest)
            host.switch.vsctl("set", "Interface", guest.plug.tap, f"ofport_request={number}")
        wait_until(lambda: _ofport(host, blue) == former[red.name], SETTLE_S, "the numbers swapped")
        agent(host).start()
        cloud.wait_active(timeout_s=BACK_S)
        for tenant in ("red", "blue"):
            wait_reaches(cloud.guests[f"{tenant}/p1"], cloud.guests[f"{tenant}/p3"], timeout_s=BACK_S)


def test_a_switch_that_comes_back_without_its_agent_lets_nobody_in_by_a_stale_number(cloud: Site) -> None:
    """The bridge is kept: the switch restarts and dials in while no agent says what is plugged."""
    host = cloud.host("h3")
    red, blue = cloud.guests["red/p3"], cloud.guests["blue/p3"]
    former = {w.name: _ofport(host, w) for w in (red, blue)}
    agent(host).kill()
    for guest in (red, blue):
        host.switch.vsctl("del-port", BRIDGE, guest.plug.tap)
    host.vswitchd.kill()
    with flooding(cloud):
        host.vswitchd.start()
        wait_until(lambda: cloud.host_status("h3").switch_connected, BACK_S, "the switch connected")
        for guest, number in ((blue, former[red.name]), (red, former[blue.name])):
            replug(host, guest)
            host.switch.vsctl("set", "Interface", guest.plug.tap, f"ofport_request={number}")
        wait_until(lambda: _ofport(host, blue) == former[red.name], SETTLE_S, "the numbers swapped")
        # Long enough for a stale flow to be used by the flood.
        for _ in range(3):
            reaches(cloud.guests["red/p1"], cloud.guests["red/p3"], timeout_s=0.3)
        agent(host).start()
        cloud.wait_active(timeout_s=BACK_S)
    for tenant in ("red", "blue"):
        wait_reaches(cloud.guests[f"{tenant}/p1"], cloud.guests[f"{tenant}/p3"], timeout_s=BACK_S)


def _ofport(host: Host, guest: Workload) -> str:
    return host.switch.vsctl("get", "Interface", guest.plug.tap, "ofport").stdout.strip()


def test_a_dead_host_is_named_and_the_others_go_on(cloud: Site) -> None:
    host = cloud.host("h3")
    before = tables(cloud.lab)
    port: port_pb2.Port | None = None
    with Pings(cloud.guests["red/p1"], cloud.guests["red/p2"]) as pings, flooding(cloud):
        for daemon in (agent(host), host.vswitchd, host.ovsdb):
            daemon.kill()
        pings.wait_more(30)
        port = cloud.create_port("tenants/blue/networks/web", "p8", "h1")
        guest = cloud.plug_as(port, "h1", "blue-p8")
        cloud.guests["blue/p8"] = guest
        wait_until(lambda: unconfirmed(cloud, port.name) == {"hosts/h3"}, SETTLE_S, "h3 alone is missing")
        wait_reaches(guest, cloud.guests["blue/p2"])
        wait_until(lambda: unconfirmed(cloud) == {"hosts/h3"}, SETTLE_S, "h3 alone is missing of all")
        # The network of a tenant that is not on that host is nobody's worry.
        pings.wait_more(30)
    assert pings.lost == []
    after = tables_of(cloud, "h1", "h2")
    assert {h: before[h].kept(after[h]) for h in after} == {"h1": [], "h2": []}
    host.ovsdb.start()
    host.vswitchd.start()
    agent(host).start()
    assert cloud.client.wait_realized(port.name, timeout_s=int(BACK_S)).realized
    wait_reaches(guest, cloud.guests["blue/p3"], timeout_s=SETTLE_S)
    cloud.lab.unplug(cloud.guests.pop("blue/p8"))
    cloud.delete_port(port.name)
    with pytest.raises(grpc.RpcError):
        cloud.port(port.name)


def tables_of(cloud: Site, *names: str) -> dict[str, object]:
    return {name: table(cloud.host(name)) for name in names}
