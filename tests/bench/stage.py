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
from tests.bench.peer import SYNC_S, Peer, installed
from topologies.wait import WaitTimeoutError


class Side(Protocol):
    """What both sides can do, in the same words."""

    of_hosts: tuple[str, ...]
    """Kinds of processes of which each host has its own."""

    @property
    def pids(self) -> dict[str, list[int]]:
        """All processes, by kind; apart those of hosts that the measured tenants are not on."""

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
    """Both sides with the background of `layout`; a context manager. Without OVN there is only ours."""

    def __init__(
        self,
        layout: Layout,
        progress: Progress,
        with_peer: bool = True,
        ours: Ours | None = None,
        patience_s: int | None = None,
    ) -> None:
        """Starts nothing yet. `ours`: our side, if it is of a kind of its own.

        `patience_s`: OVN is left out (`missing` says so) if filling it waits longer than that for one thing.
        """
        self.ports, self.layout, self.progress = len(layout.background), layout, progress
        self.ours = ours or Ours(layout, progress)
        self._with_peer = with_peer and installed()
        self._stack = contextlib.ExitStack()
        self.sides: dict[str, Side] = {}
        self._patience_s = patience_s
        self.missing = "" if self._with_peer else "OVN: not run"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.sides["ours"] = stack.enter_context(self.ours)
            self.peer: Peer | None = None
            if self._with_peer:
                self.peer = Peer(self.layout, self.progress, self._patience_s or SYNC_S)
                self.sides["peer"] = stack.enter_context(self.peer)
            self._fill(self.ours)
            if self.peer:
                self._fill_peer(self.peer)
            self._stack = stack.pop_all()
        return self

    def _fill(self, side: Side) -> None:
        start = time.perf_counter()
        side.populate()
        self.progress(f"filled in {time.perf_counter() - start:.1f} s")

    def _fill_peer(self, peer: Peer) -> None:
        try:
            self._fill(peer)
        except WaitTimeoutError as error:
            if self._patience_s is None:
                raise
            self.missing = f"OVN: not run ({error})"
            self.progress(self.missing)
            peer.close()
            self.peer = None
            del self.sides["peer"]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress(f"ending the stage of {self.ports:,} ports on {self.layout.hosts} hosts")
        self._stack.close()

    def tick(self, text: str) -> None:
        """A step within a row."""
        self.progress(f"{self.ports:,} ports: {text}", passing=True)
