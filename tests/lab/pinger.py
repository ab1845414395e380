"""Echo requests one after the other, whatever comes back: what `ping` does not do below 10 ms. For guests.

argv: address (IPv4), interval in seconds, how many. Writes JSON: the numbers that were not answered, and the
longest time in seconds between two requests (a machine that is too busy to ask cannot tell what is lost).
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
import sys
import time

LAST_ANSWER_S = 5.0
_ECHO = struct.Struct("!BBHHH")


def request(ident: int, number: int) -> bytes:
    """An ICMP echo request (RFC 792)."""
    head = _ECHO.pack(8, 0, 0, ident, number)
    total = sum(struct.unpack("!4H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return _ECHO.pack(8, 0, ~total & 0xFFFF, ident, number)


def main() -> None:
    """Ask and count."""
    address, interval_s, count = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    raw.connect((address, 0))
    raw.setblocking(False)
    ready = selectors.DefaultSelector()
    ready.register(raw, selectors.EVENT_READ)
    ident = os.getpid() & 0xFFFF
    answered: set[int] = set()
    begun_s = time.monotonic()
    sent, last_s, longest_s = 0, begun_s, 0.0
    while sent < count or (len(answered) < count and time.monotonic() < last_s + LAST_ANSWER_S):
        # Not by a timetable: after a moment in which the machine stood still it would send all at once.
        due_s = last_s + interval_s
        now_s = time.monotonic()
        if sent < count and now_s >= due_s:
            raw.send(request(ident, sent))
            longest_s, last_s = max(longest_s, now_s - last_s), now_s
            sent += 1
            continue
        ready.select(max(0.0, due_s - now_s) if sent < count else 0.05)
        while True:
            try:
                packet = raw.recv(2048)
            except BlockingIOError:
                break
            head = packet[(packet[0] & 15) * 4 :][:8]
            if len(head) == 8 and (head[0], head[4:6]) == (0, struct.pack("!H", ident)):
                answered.add(struct.unpack("!H", head[6:])[0])
    print(json.dumps({"lost": sorted(set(range(count)) - answered), "longest_s": round(longest_s, 4)}))


if __name__ == "__main__":
    main()
