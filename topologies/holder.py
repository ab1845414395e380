"""The process that holds a lab which stays up: owns the Mininet nodes, takes requests on a socket.

One JSON object a line in each direction: {"do": "plug", ...} -> {"ok": ...} or {"error": "..."}. Serves root
of this machine only (the run directory is closed to others).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import grpc
import yaml

from topologies.daemon import DaemonError
from topologies.lab import HOLDER_LOG as LOG
from topologies.lab import Lab, LabError
from topologies.nodes import NodeError
from topologies.outside import DEFAULT
from topologies.spec import Spec, load, of_hosts
from topologies.state import LabState, clean
from topologies.wait import WaitTimeoutError, wait_until

SOCKET = "holder.sock"
START_S = 120.0
CALL_S = 120.0
STOP_S = 60.0
EXPECTED = (LabError, NodeError, DaemonError, WaitTimeoutError, ValueError, KeyError, OSError, grpc.RpcError)
Request = dict[str, Any]
Mode = Literal["full", "bare", "plain"]
"""With the file's tenants created and plugged; without tenants; without etcd, controller and agents."""


_ALONE, _OUTSIDE = "alone", "outside"


class HolderError(RuntimeError):
    """The lab did not start, is not up, or refused a request; the text says what to do."""


class Holder:
    """Serves one lab until it is told `down` or gets SIGTERM."""

    def __init__(self, lab: Lab) -> None:
        """`lab`: started."""
        self._lab = lab
        self._over = threading.Event()
        self._actions: dict[str, Callable[[Request], Any]] = {
            "plug": self._plug,
            "unplug": self._unplug,
            "ping": lambda _: "up",
            "down": lambda _: self._over.set(),
        }

    def serve(self) -> None:
        """Answer requests until the end."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: self._over.set())
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(self._lab.run_dir / SOCKET))
            server.listen()
            server.settimeout(0.2)
            while not self._over.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(CALL_S)
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        try:
            with connection.makefile("rw", encoding="utf-8") as stream:
                request = json.loads(stream.readline())
                try:
                    answer: Request = {"ok": self._actions[request["do"]](request)}
                except EXPECTED as error:
                    answer = {"error": describe(error)}
                stream.write(json.dumps(answer) + "\n")
        except (OSError, ValueError):
            return  # the caller went away, or is none of ours

    def _plug(self, request: Request) -> str:
        if "port" in request:
            port = self._lab.client.port(request["port"])
            return str(self._lab.plug_port(port, request.get("host", ""), request.get("name", "")).name)
        workload = self._lab.plug(
            request["host"],
            request["iface_id"],
            request["mac"],
            request["addresses"],
            name=request.get("name", ""),
        )
        return str(workload.name)

    def _unplug(self, request: Request) -> str:
        workload = self._lab.workloads.get(request["name"])
        if workload is None:
            known = ", ".join(self._lab.workloads) or "none"
            raise LabError(f"no workload {request['name']!r}; plugged: {known}")
        self._lab.unplug(workload)
        return str(request["name"])


def describe(error: BaseException) -> str:
    """One line or a few for a person: a gRPC error by its code and text."""
    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    return str(error) or type(error).__name__


def up(
    source: str,
    run_dir: Path,
    mode: Mode = "full",
    agent_flags: Sequence[str] = (),
    *,
    has_outside: bool = False,
) -> LabState:
    """Start a lab in a process of its own and wait until it is up.

    `source`: a topology file, the name of a shipped one, or a number of hosts; `agent_flags`: further
    arguments of every agent; `has_outside`: with a physical network and servers beyond it. Raises HolderError
    with what went wrong.
    """
    _check_free(run_dir)
    run_dir.mkdir(parents=True, mode=0o700)
    with (run_dir / LOG).open("w+b") as log:
        around = _OUTSIDE if has_outside else _ALONE
        argv = [sys.executable, "-m", "topologies.holder", source, str(run_dir), mode, around, *agent_flags]
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": ":".join(p for p in sys.path if p)},
        )
        try:
            wait_until(lambda: process.poll() is not None or _serves(run_dir), START_S, "the lab up")
        except WaitTimeoutError as error:
            process.terminate()
            raise HolderError(f"{error}; see {run_dir / LOG}") from error
        except BaseException:
            # Interrupted: whoever started it must not leave it behind.
            process.terminate()
            process.wait(STOP_S)
            raise
        if process.poll() is None:
            return LabState.load(run_dir)
        # The run directory is gone by now, but not what we hold open of it.
        log.seek(0)
        reason = log.read().decode(errors="replace").strip()
        raise HolderError(reason or f"the lab's process ended with status {process.returncode}")


def _check_free(run_dir: Path) -> None:
    try:
        clean(run_dir)
    except RuntimeError as error:
        raise HolderError(f"{error}: end it with `python -m topologies down`") from error
    if run_dir.exists():
        raise HolderError(f"run directory {run_dir} exists and holds no lab: choose another")


def _serves(run_dir: Path) -> bool:
    try:
        return bool(call(run_dir, do="ping") == "up")
    except HolderError:
        return False


def call(run_dir: Path, **request: Any) -> Any:
    """Ask the holder of the lab in `run_dir` to do something. Raises HolderError."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(CALL_S)
            connection.connect(str(run_dir / SOCKET))
            with connection.makefile("rw", encoding="utf-8") as stream:
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                answer = json.loads(stream.readline() or '{"error": "the lab ended"}')
    except OSError as error:
        raise HolderError(
            f"no lab is up in {run_dir} ({error}): start one with `python -m topologies up`"
        ) from error
    if "error" in answer:
        raise HolderError(answer["error"])
    return answer["ok"]


def down(run_dir: Path) -> bool:
    """End the lab in `run_dir`, also a dead one's remains; False if there is none. Raises HolderError."""
    try:
        state = LabState.load(run_dir)
    except FileNotFoundError:
        return False
    if not state.holder.alive:
        return clean(run_dir)
    state.holder.kill(signal.SIGTERM)
    try:
        wait_until(lambda: not state.holder.alive, STOP_S, f"the holder (process {state.holder.pid}) ended")
    except WaitTimeoutError as error:
        raise HolderError(str(error)) from error
    clean(run_dir)
    return True


def main(source: str, run_dir: Path, mode: str, around: str, agent_flags: Sequence[str] = ()) -> int:
    """Hold a lab; exit status 1 with the reason on the standard error if it cannot start."""
    # Until the holder listens to it, SIGTERM must still end the lab in order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        spec: Spec = of_hosts(int(source)) if source.isdigit() else load(source)
        outside = DEFAULT if around == _OUTSIDE else None
        made = Lab(spec, run_dir, with_control=mode != "plain", agent_flags=agent_flags, outside=outside)
        with made as lab:
            if mode == "full":
                for port in lab.client.apply(spec):
                    lab.plug_port(port)
            Holder(lab).serve()
    except (*EXPECTED, yaml.YAMLError) as error:
        sys.stderr.write(describe(error) + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:]))
