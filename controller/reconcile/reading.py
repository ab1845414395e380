"""Takes pictures for the proof: what was compiled for every host, and what the hosts really hold.

A picture is of one revision or it is not given: if the state moves while it is taken, it is taken again.
Looks only; nothing is sent to a switch or an agent but questions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cloison.addresses import IpAddress
from cloison.errors import CloisonError, Unavailable
from cloison.names import HostName
from controller.flows import Flow
from controller.flows.delta import ForeignFlow
from controller.reconcile.host import HostActor
from controller.reconcile.inspect import TIMEOUT_S
from controller.reconcile.meant import intent_of
from controller.reconcile.reconciler import Reconciler
from controller.store.store import Store
from controller.verify.intent import Intent

ATTEMPTS = 6
PAUSE_S = 0.05
# How long a live reading waits for changes that are on their way to the hosts.
SETTLE_S = 2.0
HOSTS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Holding:
    """What a host holds, or should. fdb: VTEP by MAC, by VNI; devices: VNI by OpenFlow port.

    foreign, oddities: what was read and cannot be said in the other terms; nothing of it should be.
    """

    flows: tuple[Flow, ...] = ()
    fdb: Mapping[int, Mapping[int, IpAddress]] = field(default_factory=dict)
    devices: Mapping[int, int] = field(default_factory=dict)
    foreign: tuple[ForeignFlow, ...] = ()
    oddities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """One revision: what is meant, and what was compiled for each host."""

    revision: int
    tenants: int
    intent: Intent
    compiled: Mapping[HostName, Holding]


@dataclass(frozen=True, slots=True)
class Reading:
    """A picture, with what hosts were found to hold; unread: why a host could not be read."""

    picture: Picture
    held: Mapping[HostName, Holding]
    unread: Mapping[HostName, str]


class Observer:
    """Looks at a reconciler's hosts."""

    def __init__(self, store: Store, reconciler: Reconciler) -> None:
        self._store, self._reconciler = store, reconciler

    async def picture(self) -> Picture:
        """Return what is meant and compiled; raises Unavailable if the controller does not keep up."""
        for attempt in range(ATTEMPTS):
            # The last time without letting others in, so that a busy system is seen too.
            found = await self._picture(in_one_go=attempt == ATTEMPTS - 1)
            if found is not None:
                return found
            await asyncio.sleep(PAUSE_S)
        raise Unavailable("the controller is still working out the newest revision")

    async def _picture(self, *, in_one_go: bool) -> Picture | None:
        await self._reconciler.quiet()
        state, revision = self._store.state, self._reconciler.revision
        if state.revision != revision:
            return None
        reconciler = self._reconciler
        intent = intent_of(state, self._has_port, reconciler.service_ofport)
        tenants = len(state.tenants)
        compiled = {}
        for name, actor in list(self._reconciler.hosts.items()):
            compiled[name] = self._compiled(actor, intent)
            if not in_one_go:
                await asyncio.sleep(0)
                if (state.revision, self._reconciler.revision) != (revision, revision):
                    return None
        return Picture(revision, tenants, intent, compiled)

    def _has_port(self, host: HostName, ofport: int, interface: str) -> bool:
        actor = self._reconciler.hosts.get(host)
        return actor is None or actor.has_port(ofport, interface)

    def _compiled(self, actor: HostActor, intent: Intent) -> Holding:
        plan = self._reconciler.plan_of(actor.name)
        fdb: dict[int, Mapping[int, IpAddress]] = {
            int(vni): {int(mac): vtep for mac, vtep in network.upserted.items()}
            for vni, network in plan.networks.items()
        }
        # What a bridge calls a device is not the compiler's to say: it is where the intent has it.
        devices = {
            network.tunnels[actor.name]: network.vni
            for network in intent.networks.values()
            if actor.name in network.tunnels
        }
        return Holding(tuple(actor.flows.desired.values()), fdb, devices)

    async def reading(self) -> Reading:
        """Return what every host holds; raises Unavailable if the state does not stand still for it."""
        for attempt in range(ATTEMPTS):
            settled = await self._settled()
            picture = await self.picture()
            # What has come since then is on its way: that hosts do not hold it yet is no violation. (A site
            # that never rests is read in the end all the same.)
            if picture.revision != settled and attempt < ATTEMPTS - 1:
                continue
            held, unread = await self.read(picture.compiled)
            if self._reconciler.revision == picture.revision:
                return Reading(picture, held, unread)
        raise Unavailable("the state changes faster than the hosts can be read; try again")

    async def read(self, names: Iterable[HostName]) -> tuple[dict[HostName, Holding], dict[HostName, str]]:
        """Read some hosts, several at once; return what they hold, and why one could not be read."""
        held: dict[HostName, Holding] = {}
        unread: dict[HostName, str] = {}
        at_once = asyncio.Semaphore(HOSTS_AT_ONCE)

        async def one(name: HostName) -> None:
            async with at_once:
                try:
                    held[name] = await self._read_host(name)
                except CloisonError as error:
                    unread[name] = str(error)

        await asyncio.gather(*(one(name) for name in names))
        return held, unread

    async def _read_host(self, name: HostName) -> Holding:
        actor = self._reconciler.hosts.get(name)
        if actor is None or actor.switch is None:
            raise Unavailable(f"the switch of {name} is not connected")
        if actor.agent is None:
            raise Unavailable(f"the agent of {name} is not connected")
        expected = tuple(actor.flows.desired.values())
        try:
            async with asyncio.timeout(TIMEOUT_S):
                flows = await actor.switch.read_flows(expected=expected)
                answer = await actor.agent.inspections.ask(kernel=True)
        except TimeoutError as error:
            raise Unavailable(f"{name} gave no answer within {TIMEOUT_S:g} s") from error
        oddities = list(answer.oddities)
        host = self._store.state.hosts.get(name)
        if answer.fdb and (host is None or answer.vtep != host.vtep):
            known = host.vtep if host is not None else None
            oddities.append(f"LINK_ALTERED: devices send from {answer.vtep}, and the host's VTEP is {known}")
        devices = {ofport: vni for ofport, vni in answer.devices.items() if vni in answer.fdb}
        return Holding(
            tuple(installed.flow for installed in flows.flows.values()),
            answer.fdb,
            devices,
            flows.foreign,
            tuple(oddities),
        )

    async def trace(self, name: HostName, flow: str) -> str:
        """Return what ofproto/trace on a host says of a flow; raises Unavailable."""
        actor = self._reconciler.hosts.get(name)
        if actor is None or actor.agent is None:
            raise Unavailable(f"the agent of {name} is not connected")
        return (await actor.agent.inspections.ask(trace=flow)).trace

    async def _settled(self) -> int | None:
        """Wait a little until connected hosts have confirmed what they were sent; return the revision.

        Of one that stood still for all that time, too: whoever has not confirmed it by then may never do so.
        None if there was always another one.
        """
        began = self._reconciler.revision
        deadline = asyncio.get_running_loop().time() + SETTLE_S
        while asyncio.get_running_loop().time() < deadline:
            revision = self._reconciler.revision
            actors = [
                a for a in self._reconciler.hosts.values() if a.switch is not None and a.agent is not None
            ]
            if revision == self._store.state.revision and all(a.holds(revision) for a in actors):
                return revision
            await asyncio.sleep(PAUSE_S)
        return began if began == self._reconciler.revision else None
