"""The record of a lab on disk, from which a later process cleans up what a killed one left behind.

Knows a process by its number *and* its start time, or by the lab's unique mark in its environment; must never
end a process by name.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterable
from copy import copy
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

MARK = "CLOISON_LAB"
"""Environment variable that every process of a lab inherits; its value is unique to the lab."""
FILE = "state.json"
KILL_S = 5.0
"""How long a killed process may take to go, in seconds."""


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for a later one of the same number.

    `start_ticks`: field 22 of /proc/PID/stat (proc(5)), clock ticks after boot.
    """

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has this number now. Raises ProcessLookupError if none has."""
        ticks = _start_ticks(pid)
        if ticks is None:
            raise ProcessLookupError(pid)
        return cls(pid, ticks)

    @property
    def alive(self) -> bool:
        """Still running: the same process, and not a zombie."""
        return _start_ticks(self.pid) == self.start_ticks

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Send a signal if it is still the same process."""
        if self.alive:
            try:
                os.kill(self.pid, signum)
            except ProcessLookupError:
                pass  # it ended in between: what we wanted


def _start_ticks(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command name, in parentheses, may hold anything: count the fields from its end.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def marked(mark: str) -> list[Process]:
    """All processes whose environment carries this lab's mark, this process excepted."""
    needle = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if needle in (entry / "environ").read_bytes().split(b"\0"):
                found.append(Process.of(int(entry.name)))
        except OSError:
            continue  # it ended while we looked
    return found


def end(processes: Iterable[Process], grace_s: float = 2.0) -> None:
    """Ask the processes to end, wait up to `grace_s` seconds for all, then kill the rest."""
    group = list(processes)
    for process in group:
        process.kill(signal.SIGTERM)
        process.kill(signal.SIGCONT)
    _settle(group, grace_s)
    for process in group:
        process.kill()
    _settle(group, KILL_S)


def _settle(group: list[Process], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while any(p.alive for p in group) and time.monotonic() < deadline:
        time.sleep(0.01)


@dataclass
class LabState:
    """What a lab consists of; `save` after each change."""

    mark: str
    topology: str
    holder: Process
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    daemons: dict[str, dict[str, Any]] = field(default_factory=dict)
    workloads: dict[str, dict[str, Any]] = field(default_factory=dict)
    config: str = ""
    ready: bool = False

    def __post_init__(self) -> None:
        """A lock, because a lab plugs workloads from several threads."""
        self._lock = threading.Lock()

    def save(self, run_dir: Path) -> None:
        """Write the record; a reader sees the old one or the new one, never half."""
        with self._lock:
            draft = run_dir / f".{FILE}"
            # Copies, made in one step each: other threads go on recording what they start and end.
            known = {one.name: copy(getattr(self, one.name)) for one in fields(self)}
            draft.write_text(json.dumps(known | {"holder": asdict(self.holder)}, indent=1), encoding="utf-8")
            draft.rename(run_dir / FILE)

    @classmethod
    def load(cls, run_dir: Path) -> LabState:
        """Read a lab's record. Raises FileNotFoundError without one, ValueError for a broken one."""
        try:
            data = json.loads((run_dir / FILE).read_text(encoding="utf-8"))
            return cls(**{**data, "holder": Process(**data["holder"])})
        except (TypeError, KeyError) as error:
            raise ValueError(f"{run_dir / FILE}: no record of a lab ({error})") from error

    def processes(self, *kinds: str) -> list[Process]:
        """The recorded processes of the kinds given ("daemons", "workloads", "nodes")."""
        records = [record for kind in kinds for record in getattr(self, kind).values()]
        return [Process(r["pid"], r["start_ticks"]) for r in records]


def clean(run_dir: Path) -> bool:
    """Remove what a lab that is no longer held left behind: processes (and so namespaces, links) and files.

    True if there was one. Raises RuntimeError while its holder lives.
    """
    try:
        state = LabState.load(run_dir)
    except FileNotFoundError:
        return False
    if state.holder.alive and state.holder.pid != os.getpid():
        raise RuntimeError(f"the lab in {run_dir} is still held by process {state.holder.pid}")
    end(state.processes("daemons"))
    # The shells that hold the namespaces are interactive: they do not listen to SIGTERM.
    end([*state.processes("workloads", "nodes"), *marked(state.mark)], grace_s=0)
    shutil.rmtree(run_dir)
    return True
