"""A change of the services' plan as messages of bounded size. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from cloison.v1 import host_sync_pb2
from controller.reconcile.services import ServiceChange, ZoneChange

# So that no message comes near gRPC's size limit: a port takes a few hundred bytes, a name some fifty.
PORTS_PER_MESSAGE = 1000
NAMES_PER_MESSAGE = 4000


def service_messages(revision: int, change: ServiceChange) -> Iterator[host_sync_pb2.PlanDelta]:
    """Put a change of the services' plan into messages, what goes first."""
    if change.removed_ports or change.removed_zones:
        yield host_sync_pb2.PlanDelta(
            revision=revision,
            removed_service_ports=sorted(change.removed_ports),
            removed_zones=sorted(change.removed_zones),
        )
    numbers = sorted(change.ports)
    for start in range(0, len(numbers), PORTS_PER_MESSAGE):
        ports = [change.ports[number] for number in numbers[start : start + PORTS_PER_MESSAGE]]
        yield host_sync_pb2.PlanDelta(revision=revision, service_ports=ports)
    delta, room = host_sync_pb2.PlanDelta(revision=revision), NAMES_PER_MESSAGE
    for vni, zone in sorted(change.zones.items()):
        for part in _parts(vni, zone):
            size = 1 + len(part.upserted) + len(part.removed)
            if size > room and delta.zones:
                yield delta
                delta, room = host_sync_pb2.PlanDelta(revision=revision), NAMES_PER_MESSAGE
            delta.zones.append(part)
            room -= size
    if delta.zones:
        yield delta


def _parts(vni: int, zone: ZoneChange) -> Iterator[host_sync_pb2.ZoneDelta]:
    upserted = sorted(zone.upserted.items())
    for start in range(0, max(len(upserted), 1), NAMES_PER_MESSAGE):
        part = host_sync_pb2.ZoneDelta(vni=vni, network=str(zone.network), domain=zone.domain)
        for name, addresses in upserted[start : start + NAMES_PER_MESSAGE]:
            part.upserted.add(name=name, addresses=addresses)
        if start == 0:
            part.removed.extend(sorted(zone.removed))
        yield part
