"""The record of a lab on disk."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from topologies.state import LabState, Process


def test_the_record_is_written_while_others_record(tmp_path: Path) -> None:
    state = LabState("mark", "test", Process.of(os.getpid()))
    stop = threading.Event()

    def record() -> None:
        number = 0
        while not stop.is_set():
            number = (number + 1) % 50
            state.daemons[f"h{number}/ovsdb"] = {"pid": number, "start_ticks": 1}
            state.daemons.pop(f"h{(number + 25) % 100}/ovsdb", None)

    others = [threading.Thread(target=record) for _ in range(2)]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    for other in others:
        other.start()
    try:
        for _ in range(100):
            state.save(tmp_path)
    finally:
        sys.setswitchinterval(interval_s)
        stop.set()
        for other in others:
            other.join()
    assert LabState.load(tmp_path).holder == state.holder


def test_what_was_written_is_read(tmp_path: Path) -> None:
    state = LabState("mark", "test", Process.of(os.getpid()), config="c.yaml", ready=True)
    state.nodes["h1"] = {"pid": 1, "start_ticks": 2, "kind": "host"}
    state.workloads["vm1"] = {"pid": 3, "start_ticks": 4}
    state.save(tmp_path)
    assert LabState.load(tmp_path) == state
