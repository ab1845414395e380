"""How large a network with multicast may be. Pure.

What is for all of a network is one flow that hands on a copy for each port and each other host, and a switch
takes only so many actions in a flow (COPIES_MAX in compiler/tables/forward.py). The limit leaves room, so
that ports which are made at the same moment do not matter.
"""

from __future__ import annotations

from cloison.errors import Exhausted
from cloison.model import Network
from controller.store.state import State

PORTS_MAX = 500


def check_another_port(state: State, network: Network) -> None:
    """Raise Exhausted if a network may have no further port."""
    if not network.multicast:
        return
    count = len(state.ports_of(network.name))
    if count >= PORTS_MAX:
        raise Exhausted(
            f"{network.name} has multicast and {count} ports, and with it may have no more than {PORTS_MAX}; "
            "switch its multicast off, or use another network"
        )


def check_switched_on(state: State, network: Network) -> None:
    """Raise Exhausted if a network has too many ports for multicast."""
    count = len(state.ports_of(network.name))
    if count > PORTS_MAX:
        raise Exhausted(
            f"{network.name} has {count} ports, and with multicast may have no more than {PORTS_MAX}; "
            "leave network.multicast off, or delete some ports"
        )
