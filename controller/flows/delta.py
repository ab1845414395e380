"""What must change in a switch so that it holds exactly the desired flows. Pure.

`FlowDelta` is the unit that a switch applies: all of it or nothing (one atomic bundle).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from controller.flows.flow import Flow, FlowKey


@dataclass(frozen=True, slots=True)
class ForeignFlow:
    """A flow that is in a switch and that this project cannot have put there.

    Its match or actions are outside the language of controller.flows, or it has a timeout, flags or an
    importance. match is the flow's ofp_match as the switch sent it: enough to delete exactly this flow.
    """

    table: int
    priority: int
    cookie: int
    match: bytes


class InstalledFlow(NamedTuple):
    """A flow as a switch holds it, with what it has counted so far."""

    flow: Flow
    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class InstalledFlows:
    """Everything that one switch holds."""

    flows: Mapping[FlowKey, InstalledFlow]
    foreign: tuple[ForeignFlow, ...] = ()


@dataclass(frozen=True, slots=True)
class FlowDelta:
    """The changes of one switch.

    add: flows whose key is not there; modify: flows whose key is there with another cookie, actions or goto
    (they keep their counters); delete: keys; purge: foreign flows. Deletions come first, so a purged flow
    may be replaced.
    """

    add: tuple[Flow, ...] = ()
    modify: tuple[Flow, ...] = ()
    delete: tuple[FlowKey, ...] = ()
    purge: tuple[ForeignFlow, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.add or self.modify or self.delete or self.purge)

    def __len__(self) -> int:
        return len(self.add) + len(self.modify) + len(self.delete) + len(self.purge)


def flow_delta(
    desired: Mapping[FlowKey, Flow],
    actual: Mapping[FlowKey, Flow] | InstalledFlows,
    foreign: Iterable[ForeignFlow] = (),
) -> FlowDelta:
    """Return what turns actual (what was read, or the last desired state) into desired. Equal flows are left
    alone.
    """
    there = actual.flows if isinstance(actual, InstalledFlows) else actual
    if isinstance(actual, InstalledFlows):
        foreign = (*actual.foreign, *foreign)
    add, modify = [], []
    for key, flow in desired.items():
        found = there.get(key) if there else None
        old = found.flow if isinstance(found, InstalledFlow) else found
        if old is None:
            add.append(flow)
        elif old is not flow and old != flow:
            modify.append(flow)
    delete = tuple(key for key in there if key not in desired)
    return FlowDelta(tuple(add), tuple(modify), delete, tuple(foreign))
