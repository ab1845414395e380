"""Sets of connections by protocol and port, as values: one without another, and in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from cloison.protocols import ICMP, ICMPV6, WITH_PORTS, protocol_name

ANY = "any protocol"
DETAIL_MAX = 0xFFFF
PROTOCOLS = 256
Interval = tuple[int, int]
Intervals = tuple[Interval, ...]
WHOLE: Intervals = ((0, DETAIL_MAX),)
_CODES = 256


def union(intervals: Iterable[Interval]) -> Intervals:
    """Return the same numbers as intervals that are in order and apart from each other."""
    merged: list[Interval] = []
    for low, high in sorted(intervals):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return tuple(merged)


def difference(ours: Intervals, theirs: Intervals) -> Intervals:
    """Return the numbers of ours that are not in theirs."""
    left = list(ours)
    for low, high in theirs:
        rest: list[Interval] = []
        for start, end in left:
            if end < low or high < start:
                rest.append((start, end))
                continue
            if start < low:
                rest.append((start, low - 1))
            if high < end:
                rest.append((high + 1, end))
        left = rest
    return tuple(left)


@dataclass(frozen=True)
class Connections:
    """A set. details: by protocol, its destination ports (ICMP: type * 256 + code).

    others: whether all protocols without details are in it. Of a protocol that has neither ports nor types
    all numbers are in it, or none.
    """

    details: Mapping[int, Intervals] = field(default_factory=dict)
    others: bool = False

    def of(self, protocol: int) -> Intervals:
        """Return what is in it of one protocol."""
        return self.details.get(protocol, WHOLE if self.others else ())

    def __bool__(self) -> bool:
        return self.others or any(self.details.values())

    def without(self, other: Connections) -> Connections:
        """Return what is in this set and not in the other."""
        named = self.details.keys() | other.details.keys()
        return Connections(
            {protocol: difference(self.of(protocol), other.of(protocol)) for protocol in named},
            self.others and not other.others,
        )

    def words(self) -> tuple[str, ...]:
        """Return the set in words, one for each part."""
        if self.others and all(intervals == WHOLE for intervals in self.details.values()):
            return (ANY,)
        found = [
            text
            for protocol in sorted(self.details)
            for text in _words(protocol, self.details[protocol])
            if self.details[protocol]
        ]
        if self.others:
            missing = ", ".join(protocol_name(p) for p in sorted(self.details))
            found.append(f"any protocol but {missing}")
        return tuple(found)


def _words(protocol: int, intervals: Intervals) -> Iterator[str]:
    name = protocol_name(protocol)
    if not protocol_name(protocol).isalpha():
        name = f"protocol {name}" if name.isdigit() else name
    if intervals == WHOLE:
        yield name
        return
    for low, high in intervals:
        if protocol in (ICMP, ICMPV6):
            yield from _icmp_words(name, low, high)
        elif protocol in WITH_PORTS:
            yield f"{name} port {low}" if low == high else f"{name} ports {low}-{high}"
        else:
            yield name


def _icmp_words(name: str, low: int, high: int) -> Iterator[str]:
    """Say type by type what is in an interval of type * 256 + code."""
    while low <= high:
        kind, code = divmod(low, _CODES)
        last = min(high, kind * _CODES + _CODES - 1)
        if code == 0 and last % _CODES == _CODES - 1:
            until = (high + 1) // _CODES - 1
            yield f"{name} type {kind}" if until == kind else f"{name} types {kind}-{until}"
            low = (until + 1) * _CODES
            continue
        codes = f"code {code}" if last == low else f"codes {code}-{last % _CODES}"
        yield f"{name} type {kind} {codes}"
        low = last + 1
