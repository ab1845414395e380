"""Mappings over other mappings: reading falls through, writing stays on top. Pure.

With these a state is put on top of another in no time, whatever its size. What lies below must not change
as long as the layer is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, ValuesView
from typing import Any, TypeVar

K = TypeVar("K")
M = TypeVar("M")
V = TypeVar("V")


class _Gone:
    """Stands for a key that is not there any more, though it is below."""


_GONE = _Gone()


class Layer(MutableMapping[K, V]):
    """One mapping over another. The order of keys is any."""

    __slots__ = ("_below", "_len", "_top")

    def __init__(self, below: Mapping[K, V]) -> None:
        self._below = below
        self._top: dict[K, V | _Gone] = {}
        self._len = len(below)

    def __getitem__(self, key: K) -> V:
        if key not in self._top:
            return self._below[key]
        found = self._top[key]
        if isinstance(found, _Gone):
            raise KeyError(key)
        return found

    # Most of what is asked of a layer is below it: these do what Mapping's would, in a third of the time.

    def get(self, key: K, default: Any = None) -> Any:
        """See dict."""
        if key not in self._top:
            return self._below.get(key, default)
        found = self._top[key]
        return default if isinstance(found, _Gone) else found

    def values(self) -> ValuesView[V]:
        """See dict; not to be kept across a change."""
        if not self._top:
            return self._below.values()
        both: dict[K, V | _Gone] = {**self._below, **self._top}
        return {key: value for key, value in both.items() if not isinstance(value, _Gone)}.values()

    def __setitem__(self, key: K, value: V) -> None:
        self._len += key not in self
        self._top[key] = value

    def __delitem__(self, key: K) -> None:
        if key not in self:
            raise KeyError(key)
        self._len -= 1
        self._top[key] = _GONE

    def __contains__(self, key: object) -> bool:
        if key in self._top:
            return self._top[key] is not _GONE
        return key in self._below

    def __iter__(self) -> Iterator[K]:
        return self._merged() if self._top else iter(self._below)

    def _merged(self) -> Iterator[K]:
        # Layers puts what it hands out on top meanwhile: each key must come once nevertheless.
        yield from (key for key in self._below if self._top.get(key) is not _GONE)
        yield from (
            key for key, value in tuple(self._top.items()) if key not in self._below and value is not _GONE
        )

    def __len__(self) -> int:
        return self._len


class Layers(Layer[K, MutableMapping[M, V]]):
    """A layer over a mapping of mappings: what it hands out may be written to, and what lies below stays."""

    __slots__ = ()

    def __getitem__(self, key: K) -> MutableMapping[M, V]:
        found: MutableMapping[M, V] | None = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def get(self, key: K, default: Any = None) -> Any:
        """See dict; what it hands out may be written to."""
        found = self._top.get(key)
        if found is None:
            below = self._below.get(key)
            if below is None:
                return default
            found = self._top[key] = Layer(below)
        return default if isinstance(found, _Gone) else found

    def values(self) -> ValuesView[MutableMapping[M, V]]:
        """See dict; what it hands out may be written to."""
        return ValuesView(self)

    def setdefault(self, key: K, default: Any = None) -> MutableMapping[M, V]:
        """See dict."""
        found: MutableMapping[M, V] | None = self.get(key)
        if found is None:
            self[key] = found = default
        return found
