"""A flow: table, priority, match, actions, next table, cookie. Two flows of one key cannot coexist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from controller.flows.actions import Action
from controller.flows.fields import FIELDS, Field


class MatchTerm(NamedTuple):
    """field & mask == value; the value has no bit outside the mask."""

    field: Field
    value: int
    mask: int


# Terms in the order of field class and number, one per field: equal matches are equal values.
Match = tuple[MatchTerm, ...]


def match(**terms: int | tuple[int, int]) -> Match:
    """Build a match from field=value or field=(value, mask).

    Raises ValueError on a bit outside the field, or a mask where the field takes none.
    """
    made = []
    for name, term in terms.items():
        field = FIELDS[name]
        value, mask = term if isinstance(term, tuple) else (term, field.all_ones)
        if value & ~mask or mask & ~field.all_ones or value < 0 or mask < 0:
            raise ValueError(
                f"{name}={value:#x}/{mask:#x}: bits outside the mask or the field's {field.width}"
            )
        if mask != field.all_ones and not field.maskable:
            raise ValueError(f"{name} takes no mask, got {mask:#x}")
        if mask:
            made.append(MatchTerm(field, value, mask))
    return tuple(sorted(made, key=lambda t: (t.field.oxm_class, t.field.number)))


class FlowKey(NamedTuple):
    """What OpenFlow tells flows apart by (OpenFlow 1.4.1, section 6.4: strict)."""

    table: int
    priority: int
    match: Match


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One entry of a flow table. No actions and no goto means drop."""

    table: int
    priority: int
    match: Match
    actions: tuple[Action, ...] = ()
    goto: int | None = None
    cookie: int = 0

    @property
    def key(self) -> FlowKey:
        """What OpenFlow tells it apart by."""
        return FlowKey(self.table, self.priority, self.match)
