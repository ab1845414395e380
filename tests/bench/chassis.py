"""One hypervisor of the peer: its switch and its ovn-controller."""

from __future__ import annotations

from pathlib import Path

from tests.bench.control import Control
from tests.bench.layout import Guest
from tests.bench.ovsdb import plug
from tests.bench.procs import Sandbox

OVS_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
BRIDGE = "br-int"
PROBE_MS = 180_000
"""Inactivity probes are far apart: with the usual 5 s a busy northd would be disconnected."""


class Chassis:
    """One hypervisor of the peer."""

    def __init__(self, sandbox: Sandbox, number: int, southbound: str) -> None:
        """Starts nothing yet."""
        self._sandbox, self.number, self._southbound = sandbox, number, southbound
        self.dir = sandbox.dir / f"h{number}"
        self.db = f"unix:{self.dir}/db.sock"

    def start_switch(self) -> None:
        """Start its switch, with an empty bridge."""
        sandbox, number = self._sandbox, self.number
        self.dir.mkdir()
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
            "system-id": f"hv{number}", "ovn-remote": self._southbound, "ovn-encap-type": "geneve",
            "ovn-encap-ip": f"192.0.2.{number + 1}", "ovn-remote-probe-interval": str(PROBE_MS),
            "ovn-openflow-probe-interval": str(PROBE_MS // 1000),
        }  # fmt: skip
        self.vsctl("set", "Open_vSwitch", ".", *(f"external_ids:{k}={v}" for k, v in ids.items()))
        made = ("fail-mode=secure", "other-config:disable-in-band=true")
        self.vsctl("add-br", BRIDGE, "--", "set", "Bridge", BRIDGE, *made)

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
        plug(self.dir / "db.sock", BRIDGE, [guest.id for guest in guests])
