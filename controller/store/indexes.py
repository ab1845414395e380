"""Mappings from one thing to its members, and how they change: what `State` keeps of each relation. Pure."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TypeVar

K = TypeVar("K")
M = TypeVar("M")
V = TypeVar("V")

Index = MutableMapping[K, MutableMapping[M, V]]


def copied(index: Index[K, M, V]) -> dict[K, dict[M, V]]:
    """Return the same index, independent of it."""
    return {key: dict(members) for key, members in index.items()}


def _add(index: Index[K, M, V], key: K, member: M, value: V) -> None:
    index.setdefault(key, {})[member] = value


def _discard(index: Index[K, M, V], key: K, member: M) -> None:
    members = index.get(key)
    if members is not None:
        members.pop(member, None)
        if not members:
            del index[key]


def tally(index: Index[K, M, int], key: K, member: M, sign: int) -> None:
    """Count a member up or down; it is gone at zero."""
    members = index.setdefault(key, {})
    members[member] = members.get(member, 0) + sign
    if not members[member]:
        _discard(index, key, member)


def link(index: Index[K, M, V], key: K, member: M, value: V, sign: int) -> None:
    """Add a member, or with a negative sign take it out."""
    if sign > 0:
        _add(index, key, member, value)
    else:
        _discard(index, key, member)


def link_few(index: MutableMapping[K, tuple[V, ...]], key: K, value: V, sign: int) -> None:
    """Like link where there is nearly always one member: a tuple takes a fifth of a dict's memory."""
    rest = tuple(other for other in index.get(key, ()) if other != value)
    members = (*rest, value) if sign > 0 else rest
    if members:
        index[key] = members
    else:
        index.pop(key, None)


def only(found: tuple[V, ...] | None) -> V | None:
    """Return the value if there is exactly one: an identifier that two have names neither (fail closed)."""
    return found[0] if found is not None and len(found) == 1 else None
