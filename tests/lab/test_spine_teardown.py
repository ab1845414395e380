"""After a whole lab, with control plane and guests, nothing is left; also when its holder is killed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.lab.conftest import links
from tests.lab.spine import site
from topologies import holder
from topologies.state import LabState, marked
from topologies.wait import wait_until


@dataclass(frozen=True)
class Machine:
    """What a lab could leave on the machine outside its run directory."""

    links: set[str]
    namespaces: set[str]
    named_namespaces: set[str]
    sockets: int

    @classmethod
    def now(cls) -> Machine:
        """Look at all of /proc."""
        return cls(links(), _namespaces(), _names(Path("/run/netns")), _sockets())


def _names(directory: Path) -> set[str]:
    return {p.name for p in directory.iterdir()} if directory.exists() else set()


def _namespaces() -> set[str]:
    """Every network namespace that some process is in."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.add(os.readlink(entry / "ns" / "net"))
            except OSError:
                continue  # it ended while we looked
    return found


def _sockets() -> int:
    """Files that this process holds open on namespaces: what Mininet or a capture might have forgotten."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            count += os.readlink(entry).startswith("net:")
        except OSError:
            continue
    return count


def nothing_new(before: Machine, mark: str) -> bool:
    """The machine as it was, and no process of the lab."""
    assert marked(mark) == []
    now = Machine.now()
    assert now.links == before.links
    # Other labs may run beside us: what matters is that none of ours is held by anybody.
    assert now.named_namespaces == before.named_namespaces
    assert now.sockets == before.sockets
    return True


def test_a_whole_lab_that_ends_leaves_nothing(run_dir: Path) -> None:
    """Though a guest is busy, a daemon is dead and others do not listen, as after a test that failed."""
    before = Machine.now()
    with site(run_dir, "two-hosts") as cloud:
        mark = cloud.lab.mark
        processes = cloud.lab.state.processes("daemons", "workloads", "nodes")
        namespaces = {os.readlink(f"/proc/{p.pid}/ns/net") for p in processes}
        cloud.guests["acme/w1"].popen(["sleep", "600"])
        assert len(namespaces) >= 6
        h1, h2 = cloud.host("h1"), cloud.host("h2")
        assert h1.agent is not None
        for daemon in (h1.agent, h2.vswitchd, cloud.lab.controller):
            daemon.pause()
        h2.ovsdb.kill()
    wait_until(lambda: nothing_new(before, mark), 20, "nothing left")
    assert not [p for p in processes if p.alive]
    assert not namespaces & _namespaces()
    assert not run_dir.exists()


def test_what_a_killed_holder_of_a_whole_lab_leaves_is_cleaned(run_dir: Path) -> None:
    before = Machine.now()
    holder.up("two-hosts", run_dir, mode="full")
    state = LabState.load(run_dir)
    processes = state.processes("daemons", "workloads", "nodes")
    namespaces = {os.readlink(f"/proc/{p.pid}/ns/net") for p in processes}
    assert state.workloads
    assert {"ctl/etcd", "ctl/controller", "h1/agent"} <= set(state.daemons)
    state.holder.kill()
    wait_until(lambda: not state.holder.alive, 20, "the holder dead")
    # Daemons live on without it: that is why there is a record of them.
    assert [p for p in processes if p.alive]
    assert holder.down(run_dir)
    wait_until(lambda: nothing_new(before, state.mark), 20, "nothing left")
    assert not [p for p in processes if p.alive]
    assert not namespaces & _namespaces()
    assert not run_dir.exists()
