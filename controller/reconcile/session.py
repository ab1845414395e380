"""One agent's stream, seen from the controller: what it reported, and an outgoing queue. No gRPC here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Set
from ipaddress import IPv4Address

from cloison.addresses import IpAddress
from cloison.model import Vni
from cloison.names import HostName
from cloison.v1 import common_pb2, host_sync_pb2
from controller.reconcile.binding import Interface, Verdict
from controller.reconcile.edges import edge_messages
from controller.reconcile.inspect import Inspections
from controller.reconcile.service_messages import service_messages
from controller.reconcile.tunnels import NetworkChange, PlanChange

# An agent that reads nothing for this many messages is cut off; it comes back and gets a snapshot.
QUEUE_MESSAGES_MAX = 4096
# Entries in one message, so that none comes near gRPC's size limit.
FDB_ENTRIES_PER_MESSAGE = 4000
# Parts of a plan are put into one message up to this; what they remove and put is apart from each other.
JOINED_BYTES_MAX = 16_384

Pause = Callable[[], Awaitable[None]]


class AgentSession:
    """Inventory in, plans out. `ready` once the agent has told everything it has."""

    def __init__(self, host: HostName) -> None:
        self.host = host
        self.ready = False
        self.interfaces: dict[str, Interface] = {}
        self.tunnel_ports: dict[Vni, int] = {}
        self.inspections = Inspections(self.send)
        # The same by iface-id, and who has which number: (name) or (VNI).
        self._by_iface: dict[str, tuple[Interface, ...]] = {}
        self._owners: dict[int, tuple[str | Vni, ...]] = {}
        self._shared: set[int] = set()
        self._queue: asyncio.Queue[host_sync_pb2.ControllerMessage | Pause | None] = asyncio.Queue()
        # Not queued yet: what may wait for a receipt that is asked for soon.
        self._waiting: list[host_sync_pb2.ControllerMessage] = []
        # What was queued last, until it is on its way.
        self._last: host_sync_pb2.ControllerMessage | None = None
        self.closed_because: str | None = None
        self.worker: asyncio.Task[None] | None = None

    @property
    def iface_ids(self) -> Set[str]:
        """The iface-ids that are plugged on the host."""
        return self._by_iface.keys()

    def plugged(self, iface_id: str) -> Iterable[Interface]:
        """Return the interfaces that carry an iface-id; most often one."""
        return self._by_iface.get(iface_id, ())

    @property
    def shared_numbers(self) -> Set[int]:
        """OpenFlow ports that more than one interface is said to have: nobody can tell whose they are."""
        return self._shared

    # --- in -----------------------------------------------------------------------------------------

    def take_inventory(self, inventory: host_sync_pb2.Inventory) -> tuple[set[str], bool]:
        """Follow the agent's report; return the iface-ids it touches, and whether it touches tunnel ports."""
        touched: set[str] = set()
        shared = set(self._shared)
        tunnels = bool(inventory.complete or inventory.tunnel_ports or inventory.removed_tunnel_ports)
        if inventory.complete:
            touched.update(self._by_iface)
            for name in list(self.interfaces):
                self._unplug(name)
            for known in list(self.tunnel_ports):
                self._set_tunnel(known, None)
        for name in inventory.removed_interfaces:
            touched |= self._unplug(name)
        for item in inventory.interfaces:
            touched |= self._unplug(item.name)
            touched.add(item.iface_id)
            interface = self.interfaces[item.name] = Interface(item.name, item.iface_id, item.ofport)
            self._by_iface[item.iface_id] = (*self._by_iface.get(item.iface_id, ()), interface)
            self._own(item.ofport, item.name)
        for vni in inventory.removed_tunnel_ports:
            self._set_tunnel(Vni(vni), None)
        for tunnel in inventory.tunnel_ports:
            self._set_tunnel(Vni(tunnel.vni), tunnel.ofport)
        for owner in (owner for number in shared ^ self._shared for owner in self._owners.get(number, ())):
            # A number has come to be shared, or has ceased to be.
            if isinstance(owner, str):
                touched.add(self.interfaces[owner].iface_id)
            else:
                tunnels = True
        return touched, tunnels

    def _unplug(self, name: str) -> set[str]:
        """An interface is gone, or is another now; return its iface-id."""
        gone = self.interfaces.pop(name, None)
        if gone is None:
            return set()
        others = tuple([other for other in self._by_iface.pop(gone.iface_id) if other.name != name])
        if others:
            self._by_iface[gone.iface_id] = others
        self._disown(gone.ofport, name)
        return {gone.iface_id}

    def _set_tunnel(self, vni: Vni, number: int | None) -> None:
        before = self.tunnel_ports.pop(vni, None)
        if before is not None:
            self._disown(before, vni)
        if number is not None:
            self.tunnel_ports[vni] = number
            self._own(number, vni)

    def _own(self, number: int, owner: str | Vni) -> None:
        owners = self._owners[number] = (*self._owners.get(number, ()), owner)
        if len(owners) > 1:
            self._shared.add(number)

    def _disown(self, number: int, owner: str | Vni) -> None:
        others = tuple([other for other in self._owners.pop(number) if other != owner])
        if others:
            self._owners[number] = others
        if len(others) < 2:
            self._shared.discard(number)

    # --- out ----------------------------------------------------------------------------------------

    def send(self, message: host_sync_pb2.ControllerMessage) -> None:
        """Queue a message; a reader that has stopped reading loses its session."""
        self.send_waiting()
        if self.closed_because is not None:
            return
        if self._queue.qsize() >= QUEUE_MESSAGES_MAX:
            self.close(f"{QUEUE_MESSAGES_MAX} messages wait unread")
            return
        self._queue.put_nowait(message)
        self._last = message

    def pause(self, until: Pause) -> None:
        """Let what is queued from now on wait for something (that must come)."""
        self.send_waiting()
        if self.closed_because is None:
            self._queue.put_nowait(until)
            self._last = None

    def send_plan(self, revision: int, plan: PlanChange, *, wait: bool = False) -> None:
        """Queue the change of plan of one revision; with wait as late as `send_waiting`, or what follows it.

        An agent that gets it together with what asks for its receipt has one round of work, not two.
        """
        messages = [host_sync_pb2.ControllerMessage(delta=d) for d in _said.messages(revision, plan)]
        if wait:
            self._waiting += messages
            return
        for message in messages:
            self.send(message)

    def send_waiting(self) -> None:
        """Queue what has waited."""
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            self.send(message)

    def send_snapshot(self, revision: int, plan: PlanChange) -> None:
        """Queue the whole plan and its end mark."""
        for delta in plan_messages(revision, plan):
            self.send(host_sync_pb2.ControllerMessage(delta=delta))
        complete = host_sync_pb2.SnapshotComplete(revision=revision)
        self.send(host_sync_pb2.ControllerMessage(snapshot_complete=complete))

    def send_barrier(self, revision: int, *, revalidate: bool, flows_changed: bool) -> None:
        """Ask for a receipt of everything sent before."""
        self.send_waiting()
        barrier = host_sync_pb2.Barrier(revision=revision, revalidate=revalidate, flows_changed=flows_changed)
        if self._last is not None and not self._last.HasField("then"):
            self._last.then.CopyFrom(barrier)
        else:
            self.send(host_sync_pb2.ControllerMessage(barrier=barrier))

    def send_verdicts(self, verdicts: Iterable[Verdict]) -> None:
        """Say what became of the interfaces that were reported."""
        message = host_sync_pb2.InterfaceVerdicts(verdicts=[_verdict_message(v) for v in verdicts])
        if message.verdicts:
            self.send(host_sync_pb2.ControllerMessage(verdicts=message))

    def close(self, reason: str) -> None:
        """End the stream; what is queued already is still sent."""
        self.send_waiting()
        if self.closed_because is None:
            self.closed_because = reason
            self.ready = False
            self.inspections.end(reason)
            self._queue.put_nowait(None)

    async def outgoing(self) -> AsyncIterator[host_sync_pb2.ControllerMessage]:
        """Messages in order, until the session is closed."""
        while (message := await self._queue.get()) is not None:
            if not isinstance(message, host_sync_pb2.ControllerMessage):
                await message()
                continue
            if message is self._last:
                self._last = None
            yield message


