"""Who comes between what a reconciler does: revisions of a world, and bridges that come, go and name their
ports otherwise; and how it must end all the same.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from random import Random

from cloison.codec import record_to_bytes
from cloison.names import HostName
from controller.openflow.fake import FakeSwitch
from controller.reconcile.reconciler import Reconciler
from controller.reconcile.views import vxlan_device
from controller.store import keys
from controller.store.changes import RevisionChanges
from controller.store.memory import MemoryEtcd, MemoryStore
from controller.store.state import State
from controller.store.txn import Write
from tests.support.hosts import eventually
from tests.support.intents import World
from tests.support.loaded import meant


def write(etcd: MemoryEtcd, revision: RevisionChanges) -> None:
    """Commit what a revision of a world changed, as one transaction."""
    etcd.write(
        [
            Write(keys.key_of(c.stored), record_to_bytes(c.new) if c.new is not None else None)
            for c in revision.changes
        ]
    )


class Meddler:
    """Does one thing after the other, as often as it may; else starts something as soon as all is quiet."""

    def __init__(
        self,
        reconciler: Reconciler,
        deeds: Iterable[Callable[[], object]],
        may: Callable[[], bool],
        start: Callable[[], object] = lambda: None,
    ) -> None:
        """start: ends deeds if there is nothing more to start."""
        self._reconciler, self.deeds, self._may, self._start = reconciler, deque(deeds), may, start
        self.done = 0
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self.deeds:
            if self._may():
                self.done += 1
                self.deeds.popleft()()
            elif self._reconciler._settled() is not None:
                self._start()
            await asyncio.sleep(0)


class Bridges:
    """The bridges of a world's hosts, which come and go and give other numbers."""

    def __init__(self, reconciler: Reconciler, state: State, random: Random) -> None:
        self._reconciler, self._state, self._random = reconciler, state, random
        self._switches: dict[HostName, FakeSwitch] = {}

    def meddle(self) -> None:
        """Something happens to some bridge."""
        hosts = sorted(self._state.hosts)
        if hosts:
            ways = self._dial, self._lose, self._rename, self._tell
            self._random.choice(ways)(self._random.choice(hosts))

    def again(self, reconciler: Reconciler) -> None:
        """Let bridges like these dial another controller."""
        for host, switch in self._switches.items():
            like = FakeSwitch(switch.dpid, host.host)
            like.ports = dict(switch.ports)
            reconciler.switch_connected(like.dpid, like)

    def _numbers(self, host: HostName) -> dict[int, str]:
        bound = {b.ofport: b.interface for b in self._state.bindings_on(host)}
        return bound | {t.ofport: vxlan_device(t.vni) for t in self._state.tunnel_ports_on(host)}

    def _dial(self, host: HostName) -> None:
        self._lose(host)
        switch = self._switches[host] = FakeSwitch(self._state.hosts[host].datapath_id, host.host)
        switch.ports = self._numbers(host)
        self._reconciler.switch_connected(switch.dpid, switch)

    def _lose(self, host: HostName) -> None:
        switch = self._switches.pop(host, None)
        if switch is not None:
            self._reconciler.switch_gone(switch.dpid)

    def _rename(self, host: HostName) -> None:
        switch = self._switches.get(host)
        if switch is not None and switch.ports:
            switch.set_port(self._random.choice(sorted(switch.ports)), self._random.choice(("other", None)))

    def _tell(self, host: HostName) -> None:
        if host in self._switches:
            for ofport, name in self._numbers(host).items():
                self._switches[host].set_port(ofport, name)


def _is_quiet(reconciler: Reconciler, etcd: MemoryEtcd) -> bool:
    """Tell whether everything is followed, and every bridge that is there has said what its ports are."""
    actors = reconciler.hosts.values()
    asked = all(a.switch is None or (a.naming.ports is not None and not a.flows.dirty) for a in actors)
    return reconciler.revision == etcd.revision and reconciler._settled() is not None and asked


async def assert_ends_where_a_start_does(
    seed: int, may: Callable[[Reconciler], bool], done_min: int = 0
) -> None:
    """A history and its bridges, each whenever it may, against a controller that is started afterwards."""
    world, etcd = World(seed), MemoryEtcd()
    revisions = deque(world.history(60))
    store = MemoryStore(etcd)
    await store.start()
    reconciler, after = Reconciler(store, "c1", 1), Reconciler(store, "c2", 1)
    await reconciler.start()
    bridges = Bridges(reconciler, store.state, world.random)

    def follow() -> None:
        for _ in range(world.random.randrange(1, 4)):
            if revisions:
                write(etcd, revisions.popleft())

    def start() -> None:
        follow()
        if not revisions:
            meddler.deeds.clear()

    deeds = [world.random.choice((follow, bridges.meddle, bridges.meddle)) for _ in range(120)]
    meddler = Meddler(reconciler, deeds, lambda: may(reconciler), start)
    await meddler.task
    assert meddler.done >= done_min
    while revisions:
        follow()
    await eventually(lambda: _is_quiet(reconciler, etcd), "followed")
    await after.start()
    bridges.again(after)
    await eventually(lambda: _is_quiet(after, etcd), "started")
    assert meant(reconciler) == meant(after)
    for made in (reconciler, after):
        await made.stop()
    await store.stop()
