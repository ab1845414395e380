"""Who may reach whom, who does, and what processes take. Asks the API what is wanted, and packets what is."""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cloison.v1 import port_pb2
from tests.lab.spine import Site, cloison
from tests.soak.changes import SLOTS, TENANTS, wanted
from topologies import frames
from topologies.capture import Capture, settle
from topologies.client import CALL_S
from topologies.daemon import Daemon
from topologies.nodes import NodeError
from topologies.wait import WaitTimeoutError, wait_until
from topologies.workload import Workload

BACK_S = 60.0
TAKEOVER_S = 10.0
OUTSIDE = "outside"
TAGS_PORT = 4242
_TAG = re.compile(rb"soak of (\w+)")
_PROBES_AT_ONCE = 8


def admitted(site: Site) -> dict[tuple[str, str], bool]:
    """By sender and target: does the intent, as the API tells it, let one ping the other?

    Who sends is a plugged guest or OUTSIDE; who is to answer one of these, or a floating IP.
    """
    expected: dict[tuple[str, str], bool] = {}
    for tenant in TENANTS:
        asked = wanted(site, tenant)
        plugged = {short: port for short, port in asked.ports.items() if short in site.guests}
        groups = {s: {g.rpartition("/")[2] for g in port.security_groups} for s, port in plugged.items()}
        opened = {
            s: asked.opened and "open" in groups[s] and not port.disabled for s, port in plugged.items()
        }
        for (a, one), (b, other) in itertools.permutations(plugged.items(), 2):
            connected = asked.joined or one.name.partition("/ports/")[0] == other.name.partition("/ports/")[0]
            enabled = not one.disabled and not other.disabled
            fellows = enabled and "default" in groups[a] & groups[b]
            expected[a, b] = connected and not one.disabled and (fellows or opened[b])
        for short, port in plugged.items():
            expected[short, OUTSIDE] = asked.leads_out and not port.disabled
        shorts = {port.name: short for short, port in plugged.items()}
        for address, name in asked.floating.items():
            expected[OUTSIDE, address] = asked.leads_out and opened.get(shorts.get(name, ""), False)
    return expected


def wrong(site: Site, expected: dict[tuple[str, str], bool]) -> list[str]:
    """Who reaches somebody it should not, or does not reach whom it should, and not soon either.

    Soon, as another host may just be taking over a router's way out.
    """

    def probe(pair: tuple[str, str]) -> bool:
        found = _pings(site, *pair)
        with contextlib.suppress(WaitTimeoutError):
            # (Not the other way round: what is not admitted may not be reached at all.)
            return found or (expected[pair] and wait_until(lambda: _pings(site, *pair), TAKEOVER_S, "soon"))
        return False

    with ThreadPoolExecutor(_PROBES_AT_ONCE) as pool:
        reached = dict(zip(expected, pool.map(probe, expected), strict=True))
    return [
        f"{a} -> {b}: {'reached' if reached[a, b] else 'not reached'}"
        for a, b in expected
        if reached[a, b] != expected[a, b]
    ]


def _pings(site: Site, source: str, target: str) -> bool:
    """Whether a ping is answered; the first packets may be lost while addresses are asked for."""
    node = site.lab.outside.node if source == OUTSIDE else site.guests[source]
    if target == OUTSIDE:
        address = site.lab.outside.far(4)
    else:
        address = site.guests[target].address(4) if target in site.guests else target
    return node.run(["ping", "-n", "-c", "3", "-i", "0.1", "-W", "1", address]).returncode == 0


def unproved(site: Site) -> list[str]:
    """What `cloison verify --live` objects to, empty if isolation holds.

    A host that was cut off may lose its session only afterwards, when the answer to an echo is overdue: it is
    asked again until all hosts can be read. Raises WaitTimeoutError.
    """

    answers: list[subprocess.CompletedProcess[str]] = []

    def read() -> bool:
        answers.append(cloison(site.lab, "verify", "--live"))
        return "NOT READ" not in answers[-1].stdout

    wait_until(read, BACK_S, "every host read")
    done = answers[-1]
    return [] if done.returncode == 0 else [f"verify: {done.stdout}{done.stderr}"]


def unfinished(site: Site) -> list[str]:
    """Ports that are plugged, enabled and not ACTIVE."""
    return [
        f"{port.name}: {port_pb2.Port.State.Name(port.state)} {[c.reason for c in port.conditions]}"
        for tenant in TENANTS
        for short, port in wanted(site, tenant).ports.items()
        if short in site.guests and not port.disabled and port.state != port_pb2.Port.ACTIVE
    ]


@contextmanager
def tagged(site: Site, dice: random.Random) -> Iterator[list[str]]:
    """All the while guests send frames that name their tenant to every address and MAC they can think of.

    What the other tenant's guests got of that is in the list afterwards. Guests that come meanwhile only hear
    from the next time on.
    """
    leaks: list[str] = []
    over = threading.Event()
    sender = threading.Thread(target=_send, args=(site, dice, over), name="soak-tags")
    with ExitStack() as stack:
        listening = {short: stack.enter_context(_hears(guest)) for short, guest in list(site.guests.items())}
        sender.start()
        try:
            yield leaks
        finally:
            over.set()
            sender.join(CALL_S)
            settle(list(listening.values()))
    for short, capture in listening.items():
        tags = {match[1].decode() for f in capture.frames if (match := _TAG.search(f.data))}
        leaks += [f"{short} got a frame of {tenant}" for tenant in tags - {short.partition("/")[0]}]


def _hears(guest: Workload) -> Capture:
    return guest.capture(f"udp port {TAGS_PORT}")


def _send(site: Site, dice: random.Random, over: threading.Event) -> None:
    targets = [(f"52:54:00:00:00:1{n}", f"0a:f0:0a:00:00:{10 + n:02x}", f"10.0.0.1{n}") for n in SLOTS]
    while not over.is_set():
        guests = list(site.guests.items())
        if guests:
            short, guest = dice.choice(guests)
            payload = b"soak of " + short.partition("/")[0].encode()
            said = [
                frames.udp(guest.plug.mac, mac, guest.address(4), target, payload, TAGS_PORT)
                for real, wire, target in targets
                for mac in (real, wire, "ff:ff:ff:ff:ff:ff")
            ]
            # A guest may go at any moment.
            with contextlib.suppress(OSError, NodeError):
                guest.send(said)
        over.wait(0.05)


def taken(daemon: Daemon) -> dict[str, int]:
    """The memory (KiB), threads and open files of a process, and its pid."""
    place = Path("/proc", str(daemon.pid))
    status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
    return {
        "pid": daemon.pid,
        "rss_kib": int(status["VmRSS"].split()[0]),
        "threads": int(status["Threads"]),
        "files": len(list((place / "fd").iterdir())),
    }


def tracebacks(site: Site) -> list[str]:
    """Lines of logs of controller and agents that tell of a defect."""
    logs = [site.lab.controller.log, *(h.agent.log for h in site.lab.hosts.values() if h.agent)]
    found = []
    for log in logs:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        found += [f"{log.parent.name}/{log.name}: {line}" for line in lines if "Traceback" in line]
    return found
