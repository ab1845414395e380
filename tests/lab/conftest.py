"""Labs for tests: short run directories (socket paths are), root or nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from topologies.lab import Lab
from topologies.spec import Spec, load, parse
from topologies.state import marked

needs_lab = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("mnexec") or not shutil.which("ovs-vswitchd"),
    reason="a lab needs root, mininet and openvswitch-switch",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.lab)
            item.add_marker(needs_lab)


@pytest.fixture
def run_dir() -> Iterator[Path]:
    parent = Path(tempfile.mkdtemp(prefix="clz-", dir="/tmp"))
    yield parent / "lab"
    shutil.rmtree(parent, ignore_errors=True)


@pytest.fixture(scope="module")
def module_run_dir() -> Iterator[Path]:
    parent = Path(tempfile.mkdtemp(prefix="clz-", dir="/tmp"))
    yield parent / "lab"
    shutil.rmtree(parent, ignore_errors=True)


def plain(spec: str | Spec, run_dir: Path) -> Lab:
    """A lab without control plane: of a shipped topology, or of one host."""
    if spec == "one-host":
        spec = parse("name: one\nunderlay: {kind: leaf-spine, spines: 0, leaves: 1, hosts_per_leaf: 1}")
    return Lab(load(spec) if isinstance(spec, str) else spec, run_dir, with_control=False)


def links() -> set[str]:
    """Interfaces of the machine's own namespace."""
    done = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True, timeout=10)
    return {line.split(": ")[1] for line in done.stdout.splitlines()}


def namespaces(mark: str) -> set[str]:
    """Network namespaces that a process of this lab still holds."""
    return {os.readlink(f"/proc/{p.pid}/ns/net") for p in marked(mark)}
