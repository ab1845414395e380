"""Which binding makes a port live, and where. Pure.

Fail closed: a port lives only when everything about it fits: it is enabled, plugged on a host it is
scheduled to, and the binding was made for this very port (uid) and not for a namesake before it. It lives in
one place. Elsewhere it may be plugged for a live migration: it is on standby there, and comes to live there
when its guest says that it runs there, or when it is unplugged where it lives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cloison.model import Port, PortBinding, RouterEdge
from cloison.names import HostName
from controller.store.state import State

# Tells whether a bridge has this interface under this number (HostActor.has_port).
HasPort = Callable[[HostName, int, str], bool]


def believe(host: HostName, ofport: int, interface: str) -> bool:
    """Take every reported port number for true: for a state without switches."""
    return True


def is_plugged(port: Port, binding: PortBinding) -> bool:
    """Tell whether the binding makes this port live on its host."""
    return (
        not port.disabled
        and binding.port_uid == port.meta.uid
        and binding.host in port.requested_hosts
        and binding.ofport > 0
    )


def live_binding(state: State, port: Port) -> PortBinding | None:
    """Return the binding on which the port lives: of the highest rank, the first of its requested hosts'."""
    return max(_plugged(state, port), key=lambda binding: binding.rank, default=None)


def seen_binding(state: State, port: Port, has_port: HasPort) -> PortBinding | None:
    """Return the binding on which the port lives, if the bridge there has its interface."""
    binding = live_binding(state, port)
    if binding is None or not has_port(binding.host, binding.ofport, binding.interface):
        return None
    return binding


def edge_host(state: State, edge: RouterEdge | None) -> HostName | None:
    """Return the host on which an edge's port lives, None if on none (or if there is no edge)."""
    port = state.ports.get(edge.port) if edge is not None else None
    binding = live_binding(state, port) if port is not None else None
    return binding.host if binding is not None else None


def standby_bindings(state: State, port: Port) -> tuple[PortBinding, ...]:
    """Return where else it is plugged: blocked there until its guest announces itself."""
    live = live_binding(state, port)
    return tuple(binding for binding in _plugged(state, port) if binding is not live)


def next_rank(state: State, port: Port) -> int:
    """Return the rank of a place where the port comes to be plugged: it goes on living where it does."""
    ranks = [b.rank for b in state.bindings_of(port.name) if b.port_uid == port.meta.uid]
    return min(ranks) - 1 if ranks else 0


def _plugged(state: State, port: Port) -> Iterator[PortBinding]:
    for host in port.requested_hosts:
        binding = state.bindings.get((port.name, host))
        if binding is not None and is_plugged(port, binding):
            yield binding
