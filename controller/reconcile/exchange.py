"""What one unit's flows have that another version of them has not. Pure.

The policy of a tenant is one unit of thousands of flows, the very same on each host that has a port of it:
what changes in it is worked out once, and looked up for all other hosts.
"""

from __future__ import annotations

from collections import OrderedDict
from operator import is_
from typing import NamedTuple

from controller.flows import Flow

Flows = tuple[Flow, ...]
# Of how many changes the difference is remembered, and of units of how many flows: others are compared again.
KNOWN_MAX = 128
LARGE = 32


class Exchange(NamedTuple):
    """Flows that go, and flows that come in their place."""

    gone: Flows = ()
    come: Flows = ()


# By identity: to compare thousands of flows by their values is what it is to spare. The flows are kept with
# it, so that no others can have their identity meanwhile.
_known: OrderedDict[tuple[int, int], tuple[Flows, Flows, Exchange]] = OrderedDict()


def between(before: Flows, after: Flows) -> Exchange:
    """Return what makes the one into the other. A flow that is the same in both is in neither."""
    if before is after:
        return Exchange()
    if not before:
        return Exchange((), after)
    if not after:
        return Exchange(before, ())
    if len(before) + len(after) < LARGE:
        return _compared(before, after)
    key = id(before), id(after)
    found = _known.get(key)
    if found is None:
        if len(_known) >= KNOWN_MAX:
            _known.popitem(last=False)
        found = _known[key] = before, after, _compared(before, after)
    return found[2]


def _compared(before: Flows, after: Flows) -> Exchange:
    """Flows that are the same objects in both, as most are, are not looked into."""
    had, has = set(map(id, before)), set(map(id, after))
    old = {f for f in before if id(f) not in has}
    come = [f for f in after if id(f) not in had]
    new = set(come)
    if len(has) < len(after) or len(new) < len(come) or _in_common(come, after, had):
        # One flow twice: whoever puts these in must see it.
        return Exchange(before, after)
    gone = tuple([f for f in before if f in old and f not in new])
    return Exchange(gone, tuple([f for f in come if f not in old]))


def _in_common(come: list[Flow], after: Flows, had: set[int]) -> bool:
    """Tell whether a flow that comes is one that stays, though another object."""
    matches, values = {flow.match for flow in come}, set(come)
    stays = (flow for flow in after if id(flow) in had)
    return bool(come) and any(flow.match in matches and flow in values for flow in stays)


def renewed(before: Flows, after: Flows) -> Flows:
    """Return after, of the same objects as before wherever flows are equal; before itself if all are."""
    had, has = set(map(id, before)), set(map(id, after))
    known = {flow: flow for flow in before if id(flow) not in has}
    made = tuple([flow if id(flow) in had else known.get(flow, flow) for flow in after])
    same = len(made) == len(before) and all(map(is_, made, before))
    return before if same else made
