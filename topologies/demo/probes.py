"""Probes of one pair: ping, ARP and TCP by real sockets and real frames, and forged frames between tenants.

Each probe says whether the *sender* saw the right answer; whether the target received it, the captures say.
"""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType

from topologies import frames
from topologies.capture import Capture, send
from topologies.demo.guests import Guest, Token
from topologies.nodes import within
from topologies.workload import GUEST_INTERFACE

TCP_PORT = 7000
ANSWER_S = 3.0
KINDS = ("ping4", "ping6", "arping", "tcp4", "tcp6", "forged")
FORGED = KINDS.index("forged")


def token(source: Guest, target: Guest, kind: str) -> bytes:
    """The token of a probe."""
    return Token(source.index, target.index, KINDS.index(kind)).encode()


def ping(source: Guest, target: Guest, kind: str) -> bool:
    """One `ping` with the token as its payload."""
    address = target.v4 if kind == "ping4" else target.v6
    pattern = token(source, target, kind).hex()
    argv = ["mnexec", "-a", str(source.pid), "ping", "-n", "-c1", f"-W{ANSWER_S:g}", "-p", pattern, address]
    return subprocess.run(argv, capture_output=True, timeout=10, check=False).returncode == 0


def arping(source: Guest, target: Guest) -> bool:
    """A broadcast ARP request for the target's address, answered with its MAC; the token is padding."""
    request = frames.arp(source.mac, source.v4, target.v4, trailer=token(source, target, "arping"))
    wanted = frames.mac_bytes(target.mac) + socket.inet_aton(target.v4)
    with Capture(source.pid, GUEST_INTERFACE, "arp[6:2] = 2") as answers:
        send(source.pid, GUEST_INTERFACE, [request])
        # Another tenant's guest must not answer: nothing to wait for, the captures will tell.
        patience_s = ANSWER_S if source.tenant == target.tenant else 0
        return answers.wait_for(lambda f: f.data[22:32] == wanted, patience_s) is not None


def tcp(source: Guest, target: Guest, kind: str) -> bool:
    """Connect, send the token, and read the name of who answered."""
    family, address = (socket.AF_INET, target.v4) if kind == "tcp4" else (socket.AF_INET6, target.v6)
    with within(source.pid, lambda: socket.socket(family)) as connection:
        connection.settimeout(ANSWER_S)
        try:
            connection.connect((address, TCP_PORT))
            connection.sendall(token(source, target, kind))
            return connection.recv(64) == target.name.encode()
        except OSError:
            return False


def forged(source: Guest, target: Guest) -> int:
    """Frames straight at the target's MACs, past the guest's own stack; how many.

    The target is another tenant's: no answer is due, so this only sends.
    """
    mark = token(source, target, "forged")
    wire4 = _mac(b"\x0a\xf0" + socket.inet_aton(target.v4))
    wire6 = _mac(b"\x0a\xf6" + socket.inet_pton(socket.AF_INET6, target.v6)[-4:])
    out = []
    for to in (target.mac, wire4, wire6, frames.BROADCAST):
        out.append(frames.echo(source.mac, to, source.v4, target.v4, mark))
        out.append(frames.echo(source.mac, to, source.v6, target.v6, mark))
        out.append(frames.udp(source.mac, to, source.v4, target.v4, mark))
        out.append(frames.arp(source.mac, source.v4, target.v4, to=to, trailer=mark))
    return send(source.pid, GUEST_INTERFACE, out)


def _mac(data: bytes) -> str:
    return ":".join(f"{b:02x}" for b in data)


def run(source: Guest, target: Guest) -> tuple[dict[str, bool], int]:
    """All probes of a pair: what the sender saw of each, and how many frames were forged."""
    seen = {"arping": arping(source, target)}
    # What goes to its own address never leaves a guest: the twin of another tenant gets forged frames only.
    if source.v4 != target.v4:
        seen["ping4"] = ping(source, target, "ping4")
        seen["ping6"] = ping(source, target, "ping6")
        seen["tcp4"] = tcp(source, target, "tcp4")
        seen["tcp6"] = tcp(source, target, "tcp6")
    return seen, forged(source, target) if source.tenant != target.tenant else 0


class Servers:
    """A TCP server in every guest that answers with the guest's name; a context manager."""

    def __init__(self, guests: Sequence[Guest]) -> None:
        """Listens in every guest's namespace."""
        self.heard: list[tuple[Guest, bytes]] = []
        self._sockets: dict[int, tuple[socket.socket, Guest]] = {}
        self._over = threading.Event()
        for guest in guests:
            listener = within(guest.pid, _listen)
            self._sockets[listener.fileno()] = (listener, guest)
        self._thread = threading.Thread(target=self._serve, name="tcp-servers", daemon=True)

    def __enter__(self) -> Servers:
        """Serving from now on."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all."""
        self._over.set()
        self._thread.join()
        for listener, _ in self._sockets.values():
            listener.close()

    def _serve(self) -> None:
        poll = select.poll()
        for fd in self._sockets:
            poll.register(fd, select.POLLIN)
        while not self._over.is_set():
            for fd, _ in poll.poll(50):
                listener, guest = self._sockets[fd]
                with contextlib.suppress(OSError):
                    self._answer(listener, guest)

    def _answer(self, listener: socket.socket, guest: Guest) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(ANSWER_S)
            self.heard.append((guest, connection.recv(64)))
            connection.sendall(guest.name.encode())


def _listen() -> socket.socket:
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", TCP_PORT))
    listener.listen(64)
    return listener


def flood(source: Guest, victims: Sequence[Guest], rounds: int) -> Iterator[tuple[str, bytes]]:
    """Frames that a switch might spread, with their kind: ARP, broadcast, multicast, unknown unicast.

    `victims`: guests of the other tenant; what is aimed at somebody is aimed at them.
    """
    for number in range(rounds):
        victim = victims[number % len(victims)]
        mark = Token(source.index, victim.index, FORGED).encode()
        nobody4, nobody6 = f"10.0.0.{200 + number % 50}", f"fd00:10::{number + 0x1000:x}"
        unknown = f"52:54:00:99:{number >> 8 & 0xFF:02x}:{number & 0xFF:02x}"
        send4, send6 = (source.mac, source.v4), (source.mac, source.v6)
        yield "arp", frames.arp(*send4, victim.v4, trailer=mark)
        yield "arp", frames.arp(*send4, nobody4, trailer=mark)
        yield "arp", frames.arp(*send4, source.v4, trailer=mark)
        yield "arp", frames.arp(*send4, source.v4, operation=2, trailer=mark)
        for address in ("255.255.255.255", "10.0.0.255"):
            yield "broadcast", frames.udp(source.mac, frames.BROADCAST, source.v4, address, mark)
        for group in ("224.0.0.1", "224.0.0.251", "239.1.2.3"):
            yield "multicast", frames.udp(source.mac, frames.multicast_mac(group), source.v4, group, mark)
        for group in ("ff02::1", "ff02::2", "ff02::fb", "ff0e::1234"):
            yield "multicast", frames.udp(source.mac, frames.multicast_mac(group), source.v6, group, mark)
        for target in (victim.v6, nobody6):
            yield "multicast", frames.solicitation(*send6, target, mark)
        for to in (unknown, victim.mac, _mac(b"\x0a\xf0" + socket.inet_aton(nobody4))):
            yield "unknown unicast", frames.udp(source.mac, to, source.v4, nobody4, mark)
            yield "unknown unicast", frames.udp(source.mac, to, source.v6, nobody6, mark)
