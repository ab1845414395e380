"""Rows about packets: that both sides judge alike, and that a rule taken away holds at once.

Both with guests of one host, so that one switch sees a packet's whole way.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.bench.catalogue import LEAKS, VERDICTS, Rows
from tests.bench.chassis import BRIDGE
from tests.bench.control import Control
from tests.bench.layout import Guest
from tests.bench.stage import Stage
from topologies.wait import wait_until

HOST = 0
SPOOFED = 0.2
STRANGERS = 0.3
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1}
OPEN_TCP = 4_321
PROBES = 20
FIRST_PORT = 1_000
ARRIVE_S = 5.0
_ACTIONS = re.compile(r"^Datapath actions: (.*)$", re.MULTILINE)
_PORT = re.compile(r"^\s+(\S+) (\d+)/(\d+): \(", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Packet:
    """From a guest, to a guest (or whoever has its addresses); `spoofed`: with somebody else's source."""

    source: Guest
    target: Guest
    protocol: str
    port: int
    spoofed: str = ""


class Switch:
    """One bridge, asked through its control socket."""

    def __init__(self, control: Path) -> None:
        """Reads which interface has which numbers."""
        self.call = Control(control)
        found = _PORT.findall(self.call("dpif/show"))
        self.ofports = {name: int(ofport) for name, ofport, _ in found}
        self._datapath_ports = {name: number for name, _, number in found}

    def delivers(self, packet: Packet) -> bool:
        """Whether the first packet of a connection reaches its target, as ofproto/trace says."""
        said = self.call("ofproto/trace", BRIDGE, trace_text(packet, self.ofports[packet.source.id]))
        wanted = self._datapath_ports[packet.target.id]
        return any(wanted in actions.split(",") for actions in _ACTIONS.findall(said))

    def inject(self, packet: Packet, source_port: int) -> None:
        """Let a guest send a TCP packet."""
        frame = (
            f"in_port({self.ofports[packet.source.id]}),eth(src={packet.source.mac},dst={packet.target.mac}),"
            f"eth_type(0x0800),ipv4(src={packet.source.address},dst={packet.target.address},proto=6,tos=0,ttl=64,"
            f"frag=no),tcp(src={source_port},dst={packet.port}),tcp_flags(syn)"
        )
        self.call("netdev-dummy/receive", packet.source.id, frame)


def trace_text(packet: Packet, ofport: int) -> str:
    """A packet in ofproto/trace's words."""
    address = packet.spoofed if "." in packet.spoofed else packet.source.address
    mac = packet.spoofed if ":" in packet.spoofed else packet.source.mac
    parts = [f"in_port={ofport}", packet.protocol, f"dl_src={mac}", f"dl_dst={packet.target.mac}"]
    parts += [f"nw_src={address}", f"nw_dst={packet.target.address}", "nw_ttl=64"]
    if packet.protocol == "icmp":
        parts += ["icmp_type=8", "icmp_code=0"]
    else:
        parts += [f"{packet.protocol}_src=40000", f"{packet.protocol}_dst={packet.port}"]
    return ",".join(parts)


def packets(guests: list[Guest], count: int) -> list[Packet]:
    """Random ones: neighbours of one network and strangers, with true and with spoofed sources."""
    rng = random.Random(1)
    made: list[Packet] = []
    by_network: dict[tuple[int, int], list[Guest]] = {}
    for guest in guests:
        by_network.setdefault((guest.tenant, guest.network), []).append(guest)
    while len(made) < count:
        source = rng.choice(guests)
        near = by_network[source.tenant, source.network]
        target = rng.choice(guests if rng.random() < STRANGERS else near)
        if target == source or (source.tenant == target.tenant and source.network != target.network):
            continue  # to the other network of a tenant OVN routes, and we have no routers
        spoofed = rng.choice((target.address, target.mac, "192.0.2.1")) if rng.random() < SPOOFED else ""
        port = rng.choice((22, 80, 443, rng.randrange(1, 65_536)))
        made.append(Packet(source, target, rng.choice([*PROTOCOLS]), port, spoofed))
    return made


def verdicts(rows: Rows, stage: Stage, count: int) -> None:
    """`count` random packets on both sides; how many are judged otherwise."""
    if stage.peer is None:
        return
    ours = Switch(Path(stage.ours.hosts[HOST].switch.control))
    theirs = Switch(stage.peer.chassis[HOST].dir / "switch.ctl")
    sent = packets([guest for guest in stage.layout.background if guest.host == HOST], count)
    seen: Counter[tuple[bool, bool]] = Counter()
    differing: list[str] = []
    for number, packet in enumerate(sent):
        both = ours.delivers(packet), theirs.delivers(packet)
        seen[both] += 1
        if both[0] != both[1]:
            differing.append(f"{packet}: ours {both[0]}, OVN {both[1]}")
        if not number % 500:
            stage.tick(f"packet {number}/{count}")
    passed, dropped = seen[True, True], seen[False, False]
    what = f"of {count:,} packets within one host at {stage.ports:,} ports"
    note = f"{what} {passed:,} are delivered by both, {dropped:,} by none"
    rows.fill(VERDICTS, ours=len(differing),
              samples={"packets": count, "differing": differing[:20]}, note=note)  # fmt: skip


def revocation(rows: Rows, stage: Stage, rounds: int) -> None:
    """Guests whose only open port is closed again: packets of connections that were cached, and new ones."""
    passed = sum(_passed_after_revocation(stage, number % stage.layout.tenants) for number in range(rounds))
    rows.fill(LEAKS, ours=passed, samples={"rounds": rounds})


def _passed_after_revocation(stage: Stage, tenant: int) -> int:
    ours, bridge = stage.ours, stage.ours.hosts[HOST].switch
    target = stage.layout.at(tenant, 0, HOST, OPEN_TCP)
    near = (guest for guest in stage.layout.background if (guest.tenant, guest.network) == (tenant, 0))
    packet = Packet(next(guest for guest in near if guest.host == HOST), target, "tcp", OPEN_TCP)
    ours.plug([target])
    ours.add_alone(target)
    switch = Switch(Path(bridge.control))

    def delivered() -> int:
        return sent_to(bridge.ofctl("dump-ports", str(switch.ofports[target.id])).stdout)

    _send(switch, packet, range(FIRST_PORT, FIRST_PORT + PROBES))
    wait_until(lambda: delivered() >= PROBES, ARRIVE_S, f"the packets to {target.id} that are allowed")
    before = delivered()
    ours.revoke(target)
    _send(switch, packet, range(FIRST_PORT + PROBES // 2, FIRST_PORT + 2 * PROBES))
    time.sleep(ARRIVE_S / 10)  # what was let through is counted by then
    return delivered() - before


def _send(switch: Switch, packet: Packet, source_ports: range) -> None:
    for port in source_ports:
        switch.inject(packet, port)


def sent_to(dump: str) -> int:
    """Packets that went out of a port, from what `ovs-ofctl dump-ports` says."""
    return int(dump.partition("tx pkts=")[2].partition(",")[0])
