"""A run as JSON, and several runs as one: sizes and parts can be measured one by one. Pure but for files.

A later file's figure of a row counts; of what is counted (packets that should not have passed) the sum does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench import growth
from tests.bench.catalogue import Rows
from tests.bench.rows import table

BY_PART = ("calibrations", "failures", "budget")
Report = dict[str, Any]


def report_of(rows: Rows, **more: Any) -> Report:
    """What `OUT=file` gets."""
    return {**more, "growth": growth.exponents(rows), "rows": [row.as_dict() for row in rows]}


def read(files: Iterable[Path]) -> tuple[Rows, Report]:
    """The rows of several runs, and what else they say. Raises KeyError for a row that there is no more."""
    rows, more = Rows(), Report(runs=[], **{part: {} for part in BY_PART})
    for file in files:
        said = json.loads(file.read_text(encoding="utf-8"))
        more["runs"] += said.get("runs") or [said["facts"]]
        for part in BY_PART:
            more[part] |= said.get(part) or {}
        for row in said["rows"]:
            if row["ours"] is not None:
                rows.enter(row)
    more["facts"] = more["runs"][-1] if more["runs"] else {}
    return rows, more


def text(rows: Rows, runs: Sequence[Mapping[str, Any]], failures: Iterable[str]) -> str:
    """For a person."""
    failed = ", ".join(failures)
    parts = [
        "\n".join(map(_run, runs)),
        table(rows),
        growth.text(growth.exponents(rows)),
        f"FAILED: {failed}" if failed else "",
    ]
    return "\n\n".join(filter(None, parts))


def _run(known: Mapping[str, Any]) -> str:
    after = known.get("calibration_after")
    return (
        f"{known['date']}: {known['cores']} cores ({known['cpu']}), Linux {known['kernel']}, {known['ovs']}, "
        f"{known['ovn']}, {known['etcd']}\n"
        f"load and calibration loop: {_speed(known['calibration_before'])} before"
        + (f", {_speed(after)} after" if after else "; not finished")
    )


def _speed(calibration: Mapping[str, float]) -> str:
    return f"{calibration['load']:.1f} and {calibration['p50_ms']:.1f} ms"
