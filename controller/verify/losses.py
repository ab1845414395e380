"""Where no more than loss can be: a stage does what it should, or drops. Looks for somebody who loses. Pure.

The argument of isolation.py holds for what such a stage lets through. So one packet that is lost says all
that there is to say, and nobody else need be asked; where the budget ends without one, it is said without.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cloison.names import HostName, NetworkName
from controller.verify.budget import Budget, Exhausted
from controller.verify.shapes import PACKETS
from controller.verify.violation import BLACKHOLE, Violation
from controller.verify.witness import Witness, starts_of
from controller.verify.world import World

Sender = tuple[HostName, int]


class Loss(NamedTuple):
    """A stage on a host that may drop what it should not.

    ofport: of what enters there; else network: of what is in it. macs: of what is for one of these only.
    """

    host: HostName
    network: NetworkName | None = None
    macs: frozenset[int] | None = None
    ofport: int | None = None


class Losses:
    """Stages that may lose something, and who really does."""

    def __init__(self, world: World, witness: Witness, budget: Budget) -> None:
        self._world, self._witness, self._budget = world, witness, budget
        self._stages: dict[Loss, None] = {}

    def entry(self, host: HostName, ofport: int) -> None:
        """What enters by an OpenFlow port may be dropped."""
        network = self._world.by_tunnel.get((host, ofport))
        if network is None:
            self._stages[Loss(host, ofport=ofport)] = None
            return
        local = self._world.ports_on(host, network.name).values()
        macs = frozenset(mac for port in local for mac in port.frame_macs)
        self._stages[Loss(host, network.name, macs)] = None

    def network(self, host: HostName, network: NetworkName, macs: frozenset[int] | None) -> None:
        """What is in a network on a host (for some MACs, None for all) may be dropped."""
        self._stages[Loss(host, network, macs)] = None

    def violations(self) -> Iterator[Violation]:
        """Yield at most one violation for each stage."""
        for loss in self._stages:
            self._budget.begin()
            try:
                found = self._shown(loss)
            except Exhausted:
                found = self._said(loss)
            if found is not None:
                yield found

    def _shown(self, loss: Loss) -> Violation | None:
        starts = PACKETS if loss.macs is None else tuple(starts_of(loss.macs))
        for host, ofport in self._senders(loss):
            found = self._witness.first_loss(host, ofport, starts)
            if found is not None:
                return found
        for host, ofport in self._routed(loss):
            # A router may send it on to a next hop, by its MAC, whatever it is for.
            found = self._witness.first_loss(host, ofport, PACKETS)
            if found is not None:
                return found
        return None

    def _said(self, loss: Loss) -> Violation:
        port = self._world.by_ofport.get((loss.host, loss.ofport)) if loss.ofport is not None else None
        if loss.network is not None and loss.macs is not None and len(loss.macs) == 1:
            port = self._world.members_of(loss.network).by_frame_mac.get(min(loss.macs))
        of = port.name if port is not None else loss.network or loss.host
        message = f"{loss.host} drops some of what is for {of}, or from it; whose, was not found in time"
        return Violation(BLACKHOLE, message, loss.host, (str(of),))

    def _senders(self, loss: Loss) -> Iterator[Sender]:
        if loss.ofport is not None:
            yield loss.host, loss.ofport
        if loss.network is None:
            return
        for port in self._world.ports_on(loss.host, loss.network).values():
            yield loss.host, port.ofport
        for port in self._world.members_of(loss.network).ports.values():
            if port.host is not None and port.host != loss.host:
                yield port.host, port.ofport
        service = self._world.service_of(loss.host)
        if service is not None:
            yield loss.host, service

    def _routed(self, loss: Loss) -> Iterator[Sender]:
        if loss.network is None:
            return
        for source in sorted(self._world.routing_to.get(loss.network, ())):
            for port in self._world.members_of(source).ports.values():
                if port.host is not None:
                    yield port.host, port.ofport
