"""With which packet it is shown what is wrong: the judge finds it, and it goes the concrete way once more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from cloison.names import HostName
from controller.verify import forwarding
from controller.verify.budget import WALK_STEPS, Budget, Exhausted
from controller.verify.exact import Fault, Judge
from controller.verify.grammar import Refused
from controller.verify.holding import Held
from controller.verify.packet import Packet, cube
from controller.verify.path import Fabric, HostState
from controller.verify.semantics import meaning
from controller.verify.shapes import PACKETS
from controller.verify.space import Region, within
from controller.verify.violation import (
    BLACKHOLE,
    SELF_CHECK,
    UNDEFINED,
    UNPROVED,
    Violation,
    of_packet,
    unheeded,
)
from controller.verify.world import World


class Witness:
    """Finds packets that show what is wrong. World and hosts must not change meanwhile."""

    def __init__(self, world: World, hosts: Mapping[HostName, Held], budget: Budget) -> None:
        self._world, self._hosts, self._budget = world, hosts, budget
        self.judge = Judge(world, hosts, budget)
        self._walked: Fabric | None = None

    @property
    def fabric(self) -> Fabric:
        """All hosts, for a packet to go through; made when first asked for."""
        if self._walked is None:
            states = {
                h: HostState(held.bridge.flows(), held.fdb, held.devices) for h, held in self._hosts.items()
            }
            self._walked = Fabric(states, self._world.by_vtep)
        return self._walked

    def first_loss(self, host: HostName, ofport: int, starts: Iterable[Region]) -> Violation | None:
        """Return the first thing that is wrong for a sender, if anything; for where it can be but loss."""
        for fault in self.judge.faults(host, ofport, starts):
            found = self.of(host, ofport, fault)
            if not fault.guessed or found.kind != SELF_CHECK:
                return found
        return None

    def worst(self, host: HostName, ofport: int, starts: Iterable[Region]) -> Violation | None:
        """Return what is wrong for a sender, if anything: what gets lost must not hide what gets through."""
        lost: Fault | None = None
        hidden: Violation | None = None
        try:
            for fault in self.judge.faults(host, ofport, starts):
                if fault.lost:
                    lost = lost or fault
                    continue
                found = self.of(host, ofport, fault)
                if fault.guessed and found.kind == SELF_CHECK:
                    continue
                if found.kind != BLACKHOLE:
                    return found
                hidden = hidden or found
        except Exhausted:
            shown = hidden if lost is None else self._seen(host, ofport, lost)
            return self._unproved(host, ofport, shown)
        return hidden if lost is None else self._seen(host, ofport, lost)

    def _unproved(self, host: HostName, ofport: int, shown: Violation | None) -> Violation:
        """Nobody knows yet whether something gets through; shown: what is known to be lost."""
        port = self._world.by_ofport.get((host, ofport))
        sender = port.name if port is not None else f"OpenFlow port {ofport} of {host}"
        message = f"that what {sender} sends reaches nobody else could not be proved in time"
        if shown is None:
            return Violation(UNPROVED, message, host, () if port is None else (str(sender),), in_port=ofport)
        return replace(shown, kind=UNPROVED, message=f"{message}; {shown.message}")

    def of(self, host: HostName, ofport: int, fault: Fault) -> Violation:
        """Return what is wrong with the packet of a fault, as it really goes."""
        self._budget.spend(WALK_STEPS)
        return self._seen(host, ofport, fault)

    def _seen(self, host: HostName, ofport: int, fault: Fault) -> Violation:
        packet = Packet.unpack(fault.number)
        wanted = meaning(self._world, host, ofport, packet)
        try:
            journey = self.fabric.walk(host, ofport, packet)
        except Refused as refused:
            return Violation(UNDEFINED, str(refused), host, (), packet, ofport)
        found = of_packet(self._world, host, ofport, packet, wanted, journey)
        if found is None and fault.unheeded:
            found = unheeded(self._world, host, ofport, packet, wanted, journey)
        if found is not None:
            return found
        message = fault.undefined or "the symbolic and the concrete answer differ: a bug of the proof"
        return Violation(UNDEFINED if fault.undefined else SELF_CHECK, message, host, (), packet, ofport)


def starts_of(macs: Iterable[int]) -> Iterator[Region]:
    """Yield packets that may come to FORWARD with one of some MACs."""
    for mac in sorted(macs):
        for aimed, value, mask in forwarding.aims_of(mac):
            for kind in PACKETS:
                region = within(kind, cube(**{aimed: (value, mask)}))
                if region is not None:
                    yield region
