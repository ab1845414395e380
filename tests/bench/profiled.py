"""Runs a module of ours under the standard profiler: `python -m tests.bench.profiled FILE controller --etcd ...`.

It looks from one SIGUSR1 to the next, at the main thread, and writes FILE then.
"""

from __future__ import annotations

import cProfile
import runpy
import signal
import sys
from typing import Any


def main() -> None:
    """Never returns before the module's own main does."""
    path, module = sys.argv[1:3]
    profile, running = cProfile.Profile(), False

    def toggle(*_: Any) -> None:
        nonlocal running
        running = not running
        if running:
            profile.enable()
        else:
            profile.disable()
            profile.dump_stats(path)

    signal.signal(signal.SIGUSR1, toggle)
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
