"""What an add costs the controller's own code: all in one process, hosts and store in memory, no servers.

    python -m tests.bench.inside [ADDS [FILE]]      CPU an add and of its round, calls of functions; a profile

Calls do not depend on what else the machine does: to be compared from version to version. Not in it: gRPC,
TLS, etcd, OpenFlow's threads.
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import pstats
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cloison.names import PortName
from cloison.v1 import batch_pb2, plan_pb2
from controller.api.intents.common import Stamp
from controller.api.planning import several
from controller.api.planning.operations import Circumstances
from controller.logs import configure
from controller.openflow.fake import FakeSwitch
from controller.store.changes import RevisionChanges
from controller.store.txn import Limits
from controller.turns import Work
from tests.bench.layout import Guest, Layout
from tests.bench.requests import GROUP, group_request, own_rule, port_name, port_request, tenant_operations
from tests.bench.stats import median
from tests.support.hosts import MemoryHost
from tests.support.reconciling import Controller, controller, settled

PORTS, HOSTS, WARM_UP = 1_000, 4, 8


class Cloud:
    """A controller whose four hosts hold a background of 1,000 ports."""

    def __init__(self, made: Controller) -> None:
        """Empty as yet."""
        self.made, self.rounds_ms = made, list[float]()
        made.store._limits = Limits(1_000_000, 1 << 30)
        follower = made.reconciler._follower
        self._follow, follower._follow = follower._follow, self._timed

    def _timed(self, revisions: Sequence[RevisionChanges]) -> Work[None]:
        began_s = time.process_time()
        yield from self._follow(revisions)
        self.rounds_ms.append((time.process_time() - began_s) * 1e3)

    async def fill(self, background: Iterable[Guest], others: Iterable[Guest]) -> None:
        """Plug all, make the background."""
        plugged, tenants = defaultdict(list), defaultdict(list)
        for guest in background:
            tenants[guest.tenant].append(guest)
            plugged[guest.host].append(guest.id)
        for guest in others:
            plugged[guest.host].append(guest.id)
        for n in range(HOSTS):
            host = MemoryHost(self.made.reconciler, n + 1, FakeSwitch(n + 1, f"h{n + 1}"))
            await host.connect(*plugged[n])
        for tenant, guests in tenants.items():
            await self._commit([*tenant_operations(tenant), *(_port(guest, GROUP) for guest in guests)])
        await settled(self.made)

    async def add(self, guest: Guest) -> None:
        """A group with a rule of its own, and a port in two groups; realized on return."""
        group = group_request(guest.tenant, guest.id, [own_rule(guest)])
        await self._commit([plan_pb2.Operation(create_security_group=group), _port(guest, GROUP, guest.id)])
        name, revision = PortName.parse(port_name(guest)), self.made.store.state.revision
        realized, _, missing = await self.made.reconciler.tracker.wait_realized(name, revision, 10.0)
        assert realized, missing

    async def _commit(self, operations: Sequence[plan_pb2.Operation]) -> None:
        steps = several.steps_of(batch_pb2.CommitRequest(operations=operations))
        given = [Circumstances(Stamp(time.time_ns(), str(uuid.uuid4())), frozenset()) for _ in steps]
        birth = self.made.reconciler.birth
        await self.made.store.transact(lambda state: several.carry_out(state, steps, given, birth))


def _port(guest: Guest, *groups: str) -> plan_pb2.Operation:
    return plan_pb2.Operation(create_port=port_request(guest, groups, f"h{guest.host + 1}"))


async def measure(adds: int) -> tuple[dict[str, Any], pstats.Stats]:
    """As many adds without the profiler, and as many with it."""
    layout, profile = Layout(PORTS, HOSTS), cProfile.Profile()
    guests = layout.new(WARM_UP + 2 * adds)
    async with controller() as made:
        cloud, taken_ms = Cloud(made), []
        await cloud.fill(layout.background, guests)
        for guest in guests[:WARM_UP]:
            await cloud.add(guest)
        gc.collect()
        gc.freeze()
        cloud.rounds_ms.clear()
        for guest in guests[WARM_UP : WARM_UP + adds]:
            began_s = time.process_time()
            await cloud.add(guest)
            taken_ms.append((time.process_time() - began_s) * 1e3)
        told = {"CPU an add, ms": median(taken_ms), "of it the round, ms": median(cloud.rounds_ms)}
        for guest in guests[WARM_UP + adds :]:
            profile.enable()
            await cloud.add(guest)
            profile.disable()
    stats = pstats.Stats(profile)
    return told | {"calls an add": stats.total_calls // adds}, stats  # type: ignore[attr-defined]


def main() -> None:
    """The command line."""
    adds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    configure("error", "console")
    told, stats = asyncio.run(measure(adds))
    for what, value in told.items():
        print(f"{what:24}{value:10.2f}")
    if len(sys.argv) > 2:
        stats.dump_stats(Path(sys.argv[2]))


if __name__ == "__main__":
    main()
