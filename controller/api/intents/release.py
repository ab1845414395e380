"""Giving identifiers back: at once if no host can hold them, else only when those hosts have confirmed. Pure.

An address, MAC, VNI or number that a host may still have in a flow or a forwarding entry must not reach a
new owner before that host has said that it is gone; the reconciler frees it then.
"""

from __future__ import annotations

from collections.abc import Iterable

from cloison.errors import InvalidIntent, Unavailable
from cloison.model import Network, Reservation
from cloison.names import HostName
from controller.store.state import State
from controller.store.txn import Txn

HOSTS_NAMED_MAX = 5
RELEASE_RETRY_S = 1.0


def holders(state: State, network: Network) -> tuple[HostName, ...]:
    """Return the hosts that may hold something of a network: its span, and whoever has its device."""
    hosts = set(state.span(network.name))
    hosts.update(host for host in state.hosts if (host, network.vni) in state.tunnel_ports)
    return tuple(sorted(hosts))


def release(txn: Txn, state: State, keys: Iterable[str], owner_uid: str, hosts: tuple[HostName, ...]) -> None:
    """Give back those of the keys that the owner has."""
    for key in sorted(keys):
        reservation = state.reservations.get(key)
        if reservation is not None and reservation.owner_uid == owner_uid and not reservation.released:
            txn.release(reservation, hosts)


def foreign(reservation: Reservation | None, uid: str) -> Reservation | None:
    """Return the reservation if the owner of that uid may not use what it holds.

    That includes what the owner itself has given back: hosts may not have let go of it yet.
    """
    if reservation is None or (reservation.owner_uid == uid and not reservation.released):
        return None
    return reservation


def refuse_released(reservation: Reservation, field: str, value: object) -> None:
    """Raise Unavailable if what was asked for is waiting for hosts to let go of it."""
    if reservation.released:
        names = ", ".join(map(str, reservation.hosts[:HOSTS_NAMED_MAX])) or "its last host"
        more = len(reservation.hosts) - HOSTS_NAMED_MAX
        raise Unavailable(
            f"{field}: {value} was given back by {reservation.owner} and is not free yet: waiting for "
            f"{names}{f' and {more} more' if more > 0 else ''} to confirm that it is gone; try again",
            RELEASE_RETRY_S,
        )


def refuse_taken(reservation: Reservation | None, field: str, value: object, expected: str) -> None:
    """Raise InvalidIntent if another owner has it, Unavailable if it is being released."""
    if reservation is None:
        return
    refuse_released(reservation, field, value)
    raise InvalidIntent.of(field, value, expected)
