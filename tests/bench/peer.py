"""The peer: Debian's OVN, run privately.

Own northbound and southbound databases, ovn-northd, and four chassis, each with its own ovsdb-server,
ovs-vswitchd (dummy datapath) and ovn-controller; Unix sockets only, no TLS.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.bench.layout import NETWORKS, PORTS_PER_NETWORK, TCP_OPEN, Guest, Layout
from tests.bench.procs import Sandbox
from topologies.wait import wait_until

OVN_SCHEMAS = Path("/usr/share/ovn")
OVS_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
BRIDGE = "br-int"
SOCKET_S = 20.0
SYNC_S = 900
COMMAND_S = 30
PLUG_BATCH = 200
PROBE_MS = 180_000
"""Inactivity probes are far apart: with the usual 5 s a busy northd would be disconnected."""
PROGRAMS = ("ovn-northd", "ovn-controller", "ovn-nbctl", "ovs-vswitchd", "ovsdb-server")


def installed() -> bool:
    """Whether OVN is here."""
    return all(map(shutil.which, PROGRAMS))


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


class Peer:
    """The running system and the same requests as ours; a context manager."""

    def __init__(self, layout: Layout, progress: Callable[[str], None] = lambda _: None) -> None:
        """`layout`: background, which `populate` makes."""
        self.layout, self._progress = layout, progress
        self._members: dict[int, list[str]] = defaultdict(list)

    def __enter__(self) -> Self:
        self._progress("starting OVN")
        self._sandbox = Sandbox("peer")
        try:
            self._start()
        except BaseException:
            self._sandbox.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sandbox.close()

    def _start(self) -> None:
        here = self._sandbox.dir / "central"
        here.mkdir()
        self.databases = [self._database(here, name) for name in ("nb", "sb")]
        north, south = f"unix:{here}/nb.sock", f"unix:{here}/sb.sock"
        self.northd = self._sandbox.start(
            here,
            "ovn-northd",
            f"--ovnnb-db={north}",
            f"--ovnsb-db={south}",
            f"--unixctl={here}/northd.ctl",
            "-vconsole:off",
        )
        pid_file = here / "nbctl.pid"
        client = [
            "ovn-nbctl",
            f"--db={north}",
            "--detach",
            f"--pidfile={pid_file}",
            f"--unixctl={here}/nbctl.ctl",
        ]
        self._sandbox.run(here, [*client, "-vconsole:off"])
        self.client_pid = int(pid_file.read_text())
        self._nbctl = Control(here / "nbctl.ctl")
        self.nb("init")
        self.nb("set", "NB_Global", ".", f"options:northd_probe_interval={PROBE_MS}")
        self.southbound = south
        self.chassis = [Chassis(self._sandbox, n, south) for n in range(self.layout.hosts)]

    def _database(self, here: Path, name: str) -> subprocess.Popen[bytes]:
        self._sandbox.run(
            here, ["ovsdb-tool", "create", f"{here}/{name}.db", str(OVN_SCHEMAS / f"ovn-{name}.ovsschema")]
        )
        server = [
            "ovsdb-server",
            f"{here}/{name}.db",
            f"--remote=punix:{here}/{name}.sock",
            f"--unixctl={here}/{name}.ctl",
        ]
        process = self._sandbox.start(here, *server, "-vconsole:off")
        Control(here / f"{name}.ctl")
        return process

    @property
    def pids(self) -> dict[str, list[int]]:
        """All processes of the peer, by kind."""
        return {
            "nbctl": [self.client_pid],
            "databases": [p.pid for p in self.databases],
            "northd": [self.northd.pid],
            "controller": [c.controller.pid for c in self.chassis],
            "ovsdb": [c.ovsdb.pid for c in self.chassis],
            "vswitchd": [c.vswitchd.pid for c in self.chassis],
        }

    def nb(self, *words: str) -> str:
        """`ovn-nbctl`, in a process that is connected already."""
        return self._nbctl("run", *words)

    def settle(self) -> None:
        """As `sync`."""
        self.sync()

    def sync(self) -> None:
        """Return when every chassis reports that it has what is in the northbound database."""
        self.nb(f"--timeout={SYNC_S}", "--wait=hv", "sync")

    def populate(self) -> None:
        """Make the background and wait until every chassis has it."""
        self._progress(f"OVN: creating {len(self.layout.background)} ports")
        for tenant in range(self.layout.tenants):
            self.nb(*_joined(self._tenant(tenant)))
        self._progress("OVN: plugging")
        self.plug(self.layout.background)
        self.sync()
        wait_until(self._all_up, SYNC_S, "every port up")
        self.sync()

    def _all_up(self) -> bool:
        down = self.nb(
            "--bare", "--columns=name", "find", "Logical_Switch_Port", "up!=true", 'type=""'
        ).split()
        time.sleep(0.2)  # at a large size the question costs time itself
        return not down

    def _tenant(self, tenant: int) -> Iterator[list[str]]:
        router, group = f"r{tenant}", f"pg{tenant}"
        yield ["lr-add", router]
        for network in range(NETWORKS):
            switch, gateway = f"t{tenant}n{network}", f"10.{tenant & 255}.{network}.1/24"
            mac = f"0a:ff:{tenant >> 8:02x}:{tenant & 255:02x}:{network:02x}:01"
            yield ["ls-add", switch]
            yield ["lrp-add", router, f"{router}-{switch}", mac, gateway]
            yield ["lsp-add", switch, f"{switch}-r"]
            yield ["lsp-set-type", f"{switch}-r", "router"]
            yield ["lsp-set-addresses", f"{switch}-r", "router"]
            yield ["lsp-set-options", f"{switch}-r", f"router-port={router}-{switch}"]
        for guest in self._of_tenant(tenant):
            yield from self._port(guest)
            self._members[tenant].append(guest.id)
        yield ["pg-add", group, *self._members[tenant]]
        ports = ", ".join(map(str, TCP_OPEN))
        for direction, priority, match, action in (
            ("to-lport", 1002, f"outport == @{group} && ip4 && ip4.src == ${group}_ip4", "allow-related"),
            (
                "to-lport",
                1002,
                f"outport == @{group} && ip4 && tcp && tcp.dst == {{{ports}}}",
                "allow-related",
            ),
            ("from-lport", 1002, f"inport == @{group} && ip4", "allow-related"),
            ("to-lport", 1001, f"outport == @{group} && ip", "drop"),
            ("from-lport", 1001, f"inport == @{group} && ip", "drop"),
        ):
            yield ["--type=port-group", "acl-add", group, direction, str(priority), match, action]

    def _of_tenant(self, tenant: int) -> list[Guest]:
        first = tenant * NETWORKS * PORTS_PER_NETWORK
        return self.layout.background[first : first + NETWORKS * PORTS_PER_NETWORK]

    @staticmethod
    def _port(guest: Guest) -> Iterator[list[str]]:
        where = f"{guest.mac} {guest.address}"
        yield ["lsp-add", f"t{guest.tenant}n{guest.network}", guest.id]
        yield ["lsp-set-addresses", guest.id, where]
        yield ["lsp-set-port-security", guest.id, where]

    def plug(self, guests: Iterable[Guest]) -> None:
        """Put their interfaces into the bridges; the switches have taken them when this returns."""
        by_host: dict[int, list[Guest]] = defaultdict(list)
        for guest in guests:
            by_host[guest.host].append(guest)
        for host, those in by_host.items():
            self.chassis[host].plug(those)

    def add(self, guest: Guest) -> None:
        """One port with port security, its tenant's group and a rule of its own; all have it on return."""
        self._send(guest, "--wait=hv")

    def send(self, guest: Guest) -> None:
        """As `add`, without waiting."""
        self._send(guest)

    def send_plain(self, guest: Guest) -> None:
        """As `send`, without a rule of its own."""
        members = self._members[guest.tenant]
        members.append(guest.id)
        self.nb(*_joined([*self._port(guest), ["pg-set-ports", f"pg{guest.tenant}", *members]]))

    def cold_start(self, host: int) -> float:
        """A new ovn-controller on an empty table, until it reports the newest configuration; in s."""
        chassis = self.chassis[host]
        chassis.control("exit", "--restart")
        chassis.controller.wait(COMMAND_S)
        chassis.ofctl("del-flows")
        self.nb(f"--timeout={SYNC_S}", "--wait=sb", "sync")
        wanted = self.nb("get", "NB_Global", ".", "nb_cfg").strip()
        start = time.perf_counter()
        chassis.start_controller()
        until = ["wait-until", "Chassis_Private", f"hv{host}", f"nb_cfg={wanted}"]
        self._sandbox.run(
            chassis.dir, ["ovn-sbctl", f"--db={self.southbound}", f"--timeout={SYNC_S}", *until]
        )
        return time.perf_counter() - start

    def _send(self, guest: Guest, *options: str) -> None:
        members = self._members[guest.tenant]
        members.append(guest.id)
        match, switch = _own_match(guest), f"t{guest.tenant}n{guest.network}"
        parts = [
            *self._port(guest),
            ["pg-set-ports", f"pg{guest.tenant}", *members],
            ["acl-add", switch, "to-lport", "1003", match, "allow-related"],
        ]
        self.nb(f"--timeout={SYNC_S}", *options, *_joined(parts))

    def delete(self, guest: Guest) -> None:
        """Delete a port; returns when every chassis has done so."""
        self._members[guest.tenant].remove(guest.id)
        self.nb(f"--timeout={SYNC_S}", "--wait=hv", "lsp-del", guest.id)

    def revoke(self, guest: Guest) -> None:
        """Delete the rule of a guest's own; returns as `delete`."""
        switch = f"t{guest.tenant}n{guest.network}"
        self.nb(f"--timeout={SYNC_S}", "--wait=hv", "acl-del", switch, "to-lport", "1003", _own_match(guest))

    def flows(self, host: int) -> int:
        """How many flows a chassis' bridge has."""
        said = self.chassis[host].ofctl("dump-aggregate")
        return int(said.partition("flow_count=")[2].split()[0])


def _own_match(guest: Guest) -> str:
    return f'outport == "{guest.id}" && ip4 && ip4.src == {guest.tenant_range} && tcp.dst == {guest.rule}'


def _joined(commands: Iterable[list[str]]) -> list[str]:
    """Several commands as one transaction."""
    words: list[str] = []
    for command in commands:
        words += ["--", *command] if words else command
    return words
