"""The demo as `make demo` runs it, with the real controller and agents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from topologies.demo.probes import KINDS


def test_the_demo_finds_everything_right_and_leaves_nothing(run_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo.json"
    env = os.environ | {"PYTHONPATH": ":".join(p for p in sys.path if p)}
    argv = [sys.executable, "-m", "topologies", "demo", "--run-dir", str(run_dir), "--out", str(out)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=110, env=env, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["leaks"] == 0
    assert found["expected"] == found["reached"]
    assert found["frames_sent"] == sum(found["sent"].values())
    names = [f"{tenant}-p{n}" for tenant in ("red", "blue") for n in (1, 2, 3)]
    assert {(p["source"], p["target"]) for p in found["matrix"]} == {
        (a, b) for a in names for b in names if a != b
    }
    for pair in found["matrix"]:
        same = pair["source"].split("-")[0] == pair["target"].split("-")[0]
        assert pair["expected"] == pair["reached"] == same
        if same:
            assert pair["probes"] == dict.fromkeys((k for k in KINDS if k != "forged"), True)
    # Each tenant's frames were on the underlay, in one VNI, and none of them was a broadcast.
    vnis = {tenant: {w["vni"] for w in found["wire"] if w["sender"] == tenant} for tenant in ("red", "blue")}
    assert all(len(v) == 1 for v in vnis.values())
    assert vnis["red"] != vnis["blue"]
    assert not any(w["group"] for w in found["wire"])
    assert not run_dir.exists()
