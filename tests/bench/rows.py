"""A row of the result: one figure, what the peer needed, the goal and the verdict. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Against = Literal["ratio", "ours"]
NOT_RUN = "not run"


@dataclass(frozen=True)
class Goal:
    """`at most` or `at least` a bound, on our figure itself or on its ratio to the peer's."""

    bound: float
    on: Against = "ratio"
    least: bool = False

    def met(self, row: Row) -> bool | None:
        """Whether a row reaches it; None if the figure it speaks of was not measured."""
        figure = row.ratio if self.on == "ratio" else row.ours
        if figure is None:
            return None
        return figure >= self.bound if self.least else figure <= self.bound

    def text(self, unit: str) -> str:
        """As in the table: `<= 0.05 x`, `>= 1000 /s`."""
        return (
            f"{'>=' if self.least else '<='} {self.bound:.4g} {'x' if self.on == 'ratio' else unit}".rstrip()
        )


@dataclass
class Row:
    """One figure. `ours` and `peer` are medians (or what the name says) in `unit`; None: not measured."""

    name: str
    unit: str
    goal: Goal | None = None
    ours: float | None = None
    peer: float | None = None
    samples: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours by the peer's."""
        return self.ours / self.peer if self.ours is not None and self.peer else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal or a figure."""
        return self.goal.met(self) if self.goal else None

    @property
    def verdict(self) -> str:
        """A word for the table."""
        if self.ours is None:
            return NOT_RUN
        return {True: "met", False: "MISSED", None: "-"}[self.met]

    def as_dict(self) -> dict[str, Any]:
        """For the JSON."""
        return {
            "name": self.name, "ours": self.ours, "peer": self.peer, "ratio": self.ratio,
            "goal": self.goal.text(self.unit) if self.goal else None, "met": self.met, "unit": self.unit,
            "samples": self.samples, "note": self.note,
        }  # fmt: skip


HEADINGS = ("what", "ours", "OVN 23.03", "ratio", "goal", "verdict")


def table(rows: Iterable[Row]) -> str:
    """For a person, notes below; what has neither figure nor goal is left out."""
    rows = [row for row in rows if row.goal or row.ours is not None]
    cells = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(HEADINGS))]
    lines = [_line(line, widths) for line in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    notes = [f"  {row.name}: {row.note}" for row in rows if row.note]
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def _cells(row: Row) -> tuple[str, ...]:
    ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
    goal = row.goal.text(row.unit) if row.goal else ""
    return row.name, _figure(row.ours, row.unit), _figure(row.peer, row.unit), ratio, goal, row.verdict


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:,.0f} {unit}".rstrip() if abs(value) >= 1000 else f"{value:.3g} {unit}".rstrip()


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.ljust(w) if n in (0, 5) else cell.rjust(w)
        for n, (cell, w) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join((first, *rest)).rstrip()
