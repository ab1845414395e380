"""Five ways in which a compiler of ports could be wrong, and a controller that has one of them on demand.

Run as a program it is the controller, with the bug named in the file $CLOISON_TEST_BUG (a line "BUG PORT_ID")
built into what it compiles for that port. Everything else is the product.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from controller.compiler.registers import CLAIMED_IP
from controller.compiler.view import PortView
from controller.flows import Flow, Match
from controller.reconcile import units
from controller.store.state import State

Bug = Callable[[Flow], Flow | None]
BUG_FILE = "CLOISON_TEST_BUG"


def _without(flow: Flow, *fields: str) -> Match:
    return tuple(term for term in flow.match if term.field.name not in fields)


def any_source(flow: Flow) -> Flow:
    """ADMISSION forgets to look at the IPv4 source."""
    return replace(flow, match=_without(flow, "ipv4_src", CLAIMED_IP.field.name))


def any_network(flow: Flow) -> Flow:
    """FORWARD delivers frames of every network."""
    return replace(flow, match=_without(flow, "reg0")) if flow.table == 20 else flow


def past_addressing(flow: Flow) -> Flow:
    """ADMISSION sends frames to FORWARD as they are, under the MAC that the guest chose."""
    return replace(flow, goto=20) if flow.table == 0 else flow


def wrong_port(flow: Flow) -> Flow:
    """FORWARD delivers to the neighbour."""
    actions = tuple(
        replace(a, value=a.value + 1) if getattr(getattr(a, "field", None), "name", "") == "reg2" else a
        for a in flow.actions
    )
    return replace(flow, actions=actions)


def no_delivery(flow: Flow) -> Flow | None:
    """FORWARD forgets the port."""
    return None if flow.table == 20 else flow


BUGS: dict[str, Bug] = {
    bug.__name__: bug for bug in (any_source, any_network, past_addressing, wrong_port, no_delivery)
}


def with_bug(bug: Bug, flows: tuple[Flow, ...]) -> tuple[Flow, ...]:
    """What a compiler with this bug makes."""
    return tuple(wrong for flow in flows if (wrong := bug(flow)) is not None)


def install(bug_file: Path) -> None:
    """Build the bug that the file names at the time into the controller's compiling of one port."""
    view_of, right = units.port_view, units.port_flows
    names: dict[int, str] = {}

    def port_view(state: State, name: object, *rest: object) -> PortView | None:
        view = view_of(state, name, *rest)  # type: ignore[arg-type]
        if view is not None:
            names[view.port_number] = name.port  # type: ignore[attr-defined]
        return view

    def port_flows(view: PortView) -> tuple[Flow, ...]:
        wanted = bug_file.read_text().split() if bug_file.exists() else []
        if len(wanted) == 2 and names.get(view.port_number) == wanted[1]:
            return with_bug(BUGS[wanted[0]], right(view))
        return right(view)

    units.port_view = port_view
    units.port_flows = port_flows


if __name__ == "__main__":
    from controller.__main__ import main

    install(Path(os.environ[BUG_FILE]))
    main()
