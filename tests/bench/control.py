"""JSON-RPC over a Unix socket: a daemon's control socket, or its database, without a process per command."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from topologies.wait import wait_until

SOCKET_S = 20.0


class Control:
    """A connection to a daemon."""

    def __init__(self, path: Path) -> None:
        """Waits until the daemon listens. Raises WaitTimeoutError."""
        self._socket: socket.socket = wait_until(lambda: self._connect(path), SOCKET_S, f"{path} listening")
        self._decoder, self._buffer, self._id = json.JSONDecoder(), "", 0

    @staticmethod
    def _connect(path: Path) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            raise
        return connection

    def __call__(self, method: str, *params: str) -> str:
        """Carry out a command; what it said. Raises RuntimeError if it fails."""
        return str(self.request(method, params) or "")

    def request(self, method: str, params: Sequence[Any]) -> Any:
        """Ask; the result. Raises RuntimeError if it is an error."""
        self._id += 1
        request = {"id": self._id, "method": method, "params": list(params)}
        self._socket.sendall(json.dumps(request).encode())
        while (answer := self._receive()).get("id") != self._id:
            if answer.get("method") == "echo":  # a database asks whether we are there
                reply = {"id": answer["id"], "result": answer["params"], "error": None}
                self._socket.sendall(json.dumps(reply).encode())
        if answer.get("error"):
            raise RuntimeError(f"{method} {' '.join(map(str, params))[:200]}: {answer['error']}")
        return answer.get("result")

    def _receive(self) -> dict[str, Any]:
        while True:
            try:
                answer, length = self._decoder.raw_decode(self._buffer)
            except ValueError:
                data = self._socket.recv(1 << 16)
                if not data:
                    raise RuntimeError("the daemon closed its control socket") from None
                self._buffer += data.decode()
                continue
            self._buffer = self._buffer[length:].lstrip()
            return answer  # type: ignore[no-any-return]
