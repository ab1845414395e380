"""A host with a real Open vSwitch and a real agent process, in the network namespace of the caller."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from controller.cli.pki import Issued
from tests.support.netns import sh
from tests.support.ovs import Ovs

VTEP = "10.77.0.1"
DEADLINE_S = 15.0


async def eventually(check: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> float:
    """Poll until check() is true; return the seconds it took, fail naming what after deadline_s."""
    started = time.monotonic()
    while not check():
        assert time.monotonic() - started < deadline_s, f"not within {deadline_s} s: {what}"
        await asyncio.sleep(0.01)
    return time.monotonic() - started


class AgentHost:
    """`ovs` runs; the agent is started, killed and started again by the test."""

    def __init__(self, directory: Path, ovs: Ovs, issued: Issued | None = None) -> None:
        self.directory, self.ovs, self._issued = directory, ovs, issued
        self.state_dir = directory / "state"
        self._process: subprocess.Popen[bytes] | None = None
        self._log = directory / "agent.log"
        sh("ip link add u0 type veth peer name u1 && ip link set u0 up && ip link set u1 up")
        sh(f"ip addr add {VTEP}/24 dev u0")

    def start(self, *endpoints: str, audit_interval_s: float = 60.0, flags: Sequence[str] = ()) -> None:
        """Start the agent, with these flags besides, and return when it is ready."""
        known = len(self.log())
        command = [
            sys.executable, "-m", "agent", "--host", "h1", "--controller", ",".join(endpoints),
            "--vtep", VTEP, "--state-dir", str(self.state_dir), "--ovsdb", self.ovs.db,
            "--vswitchd-ctl", str(self.ovs.run_dir / "switch.ctl"), "--label", "zone=z1",
            "--audit-interval", str(audit_interval_s), "--log-format", "json",
            *flags,
        ]  # fmt: skip
        if self._issued is None:
            command.append("--insecure")
        else:
            files = {"--ca": self._issued.ca, "--cert": self._issued.cert, "--key": self._issued.key}
            command += [str(part) for pair in files.items() for part in pair]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE_S
        while not any(line.get("event") == "ready" for line in self.log()[known:]):
            assert time.monotonic() < deadline, self._log.read_text()
            assert self._process.poll() is None, self._log.read_text()
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """The process id of the agent."""
        assert self._process is not None
        return self._process.pid

    def stop(self, signal_number: signal.Signals = signal.SIGTERM) -> int:
        """End the agent; return its exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal_number)
        return self._process.wait(DEADLINE_S)

    def close(self) -> None:
        """End the agent if it runs, and what it left of edges."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for held in (self.state_dir / "edges").glob("e*"):
            subprocess.run(["umount", "-l", str(held)], check=False, capture_output=True)

    def log(self) -> list[dict[str, object]]:
        """What the agent logged; lines that are not JSON have the key `text`."""
        if not self._log.exists():
            return []
        lines = []
        for line in self._log.read_text().splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                lines.append({"text": line})
        return lines

    def logged(self, event: str) -> list[dict[str, object]]:
        """The log lines of that event."""
        return [line for line in self.log() if line.get("event") == event]

    def fdb(self, vni: int) -> dict[str, str]:
        """MAC -> VTEP of a network's device, {} without a device."""
        shown = subprocess.run(
            ["bridge", "fdb", "show", "dev", f"vx{vni:06x}"], capture_output=True, text=True, check=False
        )
        words = [line.split() for line in shown.stdout.splitlines()]
        return {line[0]: line[line.index("dst") + 1] for line in words if "dst" in line}

    def links(self) -> list[str]:
        """The names of our devices."""
        names = [line.split()[0] for line in sh("ip -br link").splitlines()]
        return sorted(name for name in names if name.startswith("vx"))

    def interface(self, name: str, column: str) -> str:
        """A column of an Interface row, '' if there is none."""
        return self.ovs.vsctl("--if-exists", "get", "interface", name, column).strip()
