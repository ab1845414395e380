"""The control socket of ovs-vswitchd (what ovs-appctl speaks): JSON-RPC 1.0 over a Unix socket."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from cloison.errors import Unavailable

TIMEOUT_S = 10.0
_REPLY_BYTES_MAX = 1 << 20
QUESTION_CHARS_MAX = 2048
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


async def command(path: Path, method: str, *arguments: str) -> str:
    """Return what ovs-vswitchd answers to a command; raises Unavailable if it gives none in time."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await _exchange(path, method, list(arguments))
    except (OSError, EOFError, ValueError, TimeoutError) as err:
        raise Unavailable(
            f"ovs-vswitchd does not answer {method!r}: {str(err) or type(err).__name__}"
        ) from err


async def _exchange(path: Path, method: str, arguments: list[str]) -> str:
    reader, writer = await asyncio.open_unix_connection(str(path), limit=_REPLY_BYTES_MAX)
    try:
        writer.write(json.dumps({"id": 1, "method": method, "params": arguments}).encode())
        await writer.drain()
        decoder, text = json.JSONDecoder(), ""
        while True:
            data = await reader.read(65536)
            if not data:
                raise EOFError("it closed the connection")
            text += data.decode()
            try:
                reply, _ = decoder.raw_decode(text)
            except json.JSONDecodeError:
                if len(text) > _REPLY_BYTES_MAX:
                    raise
                continue
            if reply.get("error") is not None:
                raise ValueError(str(reply["error"]))
            return str(reply.get("result", ""))
    finally:
        writer.close()
