"""Traffic that goes on while things happen, silence where none may be, and captures of the underlay."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from topologies import frames
from topologies.capture import Capture, settle
from topologies.lab import Lab
from topologies.wait import wait_until
from topologies.workload import Workload

ANSWER_S = 20.0
PING_INTERVAL_S = 0.01
_SEQUENCE = re.compile(r"^\d+ bytes from .* icmp_seq=(\d+) ", re.MULTILINE)


class Pings:
    """A ping every 10 ms from one guest to another, while things happen; a context manager."""

    def __init__(self, source: Workload, target: Workload, version: int = 4) -> None:
        """Begins at once."""
        self.name = f"{source.name} -> {target.name}"
        self._out = tempfile.TemporaryFile()  # noqa: SIM115 -- open until the end of the pings
        argv = ["ping", "-n", "-i", f"{PING_INTERVAL_S:g}", target.address(version)]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": self._out, "stderr": self._out}
        self._process = source.popen(argv, **pipes)
        self.lost: list[int] = []

    def __enter__(self) -> Pings:
        """Running already; returns when the first answer is in."""
        wait_until(lambda: self.count() > 0, ANSWER_S, f"{self.name}: a first answer")
        return self

    def __exit__(self, *_: object) -> None:
        """Stop and count; what was under way at the end is not counted as lost."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(5)
        answered = {int(number) for number in _SEQUENCE.findall(self._text())}
        self.lost = sorted(set(range(1, max(answered, default=0) + 1)) - answered)
        self._out.close()

    def count(self) -> int:
        """Answers so far."""
        return len(_SEQUENCE.findall(self._text()))

    def wait_more(self, answers: int = 50, timeout_s: float = ANSWER_S) -> None:
        """Return when so many more answers came."""
        have = self.count()
        wait_until(lambda: self.count() >= have + answers, timeout_s, f"{self.name}: {answers} more answers")

    def _text(self) -> str:
        # Not by reading: the place in the file is shared with the program that writes it.
        descriptor = self._out.fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")


def says(guest: Workload) -> list[bytes]:
    """What a guest with these addresses says to red/p2: right in every field, and no announcement."""
    mac, v4, v6 = guest.plug.mac, guest.address(4), guest.address(6)
    return [
        frames.arp(mac, v4, "10.0.0.12"),
        frames.solicitation(mac, v6, "fd00:10::12"),
        frames.echo(mac, "52:54:00:00:00:12", v4, "10.0.0.12", b"mute?"),
        frames.echo(mac, "52:54:00:00:00:12", v6, "fd00:10::12", b"mute?"),
        frames.udp(mac, "0a:f0:0a:00:00:0c", v4, "10.0.0.12", b"mute?"),
    ]


@contextmanager
def silence(guests: Iterable[Workload]) -> Iterator[list[Capture]]:
    """Nothing may arrive at these guests meanwhile: any frame fails, whatever it holds.

    But for what a guest's own host tells it of routers, which its kernel asks for now and then.
    """
    watched = list(guests)
    for guest in watched:
        guest.flush_neighbours()
    with ExitStack() as stack:
        captures = [stack.enter_context(guest.capture()) for guest in watched]
        yield captures
        settle(captures)
    strange = {
        guest.name: [frame.data for frame in capture.frames if not frames.is_routers_word(frame.data)]
        for guest, capture in zip(watched, captures, strict=True)
    }
    heard = {name: [data[:80].hex() for data in got[:5]] for name, got in strange.items() if got}
    if heard:
        raise AssertionError(f"frames where none may be: {heard}")


@contextmanager
def uplinks(lab: Lab, expression: str = "udp port 4789") -> Iterator[dict[str, Capture]]:
    """Captures of what every host sends to and gets from the underlay, by host."""
    with ExitStack() as stack:
        captures = {
            host: stack.enter_context(Capture(lab.nodes[host].pid, interface.name, expression, outgoing=True))
            for host in lab.hosts
            for interface in lab.underlay.interfaces(host)
        }
        yield captures
        settle(list(captures.values()))


def reaches(source: Workload, target: Workload, version: int = 4, timeout_s: float = 1.0) -> bool:
    """Whether one ping is answered."""
    return source.ping(target.address(version), timeout_s=timeout_s).ok


def wait_reaches(source: Workload, target: Workload, version: int = 4, timeout_s: float = ANSWER_S) -> None:
    """Return when a ping is answered."""
    what = f"{source.name} reaches {target.name} over IPv{version}"
    wait_until(lambda: reaches(source, target, version, 0.3), timeout_s, what)
