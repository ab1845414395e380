"""Runs a module of ours under the standard profiler: `python -m tests.bench.profiled FILE controller ...`.

It looks at all threads from one SIGUSR1 to the next, and writes FILE then; once. Waiting counts as time.
"""

from __future__ import annotations

import cProfile
import pstats
import runpy
import signal
import sys
import threading
from typing import Any

_threads: list[cProfile.Profile] = []
_run = threading.Thread.run


def _run_profiled(thread: threading.Thread) -> None:
    profile = cProfile.Profile()
    _threads.append(profile)
    profile.runcall(_run, thread)


def _save(path: str, profile: cProfile.Profile) -> None:
    stats = pstats.Stats(profile)
    for other in _threads:
        try:
            stats.add(other)
        except TypeError:
            continue  # a thread that did nothing meanwhile
    stats.dump_stats(path)


def main() -> None:
    """Never returns before the module's own main does."""
    path, module = sys.argv[1:3]
    profile, running = cProfile.Profile(), False

    def toggle(*_: Any) -> None:
        nonlocal running
        running = not running
        if running:
            for other in _threads:
                other.clear()
            profile.enable()
        else:
            profile.disable()
            _save(path, profile)

    signal.signal(signal.SIGUSR1, toggle)
    threading.Thread.run = _run_profiled  # type: ignore[method-assign,assignment]
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
