"""Who may be plugged where: from what an agent reports to bindings and refusals. Pure.

An interface binds the port whose iface-id it carries, if that port is scheduled to the host; who comes second
does not live there yet. Everything else is refused, with a reason that a person can act on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass

from cloison.model import Port, PortBinding
from cloison.names import HostName
from controller.reconcile.plugged import next_rank
from controller.store.state import State


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface on br-int that carries an iface-id, as the agent reports it."""

    name: str
    iface_id: str
    ofport: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an interface binds no port: stable reason, sentence, and the resources concerned."""

    reason: str
    message: str
    subjects: tuple[str, ...] = ()

    @property
    def for_host(self) -> Refusal:
        """What the host may know of it: nothing of ports that are not scheduled to it."""
        if self.reason != "NOT_SCHEDULED_HERE":
            return self
        return Refusal(self.reason, "no port with this iface-id is scheduled to this host")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one reported interface: a binding or a refusal."""

    interface: Interface
    binding: PortBinding | None = None
    refusal: Refusal | None = None


def judge(
    state: State, host: HostName, interfaces: Iterable[Interface], shared_numbers: Set[int] = frozenset()
) -> list[Verdict]:
    """Judge all interfaces of one host that carry one iface-id: the lowest ofport wins.

    shared_numbers: OpenFlow ports that several interfaces of the host are said to have; they bind nothing.
    """
    verdicts = []
    winner: Interface | None = None
    for interface in sorted(interfaces, key=lambda i: (i.ofport, i.name)):
        port = state.port_by_iface(interface.iface_id)
        refusal = _refusal(state, host, port, interface, winner)
        if refusal is None and interface.ofport in shared_numbers:
            text = f"OpenFlow port {interface.ofport} is reported for another interface as well"
            refusal = Refusal("DUPLICATE_OFPORT", text)
        if refusal is not None or port is None:
            verdicts.append(Verdict(interface, refusal=refusal))
            continue
        winner = interface
        binding = PortBinding(
            port=port.name,
            port_uid=port.meta.uid,
            host=host,
            interface=interface.name,
            ofport=interface.ofport,
            rank=_rank(state, port, host),
        )
        verdicts.append(Verdict(interface, binding=binding))
    return verdicts


def _rank(state: State, port: Port, host: HostName) -> int:
    current = state.bindings.get((port.name, host))
    if current is not None and current.port_uid == port.meta.uid:
        return current.rank
    return next_rank(state, port)


def _refusal(
    state: State, host: HostName, port: Port | None, interface: Interface, winner: Interface | None
) -> Refusal | None:
    if port is None:
        return Refusal(
            "UNKNOWN_IFACE_ID",
            f"no port has iface-id {interface.iface_id!r}; create the port, or set external_ids:iface-id to "
            "the iface_id of one",
        )
    name = str(port.name)
    if host not in port.requested_hosts:
        wanted = ", ".join(map(str, port.requested_hosts)) or "no host"
        return Refusal(
            "NOT_SCHEDULED_HERE",
            f"{name} is scheduled to {wanted}, not to {host}; set requested_hosts",
            (name,),
        )
    if winner is not None:
        return Refusal(
            "DUPLICATE_IFACE_ID",
            f"{name} is plugged as {winner.name} already; unplug one of the two",
            (name,),
        )
    return None


def binding_changes(
    state: State,
    host: HostName,
    plugged: Callable[[str], Iterable[Interface]],
    iface_ids: Iterable[str],
    shared_numbers: Set[int] = frozenset(),
) -> tuple[list[PortBinding], list[PortBinding], list[Verdict]]:
    """Return bindings to store, bindings to delete, and the verdicts, for the given iface-ids on one host.

    plugged: the interfaces of the host that carry an iface-id.
    """
    store, delete, verdicts = [], [], []
    for iface_id in iface_ids:
        judged = judge(state, host, plugged(iface_id), shared_numbers)
        verdicts += judged
        wanted = next((v.binding for v in judged if v.binding), None)
        port = state.port_by_iface(iface_id)
        current = state.bindings.get((port.name, host)) if port else None
        if wanted is not None and (current is None or not _same(wanted, current)):
            store.append(wanted)
        elif wanted is None and current is not None:
            delete.append(current)
    return store, delete, verdicts


def _same(a: PortBinding, b: PortBinding) -> bool:
    return (a.port_uid, a.interface, a.ofport) == (b.port_uid, b.interface, b.ofport)
