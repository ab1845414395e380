"""What "in sync" means, on both sides of the wire: desired and actual as two maps, the delta between them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Delta(Generic[K, V]):
    """create: wanted and absent; update: there, but different; delete: there, not wanted (with its value)."""

    create: Mapping[K, V]
    update: Mapping[K, V]
    delete: Mapping[K, V]

    def __bool__(self) -> bool:
        return bool(self.create or self.update or self.delete)


def diff(desired: Mapping[K, V], actual: Mapping[K, V]) -> Delta[K, V]:
    """Return what must be done so that actual equals desired."""
    create = {k: v for k, v in desired.items() if k not in actual}
    update = {k: v for k, v in desired.items() if k in actual and actual[k] != v}
    delete = {k: v for k, v in actual.items() if k not in desired}
    return Delta(create, update, delete)
