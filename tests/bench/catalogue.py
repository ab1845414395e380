"""Every row there can be, with its goal, in the order of the table. Pure. What nobody fills is "not run"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.bench.rows import Goal, Row

SIZES = (100, 1_000, 5_000, 10_000)
FULL = 5_000
STATED = (1_000, FULL)
"""Where goals that name no size are judged."""
STARTS = (10_000, 100_000)
"""A controller's start: so many ports, a hundred on a host and of a tenant."""
HOST_COUNTS, MANY_HOSTS_PORTS, SPREAD = (10, 30, 100), 1_000, 10
"""Many hosts, a tenant on ten of them."""
TOGETHER = 50
"""Adds in one call (one transaction of OVN's), where a burst has several: a hundred operations of ours."""
ADD_GOALS = {1_000: Goal(1 / 20), FULL: Goal(1 / 100)}
ADD_CPU_GOAL = Goal(1 / 10)
OURS_AT_MOST_10_MS = Goal(10, on="ours")


def _changes(ports: int) -> list[Row]:
    at, full = f"at {ports:,} ports", ports == FULL
    stated = ports in STATED
    revoke, last = (Goal(1 / 40), OURS_AT_MOST_10_MS) if full else (None, None)
    return [
        Row(f"add a port, p50, {at}", "ms", ADD_GOALS.get(ports)),
        Row(f"add a port, p95, {at}", "ms", ADD_GOALS.get(ports)),
        Row(f"CPU an add, all processes, {at}", "ms", ADD_CPU_GOAL if stated else None),
        Row(f"delete a port, p50, {at}", "ms", revoke),
        Row(f"delete a port, p99, {at}", "ms", last),
        Row(f"delete a port: out of the last flow table, p50, {at}", "ms"),
        Row(f"revoke a rule, p50, {at}", "ms", revoke),
        Row(f"revoke a rule, p99, {at}", "ms", last),
        Row(f"revoke a rule: out of the last flow table, p50, {at}", "ms"),
    ]


def _standing(ports: int) -> list[Row]:
    at, full, stated = f"at {ports:,} ports", ports == FULL, ports in STATED
    burst = Goal(1_000, on="ours", least=True) if full else None
    return [
        Row(f"flows of a host, {at}", "flows"),
        Row(f"flows of a host by its local ports, {at}", "flows", Goal(6, on="ours") if full else None),
        Row(f"flows that a local port brings, {at}", "flows", Goal(6, on="ours") if stated else None),
        Row(f"flows that a remote port brings, {at}", "flows", Goal(0, on="ours") if stated else None),
        Row(f"burst: adds realized, {at}", "/s", burst),
        Row(f"burst in calls of {TOGETHER}: adds realized, {at}", "/s", burst),
        Row(f"cold start of a host, {at}", "s", Goal(1 / 20) if full else None),
        Row(f"memory of the controllers, {at}", "MiB", Goal(1 / 2) if full else None),
        Row(f"memory of an agent, {at}", "MiB", Goal(1 / 4) if full else None),
        Row(f"drift of 100 flows until repaired, p99, {at}", "s", Goal(1, on="ours") if stated else None),
    ]


def _hosts(count: int) -> list[Row]:
    at = f"on {SPREAD} of {count} hosts"
    return [
        Row(f"add a port, p50, {at}", "ms"),
        Row(f"add a port, p95, {at}", "ms"),
        Row(f"add a port: last change of their flow tables, p50, {at}", "ms"),
        Row(f"CPU an add, controllers, {at}", "ms"),
        Row(f"CPU an add, controllers and those hosts, {at}", "ms"),
        Row(f"flows of a host, of {count} hosts", "flows"),
        Row(f"memory of the controllers, of {count} hosts", "MiB"),
        Row(f"memory of an agent, of {count} hosts", "MiB"),
    ]


