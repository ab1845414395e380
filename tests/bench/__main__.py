"""Command line of `make bench`: which parts to run, where the result goes.

python -m tests.bench                    the short form, under five minutes on two quiet cores
python -m tests.bench --long             every size, and many hosts; 45 minutes there
python -m tests.bench --long --sizes 5000 --out b.json     one size of it
python -m tests.bench --only adds --sizes 1000 --samples 40
python -m tests.bench --merge a.json b.json                one table of several runs
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

from tests.bench import (
    adds,
    budget,
    bundle,
    forwarding,
    growth,
    many,
    probes,
    proof,
    report,
    simulated,
    standing,
    start,
)
from tests.bench.catalogue import FULL, HOST_COUNTS, SIZES, SPREAD, STARTS, Rows
from tests.bench.facts import calibrate, facts
from tests.bench.layout import Layout
from tests.bench.peer import installed
from tests.bench.stage import Progress, Stage

HOSTS = 4
SHORT_SIZES = (100, 1_000)
ON_STAGE = ("flows", "memory", "cold", "adds", "verdicts", "revocation", "burst", "budget", "drift")
"""In this order: flows are counted before a port (and later its idle profile) goes; drift breaks the peer."""
ALONE = ("proof", "bundle", "forwarding", "simulated", "start", "hosts")
LONG_ONLY = ("verdicts", "budget", "simulated", "start", "hosts")
LARGEST_ONLY = ("burst", "cold")
"""In the short form at its largest size alone."""
ONCE = ("verdicts",)
"""At the size that the goal names, or else the largest."""
BURSTS = {1_000: 400, 5_000: 1_000, 10_000: 200}
"""Adds of a burst; 100 at other sizes. At 10,000 ports OVN would take minutes for a thousand."""
BUDGET_SAMPLES = 12
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
    parser.add_argument(
        "--many",
        type=lambda text: [int(n) for n in text.split(",")],
        default=HOST_COUNTS,
        help=f"how many hosts the part `hosts` has; {','.join(map(str, HOST_COUNTS))} if not given",
    )
    parser.add_argument(
        "--starts",
        type=lambda text: [int(n) for n in text.split(",")],
        default=STARTS,
        help="ports that a controller starts from",
    )
    parser.add_argument(
        "--agents",
        type=int,
        default=SPREAD,
        help=f"of them with a real agent (70 MiB); {SPREAD} if not given",
    )
    parser.add_argument("--samples", type=int, help="of each kind of change")
    parser.add_argument("--no-peer", action="store_true", help="without OVN")
    parser.add_argument("--out", type=Path, help="write JSON here")
    parser.add_argument("--merge", type=Path, nargs="+", metavar="JSON", help="measure nothing: show these")
    given = parser.parse_args()
    unknown = set(given.only or ()) - {*ON_STAGE, *ALONE}
    if unknown:
        parser.error(f"--only {','.join(sorted(unknown))}: known are {', '.join(ON_STAGE + ALONE)}")
    if set(given.sizes or ()) - {*SIZES}:
        parser.error(f"--sizes: known are {', '.join(map(str, SIZES))}")
    if set(given.many) - {*HOST_COUNTS}:
        parser.error(f"--many: known are {', '.join(map(str, HOST_COUNTS))}")
    one_size = bool(given.sizes)
    given.sizes = given.sizes or (SIZES if given.long else SHORT_SIZES)
    given.samples = given.samples or (40 if given.long else 16)
    everything = ON_STAGE + ALONE
    # One size of the long form is that size's parts alone.
    given.only = given.only or (
        (ON_STAGE if one_size else everything)
        if given.long
        else [p for p in everything if p not in LONG_ONLY]
    )
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
        for ports in self.given.starts if "start" in self.given.only else ():
            self._part(f"start, {ports:,} ports", lambda ports=ports: start.measure(self.rows, ports))  # type: ignore[misc]
        if "hosts" in self.given.only:
            for hosts in self.given.many:
                self._part(f"{hosts} hosts", lambda hosts=hosts: self._hosts(hosts))  # type: ignore[misc]
        if set(ON_STAGE) & {*self.given.only}:
            for size in self.given.sizes:
                self._part(f"{size:,} ports", lambda size=size: self._stage(size))  # type: ignore[misc]
        growth.fill(self.rows)

    def _hosts(self, hosts: int) -> None:
        real = max(SPREAD, min(self.given.agents, hosts))
        many.measure(self.rows, hosts, real, self.given.samples, self.progress, not self.given.no_peer)

    def _stage(self, ports: int) -> None:
        long, samples, rows = self.given.long, self.given.samples, self.rows
        layout = Layout(ports, self.given.hosts)
        with Stage(layout, self.progress, not self.given.no_peer) as stage:
            parts: dict[str, Callable[[], None]] = {
                "adds": lambda: adds.measure(rows, stage, samples),
                "flows": lambda: standing.flows(rows, stage),
                "memory": lambda: standing.memory(rows, stage),
                "verdicts": lambda: probes.verdicts(rows, stage, 10_000),
                "revocation": lambda: probes.revocation(rows, stage, 10 if long else 5),
                "burst": lambda: standing.burst(rows, stage, BURSTS.get(ports, 100)),
                "budget": lambda: self.budget.update(
                    {str(ports): budget.measure(stage, min(samples, BUDGET_SAMPLES), PLOTS)}
                ),
                "cold": lambda: standing.cold_start(rows, stage, 5 if long else 2),
                "drift": lambda: standing.drift(rows, stage, 40 if long else 10),
            }
            for name in ON_STAGE:
                if name in self.given.only and self._is_due(name, ports):
                    self._part(f"{name}, {ports:,} ports", parts[name])

    def _is_due(self, name: str, ports: int) -> bool:
        """Tell whether a part that was asked for is run at a size."""
        sizes = self.given.sizes
        if name in ONCE:
            return bool(ports == (FULL if FULL in sizes else max(sizes)))
        return self.given.long or name not in LARGEST_ONLY or ports == max(sizes)

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
        if self.given.out:
            done = report.report_of(
                self.rows,
                facts=self.facts,
                calibrations=self.calibrations,
                failures=self.failures,
                budget=self.budget,
            )
            _write(self.given.out, done)

    def report(self) -> str:
        """For a person."""
        return report.text(self.rows, [self.facts], self.failures)


def _write(file: Path, done: report.Report) -> None:
    file.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")


def merge(given: argparse.Namespace) -> int:
    """Show several runs as one, with plots and fitted growth over all their sizes."""
    rows, more = report.read(given.merge)
    growth.fill(rows)
    if given.out:
        _write(given.out, report.report_of(rows, **more))
    growth.draw(rows, PLOTS)
    print(report.text(rows, more["runs"], more["failures"]))
    return 0


def main() -> int:
    """Run, print the table, write JSON and plots."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything started is ended
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    given = parse()
    if given.merge:
        return merge(given)
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
