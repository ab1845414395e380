"""A real Open vSwitch for tests: own ovsdb-server and ovs-vswitchd in a temporary directory, ended by pid.

Bridges are of datapath_type `dummy` unless asked otherwise: all of OpenFlow and OVSDB works, no packet of the
machine is touched, no root is needed. Packets can be injected with `appctl("netdev-dummy/receive", ...)`.

    with Ovs() as ovs:
        ovs.add_bridge("br-int", dpid=1)
        ovs.connect("br-int", "tcp:127.0.0.1:6653")
        print(ovs.flows("br-int"))
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
COMMAND_DEADLINE_S = 20
START_DEADLINE_S = 15
STOP_DEADLINE_S = 5


class OvsError(RuntimeError):
    """A command of Open vSwitch failed, or a daemon did not come up."""


class Ovs:
    """One pair of daemons and the commands to talk to them. Not thread-safe."""

    def __init__(self, *, dummy: bool = True) -> None:
        self.run_dir = Path(tempfile.mkdtemp(prefix="ovs-"))
        self._dummy = dummy
        self._db: subprocess.Popen[bytes] | None = None
        self._switch: subprocess.Popen[bytes] | None = None
        self._env = os.environ | {
            name: str(self.run_dir) for name in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")
        }

    @property
    def db(self) -> str:
        """Where the database listens, in OVS's notation."""
        return f"unix:{self.run_dir}/db.sock"

    @property
    def switch_pid(self) -> int:
        """The process id of ovs-vswitchd."""
        assert self._switch is not None, "not started"
        return self._switch.pid

    def __enter__(self) -> Self:
        try:
            self._run("ovsdb-tool", "create", str(self.run_dir / "conf.db"), str(SCHEMA))
            self.start_db()
            self.start_switch()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End both daemons and remove the directory."""
        self.stop_switch()
        _end(self._db, signal.SIGTERM)
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def start_db(self) -> None:
        """Start ovsdb-server on the database file; TLS settings are read from the database itself."""
        self._db = self._spawn(
            "ovsdb-server",
            str(self.run_dir / "conf.db"),
            f"--remote=p{self.db}",
            "--private-key=db:Open_vSwitch,SSL,private_key",
            "--certificate=db:Open_vSwitch,SSL,certificate",
            "--ca-cert=db:Open_vSwitch,SSL,ca_cert",
            f"--unixctl={self.run_dir}/ovsdb.ctl",
        )
        self._until_answers("ovs-vsctl", f"--db={self.db}", "--no-wait", "--timeout=1", "init")

    def start_switch(self) -> None:
        """Start ovs-vswitchd (again); bridges and controllers of the database come back, flows do not."""
        dummy = ["--enable-dummy"] if self._dummy else []
        self._switch = self._spawn("ovs-vswitchd", self.db, *dummy, f"--unixctl={self.run_dir}/switch.ctl")
        self._until_answers("ovs-appctl", "--timeout=1", "-t", f"{self.run_dir}/switch.ctl", "version")

    def stop_switch(self, signal_number: signal.Signals = signal.SIGTERM) -> None:
        """End ovs-vswitchd only; SIGKILL plays a crash."""
        _end(self._switch, signal_number)

    def kill_db(self) -> None:
        """Kill ovsdb-server."""
        _end(self._db, signal.SIGKILL)

    def wipe_db(self) -> None:
        """Kill ovsdb-server and start one on an empty database: all configuration is lost."""
        self.kill_db()
        (self.run_dir / "conf.db").unlink()
        self._run("ovsdb-tool", "create", str(self.run_dir / "conf.db"), str(SCHEMA))
        self.start_db()

    def vsctl(self, *arguments: str) -> str:
        """Run ovs-vsctl; returns what it printed, raises OvsError if it fails."""
        return self._run("ovs-vsctl", f"--db={self.db}", f"--timeout={COMMAND_DEADLINE_S}", *arguments)

    def ofctl(self, command: str, bridge: str, *arguments: str, stdin: str | None = None) -> str:
        """Run ovs-ofctl over the bridge's management socket, with OpenFlow 1.4."""
        target = f"unix:{self.run_dir}/{bridge}.mgmt"
        return self._run("ovs-ofctl", "-O", "OpenFlow14", command, target, *arguments, stdin=stdin)

    def appctl(self, *arguments: str) -> str:
        """Run ovs-appctl on ovs-vswitchd."""
        return self._run("ovs-appctl", "-t", f"{self.run_dir}/switch.ctl", *arguments)

    def flows(self, bridge: str) -> list[str]:
        """The flows of a bridge as ovs-ofctl prints them, without statistics."""
        lines = self.ofctl("dump-flows", bridge, "--no-stats").splitlines()
        return [line.strip() for line in lines if "actions=" in line]

    def add_bridge(self, name: str, dpid: int, *, datapath_type: str = "dummy", ports: int = 0) -> None:
        """Make a bridge that fails closed, with dummy ports NAME-p1.. whose OpenFlow numbers are 1.. ."""
        settings = ["fail_mode=secure", "protocols=OpenFlow14", f"datapath_type={datapath_type}"]
        config = [f"other_config:datapath-id={dpid:016x}", "other_config:disable-in-band=true"]
        command = ["--", "add-br", name, "--", "set", "bridge", name, *settings, *config]
        for number in range(1, ports + 1):
            port = f"{name}-p{number}"
            command += ["--", "add-port", name, port]
            command += ["--", "set", "interface", port, "type=dummy", f"ofport_request={number}"]
        self.vsctl(*command)

    def set_ssl(self, key: Path, cert: Path, ca: Path) -> None:
        """Choose the certificate with which all bridges dial, and the CA they trust."""
        self.vsctl("set-ssl", str(key), str(cert), str(ca))

    def connect(self, bridge: str, *targets: str, max_backoff_ms: int = 1000) -> None:
        """Point a bridge at controllers (`ssl:127.0.0.1:6653`, `tcp:...`); none disconnects it."""
        if not targets:
            self.vsctl("del-controller", bridge)
            return
        self.vsctl(
            "set-controller",
            bridge,
            *targets,
            "--",
            "set",
            "controller",
            bridge,
            f"max_backoff={max_backoff_ms}",
        )

    def _spawn(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = (self.run_dir / f"{program}.log").open("ab")
        with log:
            return subprocess.Popen(
                [program, *arguments], env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _run(self, *command: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            command,
            env=self._env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=2 * COMMAND_DEADLINE_S,
        )
        if done.returncode:
            raise OvsError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
        return done.stdout

    def _until_answers(self, *command: str) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while True:
            try:
                self._run(*command)
                return
            except OvsError as error:
                if time.monotonic() > deadline:
                    logs = "".join(p.read_text() for p in self.run_dir.glob("*.log"))
                    raise OvsError(f"{error}\n{logs}") from error
                time.sleep(0.02)


def _end(process: subprocess.Popen[bytes] | None, signal_number: signal.Signals = signal.SIGTERM) -> None:
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal_number)
    try:
        process.wait(STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
