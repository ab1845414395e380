"""The machine a run was made on, and how fast it is right now."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.bench.stats import median

ROUNDS = 9
LOOPS = 200_000


def calibrate() -> dict[str, float]:
    """How long a fixed loop of Python takes now, in ms: compare it between runs, and within one."""
    spent = []
    for _ in range(ROUNDS):
        start, total = time.perf_counter(), 0
        for n in range(LOOPS):
            total += n * n
        spent.append((time.perf_counter() - start) * 1e3)
    return {"min_ms": min(spent), "p50_ms": median(spent), "load": os.getloadavg()[0]}


def facts() -> dict[str, Any]:
    """What a reader needs to compare two runs."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "ovs": _version("ovs-vswitchd", "--version"),
        "ovn": _version("ovn-northd", "--version"),
        "etcd": _version("etcd", "--version"),
        "date": time.strftime("%F %T %Z"),
        "calibration_before": calibrate(),
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def _version(*command: str) -> str:
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout
    except OSError:
        return "not installed"
    return said.partition("\n")[0]
