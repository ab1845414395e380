"""What the README tells a newcomer to type does what it says there, command by command, in one lab."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from topologies import holder

pytestmark = pytest.mark.timeout(300)

_ROOT = Path(__file__).parents[2]
_LAB = "/run/cloison/lab"
_FENCE = "```python\n"
# What a command must print, by how it begins; all others must only succeed. "!" stands for: it fails.
_SAYS = {
    "cloison wait": "in force at revision",
    "cloison port list": "ACTIVE",
    "python -m topologies exec acme-a -- ping -c 3": " 0% packet loss",
    "python -m topologies exec acme-a -- ping -c 1 -W 1": "!100% packet loss",
    "python -m topologies exec acme-a -- dig": "10.0.0.6",
    "python -m topologies exec outside -- ping": " 0% packet loss",
    "cloison trace": "dropped",
    "cloison verify --live": "Isolation HOLDS",
}


def section(title: str) -> str:
    return (_ROOT / "README.md").read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


def commands(text: str) -> list[str]:
    """The indented lines, continued ones joined, without comments."""
    indented = "\n".join(line[4:] for line in text.splitlines() if line.startswith("    "))
    lines = [re.split(r"\s+# ", line)[0] for line in indented.replace("\\\n", " ").splitlines()]
    ours = ("up", "down")
    return [
        line
        for line in lines
        if not line.startswith((". ", "export ", *(f"python -m topologies {verb}" for verb in ours)))
    ]


def environment(run_dir: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    python_path = ":".join(p for p in sys.path if p)
    config = str(run_dir / "config.yaml")
    return os.environ | {"PATH": path, "PYTHONPATH": python_path, "CLOISON_CONFIG": config, "COLUMNS": "200"}


def shell(command: str, run_dir: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line as it stands, but for where the lab is."""
    placed = re.sub(r"(python -m topologies \w+)", rf"\1 --run-dir {run_dir}", command)
    return subprocess.run(
        ["bash", "-c", placed], capture_output=True, text=True, timeout=90, check=False,
        env=environment(run_dir), cwd=run_dir.parent,
    )  # fmt: skip


@pytest.fixture(scope="module")
def lab(module_run_dir: Path) -> Iterator[Path]:
    done = shell("python -m topologies up --hosts 2 --outside", module_run_dir)
    assert done.returncode == 0, done.stderr
    yield module_run_dir
    holder.down(module_run_dir)


def test_the_commands_of_the_readme(lab: Path) -> None:
    listed = commands(section("Your first network"))
    assert any(line.startswith("cloison floating-ip create") for line in listed), (
        "the section is not read whole"
    )
    for command in listed:
        said = next((says for begin, says in _SAYS.items() if command.startswith(begin)), "")
        done = shell(command, lab)
        shown = f"{command}\n{done.stdout}{done.stderr}"
        assert (done.returncode != 0) == said.startswith("!"), shown
        assert said.removeprefix("!") in done.stdout, shown


def test_the_python_of_the_readme(lab: Path) -> None:
    """After the commands: their network is there."""
    blocks = [part.split("```")[0] for part in section("The same from Python").split(_FENCE)[1:]]
    program = "".join(blocks).replace(_LAB, str(lab))
    assert len(blocks) == 2
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False,
        env=environment(lab), cwd=lab / "operator" / "tls",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, *_, last = done.stdout.splitlines()
    assert re.fullmatch(r"\S+ 10\.0\.0\.\d+", first), done.stdout
    assert re.fullmatch(r"\d+ \['10\.0\.0\.\d+', '10\.0\.0\.\d+', '10\.0\.0\.\d+'\]", last), done.stdout
    assert "h2" in done.stdout, "who is missing is named"
