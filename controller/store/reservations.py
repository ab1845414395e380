"""The reservations of one revision, kept small, and searched by number. Pure.

Most of what the store holds are reservations (seven to a dual-stack port), so they are not kept as objects:
per scope a dict of number -> holder, and all reservations made in one transaction for one owner share one
holder. `Reservation` values are made when somebody looks.

Claims are identifiers that this process has in flight to etcd. They are no state, they only keep two
concurrent builds from choosing the same number; the store sets and clears them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, NamedTuple

from cloison.errors import InvalidIntent
from cloison.model import Reservation, Revision
from cloison.names import HostName
from controller.store import ids
from controller.store.layers import Layer, Layers


class _Holder(NamedTuple):
    owner: str
    owner_uid: str
    released: bool
    hosts: tuple[HostName, ...]
    revision: Revision

    def reservation(self, key: str) -> Reservation:
        return Reservation(
            key=key,
            owner=self.owner,
            owner_uid=self.owner_uid,
            released=self.released,
            hosts=self.hosts,
            revision=self.revision,
        )


_Scope = MutableMapping[int | str, _Holder]


class Reservations(Mapping[str, Reservation]):
    """Reservation key -> Reservation: read it like a dict, ask it for free numbers."""

    __slots__ = ("_claims", "_len", "_recent", "_released", "_scopes")

    def __init__(self) -> None:
        self._scopes: MutableMapping[str, _Scope] = {}
        self._len = 0
        self._released: MutableMapping[str, None] = {}
        self._claims: Counter[tuple[str, int | str]] = Counter()
        self._recent: dict[str, _Holder] = {}

    def fork(self) -> Reservations:
        """Return reservations on top of these; see State.fork. Claims are those of here, as they come."""
        return self._derived(Layers(self._scopes), Layer(self._released), self._claims)

    def copy(self) -> Reservations:
        """Return the same reservations, independent of these; see State.copy."""
        scopes: dict[str, _Scope] = {scope: dict(numbers) for scope, numbers in self._scopes.items()}
        return self._derived(scopes, dict(self._released), Counter(self._claims))

    def _derived(
        self,
        scopes: MutableMapping[str, _Scope],
        released: MutableMapping[str, None],
        claims: Counter[tuple[str, int | str]],
    ) -> Reservations:
        made = Reservations()
        made._scopes, made._released, made._claims, made._len = scopes, released, claims, self._len
        return made

    # -- reading -----------------------------------------------------------------------------------

    def _holder(self, key: object) -> _Holder | None:
        try:
            scope, number = ids.split(str(key))
        except InvalidIntent:
            return None
        return self._scopes.get(scope, {}).get(number)

    def __getitem__(self, key: str) -> Reservation:
        holder = self._holder(key)
        if holder is None:
            raise KeyError(key)
        return holder.reservation(key)

    def get(self, key: str, default: Any = None) -> Reservation | Any:
        """See Mapping, whose own raises and catches where there is none: most that is asked for is free."""
        holder = self._holder(key)
        return holder.reservation(key) if holder is not None else default

    def __contains__(self, key: object) -> bool:
        return self._holder(key) is not None

    def __iter__(self) -> Iterator[str]:
        for scope, numbers in self._scopes.items():
            for number in numbers:
                yield ids.join(scope, number)

    def __len__(self) -> int:
        return self._len

    def released(self) -> tuple[Reservation, ...]:
        """Return what waits for hosts to confirm before it can be given out again."""
        return tuple(self[key] for key in self._released)

    def in_scope(self, scope: str) -> int:
        """Return how many numbers of a scope are taken (claims not counted)."""
        return len(self._scopes.get(scope, ()))

    def numbers(self, scope: str) -> tuple[int | str, ...]:
        """Return the numbers of a scope that are taken, in no particular order."""
        return tuple(self._scopes.get(scope, ()))

    def is_free(self, key: str) -> bool:
        """Tell whether a reservation key is neither held, nor waiting, nor being taken by this process."""
        scope, number = ids.split(key)
        return number not in self._scopes.get(scope, ()) and (scope, number) not in self._claims

    def first_free(self, scope: str, low: int, high: int, start: int | None = None) -> int | None:
        """Return the first free number of low..high (both included) in a scope, or None if there is none.

        start, if given, is where to begin; the search goes round. Costs one look per taken number that it
        passes, so a start that spreads out (a hash of the uid) makes it constant in practice.
        """
        for number in self.free_from(scope, low, high, start):
            return number
        return None

    def free_from(self, scope: str, low: int, high: int, start: int | None = None) -> Iterator[int]:
        """Yield the free numbers of low..high in a scope, beginning at start and going round once."""
        taken = self._scopes.get(scope, {})
        first = low if start is None or not low <= start <= high else start
        for number in _round(low, high, first):
            if number not in taken and (scope, number) not in self._claims:
                yield number

    # -- what only State and the store do ----------------------------------------------------------

    def put(self, reservation: Reservation) -> None:
        """Set one reservation."""
        scope, number = ids.split(reservation.key)
        holder = self._shared(reservation)
        numbers = self._scopes.setdefault(scope, {})
        self._len += number not in numbers
        numbers[number] = holder
        if holder.released:
            self._released[reservation.key] = None
        else:
            self._released.pop(reservation.key, None)

    def remove(self, key: str) -> None:
        """Forget one reservation, which must be there."""
        scope, number = ids.split(key)
        numbers = self._scopes[scope]
        del numbers[number]
        if not numbers:
            del self._scopes[scope]
        self._len -= 1
        self._released.pop(key, None)

    def settle(self) -> None:
        """End a batch of put: holders are shared within a batch only."""
        self._recent = {}

    def claim(self, reservation_keys: Iterable[str]) -> None:
        """Note identifiers as being taken by a transaction in flight."""
        self._claims.update(ids.split(key) for key in reservation_keys)

    def unclaim(self, reservation_keys: Iterable[str]) -> None:
        """Undo claim."""
        for key in reservation_keys:
            claimed = ids.split(key)
            self._claims[claimed] -= 1
            if self._claims[claimed] <= 0:
                del self._claims[claimed]

    def differing(self, other: Reservations) -> Iterator[str]:
        """Yield the keys whose reservation is not the same in other, those in only one of them included."""
        for scope in self._scopes.keys() | other._scopes.keys():
            ours, theirs = self._scopes.get(scope, {}), other._scopes.get(scope, {})
            for number in ours.keys() | theirs.keys():
                if ours.get(number) != theirs.get(number):
                    yield ids.join(scope, number)

    def _shared(self, reservation: Reservation) -> _Holder:
        holder = _Holder(
            reservation.owner,
            reservation.owner_uid,
            reservation.released,
            reservation.hosts,
            reservation.revision,
        )
        known = self._recent.get(holder.owner)
        if known == holder:
            return known
        self._recent[holder.owner] = holder
        return holder


def _round(low: int, high: int, first: int) -> Iterator[int]:
    yield from range(first, high + 1)
    yield from range(low, first)
