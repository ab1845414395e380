"""One hypervisor of the peer: its switch and its ovn-controller."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from tests.bench.layout import Guest
from tests.bench.procs import Sandbox
from topologies.wait import wait_until

OVS_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
BRIDGE = "br-int"
SOCKET_S = 20.0
PLUG_BATCH = 500
PROBE_MS = 180_000
"""Inactivity probes are far apart: with the usual 5 s a busy northd would be disconnected."""


class Control:
    """A connection to a daemon's control socket (JSON-RPC), so that a command costs no process."""

    def __init__(self, path: Path) -> None:
        """Waits until the daemon listens. Raises WaitTimeoutError."""
        self._socket: socket.socket = wait_until(lambda: self._connect(path), SOCKET_S, f"{path} listening")
        self._decoder, self._buffer, self._id = json.JSONDecoder(), "", 0

    @staticmethod
    def _connect(path: Path) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            raise
        return connection

    def __call__(self, method: str, *params: str) -> str:
        """Carry out a command; what it said. Raises RuntimeError if it fails."""
        self._id += 1
        request = {"id": self._id, "method": method, "params": list(params)}
        self._socket.sendall(json.dumps(request).encode())
        answer = self._receive()
        if answer.get("error"):
            raise RuntimeError(f"{method} {' '.join(params)[:200]}: {answer['error']}")
        return str(answer.get("result") or "")

    def _receive(self) -> dict[str, Any]:
        while True:
            try:
                answer, length = self._decoder.raw_decode(self._buffer)
            except ValueError:
                data = self._socket.recv(1 << 16)
                if not data:
                    raise RuntimeError("the daemon closed its control socket") from None
                self._buffer += data.decode()
                continue
            self._buffer = self._buffer[length:].lstrip()
            return answer  # type: ignore[no-any-return]


class Chassis:
    """One hypervisor of the peer."""

    def __init__(self, sandbox: Sandbox, number: int, southbound: str) -> None:
        """Starts its switch and its controller."""
        self._sandbox, self.number = sandbox, number
        self.dir = sandbox.dir / f"h{number}"
        self.dir.mkdir()
        self.db = f"unix:{self.dir}/db.sock"
        sandbox.run(self.dir, ["ovsdb-tool", "create", f"{self.dir}/conf.db", str(OVS_SCHEMA)])
        server = [
            "ovsdb-server",
            f"{self.dir}/conf.db",
            f"--remote=p{self.db}",
            f"--unixctl={self.dir}/ovsdb.ctl",
        ]
        self.ovsdb = sandbox.start(self.dir, *server, "-vconsole:off")
        Control(self.dir / "ovsdb.ctl")
        self.vsctl("--no-wait", "init")
        options = [
            "--enable-dummy=override",
            "--disable-system",
            f"--unixctl={self.dir}/switch.ctl",
            "-vconsole:off",
        ]
        self.vswitchd = sandbox.start(self.dir, "ovs-vswitchd", self.db, *options)
        Control(self.dir / "switch.ctl")
        ids = {
            "system-id": f"hv{number}", "ovn-remote": southbound, "ovn-encap-type": "geneve",
            "ovn-encap-ip": f"192.0.2.{number + 1}", "ovn-remote-probe-interval": str(PROBE_MS),
            "ovn-openflow-probe-interval": str(PROBE_MS // 1000),
        }  # fmt: skip
        self.vsctl("set", "Open_vSwitch", ".", *(f"external_ids:{k}={v}" for k, v in ids.items()))
        made = ("fail-mode=secure", "other-config:disable-in-band=true")
        self.vsctl("add-br", BRIDGE, "--", "set", "Bridge", BRIDGE, *made)
        self.start_controller()

    def start_controller(self) -> None:
        """Start ovn-controller (again)."""
        self.controller = self._sandbox.start(self.dir, "ovn-controller", self.db, "-vconsole:off")

    @property
    def control(self) -> Control:
        """ovn-controller's control socket."""
        return Control(self.dir / f"ovn-controller.{self.controller.pid}.ctl")

    def vsctl(self, *words: str) -> str:
        """`ovs-vsctl` on its database."""
        return self._sandbox.run(self.dir, ["ovs-vsctl", f"--db={self.db}", *words])

    def ofctl(self, command: str, *words: str) -> str:
        """`ovs-ofctl COMMAND br-int ...`."""
        return self._sandbox.run(self.dir, ["ovs-ofctl", command, f"unix:{self.dir}/{BRIDGE}.mgmt", *words])

    def plug(self, guests: list[Guest]) -> None:
        """Put interfaces into the bridge."""
        for first in range(0, len(guests), PLUG_BATCH):
            words: list[str] = []
            for guest in guests[first : first + PLUG_BATCH]:
                words += ["--", "add-port", BRIDGE, guest.id, "--", "set", "Interface", guest.id]
                words.append(f"external_ids:iface-id={guest.id}")
            self.vsctl(*words)
