"""`python -m topologies` as a person uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from topologies import holder
from topologies.state import LabState

Completed = subprocess.CompletedProcess[str]


def topologies(*argv: str, stdin: str = "") -> Completed:
    env = os.environ | {"PYTHONPATH": ":".join(p for p in sys.path if p), "COLUMNS": "200"}
    command = [sys.executable, "-m", "topologies", *argv]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=60, env=env, check=False
    )


@pytest.fixture(scope="module")
def lab(module_run_dir: Path) -> Iterator[str]:
    done = topologies("up", "two-hosts", "--plain", "--run-dir", str(module_run_dir))
    assert done.returncode == 0, done.stderr
    assert "exec" in done.stdout
    yield str(module_run_dir)
    holder.down(module_run_dir)


def test_plug_exec_unplug(lab: str) -> None:
    where = ("--run-dir", lab)
    what = ("--host", "h2", "--iface-id", "x", "--mac", "52:54:00:00:00:01", "--address", "10.0.0.1/24")
    assert topologies("plug", *what, "--name", "vm", *where).stdout == "vm\n"
    shown = topologies("exec", *where, "vm", "--", "ip", "-br", "address", "show", "eth0")
    assert "10.0.0.1/24" in shown.stdout
    piped = topologies("exec", *where, "vm", "--", "sh", "-c", "cat; exit 7", stdin="through")
    assert (piped.stdout, piped.returncode) == ("through", 7)
    assert "52:54:00:00:00:01" in topologies("ps", *where).stdout
    again = topologies("plug", *what, "--name", "vm", *where)
    assert again.returncode == 1
    assert "there is a 'vm' already" in again.stderr
    assert topologies("unplug", "vm", *where).returncode == 0
    gone = topologies("exec", *where, "vm", "--", "true")
    assert gone.returncode == 1
    assert "there are ctl" in gone.stderr or "there are leaf1" in gone.stderr


def test_up_twice_is_refused(lab: str) -> None:
    done = topologies("up", "--hosts", "1", "--plain", "--run-dir", lab)
    assert done.returncode == 1
    assert "down" in done.stderr
    assert LabState.load(Path(lab)).holder.alive


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["up"], "give either --hosts N or a topology"),
        (["up", "--hosts", "0"], "0 is too few"),
        (["up", "nothing.yaml"], "shipped: "),
        (["exec", "vm", "--", "true"], "python -m topologies up"),
        (["plug", "tenants/a/networks/b/ports/c"], "python -m topologies up"),
        (["plug", "--host", "h1"], "give a PORT"),
    ],
)
def test_errors_say_what_to_do(argv: list[str], says: str, tmp_path: Path) -> None:
    done = topologies(argv[0], "--run-dir", str(tmp_path / "none"), *argv[1:])
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_down_without_a_lab_is_no_error(tmp_path: Path) -> None:
    done = topologies("down", "--run-dir", str(tmp_path / "none"))
    assert (done.returncode, "no lab" in done.stdout) == (0, True)
