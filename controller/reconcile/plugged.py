"""Which binding makes a port live, and where. Pure.

Fail closed: a port lives only when everything about it fits: it is enabled, plugged on a host it is
scheduled to, and the binding was made for this very port (uid) and not for a namesake before it.
"""

from __future__ import annotations

from cloison.model import Port, PortBinding
from controller.store.state import State


def is_plugged(port: Port, binding: PortBinding) -> bool:
    """Tell whether the binding makes this port live on its host."""
    return (
        not port.disabled
        and binding.port_uid == port.meta.uid
        and binding.host in port.requested_hosts
        and binding.ofport > 0
    )


def live_binding(state: State, port: Port) -> PortBinding | None:
    """Return the binding on which the port lives: the first of its requested hosts that has one."""
    for host in port.requested_hosts:
        binding = state.bindings.get((port.name, host))
        if binding is not None and is_plugged(port, binding):
            return binding
    return None
