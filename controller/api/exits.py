"""Where routers go out and floating IPs are answered for, as far as the state says. Pure."""

from __future__ import annotations

from cloison.model import FloatingIp
from cloison.names import HostName
from controller.reconcile.edges import answering
from controller.reconcile.tracker import Condition
from controller.store.state import State


def answering_host(state: State, floating: FloatingIp) -> HostName | None:
    """Return the host that answers for a floating IP: that of its port where it may, else the gateway's."""
    found = answering(state, floating)
    return found[1] if found is not None else None


def conditions_of(state: State, floating: FloatingIp) -> tuple[Condition, ...]:
    """Return why nobody answers for a floating IP; empty if somebody does."""
    if floating.port is None:
        return (Condition("NOT_ASSOCIATED", "it stands for no port", ()),)
    if answering_host(state, floating) is not None:
        return ()
    where = str(floating.external_network)
    return (
        Condition("NO_GATEWAY", f"its router's way out is plugged on no gateway host of {where}", (where,)),
    )
