"""A flow: table, priority, match, actions, next table, cookie. Two flows of one key cannot coexist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from controller.flows.actions import Action
from controller.flows.conntrack import CT_STATE_BITS, has_connection
from controller.flows.fields import FIELDS, Field

_IPV4, _IPV6 = 0x0800, 0x86DD
# The original tuple of a connection, and which ether types its fields need.
_TUPLE_FIELDS: dict[str, tuple[int, ...]] = {
    "ct_nw_src": (_IPV4,),
    "ct_nw_dst": (_IPV4,),
    "ct_ipv6_src": (_IPV6,),
    "ct_ipv6_dst": (_IPV6,),
    "ct_nw_proto": (_IPV4, _IPV6),
    "ct_tp_src": (_IPV4, _IPV6),
    "ct_tp_dst": (_IPV4, _IPV6),
}


# Where each field comes in a match.
_RANKS = {
    field.name: rank
    for rank, field in enumerate(sorted(FIELDS.values(), key=lambda field: (field.oxm_class, field.number)))
}


class MatchTerm(NamedTuple):
    """field & mask == value; the value has no bit outside the mask."""

    field: Field
    value: int
    mask: int


# Terms in the order of field class and number, one per field: equal matches are equal values.
Match = tuple[MatchTerm, ...]


def match(**terms: int | tuple[int, int]) -> Match:
    """Build a match from field=value or field=(value, mask).

    Raises ValueError on a bit outside the field, a mask where the field takes none, or a field of a
    connection's tuple without its prerequisites: some of these Open vSwitch takes and then leaves out, so
    that the flow matches more than it says.
    """
    if not _TUPLE_FIELDS.keys().isdisjoint(terms):
        _check_tuple(terms)
    made = (_term(name, terms[name]) for name in sorted(terms, key=_RANKS.__getitem__))
    return tuple(term for term in made if term.mask)


@lru_cache(maxsize=1 << 12)
def _term(name: str, term: int | tuple[int, int]) -> MatchTerm:
    """Return a term; the flows of a port share theirs, which saves checking them and most of their memory."""
    field = FIELDS[name]
    value, mask = term if isinstance(term, tuple) else (term, field.all_ones)
    if value & ~mask or mask & ~field.all_ones or value < 0 or mask < 0:
        raise ValueError(f"{name}={value:#x}/{mask:#x}: bits outside the mask or the field's {field.width}")
    if mask != field.all_ones and not field.maskable:
        raise ValueError(f"{name} takes no mask, got {mask:#x}")
    if name == "ct_state" and mask & ~CT_STATE_BITS:
        raise ValueError(f"ct_state={value:#x}/{mask:#x}: bits that do not exist")
    if name == "nxm_in_port":
        raise ValueError("nxm_in_port is for actions; match in_port")
    return MatchTerm(field, value, mask)


def _check_tuple(terms: Mapping[str, int | tuple[int, int]]) -> None:
    """Raise ValueError unless every field of the tuple has what it needs, exactly matched."""
    state = terms.get("ct_state", 0)
    if not isinstance(state, tuple) or not has_connection(*state):
        raise ValueError("fields of a connection's tuple need ct_state=+trk-inv")
    for name, eth_types in _TUPLE_FIELDS.items():
        if name in terms and terms.get("eth_type") not in eth_types:
            raise ValueError(f"{name} needs an eth_type, one of {', '.join(map(hex, eth_types))}")
    if not terms.keys().isdisjoint(("ct_tp_src", "ct_tp_dst")) and not _is_number(terms.get("ct_nw_proto")):
        raise ValueError("ct_tp_src and ct_tp_dst need ct_nw_proto")


def _is_number(term: int | tuple[int, int] | None) -> bool:
    """Tell whether the term is an exact match of something."""
    return isinstance(term, int) or (term is not None and term[1] == FIELDS["ct_nw_proto"].all_ones)


class FlowKey(NamedTuple):
    """What OpenFlow tells flows apart by (OpenFlow 1.4.1, section 6.4: strict)."""

    table: int
    priority: int
    match: Match


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """One entry of a flow table. No actions and no goto means drop.

    meter: what exceeds the rate of this meter is dropped before any action.
    """

    table: int
    priority: int
    match: Match
    actions: tuple[Action, ...] = ()
    goto: int | None = None
    cookie: int = 0
    meter: int | None = None
    _key: FlowKey | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def key(self) -> FlowKey:
        """What OpenFlow tells it apart by: one object, under which a flow is found in several places."""
        key = self._key
        if key is None:
            key = FlowKey(self.table, self.priority, self.match)
            object.__setattr__(self, "_key", key)
        return key