def catalogue() -> list[Row]:
    """All rows, empty."""
    rows = [row for ports in SIZES for row in _changes(ports)]
    rows.append(Row("growth: add a port, p50, 10,000 by 100 ports", "x", Goal(1.3, on="ours")))
    rows += [row for ports in SIZES for row in _standing(ports)]
    rows += [row for count in HOST_COUNTS for row in _hosts(count)]
    return [
        *rows,
        Row(VERDICTS, "", Goal(0, on="ours")),
        Row(LEAKS, "", Goal(0, on="ours")),
        Row("flow-mods in a bundle, by ovs-ofctl --bundle", "/s", Goal(1.2, least=True)),
        Row("flow-mods in a bundle, by os-ken's objects", "/s", Goal(20, least=True)),
        Row("10,000 forwarding entries, by bridge -batch", "ms", Goal(1)),
        Row(FULL_PROOF, "s", Goal(30, on="ours")),
        Row("growth: full proof, exponent from 2,500 to 10,000 ports", "", Goal(1.1, on="ours")),
        Row("proof of one change at 10,000 ports, p50", "ms", Goal(1, on="ours")),
        Row("proof of one change at 10,000 ports, p95", "ms", Goal(10, on="ours")),
        Row("full compile of 1,000 hosts, 100,000 ports", "s", Goal(60, on="ours")),
        Row("one change of it, p95", "ms", Goal(5, on="ours")),
        *(row for ports in STARTS for row in _start(ports)),
    ]


def _start(ports: int) -> list[Row]:
    what = f"start from {ports:,} ports"
    return [
        Row(f"{what}: until served", "s"),
        Row(f"{what}: until hosts are served", "s"),
        Row(f"{what}: longest wait for a read", "ms"),
        Row(f"{what}: longest wait for a write", "ms"),
        Row(f"{what}: longest pause of the loop", "ms"),
        Row(f"{what}: longest hold of the loop, by its CPU", "ms"),
        Row(f"{what}: memory a port, the state", "KiB"),
        Row(f"{what}: memory a port, with all that hosts should hold", "KiB"),
    ]


VERDICTS = "random packets judged otherwise than by OVN"
LEAKS = "probe packets that passed after a revocation"
FULL_PROOF = "full proof of 10,000 ports, 100 tenants, 100 hosts, from dumped flows"
COUNTED = (VERDICTS, LEAKS)
"""Measured at several sizes: one wrong packet at any of them is one too many."""


class Rows:
    """The table while it fills."""

    def __init__(self) -> None:
        """Nothing is measured yet."""
        self._rows = {row.name: row for row in catalogue()}

    def __iter__(self) -> Any:
        return iter(self._rows.values())

    def __getitem__(self, name: str) -> Row:
        """Raises KeyError for a row that is not in the catalogue."""
        return self._rows[name]

    def fill(
        self,
        name: str,
        *,
        ours: float,
        peer: float | None = None,
        samples: Mapping[str, Any] | None = None,
        note: str = "",
    ) -> None:
        """Enter what was measured. Raises KeyError for a row that is not in the catalogue."""
        row = self._rows[name]
        if name in COUNTED and row.ours is not None:
            ours, samples = row.ours + ours, _summed(row.samples, samples or {})
            note = "; ".join(filter(None, (row.note, note)))
        row.ours, row.peer, row.samples, row.note = ours, peer, dict(samples or {}), note

    def enter(self, row: Mapping[str, Any]) -> None:
        """As `fill`, from what `Row.as_dict` said. Raises KeyError for a row that is not in the catalogue."""
        self.fill(row["name"], ours=row["ours"], peer=row["peer"], samples=row["samples"], note=row["note"])

    def fill_sides(
        self,
        name: str,
        figures: Mapping[str, float],
        samples: Mapping[str, Any] | None = None,
        note: str = "",
    ) -> None:
        """As `fill`, from figures by side; there may be none of the peer's."""
        self.fill(name, ours=figures["ours"], peer=figures.get("peer"), samples=samples, note=note)


def _summed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers and lists of samples, added up by name."""
    return {key: before[key] + value if key in before else value for key, value in now.items()}
