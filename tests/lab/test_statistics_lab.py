"""What the switch has counted of a port is what was really sent: spoofed, refused by a group, delivered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from cloison.v1 import port_pb2
from tests.lab.clients import ping, received_frames
from tests.lab.forgeries import HIM4, ME, ME4
from tests.lab.policies import Policies, rule
from tests.lab.spine import Site, cloison, site, status_code
from topologies.client import CALL_S
from topologies.wait import wait_until

SPOOFED, REFUSED, DELIVERED = 100, 50, 20
OPEN_PORT, CLOSED_PORT = 4000, 4001
SEND_INTERVAL_S = 0.002
COUNTED_S = 10.0
FRAME_BYTES = 100


@pytest.fixture(scope="module")
def cloud(module_run_dir: Path) -> Iterator[Site]:
    """The attacker red/p1 on h1; p4 beside it and p2 on h2 hear one UDP port and nothing else."""
    with site(module_run_dir) as cloud:
        port = cloud.create_port("tenants/red/networks/web", "p4", "h1", mac="52:54:00:00:00:14",
                                 addresses=["10.0.0.14", "fd00:10::14"])  # fmt: skip
        cloud.adopt(port, cloud.lab.plug_port(port))
        cloud.wait_active()
        for name in ("p2", "p4"):
            wait_until(
                lambda name=name: ping(cloud.guests["red/p1"], cloud.guests[f"red/{name}"]), COUNTED_S, name
            )
        red = Policies(cloud, "red")
        red.group("narrow", rule(version=4, protocol="udp", ports=(OPEN_PORT, OPEN_PORT)))
        for name in ("p2", "p4"):
            red.put(cloud.ports[f"red/{name}"].name, ["narrow"])
        red.enforced()
        yield cloud


@dataclass(frozen=True)
class Look:
    """The counters at one time; drops by (reason, table, of the port alone)."""

    received: int
    admitted: int
    delivered: int
    drops: dict[tuple[str, str, bool], int]

    @classmethod
    def at(cls, cloud: Site, short: str) -> Look:
        request = port_pb2.GetPortStatisticsRequest(name=cloud.ports[short].name)
        told = cloud.client.ports.GetPortStatistics(request, timeout=CALL_S)
        drops = {(d.reason, d.table, d.of_port): d.count.packets for d in told.drops}
        return cls(told.received_from_guest.packets, told.admitted.packets, told.delivered.packets, drops)

    def since(self, before: Look) -> Look:
        """What came between."""
        drops = {key: n - before.drops.get(key, 0) for key, n in self.drops.items()}
        return Look(
            self.received - before.received,
            self.admitted - before.admitted,
            self.delivered - before.delivered,
            {key: n for key, n in drops.items() if n},
        )


def heard_by(cloud: Site, short: str) -> tuple[Look, int]:
    """The counters of a port, and how many frames its guest has received at that time."""

    def at_rest() -> tuple[Look, int] | None:
        before = received_frames(cloud.guests[short])
        look = Look.at(cloud, short)
        # (Kernels look for neighbours and routers whenever they like.)
        return (look, before) if received_frames(cloud.guests[short]) == before else None

    found = wait_until(at_rest, COUNTED_S, "a moment in which nothing comes")
    assert found is not None
    return found


def frame(to: port_pb2.Port, source: str, port: int) -> bytes:
    """One UDP packet of red/p1's to a guest: other numbers of ports make it another connection."""
    address = next(ip.ip_address for ip in to.fixed_ips if "." in ip.ip_address)
    made: Packet = Ether(src=ME, dst=to.mac_address) / IP(src=source, dst=address) / UDP(sport=9, dport=port)
    raw = bytes(made / Raw(bytes(FRAME_BYTES - len(made))))
    assert len(raw) == FRAME_BYTES
    return raw


