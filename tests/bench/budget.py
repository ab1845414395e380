"""Where the time of one add goes: by call, by process, by function. No row, a page in the report."""

from __future__ import annotations

import io
import pstats
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.bench.adds import SETTLE_S
from tests.bench.layout import Guest
from tests.bench.ours import Ours
from tests.bench.procs import cpu_s
from tests.bench.requests import port_name
from tests.bench.stage import Stage
from tests.bench.stats import median

FUNCTIONS = 45
STAGES = ("port and group with a rule", "realized")


def measure(stage: Stage, count: int, directory: Path) -> dict[str, Any]:
    """Medians of `count` adds; profiles go to `directory`."""
    ours, guests = stage.ours, stage.layout.new(2 * count)
    ours.plug(guests)
    time.sleep(2)
    ours.settle()
    plain, profiled = guests[:count], guests[count:]
    before, first = {k: cpu_s(pids) for k, pids in ours.pids.items()}, ours.revision()
    spent = [_add(ours, guest) for guest in plain]
    last = ours.revision()
    used = {k: (cpu_s(pids) - before[k]) * 1e3 / count for k, pids in ours.pids.items()}
    report: dict[str, Any] = {
        "ms": {name: median([each[n] for each in spent]) for n, name in enumerate(STAGES)},
        "transactions": (last - first) / count,
        "cpu_ms": used,
    }
    directory.mkdir(parents=True, exist_ok=True)
    with ours.profiled(directory) as watched:
        for program in watched.values():
            program.toggle()
        for guest in profiled:
            _add(ours, guest)
        for program in watched.values():
            program.toggle()
        time.sleep(2)  # they write
    for name, program in watched.items():
        text = _functions(program.file)
        (directory / f"profile-{name}-{stage.ports}.txt").write_text(text, encoding="utf-8")
    return report


def _add(ours: Ours, guest: Guest) -> list[float]:
    marks = [time.perf_counter()]
    ours.send(guest)
    marks.append(time.perf_counter())
    ours.wait(port_name(guest))
    marks.append(time.perf_counter())
    time.sleep(SETTLE_S)
    return [(b - a) * 1e3 for a, b in pairwise(marks)]


def _functions(file: Path) -> str:
    out = io.StringIO()
    stats = pstats.Stats(str(file), stream=out).strip_dirs()
    for order in ("cumulative", "tottime"):
        stats.sort_stats(order).print_stats(FUNCTIONS)
    return out.getvalue()
