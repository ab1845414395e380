"""A real client takes every answer of the DHCP service, also the one in 65,536 whose UDP checksum is 0.

BusyBox (CirrOS, Alpine) throws away a datagram that says 0xFFFF there, though RFC 768 asks for just that: the
same answer to each of its three requests, so no lease. The client's transaction number decides the sum; here
an option is chosen such that it comes to 0.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.services.seams import ServicePort
from tests.support.guest_netns import GuestNamespace
from tests.support.guests import SERVICE_MAC, Guest, port
from tests.support.netns import network_namespace

pytestmark = [pytest.mark.system, pytest.mark.timeout(60)]

_ALL_PROTOCOLS = 3
_SUM_AT, _UDP_HEADER = slice(40, 42), slice(34, 42)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def answer(served: ServicePort, asked: bytes) -> bytes | None:
    """The agent's answer, as the switch hands it to the guest."""
    to_agent = (0x0AF3 << 32 | served.number).to_bytes(6, "big")
    answers = Guest(served).dispatcher.handle(to_agent + asked[6:])
    return _mac(Guest(served).mac) + _mac(SERVICE_MAC) + answers[0][12:] if answers else None


def summed_to_zero(asked: bytes) -> bytes | None:
    """The answer of a port whose MTU makes the sum of all words 0xFFFF, so that its complement is 0."""
    without = answer(port(mtu=0), asked)
    if without is None:
        return None
    missing = int.from_bytes(without[_SUM_AT], "big")
    for mtu in (missing, int.from_bytes(missing.to_bytes(2, "little"), "big")):
        found = answer(replace(port(), mtu=mtu), asked)
        if found is not None and found[_SUM_AT] in (b"\0\0", b"\xff\xff"):
            return found
    raise AssertionError("no MTU makes the sum 0")


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[GuestNamespace]:
    with network_namespace(), GuestNamespace(tmp_path, Guest(port()).mac) as running:
        yield running


def test_busybox_takes_an_answer_whose_sum_is_zero(guest: GuestNamespace) -> None:
    ended = threading.Event()
    answered: list[bytes] = []

    def serve(device: socket.socket) -> None:
        while not ended.is_set():
            try:
                asked, (_, _, kind, *_) = device.recvfrom(65535)
            except TimeoutError:
                continue
            found = summed_to_zero(asked) if kind != socket.PACKET_OUTGOING else None
            if found is not None:
                answered.append(found[_UDP_HEADER])
                device.send(found)

    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS)) as device:
        device.bind((guest.tap, 0))
        device.settimeout(0.1)
        server = threading.Thread(target=serve, args=(device,))
        server.start()
        try:
            told = guest.udhcpc()
        finally:
            ended.set()
            server.join()
    assert told["ip"] == "10.0.0.5"
    assert len(answered) >= 2, "an offer and an acknowledgement"
