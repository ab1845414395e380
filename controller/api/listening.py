"""Where the API listens: addresses as they are given, TLS, sockets in the file system."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc

from cloison.errors import InvalidIntent

UNIX = "unix:"


@dataclass(frozen=True)
class Tls:
    """PEM bytes: the authority that clients' certificates come from, and the server's own pair."""

    ca: bytes
    cert: bytes
    key: bytes

    @classmethod
    def read(cls, ca: Path, cert: Path, key: Path) -> Tls:
        """Read the three files; raises OSError."""
        return cls(ca.read_bytes(), cert.read_bytes(), key.read_bytes())

    @property
    def page_token_key(self) -> bytes:
        """A key that all replicas of a cluster share, restarts included.

        Anyone who has the authority's certificate could make it: it guards against tokens that are garbled
        or of another list. It need not do more, since every page is authorised like the first one.
        """
        return sha256(b"cloison page tokens" + self.ca).digest()


def bind(server: Any, address: str, tls: Tls | None) -> str:
    """Have a server (of grpc or grpc.aio) listen; return what clients dial. Raises OSError if it is taken."""
    unix = address.startswith(UNIX)
    if unix:
        _clear_stale_socket(Path(address.removeprefix(UNIX)))
    elif not address.rpartition(":")[2].isdecimal():
        raise InvalidIntent.of("--grpc-listen", address, "ADDR:PORT, [ADDR]:PORT or unix:PATH")
    try:
        port = _add_port(server, address, tls)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error
    return address if unix else f"{address.rpartition(':')[0]}:{port}"


def _add_port(server: Any, address: str, tls: Tls | None) -> int:
    if tls is None:
        return int(server.add_insecure_port(address))
    credentials = grpc.ssl_server_credentials([(tls.key, tls.cert)], tls.ca, require_client_auth=True)
    return int(server.add_secure_port(address, credentials))


def protect_sockets(addresses: Iterable[str]) -> None:
    """Without certificates the file system decides who may connect to a Unix socket: its owner."""
    for address in addresses:
        if address.startswith(UNIX):
            os.chmod(address.removeprefix(UNIX), stat.S_IRUSR | stat.S_IWUSR)


def _clear_stale_socket(path: Path) -> None:
    """Remove a socket that nobody listens on; raises OSError if somebody does, or if it is something else.

    gRPC would replace any socket, and take the clients of a running controller.
    """
    if not path.exists():
        return
    if not path.is_socket():
        raise OSError(f"{path} exists and is no socket; choose another path")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(f"another process serves on {path}; stop it, or choose another path")
