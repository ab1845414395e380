"""The parent of a list: a name, or one with '-' for any id (AIP-159), within what a caller may see. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cloison.errors import InvalidIntent, NotFound
from cloison.names import ID_EXPECTED, ID_PATTERN, NetworkName, TenantName
from controller.store.state import State

T = TypeVar("T")
WILDCARD = "-"


@dataclass(frozen=True, slots=True)
class Parent:
    """The ids of a parent's name, '-' where any will do; tenant is the only one that may be seen, or None."""

    collection: tuple[str, ...]
    ids: tuple[str, ...]
    tenant: str | None

    @classmethod
    def parse(cls, text: str, collection: Sequence[str], tenant: str | None) -> Parent:
        """Read e.g. 'tenants/acme/networks/-' for the collection ('tenants', 'networks')."""
        shape = "/".join(f"{noun}/{{{noun.removesuffix('s')}}}" for noun in collection)
        expected = f"a name of the form {shape}, where '-' stands for any id; each id {ID_EXPECTED}"
        parts = text.split("/") if text and len(text) <= 512 else []
        ids = tuple(parts[1::2])
        right = tuple(parts[::2]) == tuple(collection) and len(parts) == 2 * len(collection)
        if not right or not all(i == WILDCARD or ID_PATTERN.fullmatch(i) for i in ids):
            raise InvalidIntent.of("parent", text, expected)
        return cls(tuple(collection), ids, tenant)

    def __str__(self) -> str:
        return "/".join(part for pair in zip(self.collection, self.ids, strict=True) for part in pair)

    def _name(self) -> TenantName | NetworkName | None:
        """Return the name if it has no wildcard and is of something."""
        if not self.ids or WILDCARD in self.ids:
            return None
        return TenantName(*self.ids) if len(self.ids) == 1 else NetworkName(*self.ids)

    def members(
        self, state: State, table: Mapping[Any, T], under: Callable[[State, Any], Iterable[T]]
    ) -> Iterable[T]:
        """Return what lies under the parent; raises NotFound if it is one name and not there."""
        name = self._name()
        if name is not None:
            if state.get(name) is None:
                raise NotFound(str(name))
            return under(state, name)
        wanted = list(self.ids)
        if self.tenant is not None:
            wanted[:1] = [self.tenant]
        return [
            resource
            for key, resource in table.items()
            if all(want in (WILDCARD, got) for want, got in zip(wanted, key, strict=False))
        ]
