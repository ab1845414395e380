"""The one thread on which the database client (ovs.db.idl) lives; it is not safe on any other.

Work comes in as functions with a future; views go out to the asyncio loop. Reconnects by itself, for ever.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from agent.ovsdb import messages, rows
from agent.ovsdb.fit import Fit
from agent.ovsdb.ports import PortRows
from agent.ovsdb.view import BridgeView
from cloison.errors import Unavailable
from cloison.lean import as_if_absent

# Where eventlet is installed ovs.poller imports it, with copies of dnspython's modules in place of those
# that the local services use (exceptions of the one are not those of the other).
with as_if_absent("eventlet", "gevent"):
    import ovs.db.idl
    import ovs.json
    import ovs.jsonrpc
    import ovs.poller
    import ovs.stream

if ovs.json.PARSER == ovs.json.PARSER_PY:
    ovs.json.Parser = messages.Parser

T = TypeVar("T")
PROBE_INTERVAL_MS = 5000
COMMIT_ATTEMPTS = 10
SETTLE_TIMEOUT_S = 1.0
_DATABASE = "Open_vSwitch"


class _Replica(ovs.db.idl.Idl):  # type: ignore[misc]  # ovs is untyped
    """The client's replica; `port_rows`, by the bridges' uuids, and `fit` hear of each row that changes."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.port_rows: dict[Any, PortRows] = defaultdict(PortRows)
        self.fit = Fit()
        # Since it was last published: how many rows changed, and whether all are interfaces.
        self.notices, self.only_interfaces = 0, True
        super().__init__(*arguments, **options)

    def notify(self, event: Any, row: Any, updates: Any = None) -> None:
        """Called by the client when a row was inserted, changed or deleted."""
        self.notices += 1
        self.only_interfaces = self.only_interfaces and row._table.name == "Interface"
        self.fit.noted(row)
        for rows_of_bridge in self.port_rows.values():
            rows_of_bridge.noted(row)


