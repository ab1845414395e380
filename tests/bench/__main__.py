"""Command line: what to measure, where the result goes."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from tests.bench import adds
from tests.bench.catalogue import Rows
from tests.bench.facts import calibrate, facts
from tests.bench.rows import table
from tests.bench.stage import Progress, Stage


def main() -> int:
    """Run, print the table, write the JSON."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything started is ended
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=lambda text: [int(n) for n in text.split(",")], default=[100, 1000])
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    known = facts()
    rows = Rows()
    progress = Progress()
    for size in given.sizes:
        with Stage(size, 4, progress, not given.no_peer) as stage:
            adds.measure(rows, stage, given.samples)
    known["calibration_after"] = calibrate()
    print(table(rows))
    if given.out:
        given.out.write_text(
            json.dumps({"facts": known, "rows": [r.as_dict() for r in rows]}, indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
