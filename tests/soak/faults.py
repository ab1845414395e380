"""What breaks meanwhile: daemons die or hang, links are cut, tables are changed behind our back."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

from tests.lab.observe import devices, entries
from tests.lab.spine import Site
from topologies.daemon import Daemon, DaemonError
from topologies.host import Host
from topologies.nodes import NodeError

HANG_S = (0.5, 4.0)
CUT_S = (0.5, 5.0)
RESTART_S = 30.0
TABLES = 24
_CUT = """table inet soak {
    chain in { type filter hook input priority -300; iifname != "lo" drop; }
    chain out { type filter hook output priority -300; oifname != "lo" drop; }
}"""


class Faults:
    """Breaks one thing after another; `mend` puts back what does not come back by itself."""

    def __init__(self, site: Site, dice: random.Random, *, kills: bool = True) -> None:
        """kills: processes may be killed; without it they only hang, so that one can see how they age."""
        self._site, self._dice = site, dice
        self.done: dict[str, int] = {}
        mild: list[Callable[[], str]] = [
            self._hang,
            self._cut,
            self._drop_flows,
            self._drop_entry,
            self._drop_device,
        ]
        self._all = [*mild, self._kill, self._kill, self._kill_all] if kills else mild

    def some(self, count: int) -> None:
        """Break so many things, one after the other."""
        for _ in range(count):
            self._one()

    def _one(self) -> None:
        try:
            name = self._dice.choice(self._all)()
        except (DaemonError, NodeError, ProcessLookupError):
            name = "not done"
        self.done[name] = self.done.get(name, 0) + 1

    def mend(self) -> None:
        """Start what is dead, wake what hangs. Raises DaemonError if one does not get ready."""
        for daemon in self.daemons():
            if not daemon.alive:
                daemon.start(timeout_s=RESTART_S)
            daemon.resume()

    def daemons(self) -> list[Daemon]:
        """Everything that can be killed, in an order in which it can be started."""
        control = self._site.lab.control
        assert control is not None
        found = [control.etcd, control.controller]
        for host in self._site.lab.hosts.values():
            assert host.agent is not None
            found += [host.ovsdb, host.vswitchd, host.agent]
        return found

    def _host(self) -> Host:
        return self._dice.choice(list(self._site.lab.hosts.values()))

    def _kill(self) -> str:
        daemon = self._dice.choice(self.daemons())
        daemon.kill(self._dice.choice((signal.SIGKILL, signal.SIGTERM)))
        # How long it is away is part of the fault.
        time.sleep(self._dice.uniform(0, 2))
        daemon.start(wait=False)
        return f"kill {daemon.name}"

    def _kill_all(self) -> str:
        """The site loses power but for its switches' tables: all of the control plane at once."""
        for daemon in self.daemons():
            if daemon.name not in ("ovsdb-server", "ovs-vswitchd"):
                daemon.kill()
        self.mend()
        return "kill the control plane"

    def _hang(self) -> str:
        daemon = self._dice.choice(self.daemons())
        daemon.pause()
        time.sleep(self._dice.uniform(*HANG_S))
        daemon.resume()
        return f"hang {daemon.name}"

    def _cut(self) -> str:
        """A host is off the underlay: no tunnels, no controller. Its links stay up: a switch fails."""
        node = self._host().node
        node.run(["nft", "-f", "-"], stdin=_CUT, check=True)
        try:
            time.sleep(self._dice.uniform(*CUT_S))
        finally:
            node.run(["nft", "delete", "table", "inet", "soak"], check=True)
        return "cut a host off"

    def _drop_flows(self) -> str:
        self._host().switch.ofctl("del-flows", f"table={self._dice.randrange(TABLES)}", check=False)
        return "delete flows"

    def _drop_entry(self) -> str:
        host = self._host()
        found = sorted(entries(host))
        if found:
            device, mac, vtep = self._dice.choice(found)
            host.node.run(["bridge", "fdb", "del", mac, "dev", device, "dst", vtep])
        return "delete a forwarding entry"

    def _drop_device(self) -> str:
        host = self._host()
        found = sorted(devices(host))
        if found:
            host.node.run(["ip", "link", "del", self._dice.choice(found)])
        return "delete a device"