class _Said:
    """What was put into messages for one revision, by the changes it is made of: most hosts of a network, and
    of a tenant, are told the very same.
    """

    def __init__(self) -> None:
        self._revision = -1
        # (With the changes, so that no others can have their identity.)
        self._known: dict[Hashable, tuple[list[object], tuple[host_sync_pb2.PlanDelta, ...]]] = {}

    def messages(self, revision: int, plan: PlanChange) -> tuple[host_sync_pb2.PlanDelta, ...]:
        """As plan_messages; nobody may change them."""
        services = plan.services
        if (
            plan.removed_vnis
            or services.ports
            or services.removed_ports
            or services.removed_zones
            or plan.edges
        ):
            return tuple(plan_messages(revision, plan))
        if revision != self._revision:
            self._revision, self._known = revision, {}
        changes: list[object] = [*plan.networks.values(), *services.zones.values()]
        key = tuple(plan.networks), tuple(services.zones), tuple(map(id, changes))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = changes, tuple(plan_messages(revision, plan))
        return found[1]


_said = _Said()


def plan_messages(revision: int, plan: PlanChange) -> Iterable[host_sync_pb2.PlanDelta]:
    """Put a change of plan into messages of bounded size; most often one."""
    last: host_sync_pb2.PlanDelta | None = None
    for delta in _plan_parts(revision, plan):
        if last is not None and last.ByteSize() + delta.ByteSize() <= JOINED_BYTES_MAX:
            last.MergeFrom(delta)
            continue
        if last is not None:
            yield last
        last = delta
    if last is not None:
        yield last


