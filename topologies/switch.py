"""Open vSwitch of one compute host: its own database, ovsdb-server and ovs-vswitchd in its namespace.

Starts and asks the programs; the bridge is the agent's, except in a lab without agents. Never touches the
machine's own Open vSwitch: every path is in the host's directory.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from topologies.daemon import Daemon
from topologies.nodes import Completed, LabNode, NodeError
from topologies.state import LabState

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
BRIDGE = "br-int"
INIT_S = 10


class Switch:
    """The two daemons of Open vSwitch on a host, and its command line tools pointed at them."""

    def __init__(self, node: LabNode, run_dir: Path, state: LabState) -> None:
        """Makes the host's directory and database; starts nothing."""
        self.node = node
        self.dir = run_dir / node.name
        self.dir.mkdir(parents=True, exist_ok=True)
        self.remote = f"unix:{self.dir}/db.sock"
        self.control = f"{self.dir}/ovs-vswitchd.ctl"
        self._database = self.dir / "conf.db"
        self.create_database()
        env = {"OVS_RUNDIR": str(self.dir), "OVS_LOGDIR": str(self.dir), "OVS_DBDIR": str(self.dir)}
        logging = ["-vconsole:info", "-vsyslog:off", "-vfile:off"]
        server = [
            *("ovsdb-server", str(self._database), f"--remote=p{self.remote}", "--no-chdir"),
            *(f"--pidfile={self.dir}/ovsdb-server.pid", f"--unixctl={self.dir}/ovsdb-server.ctl", *logging),
        ]
        self.ovsdb = Daemon("ovsdb", node, server, run_dir, state, env, self._database_serves)
        switch = [
            *("ovs-vswitchd", self.remote, "--no-chdir"),
            *(f"--pidfile={self.dir}/ovs-vswitchd.pid", f"--unixctl={self.control}", *logging),
        ]
        self.vswitchd = Daemon("vswitchd", node, switch, run_dir, state, env, self._switch_serves)

    def create_database(self) -> None:
        """A new, empty database; for the fault "conf.db is gone"."""
        self._database.unlink(missing_ok=True)
        subprocess.run(["ovsdb-tool", "create", str(self._database), SCHEMA], check=True, timeout=INIT_S)

    def start(self) -> None:
        """Start both daemons and name the host in the database. Raises DaemonError."""
        self.ovsdb.start()
        self.vsctl(
            "--no-wait",
            "init",
            "--",
            "set",
            "Open_vSwitch",
            ".",
            f"external_ids:hostname={self.node.name}",
            f"external_ids:system-id={self.node.name}",
        )
        self.vswitchd.start()

    def make_bridge(self) -> None:
        """The bridge as an agent would make it, for labs without agents: secure at birth, no controller."""
        self.vsctl(
            "--may-exist",
            "add-br",
            BRIDGE,
            "--",
            "set",
            "Bridge",
            BRIDGE,
            "fail_mode=secure",
            "datapath_type=netdev",
            "protocols=OpenFlow14",
        )

    def has_bridge(self) -> bool:
        """Whether br-int is there and the switch runs it."""
        return self.vsctl("br-exists", BRIDGE, check=False).returncode == 0

    def vsctl(self, *args: str, check: bool = True, timeout_s: int = 10) -> Completed:
        """`ovs-vsctl` on this host's database. Raises NodeError if it fails and `check`."""
        argv = ["ovs-vsctl", f"--timeout={timeout_s}", f"--db={self.remote}", *args]
        return self.node.run(argv, timeout_s=timeout_s + 2, check=check)

    def ofctl(self, command: str, *args: str, check: bool = True) -> Completed:
        """`ovs-ofctl COMMAND br-int ...` with OpenFlow 1.4. Raises NodeError if it fails and `check`."""
        argv = ["ovs-ofctl", "-O", "OpenFlow14", command, f"unix:{self.dir}/{BRIDGE}.mgmt", *args]
        return self.node.run(argv, check=check)

    def appctl(self, *args: str, check: bool = True) -> Completed:
        """`ovs-appctl` to this host's ovs-vswitchd. Raises NodeError if it fails and `check`."""
        return self.node.run(["ovs-appctl", "-t", self.control, *args], check=check)

    def _database_serves(self) -> bool:
        return self.vsctl("--no-wait", "list-br", check=False, timeout_s=1).returncode == 0

    def _switch_serves(self) -> bool:
        try:
            # Without --no-wait: returns once ovs-vswitchd has taken over the database's present state.
            self.vsctl("init", timeout_s=2)
        except NodeError:
            return False
        return self.appctl("version", check=False).returncode == 0