class DatabaseThread:
    """Runs jobs on the database and tells `on_view` (on the loop) whenever the bridge looks different."""

    def __init__(
        self, remote: str, bridge: str, loop: asyncio.AbstractEventLoop, on_view: Callable[[BridgeView], None]
    ) -> None:
        self._remote, self._bridge, self._loop, self._on_view = remote, bridge, loop, on_view
        self._jobs: deque[tuple[Callable[[Any], Any], asyncio.Future[Any]]] = deque()
        self._view = BridgeView()
        # (state of the replica, connected) that the view is of.
        self._seen = (0, False)
        self._stopping = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # A daemon: a database that does not answer must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="ovsdb", daemon=True)

    @property
    def replica(self) -> int:
        """The state of the replica that the newest view is of; it moves with every change of the database."""
        return self._seen[0]

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread; the database stays as it is."""
        self._stopping = True
        self._wake()
        self._thread.join(timeout_s)

    async def call(self, job: Callable[[Any], T]) -> T:
        """Run job(idl) on the thread and return what it returns; raises Unavailable without a connection."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.append((job, future))
        self._wake()
        return await future

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"x")
        except BlockingIOError:
            pass  # the pipe is full of wake-ups already

    def _run(self) -> None:
        idl = None
        while not self._stopping and idl is None:
            idl = self._open()
        while not self._stopping and idl is not None:
            idl.run()
            self._publish(idl)
            while self._jobs and not self._stopping:
                job, future = self._jobs.popleft()
                result = self._carry_out(job, idl)
                # First, so that who asked finds a view that is no older than the answer.
                self._publish(idl)
                self._answer(future, result)
            self._wait(idl)
        if idl is not None:
            idl.close()

    def _open(self) -> Any:
        """Return a client made for the schema the server has, None if there is no server now."""
        self._fail_jobs()
        try:
            error, stream = ovs.stream.Stream.open_block(ovs.stream.Stream.open(self._remote), timeout=2000)
            if error:
                raise OSError(error, os.strerror(abs(error)))
            connection = ovs.jsonrpc.Connection(stream)
            request = ovs.jsonrpc.Message.create_request("get_schema", [_DATABASE])
            error, reply = connection.transact_block(request)
            connection.close()
            if error or reply.error:
                raise OSError(error or 0, str(reply and reply.error))
        except OSError:
            time.sleep(0.2)
            return None
        helper = ovs.db.idl.SchemaHelper(None, reply.result)
        for table, columns in rows.COLUMNS.items():
            helper.register_columns(table, columns)
        return _Replica(self._remote, helper, probe_interval=PROBE_INTERVAL_MS)

    def _fail_jobs(self) -> None:
        while self._jobs:
            _, future = self._jobs.popleft()
            self._answer(future, Unavailable("ovsdb-server does not answer"))

    def _wait(self, idl: Any) -> None:
        poller = ovs.poller.Poller()
        idl.wait(poller)
        poller.fd_wait(self._wake_read, ovs.poller.POLLIN)
        poller.block()
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            pass  # woken by the database, not by us

    def _publish(self, idl: Any) -> None:
        before, seen = self._seen, (idl.change_seqno, connected(idl))
        if seen == before:
            return
        # (A replica that was emptied has told of no row.)
        same_ports = idl.only_interfaces and before[1] and seen[0] == before[0] + idl.notices
        self._seen, idl.notices, idl.only_interfaces = seen, 0, True
        if not connected(idl):
            view = replace(self._view, connected=False)
        elif same_ports:
            view = rows.view_of_ports(idl, self._view, self._bridge)
        else:
            view = rows.view(idl, self._bridge)
        if view is not self._view and view != self._view:
            self._view = view
            self._tell(self._on_view, view)

    def _carry_out(self, job: Callable[[Any], Any], idl: Any) -> Any:
        """Return what the job returns, or what it raises."""
        try:
            if not connected(idl):
                raise Unavailable("ovsdb-server does not answer")
            return job(idl)
        except Exception as err:  # noqa: BLE001 - whatever it is, the one who asked must hear it
            return err

    def _answer(self, future: asyncio.Future[Any], result: Any) -> None:
        def settle() -> None:
            if future.done():
                return
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

        self._tell(settle)

    def _tell(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            self._stopping = True  # the loop is closed: nobody is left to hear it


def connected(idl: Any) -> bool:
    """Tell whether the replica is whole and the session up."""
    return bool(idl.state == ovs.db.idl.Idl.IDL_S_MONITORING and idl._session.is_connected())


def transact(idl: Any, write: Callable[[Any], T]) -> T:
    """Commit what write(transaction) puts into a transaction; repeat it if the rows changed meanwhile.

    Raises Unavailable if the server does not take it.
    """
    for _ in range(COMMIT_ATTEMPTS):
        transaction = ovs.db.idl.Transaction(idl)
        try:
            result = write(transaction)
        except BaseException:
            transaction.abort()
            raise
        status = transaction.commit_block()
        if status in (transaction.SUCCESS, transaction.UNCHANGED):
            return result
        if status != transaction.TRY_AGAIN:
            raise Unavailable(f"ovsdb-server refused the change: {status}: {transaction.get_error()}")
        idl.run()
        if not connected(idl):
            break
    raise Unavailable("ovsdb-server did not take the change")


def wait_settled(idl: Any, timeout_s: float = SETTLE_TIMEOUT_S) -> bool:
    """Wait until ovs-vswitchd has carried out what the database says; False after timeout_s."""
    deadline = time.monotonic() + timeout_s
    while not rows.settled(idl):
        if time.monotonic() >= deadline or not connected(idl):
            return False
        poller = ovs.poller.Poller()
        idl.wait(poller)
        poller.timer_wait(100)
        poller.block()
        idl.run()
    return True
