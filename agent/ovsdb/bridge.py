"""The bridge seam, for real: the integration bridge of the Open vSwitch behind one ovsdb-server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

from agent.ovsdb import control, rows
from agent.ovsdb.thread import DatabaseThread, transact, wait_settled
from agent.ovsdb.view import BridgeSpec, BridgeView, Change
from cloison.errors import Unavailable

# Of the userspace datapath, which puts fragments together itself (ovs-vswitchd(8), dpctl commands): let
# guests with an MTU below 1200 fragment IPv4 (400 bytes is the least it takes), and give all ports of the
# bridge as many places for fragments that wait for others as there can be.
_FRAGMENT_SETTINGS = (("ipf-set-min-frag", "v4", "400"), ("ipf-set-max-nfrags", "5000"))


class OvsBridge:
    """`view` is the newest known state of the bridge; `wake` is called after each change of it."""

    def __init__(
        self, remote: str, name: str, wake: Callable[[], None], control_socket: Path | None = None
    ) -> None:
        self._remote, self._name, self._wake = remote, name, wake
        self._control_socket = control_socket
        self._thread: DatabaseThread | None = None
        # What the bridge was found to be, in which state of the replica.
        self._fits: tuple[BridgeSpec, int] | None = None
        self._control = control.ControlSocket()
        self.view = BridgeView()

    def open(self) -> None:
        """Begin to connect to ovsdb-server."""
        self._thread = DatabaseThread(self._remote, self._name, asyncio.get_running_loop(), self._note)
        self._thread.start()

    def close(self) -> None:
        """Disconnect; the bridge stays as it is."""
        self._control.close()
        if self._thread is not None:
            self._thread.stop()

    def _note(self, view: BridgeView) -> None:
        self.view = view
        self._wake()

    async def apply(self, spec: BridgeSpec) -> list[Change]:
        """Make the bridge what spec says, in one transaction (two where a port must be made anew).

        Returns what differed; raises Unavailable if the database, or ovs-vswitchd where it is needed,
        does not answer.
        """
        assert self._thread is not None
        if self.view.connected and self._fits == (spec, self._thread.replica):
            return []
        changes, fits, replica = await self._thread.call(lambda idl: (*_apply(idl, spec), idl.change_seqno))
        self._fits = (spec, replica) if fits else None
        return changes

    async def revalidate(self, *, taken_away: bool) -> None:
        """Wait until no cached flow is older than the tables. Raises Unavailable if it takes too long.

        The kernel's cache follows what is added by itself. That of the userspace datapath does not always: of
        two cached flows that overlap, Open vSwitch 3.1 may change the other one, and the old one goes on for
        as long as packets come. So it is emptied: the next packet of each flow asks the tables anew.
        """
        if self.view.datapath_type != "system":
            await self._control.command(self._control_path(), "revalidator/purge")
        elif taken_away:
            await self._control.command(self._control_path(), "revalidator/wait")

    async def limit_connections(self, entries: int) -> None:
        """Let no conntrack zone (each port has its own) hold more entries than this; raises Unavailable.

        ovs-vswitchd forgets it when it ends.
        """
        kind = self.view.datapath_type
        datapath = f"{kind}@ovs-{kind}"
        commands: list[tuple[str, ...]] = [("dpctl/ct-set-limits", datapath, f"default={entries}")]
        if kind == "netdev":
            commands += [(f"dpctl/{name}", datapath, *values) for name, *values in _FRAGMENT_SETTINGS]
        await self._control.commands(self._control_path(), commands)

    async def trace(self, flow: str) -> str:
        """Return what ofproto/trace says of a flow that enters this bridge; nothing is sent or learnt.

        flow: see control.trace_arguments. Raises ValueError for what is no flow, Unavailable if ovs-vswitchd
        refuses it or does not answer.
        """
        arguments = control.trace_arguments(flow)
        return await self._control.command(self._control_path(), "ofproto/trace", self._name, *arguments)

    def _control_path(self) -> Path:
        if self._control_socket is not None:
            return self._control_socket
        if not self._remote.startswith("unix:"):
            raise Unavailable("the control socket of ovs-vswitchd is not known; use --vswitchd-ctl")
        return control.control_path(Path(self._remote.removeprefix("unix:")).parent)


def _apply(idl: Any, spec: BridgeSpec) -> tuple[list[Change], bool]:
    """Return what was put right, and whether all is known to be as spec says now. On the database thread."""
    names = idl.fit.left(idl, spec)
    if names is not None:
        return _apply_verdicts(idl, spec, names)
    ofports: dict[str, int] = {}

    def write(transaction: Any) -> rows.Writer:
        writer = rows.Writer(idl, transaction, spec, ofports)
        writer.write()
        return writer

    first = transact(idl, write)
    if not first.replug and not first.waiting:
        if not first.changes:
            idl.fit.found(idl, spec)
        return first.changes, not first.changes
    if not wait_settled(idl):
        raise Unavailable("ovs-vswitchd does not carry out changes of the database")
    second = transact(idl, write)
    told = {_which(change) for change in first.changes if change.kind in ("tunnel", "service", "edge")}
    return first.changes + [change for change in second.changes if _which(change) not in told], False


def _apply_verdicts(idl: Any, spec: BridgeSpec, names: Set[str]) -> tuple[list[Change], bool]:
    """All else is known to be as spec says: write what is missing of the verdicts on these interfaces."""
    changes = list[Change]()
    if rows.verdicts_missing(idl, spec, names):
        changes = transact(idl, lambda _: rows.write_verdicts(idl, spec, names))
        # What the server made of it came before its answer (RFC 7047, 4.1.6); so may other changes.
        left = idl.fit.left(idl, spec)
        if left is None or rows.verdicts_missing(idl, spec, left):
            return changes, False
    idl.fit.found(idl, spec)
    return changes, True


def _which(change: Change) -> tuple[object, ...]:
    return change.kind, change.vni, change.edge
