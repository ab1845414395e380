"""Interfaces put into a bridge by one transaction of OVSDB.

As `ovs-vsctl` does it, but not as slowly: with some thousand ports it takes seconds of CPU for a few hundred
more, which no hypervisor would do at once and nobody wants to measure.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench.control import Control

POLL_S = 0.05
WAIT_S = 600.0
DATABASE = "Open_vSwitch"
Operation = dict[str, Any]


def plug(database: Path, bridge: str, names: Sequence[str], kind: str = "") -> None:
    """Add ports that carry their own names as iface-ids; ovs-vswitchd has taken them when this returns.

    Raises RuntimeError if the database refuses, or ovs-vswitchd takes too long.
    """
    ask = Control(database)
    results = ask.request("transact", [DATABASE, *operations(bridge, names, kind)])
    errors = [result for result in results if result and result.get("error")]
    if errors:
        raise RuntimeError(f"{database}: {errors[0]}")
    wanted = results[-1]["rows"][0]["next_cfg"]
    deadline = time.monotonic() + WAIT_S
    seen = {"op": "select", "table": DATABASE, "where": [], "columns": ["cur_cfg"]}
    while ask.request("transact", [DATABASE, seen])[0]["rows"][0]["cur_cfg"] < wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{database}: ovs-vswitchd has not taken {len(names)} ports in {WAIT_S:g} s")
        time.sleep(POLL_S)


def operations(bridge: str, names: Iterable[str], kind: str) -> Iterator[Operation]:
    """The transaction: rows, the bridge's set of ports, and the number that ovs-vswitchd answers with."""
    ports = []
    for number, name in enumerate(names):
        ids = ["map", [["iface-id", name]]]
        interface = {"name": name, "type": kind, "external_ids": ids}
        yield {"op": "insert", "table": "Interface", "row": interface, "uuid-name": f"i{number}"}
        port = {"name": name, "interfaces": ["named-uuid", f"i{number}"]}
        yield {"op": "insert", "table": "Port", "row": port, "uuid-name": f"p{number}"}
        ports.append(["named-uuid", f"p{number}"])
    here = [["name", "==", bridge]]
    added = [["ports", "insert", ["set", ports]]]
    yield {"op": "mutate", "table": "Bridge", "where": here, "mutations": added}
    yield {"op": "mutate", "table": DATABASE, "where": [], "mutations": [["next_cfg", "+=", 1]]}
    yield {"op": "select", "table": DATABASE, "where": [], "columns": ["next_cfg"]}
