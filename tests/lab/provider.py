"""What a provider runs beside the network: a metadata server and a resolver, here on the node "ctl"."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address

from topologies.lab import Lab
from topologies.spec import Spec
from topologies.underlay import CONTROLLER

# Beside the lab's own metadata service.
METADATA_PORT, RESOLVER_PORT = 8776, 53
OUTSIDE_NAME, OUTSIDE_ADDRESS = "www.example.com", "192.0.2.80"
_DNS_HEADER_BYTES = 12


def address(spec: Spec) -> str:
    """Where the provider's servers are."""
    return str(spec.underlay.build().loopback(CONTROLLER))


@dataclass
class Metadata:
    """The requests that came: path and headers (lower case)."""

    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@contextlib.contextmanager
def metadata_server(lab: Lab) -> Iterator[Metadata]:
    """An HTTP server that answers every GET with the path."""
    heard = Metadata()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
            body = f"metadata {self.path}\n".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    there = str(lab.underlay.loopback(CONTROLLER))
    server = lab.nodes[CONTROLLER].within(lambda: ThreadingHTTPServer((there, METADATA_PORT), Handler))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def resolver(lab: Lab) -> Iterator[list[bytes]]:
    """A DNS server that gives every question for an A the same answer; the questions, as they came."""
    there = str(lab.underlay.loopback(CONTROLLER))

    def bind() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((there, RESOLVER_PORT))
        made.settimeout(0.05)
        return made

    asked: list[bytes] = []
    over = threading.Event()
    server = lab.nodes[CONTROLLER].within(bind)

    def serve() -> None:
        while not over.is_set():
            try:
                question, who = server.recvfrom(4096)
            except TimeoutError:
                continue
            asked.append(question)
            server.sendto(_answer(question), who)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        over.set()
        thread.join()
        server.close()


def _answer(question: bytes) -> bytes:
    """RFC 1035, section 4: the question again, and one A record that points to its name."""
    end = question.index(b"\0", _DNS_HEADER_BYTES) + 5
    record = b"\xc0\x0c\0\1\0\1" + (60).to_bytes(4, "big") + b"\0\4" + IPv4Address(OUTSIDE_ADDRESS).packed
    return question[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question[_DNS_HEADER_BYTES:end] + record
