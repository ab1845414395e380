"""Processes of a measurement: what they use, and that none outlives it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from topologies.state import MARK, LabState, Process, clean, end, marked

RUN_ROOT = Path("/var/tmp/cloison-bench")
"""On a disk, not in memory: etcd's commit has to mean something. Short, for the sockets below it."""
OTHERS = ", other hosts"
"""What kinds of processes end in that are on hosts which the measured tenants are not on."""


def cpu_s(pids: Iterable[int]) -> float:
    """What all threads of the processes have used since they began (/proc/PID/task/TID/schedstat), in s."""
    return sum(_cpu_ns(pid) for pid in pids) / 1e9


def _cpu_ns(pid: int) -> int:
    total = 0
    for task in os.scandir(f"/proc/{pid}/task"):
        try:
            total += int((Path(task.path) / "schedstat").read_text(encoding="ascii").split()[0])
        except OSError:
            continue  # the thread ended while we looked
    return total


def apart(pids: Mapping[str, list[int]], of_hosts: Collection[str], first: int) -> dict[str, list[int]]:
    """Processes by kind; of the kinds `of_hosts`, those beyond the `first` hosts are kinds of their own."""
    found: dict[str, list[int]] = {}
    for kind, those in pids.items():
        here = first if kind in of_hosts else len(those)
        found[kind] = those[:here]
        if those[here:]:
            found[kind + OTHERS] = those[here:]
    return found


def rss_mib(pid: int) -> float:
    """Resident memory in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def fresh(name: str) -> Path:
    """An empty directory below RUN_ROOT; what a killed run left is ended. Raises RuntimeError if in use."""
    directory = RUN_ROOT / name
    clean(directory)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o700)
    return directory


class Sandbox:
    """Daemons in one directory; a context manager. All carry a mark by which a later run finds them."""

    def __init__(self, name: str) -> None:
        """`name` of the directory."""
        self.dir = fresh(name)
        self._mark = uuid.uuid4().hex
        self._running: list[subprocess.Popen[bytes]] = []
        LabState(self._mark, name, Process.of(os.getpid())).save(self.dir)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End everything, and remove the directory."""
        end(marked(self._mark))
        for process in self._running:
            process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def env(self, directory: Path) -> Mapping[str, str]:
        """OVS and OVN look and write nowhere else than in `directory`."""
        kinds = ("RUNDIR", "LOGDIR", "DBDIR", "SYSCONFDIR")
        own = {f"{who}_{kind}": str(directory) for who in ("OVS", "OVN") for kind in kinds}
        return {**os.environ, **own, MARK: self._mark}

    def start(self, directory: Path, *argv: str) -> subprocess.Popen[bytes]:
        """Start a daemon that stays in the foreground; its output goes to a file named after it."""
        log = directory / f"{Path(argv[0]).name}.log"
        with log.open("ab") as out:
            # A session of its own, as each of our side's has: the kernel shares the processors out among
            # sessions (autogroups); with one for all of it the peer would starve once there is other work.
            process = subprocess.Popen(
                argv,
                env=self.env(directory),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=directory,
                start_new_session=True,
            )
        self._running.append(process)
        return process

    def run(self, directory: Path, argv: Sequence[str], timeout_s: float = 300) -> str:
        """Run a command to its end; what it printed. Raises RuntimeError with its words if it fails."""
        # A file, not a pipe: what goes on in the background keeps a pipe open.
        with tempfile.TemporaryFile("w+") as said:
            status = subprocess.run(
                argv,
                env=self.env(directory),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                timeout=timeout_s,
                check=False,
                start_new_session=True,
            ).returncode
            said.seek(0)
            text = said.read()
        if status:
            raise RuntimeError(f"{' '.join(argv)[:200]}: exit status {status}: {text[-500:]}")
        return text
