"""Mininet nodes of a lab: namespaces that we can run programs in, and the wires between them.

Only place, with link making in `lab`, that touches Mininet's API. Never runs `mn -c`: its cleanup ends
processes by name.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mininet.link import Intf, Link
from mininet.node import Node

from topologies.state import MARK, Process
from topologies.underlay import Underlay, Wire

# Mininet has no types: its classes are Any to mypy, hence `type: ignore[misc]` where we subclass them.
T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
"""linux/sched.h; the kind of namespace that setns(2) is to enter."""
_LIBC = ctypes.CDLL(None, use_errno=True)

Completed = subprocess.CompletedProcess[str]


class NodeError(RuntimeError):
    """A command that sets up a node failed; the text holds the command and what it said."""


class LabNode(Node):  # type: ignore[misc]
    """A network namespace, held by a Mininet shell, whose processes carry the lab's mark."""

    def __init__(self, name: str, mark: str, **params: Any) -> None:
        """`mark`: value of the environment variable MARK for every process in this node."""
        self.mark = mark
        super().__init__(name, **params)
        self.process = Process.of(self.pid)

    def _popen(self, cmd: Sequence[str], **params: Any) -> subprocess.Popen[Any]:
        env = dict(params.pop("env", None) or os.environ)
        return subprocess.Popen(cmd, env={**env, MARK: self.mark}, **params)

    def run(
        self, argv: Sequence[str], timeout_s: float = 30.0, stdin: str | None = None, check: bool = False
    ) -> Completed:
        """Run a program in the namespace and collect what it says.

        Raises subprocess.TimeoutExpired (the program is killed then) and, with `check`, NodeError.
        """
        pipe = subprocess.PIPE if stdin is not None else subprocess.DEVNULL
        process = self.popen(list(argv), stdin=pipe, text=True)
        try:
            out, err = process.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        if check and process.returncode:
            said = (err or out).strip()
            raise NodeError(f"{self.name}: {' '.join(argv)}: exit status {process.returncode}: {said}")
        return subprocess.CompletedProcess(list(argv), process.returncode, out, err)

    def ip(self, commands: Iterable[str]) -> None:
        """Carry out `ip` commands in one batch, stopping at the first that fails. Raises NodeError."""
        self.run(["ip", "-batch", "-"], stdin="".join(f"{c}\n" for c in commands), check=True)

    def sysctl(self, **values: int) -> None:
        """Set kernel parameters of this namespace; in names `__` stands for `.`. Raises OSError."""

        def write() -> None:
            for name, value in values.items():
                Path("/proc/sys", *name.split("__")).write_text(str(value), encoding="ascii")

        self.within(write)

    def within(self, function: Callable[[], T]) -> T:
        """Call a function of this process inside the namespace, in a thread of its own.

        What it opens (a socket) stays in the namespace and can be used from anywhere.
        """
        return within(self.pid, function)

    def stop(self, deleteIntfs: bool = False) -> None:
        """End the shell, and with it the namespace and its links once nothing else runs in it."""
        super().stop(deleteIntfs)
        self.process.kill()


class Router(LabNode):
    """A leaf or spine: forwards, and spreads flows over equal paths by their ports (VXLAN source ports)."""

    def configure(self, underlay: Underlay) -> None:
        """Addresses and routes of the node."""
        configure(self, underlay)
        self.sysctl(net__ipv4__ip_forward=1, net__ipv4__fib_multipath_hash_policy=1)


class ControllerNode(LabNode):
    """Where the controller and its etcd run."""


class ComputeHost(LabNode):
    """A hypervisor: Open vSwitch and the agent run here, workloads are wired to it."""


class PlainIntf(Intf):  # type: ignore[misc]
    """An interface that we configure ourselves: Mininet's own way runs a shell command per setting."""

    def config(self, **params: Any) -> dict[str, Any]:
        """Nothing."""
        return {}


def wire(nodes: dict[str, LabNode], link: Wire) -> None:
    """Lay a link of the underlay between two nodes."""
    a, b = link.a, link.b
    Link(nodes[a.node], nodes[b.node], intfName1=a.name, intfName2=b.name, intf=PlainIntf)


def configure(node: LabNode, underlay: Underlay) -> None:
    """Give a node of the underlay its addresses and static routes. Raises NodeError."""
    # No IPv6 of the machine's own on a host: whatever is plugged in would hear its router solicitations.
    node.sysctl(
        net__ipv4__conf__all__rp_filter=0,
        net__ipv4__conf__default__rp_filter=0,
        net__ipv6__conf__all__disable_ipv6=1,
        net__ipv6__conf__default__disable_ipv6=1,
    )
    loopback = underlay.loopback(node.name)
    commands = ["link set lo up", f"address add {loopback}/32 dev lo"]
    for interface in underlay.interfaces(node.name):
        commands.append(f"address add {interface.address}/31 dev {interface.name}")
        commands.append(f"link set {interface.name} mtu {underlay.mtu} up")
    for route in underlay.routes(node.name):
        hops = " ".join(f"nexthop via {hop}" for hop in route.next_hops)
        commands.append(f"route add {route.destination}/32 src {loopback} {hops}")
    node.ip(commands)


def within(pid: int, function: Callable[[], T]) -> T:
    """Call `function` in the network namespace of process `pid`, in a thread of its own (setns(2)).

    Raises OSError when the namespace cannot be entered, and whatever `function` raises.
    """
    result: list[T] = []
    failure: list[BaseException] = []

    def enter() -> None:
        try:
            with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
                if _LIBC.setns(namespace.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"setns into the namespace of process {pid}")
            result.append(function())
        except BaseException as error:  # noqa: BLE001 -- carried over to the caller's thread
            failure.append(error)

    thread = threading.Thread(target=enter, name=f"within-{pid}")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]
