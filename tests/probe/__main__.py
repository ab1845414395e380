"""Probe a lab from a hostile guest.

python -m tests.probe --out probe.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.lab.spine import site
from tests.probe.furnish_exits import furnish_exits
from tests.probe.run import Outcome, furnish, probe, probe_exits
from topologies.outside import DEFAULT


def summary(outcomes: dict[str, Outcome]) -> dict[str, int]:
    """All kinds together."""
    return {
        "kinds": len(outcomes),
        "sent": sum(o.sent for o in outcomes.values()),
        "leaked": sum(o.leaked for o in outcomes.values()),
        "wrongly_blocked": sum(o.wrongly_blocked for o in outcomes.values()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="write JSON here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clz-") as directory, site(Path(directory) / "lab") as cloud:
        furnish(cloud)
        outcomes = probe(cloud)
    with (
        tempfile.TemporaryDirectory(prefix="clz-") as directory,
        site(Path(directory) / "lab", outside=DEFAULT) as cloud,
    ):
        outcomes |= probe_exits(cloud, furnish_exits(cloud))
    total = summary(outcomes)
    for name, outcome in outcomes.items():
        if outcome.leaked or outcome.wrongly_blocked:
            print(f"{name}: sent {outcome.sent}, leaked {outcome.leaked} {outcome.where}, "
                  f"wrongly blocked {outcome.wrongly_blocked}")  # fmt: skip
    print(", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in total.items()))
    if given.out:
        report = {"all": total, "kinds": {name: asdict(o) for name, o in outcomes.items()}}
        given.out.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if total["leaked"] or total["wrongly_blocked"] else 0


if __name__ == "__main__":
    sys.exit(main())
