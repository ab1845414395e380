"""The peer: Debian's OVN, run privately.

Own northbound and southbound databases, ovn-northd, and as many chassis as there are hosts, each with its own
ovsdb-server, ovs-vswitchd (dummy datapath) and ovn-controller; Unix sockets only, no TLS.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.bench.chassis import BRIDGE, PROBE_MS, Chassis
from tests.bench.control import Control
from tests.bench.fill import at_once
from tests.bench.layout import NETWORKS, PORTS_PER_NETWORK, Guest, Layout
from tests.bench.northbound import joined, own_match, port_commands, tenant_commands
from tests.bench.procs import Sandbox, apart
from topologies.wait import WaitTimeoutError, wait_until

OVN_SCHEMAS = Path("/usr/share/ovn")
START_S = 180
SYNC_S = 900
COMMAND_S = 30
EXPIRED = "timeout expired"
"""As ovn-nbctl says it."""
TENANTS_AT_ONCE = 20
"""In one transaction, when the cloud is filled: each costs as much as there is already."""
PLUGGING_AT_ONCE = STARTING_AT_ONCE = 4
PROGRAMS = ("ovn-northd", "ovn-controller", "ovn-nbctl", "ovs-vswitchd", "ovsdb-server")


def installed() -> bool:
    """Whether OVN is here."""
    return all(map(shutil.which, PROGRAMS))


class Peer:
    """The running system and the same requests as ours; a context manager."""

    of_hosts = ("controller", "ovsdb", "vswitchd")

    def __init__(
        self, layout: Layout, progress: Callable[[str], None] = lambda _: None, patience_s: int = SYNC_S
    ) -> None:
        """`layout`: background, which `populate` makes; `patience_s`: how long it may wait for one thing."""
        self.layout, self._progress, self._patience_s = layout, progress, patience_s
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
        self.close()

    def close(self) -> None:
        """End it; more than once if need be."""
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
        self._northd = Control(here / "northd.ctl")
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
        at_once(Chassis.start_switch, self.chassis, STARTING_AT_ONCE)
        # Only now: each that comes gives all that are there a tunnel more.
        at_once(Chassis.start_controller, self.chassis, STARTING_AT_ONCE)
        # `--wait=hv` waits for those that have registered.
        wait_until(lambda: self._registered() == len(self.chassis), START_S, "every chassis registered")

    def _registered(self) -> int:
        listed = [
            "ovn-sbctl",
            f"--db={self.southbound}",
            "--bare",
            "--columns=name",
            "list",
            "Chassis_Private",
        ]
        return len(self._sandbox.run(self._sandbox.dir, listed).split())

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
        everything = {
            "nbctl": [self.client_pid],
            "databases": [p.pid for p in self.databases],
            "northd": [self.northd.pid],
            "controller": [c.controller.pid for c in self.chassis],
            "ovsdb": [c.ovsdb.pid for c in self.chassis],
            "vswitchd": [c.vswitchd.pid for c in self.chassis],
        }
        return apart(everything, self.of_hosts, self.layout.spread)

    @property
    def bridges(self) -> list[Path]:
        """The management sockets of all bridges."""
        return [chassis.dir / f"{BRIDGE}.mgmt" for chassis in self.chassis]

    def nb(self, *words: str) -> str:
        """`ovn-nbctl`, in a process that is connected already."""
        return self._nbctl("run", *words)

    def settle(self) -> None:
        """As `sync`."""
        self.sync()

    def sync(self) -> None:
        """Return when every chassis reports that it has what is in the northbound database.

        Raises WaitTimeoutError.
        """
        self._sync("hv")

    def _sync(self, who: str) -> None:
        try:
            self.nb(f"--timeout={self._patience_s}", f"--wait={who}", "sync")
        except RuntimeError as error:
            if EXPIRED not in str(error):
                raise
            raise WaitTimeoutError(f"--wait={who} took longer than {self._patience_s} s") from error

    def populate(self) -> None:
        """Make the background and wait until every chassis has it.

        northd and the controllers of the chassis pause meanwhile: they would work out everything anew at each
        step, and none of that is measured. So each does so but a few times. Raises WaitTimeoutError.
        """
        self._progress(f"OVN: creating {len(self.layout.background)} ports")
        self._northd("pause")
        for chassis in self.chassis:
            chassis.control("debug/pause")
        tenants = list(range(self.layout.tenants))
        for first in range(0, len(tenants), TENANTS_AT_ONCE):
            several = tenants[first : first + TENANTS_AT_ONCE]
            self.nb(*joined(part for tenant in several for part in self._tenant(tenant)))
        self._progress("OVN: plugging")
        self.plug(self.layout.background)
        self._progress("OVN: logical flows")
        self._northd("resume")
        self._sync("sb")
        self._progress("OVN: carrying out")
        for chassis in self.chassis:
            chassis.control("debug/resume")
        self.sync()
        self._progress("OVN: waiting until ports are up")
        wait_until(self._all_up, self._patience_s, "every port up")
        self.sync()

    def _all_up(self) -> bool:
        down = self.nb(
            "--bare", "--columns=name", "find", "Logical_Switch_Port", "up!=true", 'type=""'
        ).split()
        time.sleep(0.2)  # at a large size the question costs time itself
        return not down

    def _tenant(self, tenant: int) -> Iterator[list[str]]:
        guests = self._of_tenant(tenant)
        self._members[tenant] += [guest.id for guest in guests]
        return tenant_commands(tenant, guests)

    def _of_tenant(self, tenant: int) -> list[Guest]:
        first = tenant * NETWORKS * PORTS_PER_NETWORK
        return self.layout.background[first : first + NETWORKS * PORTS_PER_NETWORK]

    def plug(self, guests: Iterable[Guest]) -> None:
        """Put their interfaces into the bridges; the switches have taken them when this returns."""
        by_host: dict[int, list[Guest]] = defaultdict(list)
        for guest in guests:
            by_host[guest.host].append(guest)
        at_once(lambda host: self.chassis[host].plug(by_host[host]), by_host, PLUGGING_AT_ONCE)

    def add(self, guest: Guest) -> None:
        """One port with port security, its tenant's group and a rule of its own; all have it on return."""
        self._send([guest], "--wait=hv")

    def send_many(self, guests: Sequence[Guest]) -> None:
        """As `add`, of several in one transaction, without waiting."""
        self._send(guests)

    def send_plain(self, guest: Guest) -> None:
        """As `send`, without a rule of its own."""
        members = self._members[guest.tenant]
        members.append(guest.id)
        self.nb(*joined([*port_commands(guest), ["pg-set-ports", f"pg{guest.tenant}", *members]]))

    def cold_start(self, host: int) -> float:
        """A new ovn-controller on an empty table, until it reports the newest configuration; in s."""
        chassis = self.chassis[host]
        chassis.control("exit", "--restart")
        chassis.controller.wait(COMMAND_S)
        chassis.ofctl("del-flows")
        self._sync("sb")
        wanted = self.nb("get", "NB_Global", ".", "nb_cfg").strip()
        start = time.perf_counter()
        chassis.start_controller()
        until = ["wait-until", "Chassis_Private", f"hv{host}", f"nb_cfg={wanted}"]
        self._sandbox.run(
            chassis.dir, ["ovn-sbctl", f"--db={self.southbound}", f"--timeout={SYNC_S}", *until]
        )
        return time.perf_counter() - start

    def _send(self, guests: Sequence[Guest], *options: str) -> None:
        parts = [part for guest in guests for part in self._addition(guest)]
        groups = {guest.tenant: f"pg{guest.tenant}" for guest in guests}
        parts += [["pg-set-ports", group, *self._members[tenant]] for tenant, group in groups.items()]
        self.nb(f"--timeout={SYNC_S}", *options, *joined(parts))

    def _addition(self, guest: Guest) -> Iterator[list[str]]:
        """A port and its rule; it is in its tenant's group when that is set."""
        self._members[guest.tenant].append(guest.id)
        yield from port_commands(guest)
        match, switch = own_match(guest), f"t{guest.tenant}n{guest.network}"
        yield ["acl-add", switch, "to-lport", "1003", match, "allow-related"]

    def delete(self, guest: Guest) -> None:
        """Delete a port; returns when every chassis has done so."""
        self._members[guest.tenant].remove(guest.id)
        self.nb(f"--timeout={SYNC_S}", "--wait=hv", "lsp-del", guest.id)

    def revoke(self, guest: Guest) -> None:
        """Delete the rule of a guest's own; returns as `delete`."""
        switch = f"t{guest.tenant}n{guest.network}"
        self.nb(f"--timeout={SYNC_S}", "--wait=hv", "acl-del", switch, "to-lport", "1003", own_match(guest))

    def flows(self, host: int) -> int:
        """How many flows a chassis' bridge has."""
        said = self.chassis[host].ofctl("dump-aggregate")
        return int(said.partition("flow_count=")[2].split()[0])
