"""Command line of `make bench`: which parts to run, where the result goes.

python -m tests.bench                    the short form, under five minutes on two quiet cores
python -m tests.bench --long             every size; an hour or so
python -m tests.bench --only adds --sizes 1000 --samples 40
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from tests.bench import adds, budget, bundle, forwarding, growth, probes, proof, simulated, standing
from tests.bench.catalogue import SIZES, Rows
from tests.bench.facts import calibrate, facts
from tests.bench.peer import installed
from tests.bench.rows import table
from tests.bench.stage import Progress, Stage

HOSTS = 4
SHORT_SIZES = (100, 1_000)
ON_STAGE = ("adds", "flows", "memory", "verdicts", "revocation", "burst", "budget", "cold", "drift")
"""In this order: drift leaves the peer broken."""
ALONE = ("proof", "bundle", "forwarding", "simulated")
LONG_ONLY = ("verdicts", "budget", "simulated")
LARGEST_ONLY = ("burst", "cold")
"""In the short form at its largest size alone."""
PLOTS = Path("build/bench")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--long", action="store_true", help="every part at every size")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), help=f"some of {','.join(ON_STAGE + ALONE)}"
    )
    parser.add_argument(
        "--sizes", type=lambda text: [int(n) for n in text.split(",")], help="background ports"
    )
    parser.add_argument("--hosts", type=int, default=HOSTS, help=f"compute hosts; {HOSTS} if not given")
    parser.add_argument("--samples", type=int, help="of each kind of change")
    parser.add_argument("--no-peer", action="store_true", help="without OVN")
    parser.add_argument("--out", type=Path, help="write JSON here")
    given = parser.parse_args()
    unknown = set(given.only or ()) - {*ON_STAGE, *ALONE}
    if unknown:
        parser.error(f"--only {','.join(sorted(unknown))}: known are {', '.join(ON_STAGE + ALONE)}")
    if set(given.sizes or ()) - {*SIZES}:
        parser.error(f"--sizes: known are {', '.join(map(str, SIZES))}")
    given.sizes = given.sizes or (SIZES if given.long else SHORT_SIZES)
    given.samples = given.samples or (40 if given.long else 16)
    everything = ON_STAGE + ALONE
    given.only = given.only or (everything if given.long else [p for p in everything if p not in LONG_ONLY])
    return given


class Bench:
    """One run: what was asked for, and the table as it fills."""

    def __init__(self, given: argparse.Namespace) -> None:
        """Measures nothing yet."""
        self.given, self.rows, self.progress = given, Rows(), Progress()
        self.facts: dict[str, Any] = {
            **facts(),
            "peer": not given.no_peer and installed(),
            "hosts": given.hosts,
        }
        self.calibrations: dict[str, dict[str, float]] = {}
        self.failures: dict[str, str] = {}
        self.budget: dict[str, Any] = {}

    def run(self) -> None:
        """All parts; one that fails is told, and the others go on."""
        long = self.given.long
        parts: dict[str, Callable[[Path], None]] = {
            "proof": lambda _: proof.measure(self.rows, 300 if long else 100),
            "bundle": lambda d: bundle.measure(self.rows, d, 100_000, 5 if long else 2),
            "forwarding": lambda d: forwarding.measure(self.rows, d, 10 if long else 5),
            "simulated": lambda _: simulated.measure(self.rows),
        }
        for name, part in parts.items():
            if name in self.given.only:
                with tempfile.TemporaryDirectory() as directory:
                    self._part(name, lambda part=part, at=directory: part(Path(at)))  # type: ignore[misc]
        if set(ON_STAGE) & {*self.given.only}:
            for size in self.given.sizes:
                self._part(f"{size:,} ports", lambda size=size: self._stage(size))  # type: ignore[misc]
        growth.fill(self.rows)

    def _stage(self, ports: int) -> None:
        long, samples, rows = self.given.long, self.given.samples, self.rows
        with Stage(ports, self.given.hosts, self.progress, not self.given.no_peer) as stage:
            parts: dict[str, Callable[[], None]] = {
                "adds": lambda: adds.measure(rows, stage, samples),
                "flows": lambda: standing.flows(rows, stage),
                "memory": lambda: standing.memory(rows, stage),
                "verdicts": lambda: probes.verdicts(rows, stage, 10_000),
                "revocation": lambda: probes.revocation(rows, stage, 10 if long else 5),
                "burst": lambda: standing.burst(rows, stage, 1_000 if ports >= 5_000 else 100),
                "budget": lambda: self.budget.update({str(ports): budget.measure(stage, samples, PLOTS)}),
                "cold": lambda: standing.cold_start(rows, stage, 5 if long else 2),
                "drift": lambda: standing.drift(rows, stage, 40 if long else 10),
            }
            for name in ON_STAGE:
                if name in self.given.only and self._is_due(name, ports):
                    self._part(f"{name}, {ports:,} ports", parts[name])

    def _is_due(self, name: str, ports: int) -> bool:
        """Tell whether a part that was asked for is run at a size."""
        return self.given.long or name not in LARGEST_ONLY or ports == max(self.given.sizes)

    def _part(self, name: str, part: Callable[[], None]) -> None:
        self.progress(name)
        self.calibrations[name] = calibrate()
        try:
            part()
        except Exception:  # noqa: BLE001 -- an hour of figures is not lost for one that cannot be had
            self.failures[name] = traceback.format_exc()
            self.progress(f"{name} FAILED\n{self.failures[name]}")
        self.save()

    def save(self) -> None:
        """Write what there is."""
        if not self.given.out:
            return
        report = {
            "facts": self.facts,
            "calibrations": self.calibrations,
            "failures": self.failures,
            "growth": growth.exponents(self.rows),
            "budget": self.budget,
            "rows": [row.as_dict() for row in self.rows],
        }
        self.given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

    def report(self) -> str:
        """For a person."""
        known = self.facts
        head = (
            f"{known['cores']} cores ({known['cpu']}), Linux {known['kernel']}, {known['ovs']}, "
            f"{known['ovn']}, {known['etcd']}\n"
            f"load and calibration loop: {_speed(known['calibration_before'])} before, "
            f"{_speed(known['calibration_after'])} after"
        )
        failed = f"FAILED: {', '.join(self.failures)}" if self.failures else ""
        return "\n\n".join(
            filter(None, [head, table(self.rows), growth.text(growth.exponents(self.rows)), failed])
        )


def _speed(calibration: dict[str, float]) -> str:
    return f"{calibration['load']:.1f} and {calibration['p50_ms']:.1f} ms"


def main() -> int:
    """Run, print the table, write JSON and plots."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything started is ended
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    given = parse()
    if os.geteuid() != 0:
        print("error: make bench needs root: it starts switches in network namespaces", file=sys.stderr)
        return 2
    bench = Bench(given)
    bench.run()
    bench.facts["calibration_after"] = calibrate()
    bench.save()
    growth.draw(bench.rows, PLOTS)
    print(bench.report())
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
