"""Runs a module of ours under the standard profiler, which is off until the process gets SIGUSR1 and off again with the
next one, when it writes what it saw of the main thread: `python -m tests.bench.profiled FILE controller --etcd ...`.
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
