"""The door: accepts connections, does TLS, says which host a certificate names. Knows no OpenFlow.

Every connection that has not been admitted yet has a deadline and counts against a cap; when too many wait,
the oldest of the same source is dropped, so that idle connections cannot keep a switch out. Plain TCP only
on request.
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from os_ken.lib import hub

from cloison.errors import InvalidIntent
from cloison.identity import Identity, Role
from controller.openflow.session import Limits

log = structlog.get_logger(__name__)

# os-ken's 50 overflow when a site's switches all come back at once, or idle connections come by the hundred.
_BACKLOG = 1024
_OUT_OF_DESCRIPTORS_DELAY_S = 0.1


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the controller's key and certificate, and the CA whose certificates switches must show."""

    key: Path
    cert: Path
    ca: Path


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.2 or later; a client without a certificate of the CA does not get in. Raises OSError,
    ssl.SSLError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(files.cert, files.key)
    context.load_verify_locations(files.ca)
    # A resumed session would carry an old certificate's identity past its revocation or expiry.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context


def host_of(certificate: dict[str, Any] | None) -> str:
    """The host that a verified peer certificate (ssl.SSLSocket.getpeercert) names; raises InvalidIntent."""
    names = (certificate or {}).get("subjectAltName", ())
    identity = Identity.from_uris(value for kind, value in names if kind == "URI")
    if identity.role is not Role.HOST:
        raise InvalidIntent.of("certificate", identity, "the certificate of a host")
    return identity.name


class Waiting:
    """A connection that has not been admitted."""

    def __init__(self, sock: socket.socket, source: str) -> None:
        self.sock = sock
        self.source = source

    def drop(self) -> None:
        """Close it from another thread: its own notices."""
        try:
            # Not SSLSocket.shutdown: that would let the other thread go on in plain text.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        except OSError:
            pass  # closed already


class WaitingRoom:
    """All connections that have not been admitted, oldest first. Thread-safe."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._waiting: dict[Waiting, None] = {}

    def enter(self, newcomer: Waiting) -> Waiting | None:
        """Let one in; returns the one that had to leave, if any."""
        with self._lock:
            same = [w for w in self._waiting if w.source == newcomer.source]
            oldest = None
            if len(same) >= self._limits.pending_per_source_max:
                oldest = same[0]
            elif len(self._waiting) >= self._limits.pending_max:
                oldest = next(iter(self._waiting))
            if oldest is not None:
                del self._waiting[oldest]
            self._waiting[newcomer] = None
        if oldest is not None:
            oldest.drop()
        return oldest

    def leave(self, waiting: Waiting) -> None:
        """It was admitted, or is over."""
        with self._lock:
            self._waiting.pop(waiting, None)

    def clear(self) -> None:
        """Drop all."""
        with self._lock:
            for waiting in self._waiting:
                waiting.drop()
            self._waiting.clear()


class Listener(hub.StreamServer):  # type: ignore[misc]  # os_ken is untyped
    """os-ken's server with an accept loop that can end, and in which each connection is waited for
    elsewhere.
    """

    def __init__(self, address: tuple[str, int], accepted: Callable[[socket.socket, Any], None]) -> None:
        super().__init__(address, accepted)
        self.server.listen(_BACKLOG)
        self.address: tuple[str, int] = self.server.getsockname()[:2]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, name="openflow-listener", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting; blocks until the thread is gone."""
        self._ended.set()
        try:
            self.server.shutdown(socket.SHUT_RDWR)  # wakes accept()
        except OSError:
            pass  # nothing to wake
        self._thread.join()
        self.server.close()

    def serve_forever(self) -> None:
        """Accept until stop()."""
        while not self._ended.is_set():
            try:
                sock, address = self.server.accept()
            except OSError as error:
                if self._ended.is_set():
                    return
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.error("cannot accept an OpenFlow connection", error=str(error))
                    self._ended.wait(_OUT_OF_DESCRIPTORS_DELAY_S)
                continue
            self._hand_over(sock, address)

    def _hand_over(self, sock: socket.socket, address: Any) -> None:
        try:
            self.handle(sock, address)
        except Exception:  # one connection (no thread for it, say) must not end the loop
            log.exception("an OpenFlow connection could not be handled", source=address[0])
            sock.close()
