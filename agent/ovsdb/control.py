"""The control socket of ovs-vswitchd (what ovs-appctl speaks): JSON-RPC 1.0 over a Unix socket."""

from __future__ import annotations

import asyncio
import codecs
import json
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloison.errors import Unavailable

TIMEOUT_S = 10.0
_REPLY_BYTES_MAX = 1 << 20
QUESTION_CHARS_MAX = 2048
_DECODER = json.JSONDecoder()
# Of one packet on one bridge: the sender's zone, the receiver's, and room for what nobody of ours made.
CT_NEXT_MAX = 8
CT_NEXT = "--ct-next"
_CT_FLAGS = frozenset({"trk", "new", "est", "rel", "rpl", "inv", "snat", "dnat"})
# field, or field=value: names, numbers, addresses, masks, flags; nothing that could be taken for an option.
_FLOW = re.compile(r"[a-z][a-z0-9_]*(=[0-9A-Za-z.:/|+_-]+)?(,[a-z][a-z0-9_]*(=[0-9A-Za-z.:/|+_-]+)?)*")


def control_path(run_dir: Path) -> Path:
    """Return the control socket of the ovs-vswitchd that runs in run_dir; raises Unavailable if none does."""
    try:
        pid = int((run_dir / "ovs-vswitchd.pid").read_text())
    except (OSError, ValueError) as err:
        raise Unavailable(f"no ovs-vswitchd runs in {run_dir}") from err
    return run_dir / f"ovs-vswitchd.{pid}.ctl"


def trace_arguments(text: str) -> list[str]:
    """Return the arguments of ofproto/trace for "FLOW [--ct-next FLAG,FLAG...]...", and for nothing else.

    FLOW is fields joined by commas (ovs-fields(7)); after --ct-next stands what connection tracking is to
    find, each time the packet comes back from it. Raises ValueError for any other option or form.
    """
    if len(text) > QUESTION_CHARS_MAX:
        raise ValueError(f"at most {QUESTION_CHARS_MAX} characters")
    flow, *rest = text.split(" ")
    if not _FLOW.fullmatch(flow):
        raise ValueError("a flow: fields joined by commas, not an option")
    states = rest[1::2]
    if len(rest) > 2 * CT_NEXT_MAX or rest[::2] != [CT_NEXT] * len(states):
        raise ValueError(f"nothing after the flow but at most {CT_NEXT_MAX} times {CT_NEXT} FLAGS")
    for state in states:
        if not set(state.split(",")) <= _CT_FLAGS:
            raise ValueError(
                f"{CT_NEXT} takes flags of these, joined by commas: {', '.join(sorted(_CT_FLAGS))}"
            )
    return [flow, *rest]


class ControlSocket:
    """One connection, kept from command to command.

    To take a new one costs ovs-vswitchd about as much as the command: rounds of its loop, over all its ports.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._socket: socket.socket | None = None
        # The socket's path and inode: what is there now may be another ovs-vswitchd's.
        self._peer: tuple[str, int, int] | None = None
        self._id = 0

    def close(self) -> None:
        """End the connection; the next command makes another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def command(self, path: Path, method: str, *arguments: str) -> str:
        """Return what ovs-vswitchd answers to a command; raises Unavailable if it gives none in time."""
        return (await self.commands(path, [(method, *arguments)]))[0]

    async def commands(self, path: Path, commands: Sequence[Sequence[str]]) -> list[str]:
        """Return its answers to commands (method and arguments) that are sent in one go.

        Raises Unavailable if one has no answer in time, or is refused.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S), self._turn:
                return await self._ask(path, commands)
        except (OSError, EOFError, ValueError, TimeoutError) as err:
            words = ", ".join(repr(method) for method, *_ in commands)
            raise Unavailable(
                f"ovs-vswitchd does not answer {words}: {str(err) or type(err).__name__}"
            ) from err

    async def _ask(self, path: Path, commands: Sequence[Sequence[str]]) -> list[str]:
        found = os.stat(path)
        peer = (str(path), found.st_dev, found.st_ino)
        if peer != self._peer:
            self.close()
        if self._socket is not None:
            try:
                return await self._exchange(self._socket, commands)
            except (OSError, EOFError):
                pass  # it has ended since; who listens there now has not heard of it
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        self._socket, self._peer = connection, peer
        try:
            await asyncio.get_running_loop().sock_connect(connection, str(path))
        except BaseException:
            self.close()
            raise
        return await self._exchange(connection, commands)

    async def _exchange(self, connection: socket.socket, commands: Sequence[Sequence[str]]) -> list[str]:
        """Send and receive. After anything but answers to all the connection is of no use any more."""
        loop, answers, text = asyncio.get_running_loop(), list[str](), ""
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            await loop.sock_sendall(connection, self._requests(commands))
            while len(answers) < len(commands):
                data = await loop.sock_recv(connection, 65536)
                if not data:
                    raise EOFError("it closed the connection")
                text += decoder.decode(data)
                while (reply := _reply(text)) is not None:
                    answers.append(_result(reply[0], self._id - len(commands) + len(answers) + 1))
                    text = text[reply[1] :].lstrip()
        except BaseException:
            self.close()
            raise
        return answers

    def _requests(self, commands: Sequence[Sequence[str]]) -> bytes:
        texts = []
        for method, *arguments in commands:
            self._id += 1
            texts.append(json.dumps({"id": self._id, "method": method, "params": arguments}))
        return "".join(texts).encode()


def _reply(text: str) -> tuple[dict[str, Any], int] | None:
    """Return the first whole reply in what was received, and where it ends; None while there is none."""
    try:
        reply, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError:
        if len(text) > _REPLY_BYTES_MAX:
            raise
        return None
    return reply, end


def _result(reply: dict[str, Any], id_: int) -> str:
    """Return what a reply says; raises ValueError for a refusal, and for one to something else."""
    if reply.get("id") != id_:
        raise ValueError(f"its answer is to command {reply.get('id')}, not {id_}")
    if reply.get("error") is not None:
        raise ValueError(str(reply["error"]))
    return str(reply.get("result", ""))