def at_rest(cloud: Site, target: str) -> tuple[Look, Look, int]:
    """The counters of red/p1, those of the target, and how many frames the target's guest has received.

    At a time when nothing came and nothing was still to be counted: the switch counts some time after it
    forwards. So a frame of each kind is sent, and counted, and it was these alone.
    """
    to = cloud.ports[f"red/{target}"]

    def look() -> tuple[Look, Look, int]:
        return (Look.at(cloud, "red/p1"), *heard_by(cloud, f"red/{target}"))

    def alone() -> tuple[Look, Look, int] | None:
        mine, yours, heard = look()
        marks = [frame(to, HIM4, OPEN_PORT), frame(to, ME4, OPEN_PORT)]
        assert cloud.guests["red/p1"].send(marks) == len(marks)

        def counted() -> tuple[Look, Look, int] | None:
            now = look()
            sent, got = now[0].since(mine), now[1].since(yours)
            return now if sent.drops.get(("SPOOFED", "CLAIMED", True)) and got.delivered else None

        now = wait_until(counted, COUNTED_S, "the marks counted")
        assert now is not None
        sent, got = now[0].since(mine), now[1].since(yours)
        return now if (sent.received, sent.admitted, got.delivered, now[2] - heard) == (2, 1, 1, 1) else None

    found = wait_until(alone, 2 * COUNTED_S, "a moment of rest")
    assert found is not None
    return found


@pytest.mark.parametrize("target", ["p4", "p2"], ids=["on-one-host", "on-two-hosts"])
def test_the_numbers_say_what_was_sent(cloud: Site, target: str) -> None:
    me, to = cloud.guests["red/p1"], cloud.ports[f"red/{target}"]
    mine, yours, heard = at_rest(cloud, target)
    frames = [
        *([frame(to, HIM4, OPEN_PORT)] * SPOOFED),
        *([frame(to, ME4, CLOSED_PORT)] * REFUSED),
        *([frame(to, ME4, OPEN_PORT)] * DELIVERED),
    ]
    assert me.send(frames, SEND_INTERVAL_S) == len(frames)

    def counted() -> bool:
        # Raised so that the last thing seen is in the message when time is over.
        sent, (look, heard_now) = Look.at(cloud, "red/p1").since(mine), heard_by(cloud, f"red/{target}")
        got = look.since(yours)
        assert sent.drops.get(("SPOOFED", "CLAIMED", True)) == SPOOFED, sent
        assert got.drops.get(("NOT_ADMITTED_BY_POLICY", "INGRESS", True)) == REFUSED, got
        # Guests also say something of themselves now and then (neighbour discovery): that is counted, too.
        said = sent.received - len(frames)
        assert 0 <= said < DELIVERED, sent
        assert sent.admitted == REFUSED + DELIVERED + said, sent
        assert got.delivered == heard_now - heard, (got, heard_now - heard)
        assert DELIVERED <= got.delivered < DELIVERED + REFUSED, got
        assert {key for key in got.drops if key[2]} == {("NOT_ADMITTED_BY_POLICY", "INGRESS", True)}, got
        assert {key for key in sent.drops if key[2]} == {("SPOOFED", "CLAIMED", True)}, sent
        return True

    wait_until(counted, COUNTED_S, "all counted")


def test_the_whole_hosts_drops_are_told_beside(cloud: Site) -> None:
    before = Look.at(cloud, "red/p4")
    nobody = cloud.ports["red/p4"]
    assert cloud.guests["red/p1"].send([frame(nobody, HIM4, OPEN_PORT)] * 7, SEND_INTERVAL_S) == 7

    def counted() -> bool:
        now = Look.at(cloud, "red/p4").since(before)
        assert now.drops.get(("SPOOFED", "CLAIMED", False), 0) >= 7, now
        return True

    wait_until(counted, COUNTED_S, "what another port forged")
    assert not [key for key in Look.at(cloud, "red/p4").since(before).drops if key[2]]


def test_on_the_command_line(cloud: Site) -> None:
    name = cloud.ports["red/p1"].name
    shown = cloison(cloud.lab, "port", "stats", name)
    assert shown.returncode == 0, shown.stderr
    assert any(line.split()[:2] == ["SPOOFED", "CLAIMED"] for line in shown.stdout.splitlines())
    told = json.loads(cloison(cloud.lab, "port", "stats", name, "-o", "json").stdout)
    assert (told["name"], told["host"]) == (name, "hosts/h1")


def test_a_port_that_is_plugged_nowhere_is_refused(cloud: Site) -> None:
    port = cloud.create_port("tenants/red/networks/web", "p9", "h1", mac="52:54:00:00:00:19",
                             addresses=["10.0.0.19"])  # fmt: skip
    request = port_pb2.GetPortStatisticsRequest(name=port.name)
    code = status_code(lambda: cloud.client.ports.GetPortStatistics(request, timeout=CALL_S))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
