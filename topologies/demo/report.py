"""What the demo found, as tables for people and as JSON for programs. Computes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from topologies.demo.measure import Pair, Result
from topologies.demo.probes import KINDS

LEAKS_SHOWN = 10


def show(result: Result, console: Console) -> None:
    """Print the matrix, what was sent, what was on the wire and what leaked."""
    console.print(_matrix(result))
    sent = ", ".join(f"{count} {kind}" for kind, count in sorted(result.sent.items()))
    console.print(f"sent: {sum(result.sent.values())} frames and probes ({sent})", soft_wrap=True)
    for count in result.wire:
        console.print(
            f"underlay while {count.sender} sent: VNI {count.vni}: {count.frames} frames, "
            f"{count.group} of them broadcast or multicast",
            soft_wrap=True,
        )
    if not result.leaks:
        console.print("[green]leaked: 0 frames[/green]")
    else:
        console.print(f"[red]leaked: {len(result.leaks)} frames[/red]")
    for leak in result.leaks[:LEAKS_SHOWN]:
        console.print(f"  {leak.phase}: from {leak.source} to {leak.where}: {leak.frame}")


def _matrix(result: Result) -> Table:
    pairs = {(p.source, p.target): p for p in result.pairs}
    names = list(dict.fromkeys(p.source for p in result.pairs))
    table = Table("from \\ to", *names, title="who reaches whom (ping, ping -6, arping, TCP over both)")
    for source in names:
        cells = ["" if source == target else _cell(pairs[source, target]) for target in names]
        table.add_row(source, *cells)
    return table


def _cell(pair: Pair) -> str:
    if pair.right:
        return "[green]reached[/green]" if pair.reached else "[dim]apart[/dim]"
    wrong = ", ".join(kind for kind in KINDS if pair.probes.get(kind, pair.expected) != pair.expected)
    return f"[red]{'LOST' if pair.expected else 'LEAK'}: {wrong}[/red]"


def write(result: Result, seconds: Mapping[str, float], path: Path) -> None:
    """Write the measurements as JSON: counts first, the matrix and the leaks behind them."""
    document = {
        "pairs": len(result.pairs),
        "expected": sum(p.expected for p in result.pairs),
        "reached": sum(p.reached for p in result.pairs),
        "leaks": len(result.leaks),
        "frames_sent": sum(result.sent.values()),
        "seconds": {phase: round(s, 3) for phase, s in seconds.items()},
        "ok": result.right,
        "sent": dict(result.sent),
        "matrix": [asdict(p) for p in result.pairs],
        "wire": [asdict(w) for w in result.wire],
        "leak_details": [asdict(leak) for leak in result.leaks],
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
