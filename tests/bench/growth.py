"""How costs grow with the size of the background: the fitted exponents, the ratio of the goal, the plots."""

from __future__ import annotations

from pathlib import Path

from tests.bench import plots
from tests.bench.catalogue import HOST_COUNTS, SIZES, SPREAD, Rows
from tests.bench.stats import growth

NAMES = {"ours": "ours", "peer": "OVN 23.03"}
COSTS = (
    "add a port, p50",
    "add a port, p95",
    "CPU an add, all processes",
    "delete a port, p50",
    "revoke a rule, p50",
    "flows of a host",
    "cold start of a host",
    "memory of the controllers",
    "memory of an agent",
)
PLOTS = {
    "add-port": ("add a port, p50", "Adding a port, until every host has confirmed it", "ms"),
    "flows": ("flows of a host", "Flows of a host", "flows"),
}
PLOTS_OF_HOSTS = {
    "add-port-by-hosts": (
        f"add a port, p50, on {SPREAD} of {{}} hosts",
        f"Adding a port of a tenant on {SPREAD} hosts, of so many",
        "ms",
    ),
    "flows-by-hosts": ("flows of a host, of {} hosts", "Flows of a host, of so many", "flows"),
}


def curves(rows: Rows, cost: str) -> dict[str, dict[int, float]]:
    """{side: {size: figure}} of what was measured and is above zero."""
    found: dict[str, dict[int, float]] = {}
    for side in NAMES:
        figures = {size: getattr(rows[f"{cost}, at {size:,} ports"], side) for size in SIZES}
        found[side] = {size: figure for size, figure in figures.items() if figure}
    return found


def exponents(rows: Rows) -> dict[str, dict[str, float | None]]:
    """{cost: {side: k}} of cost ~ ports^k; None for a side measured at fewer than two sizes."""
    return {
        cost: {side: growth(list(curve), list(curve.values())) for side, curve in curves(rows, cost).items()}
        for cost in COSTS
    }


def fill(rows: Rows) -> None:
    """The row that compares the largest size with the smallest."""
    measured = curves(rows, "add a port, p50")
    ratio = {
        side: c[SIZES[-1]] / c[SIZES[0]] for side, c in measured.items() if {SIZES[0], SIZES[-1]} <= c.keys()
    }
    if "ours" in ratio:
        rows.fill_sides("growth: add a port, p50, 10,000 by 100 ports", ratio)


def text(fitted: dict[str, dict[str, float | None]]) -> str:
    """For a person; empty when nothing could be fitted."""
    lines = []
    for cost, sides in fitted.items():
        words = [f"{NAMES[side]} {k:+.2f}" for side, k in sides.items() if k is not None]
        if words:
            lines.append(f"  {cost:28} {', '.join(words)}")
    return "\n".join(["growth with size (cost ~ ports^k), k:", *lines]) if lines else ""


def draw(rows: Rows, directory: Path) -> None:
    """Write the plots of what was measured."""
    for name, (cost, title, unit) in PLOTS.items():
        series = {NAMES[side]: curve for side, curve in curves(rows, cost).items()}
        plots.write(directory, name, title, unit, series)
    for name, (cost, title, unit) in PLOTS_OF_HOSTS.items():
        series: dict[str, dict[int, float]] = {}
        for side, known in NAMES.items():
            figures = {hosts: getattr(rows[cost.format(hosts)], side) for hosts in HOST_COUNTS}
            series[known] = {hosts: figure for hosts, figure in figures.items() if figure}
        plots.write(directory, name, title, unit, series, across="hosts")
