"""What one unit's flows have that another version of them has not. Pure.

The policy of a tenant is one unit of thousands of flows, the very same on each host that has a port of it:
what changes in it is worked out once, and looked up for all other hosts.
"""

from __future__ import annotations

from collections import OrderedDict
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
    old, new = set(before), set(after)
    if len(new) < len(after):
        # One flow twice: whoever puts these in must see it.
        return Exchange(before, after)
    return Exchange(tuple([f for f in before if f not in new]), tuple([f for f in after if f not in old]))


def renewed(before: Flows, after: Flows) -> Flows:
    """Return after, of the same objects as before wherever flows are equal; before itself if all are."""
    known = {flow: flow for flow in before}
    made = tuple([known.get(flow, flow) for flow in after])
    same = len(made) == len(before) and all(a is b for a, b in zip(made, before, strict=True))
    return before if same else made
