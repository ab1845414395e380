"""The desired state of one host: networks, behind which VTEP each remote MAC is, what guests are told.

Values are never changed in place; applying a delta shares every network it does not touch. Entries the
kernel could not hold (a multicast MAC, a VTEP of 5 bytes) are kept apart in `rejected`, so that one bad
record stops no other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NewType, TypeVar

from agent.plan.edge import EdgeRecord
from agent.plan.service_port import PortRecord
from agent.plan.zone import EMPTY_ZONE, Zone
from cloison.addresses import MULTICAST_BIT, Mac
from cloison.model import Revision, Vni
from cloison.v1 import host_sync_pb2 as pb

R = TypeVar("R")
T = TypeVar("T")
Vtep = NewType("Vtep", bytes)
# Who may send frames of which network.
Peer = tuple[Vni, Vtep]
"""Address of a tunnel end, packed: 4 or 16 bytes in network order."""

VNI_LIMIT = 1 << 24
MAC_LIMIT = 1 << 48
MTU_MIN, MTU_MAX = 68, 65535
"""What the kernel takes for a VXLAN device."""

CHUNK_ENTRIES_MAX = 4096
"""FDB entries (or names) in one message of a whole plan; about 100 kB."""
CHUNK_PORTS_MAX = 256
"""Service ports in one such message."""
# They stand for what has not been worked out yet.
_NO_PEERS: frozenset[Peer] = frozenset([(Vni(0), Vtep(b""))])
_NONE_ODD: frozenset[Vni] = frozenset([Vni(0)])


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """One network on this host: overlay MTU in bytes, and its FDB."""

    vni: Vni
    mtu: int
    fdb: Mapping[Mac, Vtep] = field(default_factory=dict)
    rejected: Mapping[int, bytes] = field(default_factory=dict)
    # VTEPs of hosts that send into the network and have nothing in it to be sent to.
    senders: frozenset[Vtep] = frozenset()

    @property
    def fault(self) -> str | None:
        """Why no device can be made for this network, or None."""
        if not 0 < self.vni < VNI_LIMIT:
            return f"VNI {self.vni} is outside 1..{VNI_LIMIT - 1}"
        if not MTU_MIN <= self.mtu <= MTU_MAX:
            return f"MTU {self.mtu} is outside {MTU_MIN}..{MTU_MAX}"
        return None

    @property
    def is_odd(self) -> bool:
        """Tell whether it cannot be carried out just as it is told."""
        return bool(self.rejected) or self.fault is not None


@dataclass(frozen=True, slots=True)
class HostPlan:
    """All networks of this host at one revision. `peer_uses` counts what there is of each VNI and VTEP: FDB
    entries, and senders.

    service_ports are by number, zones by VNI, edges by the number of their port.
    """

    revision: Revision
    networks: Mapping[Vni, NetworkPlan]
    peer_uses: Mapping[Peer, int]
    service_ports: Mapping[int, PortRecord] = field(default_factory=dict)
    zones: Mapping[Vni, Zone] = field(default_factory=dict)
    edges: Mapping[int, EdgeRecord] = field(default_factory=dict)
    peers: frozenset[Peer] = field(default=_NO_PEERS, compare=False, repr=False)
    """Every VTEP that may send to this host, with the network it may send in.

    As `odd`, it follows from the rest, and is the same object as before where a delta does not change it.
    """
    odd: frozenset[Vni] = field(default=_NONE_ODD, compare=False, repr=False)
    """Networks that cannot be carried out just as they are told."""

    def __post_init__(self) -> None:
        if self.peers is _NO_PEERS:
            object.__setattr__(self, "peers", frozenset(self.peer_uses))
        if self.odd is _NONE_ODD:
            odd = frozenset(vni for vni, network in self.networks.items() if network.is_odd)
            object.__setattr__(self, "odd", odd)

    def apply(self, delta: pb.PlanDelta, like: HostPlan | None = None) -> HostPlan:
        """Return the plan after one delta.

        Within a delta removals come first: networks, then MACs, then what is put; so it is for service ports,
        zones and edges. An MTU of 0 leaves the MTU as it is. Applying a delta a second time changes nothing.
        like: another plan, whose values are taken where they are equal, so that they are there but once.
        """
        like = like or EMPTY_PLAN
        revision = Revision(max(self.revision, delta.revision))
        plan = replace(
            self,
            revision=revision,
            service_ports=_recorded(
                self.service_ports,
                delta.removed_service_ports,
                delta.service_ports,
                PortRecord.read,
                like.service_ports,
            ),
            zones=_named(self.zones, delta, like.zones),
            edges=_recorded(self.edges, delta.removed_edges, delta.edges, EdgeRecord.read, like.edges),
        )
        return _networked(plan, delta, like) if delta.networks or delta.removed_vnis else plan


def _networked(plan: HostPlan, delta: pb.PlanDelta, like: HostPlan) -> HostPlan:
    """Return the plan after the part of a delta that is about networks."""
    networks, uses, odd = dict(plan.networks), _Uses(plan.peer_uses), set(plan.odd)
    for vni in delta.removed_vnis:
        gone = networks.pop(Vni(vni), None)
        if gone is not None:
            odd.discard(gone.vni)
            for vtep in (*gone.fdb.values(), *gone.senders):
                uses.release((gone.vni, vtep))
    for change in delta.networks:
        known = networks.get(Vni(change.vni)) or NetworkPlan(Vni(change.vni), 0)
        network = _changed_network(known, change, uses)
        network = networks[known.vni] = _either(network, like.networks.get(known.vni))
        odd -= {network.vni}
        odd |= {network.vni} if network.is_odd else set()
    return replace(
        plan,
        networks=MappingProxyType(networks),
        peer_uses=MappingProxyType(uses.counts),
        peers=frozenset(uses.counts) if uses.has_moved else plan.peers,
        odd=plan.odd if odd == plan.odd else frozenset(odd),
    )


class _Uses:
    """How often each peer is used; what it is made from stays as it is."""

    def __init__(self, before: Mapping[Peer, int]) -> None:
        self._before, self.counts = before, dict(before)
        self._touched: set[Peer] = set()

    @property
    def has_moved(self) -> bool:
        """Tell whether there are other peers than before."""
        return any((peer in self._before) != (peer in self.counts) for peer in self._touched)

    def take(self, peer: Peer) -> None:
        """A peer has one more use."""
        self._touched.add(peer)
        self.counts[peer] = self.counts.get(peer, 0) + 1

    def release(self, peer: Peer) -> None:
        """A peer has one use less."""
        self._touched.add(peer)
        self.counts[peer] -= 1
        if not self.counts[peer]:
            del self.counts[peer]


EMPTY_PLAN = HostPlan(Revision(0), MappingProxyType({}), MappingProxyType({}))


def _either(made: T, like: T | None) -> T:
    """Return what is like it if that is equal."""
    return like if like is not None and like == made else made


def _recorded(
    known: Mapping[int, R],
    gone: Collection[int],
    put: Collection[Any],
    read: Callable[[Any, R | None], R],
    like: Mapping[int, R],
) -> Mapping[int, R]:
    """Return known without those gone, and with those put: the same object if there are none."""
    if not gone and not put:
        return known
    records = dict(known)
    for number in gone:
        records.pop(number, None)
    for message in put:
        records[message.number] = read(message, like.get(message.number))
    return MappingProxyType(records)


def _named(known: Mapping[Vni, Zone], delta: pb.PlanDelta, like: Mapping[Vni, Zone]) -> Mapping[Vni, Zone]:
    if not delta.zones and not delta.removed_zones:
        return known
    zones = dict(known)
    for vni in delta.removed_zones:
        zones.pop(Vni(vni), None)
    for change in delta.zones:
        vni = Vni(change.vni)
        zones[vni] = _either(zones.get(vni, EMPTY_ZONE).apply(change), like.get(vni))
    return MappingProxyType(zones)


def _changed_network(known: NetworkPlan, change: pb.NetworkDelta, uses: _Uses) -> NetworkPlan:
    """Return known after change; uses follows."""
    fdb, rejected = dict(known.fdb), dict(known.rejected)

    def forget(mac: int) -> None:
        before = fdb.pop(Mac(mac), None)
        if before is not None:
            uses.release((known.vni, before))
        rejected.pop(mac, None)

    for mac in change.removed_macs:
        forget(mac)
    for entry in change.upserted:
        forget(entry.mac)
        if not usable(entry.mac, entry.vtep):
            rejected[entry.mac] = entry.vtep
            continue
        vtep = Vtep(entry.vtep)
        fdb[Mac(entry.mac)] = vtep
        uses.take((known.vni, vtep))
    senders = known.senders
    if change.HasField("senders"):
        for vtep in senders:
            uses.release((known.vni, vtep))
        senders = frozenset(Vtep(vtep) for vtep in change.senders.addresses if usable(1, vtep))
        for vtep in senders:
            uses.take((known.vni, vtep))
    mtu = change.mtu or known.mtu
    return NetworkPlan(known.vni, mtu, MappingProxyType(fdb), MappingProxyType(rejected), senders)


def usable(mac: int, vtep: bytes) -> bool:
    """Tell whether mac is a unicast MAC and vtep a unicast address: all that a static FDB entry may hold."""
    if not 0 < mac < MAC_LIMIT or mac & MULTICAST_BIT:
        return False
    if len(vtep) == 4:
        return vtep[0] not in (0, 127) and vtep[0] < 224
    return len(vtep) == 16 and vtep[0] != 0xFF and any(vtep[:15])


def full_deltas(plan: HostPlan) -> Iterator[pb.PlanDelta]:
    """Yield the deltas that build plan from EMPTY_PLAN, each of a bounded size; at least one."""
    message, room = pb.PlanDelta(revision=plan.revision), CHUNK_ENTRIES_MAX
    for vni in sorted(plan.networks):
        network = plan.networks[vni]
        part = message.networks.add(vni=vni, mtu=network.mtu)
        if network.senders:
            part.senders.addresses.extend(sorted(network.senders))
        for mac, vtep in sorted([*network.fdb.items(), *network.rejected.items()]):
            if room == 0:
                yield message
                message, room = pb.PlanDelta(revision=plan.revision), CHUNK_ENTRIES_MAX
                part = message.networks.add(vni=vni, mtu=network.mtu)
            part.upserted.add(mac=mac, vtep=vtep)
            room -= 1
    yield message
    yield from _port_deltas(plan)
    yield from _zone_deltas(plan)
    for number in sorted(plan.edges):
        yield pb.PlanDelta(revision=plan.revision, edges=[plan.edges[number].message])


def _port_deltas(plan: HostPlan) -> Iterator[pb.PlanDelta]:
    numbers = sorted(plan.service_ports)
    for at in range(0, len(numbers), CHUNK_PORTS_MAX):
        part = numbers[at : at + CHUNK_PORTS_MAX]
        ports = [pb.ServicePort.FromString(plan.service_ports[number].said) for number in part]
        yield pb.PlanDelta(revision=plan.revision, service_ports=ports)


def _zone_deltas(plan: HostPlan) -> Iterator[pb.PlanDelta]:
    for vni in sorted(plan.zones):
        zone = plan.zones[vni]
        names = sorted(zone.hosts)
        for at in range(0, max(1, len(names)), CHUNK_ENTRIES_MAX):
            message = pb.PlanDelta(revision=plan.revision)
            part = message.zones.add(vni=vni, network=zone.name, domain=zone.domain)
            for name in names[at : at + CHUNK_ENTRIES_MAX]:
                part.upserted.add(name=name, addresses=zone.hosts[name])
            yield message
