"""A server program of a lab: started in a node, ended, killed, started again, each on its own.

Records its process in the lab's state before anyone waits for it, so that nothing is lost when the lab is
killed. Must never end a process by name.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from topologies.nodes import LabNode
from topologies.state import LabState, Process
from topologies.wait import WaitTimeoutError, wait_until

TAIL_LINES = 15


class DaemonError(RuntimeError):
    """A daemon ended or did not get ready; the text holds the end of its log."""


class Daemon:
    """One server program in one node; its output goes to `run_dir/<node>/<name>.log`."""

    def __init__(
        self,
        name: str,
        node: LabNode,
        argv: Sequence[str],
        run_dir: Path,
        state: LabState,
        env: Mapping[str, str] | None = None,
        ready: Callable[[], bool] | None = None,
    ) -> None:
        """`ready` tells whether the program serves; it is asked after each start."""
        self.name, self.node, self.argv = name, node, tuple(argv)
        self.log = run_dir / node.name / f"{name}.log"
        self._run_dir, self._state = run_dir, state
        self._env, self._ready = dict(env or {}), ready
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def key(self) -> str:
        """The daemon's name in the lab's record: node/name."""
        return f"{self.node.name}/{self.name}"

    @property
    def pid(self) -> int:
        """Its process number. Raises DaemonError if it does not run."""
        if self._popen is None or self._popen.poll() is not None:
            raise DaemonError(f"{self.key} does not run")
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._popen is not None and self._popen.poll() is None

    def start(self, wait: bool = True, timeout_s: float = 60.0) -> None:
        """Start the program; with `wait`, return when it serves. Raises DaemonError."""
        if self.alive:
            raise DaemonError(f"{self.key} runs already, as process {self.pid}")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._popen = self.node.popen(
                list(self.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._env},
            )
        self._record()
        if wait:
            self.wait_ready(timeout_s)

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Return when the program serves. Raises DaemonError with the end of its log."""
        if self._ready is None:
            return
        try:
            wait_until(self._check, timeout_s, f"{self.key} serving")
        except WaitTimeoutError as error:
            raise DaemonError(f"{error}\n{self.tail()}") from error
        if not self.alive:
            raise DaemonError(f"{self.key} ended at its start\n{self.tail()}")

    def _check(self) -> bool:
        # A dead program never gets ready: let the caller see that at once.
        return not self.alive or self._ready is None or self._ready()

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Send a signal (SIGKILL unless told) and wait for the end. Nothing happens if it does not run."""
        if self._popen is not None and self._popen.poll() is None:
            self._popen.send_signal(signum)
            self._popen.wait(10)
        self._record()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ask it to end (SIGTERM), and kill it after `timeout_s` seconds."""
        if self._popen is None or self._popen.poll() is not None:
            return
        self._popen.send_signal(signal.SIGCONT)
        self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait(10)
        self._record()

    def restart(self) -> None:
        """Stop, then start."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): it holds its sockets and answers nobody."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The end of its log, for error messages."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        return "\n".join([f"--- {self.log}", *text.splitlines()[-lines:]])

    def _record(self) -> None:
        if self.alive and self._popen is not None:
            try:
                process = Process.of(self._popen.pid)
            except ProcessLookupError:
                return
            self._state.daemons[self.key] = {
                "pid": process.pid,
                "start_ticks": process.start_ticks,
                "log": str(self.log),
            }
        else:
            self._state.daemons.pop(self.key, None)
        self._state.save(self._run_dir)
