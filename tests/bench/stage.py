"""Both sides filled with one background, for the rows that need them."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from tests.bench.layout import Guest, Layout
from tests.bench.ours import Ours
from tests.bench.peer import Peer, installed


class Side(Protocol):
    """What both sides can do, in the same words."""

    @property
    def pids(self) -> dict[str, list[int]]:
        """All processes, by kind."""

    @property
    def bridges(self) -> list[Path]:
        """The management sockets of all bridges."""

    def populate(self) -> None:
        """Make the background; it is realized on return."""

    def plug(self, guests: Iterable[Guest]) -> None:
        """Put interfaces into the bridges."""

    def settle(self) -> None:
        """Return when nothing is left to do."""

    def add(self, guest: Guest) -> None:
        """Add a port; it is realized on return."""

    def send_many(self, guests: Sequence[Guest]) -> None:
        """Ask for ports, all in one transaction; they are stored on return."""

    def send_plain(self, guest: Guest) -> None:
        """As `send`, without a rule of its own."""

    def cold_start(self, host: int) -> float:
        """Start a host's agent with an empty flow table; how long until all is there, in s."""

    def delete(self, guest: Guest) -> None:
        """Delete a port; it is gone everywhere on return."""

    def revoke(self, guest: Guest) -> None:
        """Delete the rule of a guest's own."""

    def flows(self, host: int) -> int:
        """Flows of a bridge."""


class Progress:
    """What goes on, on standard error; a line that is rewritten where that is a terminal."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._open = False

    def __call__(self, text: str, *, passing: bool = False) -> None:
        """Say a step; `passing`: the next one takes its place."""
        if passing and not sys.stderr.isatty():
            return
        head = "\r\033[K" if self._open else ""
        self._open = passing
        print(
            f"{head}[{time.monotonic() - self._started:6.1f} s] {text}",
            end="" if passing else "\n",
            file=sys.stderr,
            flush=True,
        )


class Stage:
    """Both sides with `ports` in the background; a context manager. Without OVN there is only ours."""

    def __init__(self, ports: int, hosts: int, progress: Progress, with_peer: bool = True) -> None:
        """Starts nothing yet."""
        self.ports, self.layout, self.progress = ports, Layout(ports, hosts), progress
        self._with_peer = with_peer and installed()
        self._stack = contextlib.ExitStack()
        self.sides: dict[str, Side] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.ours = stack.enter_context(Ours(self.layout, self.progress))
            self.sides["ours"] = self.ours
            self.peer: Peer | None = None
            if self._with_peer:
                self.peer = stack.enter_context(Peer(self.layout, self.progress))
                self.sides["peer"] = self.peer
            for side in self.sides.values():
                start = time.perf_counter()
                side.populate()
                self.progress(f"filled in {time.perf_counter() - start:.1f} s")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress(f"ending the stage of {self.ports:,} ports")
        self._stack.close()

    def tick(self, text: str) -> None:
        """A step within a row."""
        self.progress(f"{self.ports:,} ports: {text}", passing=True)
