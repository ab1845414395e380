"""The control socket of ovs-vswitchd (what ovs-appctl speaks): JSON-RPC 1.0 over a Unix socket."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from cloison.errors import Unavailable

TIMEOUT_S = 10.0
_REPLY_BYTES_MAX = 1 << 20


def control_path(run_dir: Path) -> Path:
    """Return the control socket of the ovs-vswitchd that runs in run_dir; raises Unavailable if none does."""
    try:
        pid = int((run_dir / "ovs-vswitchd.pid").read_text())
    except (OSError, ValueError) as err:
        raise Unavailable(f"no ovs-vswitchd runs in {run_dir}") from err
    return run_dir / f"ovs-vswitchd.{pid}.ctl"


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
