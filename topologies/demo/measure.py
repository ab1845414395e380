"""The measurements: while one tenant sends, every workload of the others is captured, and so is the underlay.

The tenants that do not send are silent, so *any* frame that arrives at one of their workloads is a leak,
whatever it holds, but for what their own host tells them of routers.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from topologies import frames
from topologies.capture import Capture, send, settle
from topologies.demo import probes
from topologies.demo.guests import Guest, Token
from topologies.workload import GUEST_INTERFACE

FLOOD_ROUNDS = 60
BURST_FRAMES = 38
BURST_INTERVAL_S = 0.008
"""Slow enough for the userspace datapath to look at every frame: one that it never saw proves nothing."""
QUIET_S = 0.25


@dataclass(frozen=True)
class Pair:
    """What was seen between two workloads, in one direction."""

    source: str
    target: str
    expected: bool
    reached: bool
    probes: dict[str, bool]

    @property
    def right(self) -> bool:
        """As it should be."""
        return self.expected == self.reached


@dataclass(frozen=True)
class Leak:
    """A frame where none may be."""

    phase: str
    where: str
    source: str
    frame: str


@dataclass
class WireCount:
    """VXLAN frames that left a host while one tenant sent, in one VNI."""

    sender: str
    vni: int
    frames: int = 0
    group: int = 0


@dataclass
class Result:
    """Everything measured."""

    pairs: list[Pair] = field(default_factory=list)
    leaks: list[Leak] = field(default_factory=list)
    wire: list[WireCount] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)

    @property
    def right(self) -> bool:
        """Every pair as it should be, nothing leaked, something sent."""
        return bool(self.pairs) and not self.leaks and all(p.right for p in self.pairs)


@dataclass(frozen=True)
class Uplink:
    """A host's interface to the underlay."""

    host: str
    pid: int
    interface: str


@dataclass
class _Captures:
    guests: dict[int, Capture]
    uplinks: list[Capture]


class Measurement:
    """Runs the measurements over a set of guests and keeps the result."""

    def __init__(self, guests: Sequence[Guest], uplinks: Sequence[Uplink], vnis: dict[int, str]) -> None:
        """`vnis`: VNI to tenant, as the API says."""
        self.result = Result()
        self._guests, self._uplinks, self._vnis = guests, uplinks, vnis

    def matrix(self, tenant: str) -> None:
        """Probe every pair whose sender is of `tenant`."""
        sources = [g for g in self._guests if g.tenant == tenant]
        with probes.Servers(self._guests) as servers, self._watching(tenant, "probes") as captures:
            with ThreadPoolExecutor(max_workers=len(sources)) as pool:
                seen = dict(zip((s.index for s in sources), pool.map(self._probe, sources), strict=True))
            heard = {(g.index, t.source, t.kind) for g, data in servers.heard if (t := Token.find(data))}
        for index, capture in captures.guests.items():
            tokens = (Token.find(f.data) for f in capture.frames)
            heard |= {(index, t.source, t.kind) for t in tokens if t and t.target == index}
        for source in sources:
            for target in self._others(source):
                self.result.pairs.append(_judge(source, target, seen[source.index][target.index], heard))

    def flood(self, tenant: str, rounds: int = FLOOD_ROUNDS) -> None:
        """Send all that a switch might spread, from every workload of `tenant`."""
        sources = [g for g in self._guests if g.tenant == tenant]
        victims = [g for g in self._guests if g.tenant != tenant]
        with self._watching(tenant, "flood"), ThreadPoolExecutor(max_workers=len(sources)) as pool:
            for sent in pool.map(lambda s: _flood(s, victims, rounds), sources):
                self.result.sent.update(sent)

    def _others(self, guest: Guest) -> list[Guest]:
        return [g for g in self._guests if g.index != guest.index]

    def _probe(self, source: Guest) -> dict[int, dict[str, bool]]:
        seen = {}
        for target in self._others(source):
            seen[target.index], count = probes.run(source, target)
            self.result.sent["forged"] += count
            self.result.sent["probe"] += len(seen[target.index])
        return seen

    @contextlib.contextmanager
    def _watching(self, tenant: str, phase: str) -> Iterator[_Captures]:
        for guest in self._guests:
            flush(guest)
        with contextlib.ExitStack() as stack:
            inside = {g.index: stack.enter_context(Capture(g.pid, GUEST_INTERFACE)) for g in self._guests}
            wire = [
                stack.enter_context(Capture(u.pid, u.interface, "udp port 4789", outgoing=True))
                for u in self._uplinks
            ]
            captures = _Captures(inside, wire)
            yield captures
            settle([*inside.values(), *wire], QUIET_S)
        self._find_leaks(tenant, phase, captures)
        self._count_wire(tenant, phase, captures)

    def _find_leaks(self, tenant: str, phase: str, captures: _Captures) -> None:
        for guest in self._guests:
            if guest.tenant == tenant:
                continue
            for frame in captures.guests[guest.index].frames:
                found = Token.find(frame.data)
                if not found and frames.is_routers_word(frame.data):
                    continue
                source = self._guests[found.source].name if found else f"someone of {tenant}"
                self.result.leaks.append(Leak(phase, guest.name, source, frame.data[:64].hex()))

    def _count_wire(self, tenant: str, phase: str, captures: _Captures) -> None:
        counts: dict[int, WireCount] = {}
        for uplink, capture in zip(self._uplinks, captures.uplinks, strict=True):
            for frame in capture.frames:
                packet = frames.vxlan(frame.data) if frame.outgoing else None
                if packet is None:
                    continue
                vni, inner = packet
                count = counts.setdefault(vni, WireCount(tenant, vni))
                count.frames += 1
                count.group += frames.is_group(inner)
                if self._vnis.get(vni) != tenant or frames.is_group(inner):
                    where = f"underlay of {uplink.host}, VNI {vni}"
                    leak = Leak(phase, where, f"someone of {tenant}", inner[:64].hex())
                    self.result.leaks.append(leak)
        self.result.wire += counts.values()


def flush(guest: Guest) -> None:
    """Forget the guest's ARP and ND entries: a silent guest must not probe them later."""
    argv = ["mnexec", "-a", str(guest.pid), "ip", "neigh", "flush", "dev", GUEST_INTERFACE]
    subprocess.run(argv, capture_output=True, timeout=10, check=True)


def _judge(source: Guest, target: Guest, seen: dict[str, bool], heard: set[tuple[int, int, int]]) -> Pair:
    """Reached: the target got the sender's token; within a tenant every probe must be answered too."""
    expected = source.tenant == target.tenant
    got = {k: (target.index, source.index, i) in heard for i, k in enumerate(probes.KINDS)}
    if expected:
        outcome = {kind: answered and got[kind] for kind, answered in seen.items()}
        return Pair(source.name, target.name, expected, all(outcome.values()), outcome)
    outcome = {kind: got[kind] for kind in (*seen, "forged")}
    return Pair(source.name, target.name, expected, any(outcome.values()), outcome)


def _flood(source: Guest, victims: Sequence[Guest], rounds: int) -> Counter[str]:
    sent: Counter[str] = Counter()
    burst: list[bytes] = []
    for kind, frame in probes.flood(source, victims, rounds):
        burst.append(frame)
        sent[kind] += 1
        if len(burst) == BURST_FRAMES:
            send(source.pid, GUEST_INTERFACE, burst)
            burst.clear()
            time.sleep(BURST_INTERVAL_S)
    send(source.pid, GUEST_INTERFACE, burst)
    return sent
