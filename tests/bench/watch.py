"""When the tables of switches change, seen from outside: a flow monitor on every bridge."""

from __future__ import annotations

import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from topologies.wait import wait_until

DELETED, ANY = b"event=DELETED", b"event="
READY = b"FLOW_MONITOR"
START_S = 10.0


class TableChanges:
    """Watches bridges (paths of their management sockets); a context manager.

    last_s: when one of them changed last.
    """

    def __init__(self, bridges: Iterable[Path], kind: bytes = ANY) -> None:
        """Starts nothing yet. kind: which changes count."""
        self._bridges, self._kind = list(bridges), kind
        self._monitors: list[subprocess.Popen[bytes]] = []
        self._readers: list[threading.Thread] = []
        self._ready = 0
        self.last_s = 0.0

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory()
        for number, bridge in enumerate(self._bridges):
            own = f"--unixctl={self._directory.name}/{number}.ctl"
            command = ["ovs-ofctl", "-O", "OpenFlow14", own, "monitor", f"unix:{bridge}", "watch:!initial"]
            monitor = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            assert monitor.stdout
            reader = threading.Thread(target=self._read, args=(monitor.stdout,), daemon=True)
            reader.start()
            self._monitors.append(monitor)
            self._readers.append(reader)
        wait_until(lambda: self._ready == len(self._bridges), START_S, "flow monitors")
        return self

    def _read(self, lines: IO[bytes]) -> None:
        answered = False
        for line in lines:
            if self._kind in line:
                self.last_s = max(self.last_s, time.perf_counter())
            elif READY in line and not answered:
                answered, self._ready = True, self._ready + 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for monitor in self._monitors:
            monitor.kill()
            monitor.wait()
        for reader in self._readers:
            reader.join()
        self._directory.cleanup()