def _plan_parts(revision: int, plan: PlanChange) -> Iterable[host_sync_pb2.PlanDelta]:
    delta = host_sync_pb2.PlanDelta(revision=revision, removed_vnis=sorted(plan.removed_vnis))
    room = FDB_ENTRIES_PER_MESSAGE
    for vni, change in sorted(plan.networks.items()):
        for part in _network_parts(vni, change):
            size = len(part.upserted) + len(part.removed_macs)
            if size > room:
                yield delta
                delta, room = host_sync_pb2.PlanDelta(revision=revision), FDB_ENTRIES_PER_MESSAGE
            delta.networks.append(part)
            room -= size
    if delta.networks or delta.removed_vnis:
        yield delta
    yield from service_messages(revision, plan.services)
    yield from edge_messages(revision, plan.edges)


def _network_parts(vni: Vni, change: NetworkChange) -> Iterable[host_sync_pb2.NetworkDelta]:
    upserted = sorted(change.upserted.items())
    for start in range(0, max(len(upserted), 1), FDB_ENTRIES_PER_MESSAGE):
        part = host_sync_pb2.NetworkDelta(vni=vni, mtu=change.mtu)
        for mac, vtep in upserted[start : start + FDB_ENTRIES_PER_MESSAGE]:
            part.upserted.add(mac=mac, vtep=packed(vtep))
        if start == 0:
            part.removed_macs.extend(sorted(change.removed))
            if change.senders is not None:
                part.senders.SetInParent()
                part.senders.addresses.extend(sorted(map(packed, change.senders)))
        yield part


def packed(address: IpAddress) -> bytes:
    """The address as it travels: 4 bytes or 16."""
    return int(address).to_bytes(4 if isinstance(address, IPv4Address) else 16, "big")


def _verdict_message(verdict: Verdict) -> host_sync_pb2.InterfaceVerdict:
    message = host_sync_pb2.InterfaceVerdict(
        interface=verdict.interface.name,
        iface_id=verdict.interface.iface_id,
        bound=verdict.binding is not None,
    )
    if verdict.refusal is not None:
        refusal = verdict.refusal.for_host
        message.condition.CopyFrom(
            common_pb2.Condition(reason=refusal.reason, message=refusal.message, subjects=refusal.subjects)
        )
    return message
