"""A range of port numbers as the fewest (value, mask) pairs that match exactly it.

1000 to 1999 is 1000/0xfff8, 1008/0xfff0, 1024/0xfe00, 1536/0xff00, 1792/0xff80, 1920/0xffc0, 1984/0xfff0.
"""

from __future__ import annotations

PORT_BITS = 16
PORT_MAX = (1 << PORT_BITS) - 1


def masked(low: int, high: int) -> tuple[tuple[int, int], ...]:
    """Return the (value, mask) pairs for low..high, both included; at most 30.

    Raises ValueError if it is no range of 16-bit numbers.
    """
    if not 0 <= low <= high <= PORT_MAX:
        raise ValueError(f"{low} to {high} is no range of ports")
    pairs = []
    while low <= high:
        size = low & -low or PORT_MAX + 1
        while low + size - 1 > high:
            size >>= 1
        pairs.append((low, PORT_MAX & ~(size - 1)))
        low += size
    return tuple(pairs)
