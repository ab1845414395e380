"""`make soak`: rounds of random changes and faults; after each all must be in force, proved, and as wanted.

Ends with status 1 at the first round that is not; the lab's logs are kept then. The seed decides what is
done, not when: two runs of one seed differ in what meets what.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

from tests.lab.spine import Site
from tests.soak.run import soak
from topologies import outside
from topologies.lab import Lab
from topologies.spec import load


def main() -> int:
    """Run as told; 0 if every round ended as it should."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--no-kills", action="store_true", help="nothing is killed: see how processes age")
    parser.add_argument("--out", type=Path, help="write what was done and seen as JSON")
    chosen = parser.parse_args()
    run_dir = Path(tempfile.mkdtemp(prefix="clz-", dir="/tmp")) / "lab"
    print(f"seed {chosen.seed}, {run_dir}", flush=True)
    with Lab(load("overlap"), run_dir, outside=outside.DEFAULT) as lab:
        site = Site(lab, lab.spec)
        site.fill()
        outcome = soak(
            site, seed=chosen.seed, duration_s=chosen.minutes * 60, kills=not chosen.no_kills, say=_say
        )
        lab.keep = bool(outcome.complaints)
    if not outcome.complaints:
        run_dir.parent.rmdir()
    if chosen.out is not None:
        chosen.out.write_text(json.dumps({"seed": chosen.seed, **vars(outcome)}, indent=1) + "\n")
    for complaint in outcome.complaints:
        _say(f"WRONG: {complaint}")
    _say(f"changes {outcome.changes}, refused {outcome.refused}, faults {outcome.faults}")
    _say(f"{outcome.rounds} rounds, {'nothing' if not outcome.complaints else 'something'} wrong")
    return 1 if outcome.complaints else 0


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
