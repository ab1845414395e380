"""A mapping that nobody can change, for the values of the contract. Pure.

A frozen dataclass that holds a dict is frozen in name only: models are shared by the mirror, every
subscriber and every request, so a label written by one of them would show up in all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V_co = TypeVar("V_co", covariant=True)


class ImmutableMapping(Mapping[K, V_co], Generic[K, V_co]):
    """A copy of a mapping; equal to any mapping with the same items, hashable, its own deep copy."""

    __slots__ = ("_items",)

    _items: dict[K, V_co]

    def __init__(self, items: Mapping[K, V_co] | None = None) -> None:
        object.__setattr__(self, "_items", dict(items or {}))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("an ImmutableMapping cannot be changed")

    def __getitem__(self, key: K) -> V_co:
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return f"ImmutableMapping({self._items!r})"

    def __copy__(self) -> ImmutableMapping[K, V_co]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ImmutableMapping[K, V_co]:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (ImmutableMapping, (dict(self._items),))
