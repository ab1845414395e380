"""The connection-tracking state of a packet, as bits and as ovs-ofctl writes it. Pure.

Source: ovs-fields(7), "Connection Tracking Fields". Whoever names one of these bits names it from here.
"""

from __future__ import annotations

import re

CT_STATE: dict[str, int] = {
    "new": 0x01,
    "est": 0x02,
    "rel": 0x04,
    "rpl": 0x08,
    "inv": 0x10,
    "trk": 0x20,
    "snat": 0x40,
    "dnat": 0x80,
}
CT_STATE_BITS = sum(CT_STATE.values())
_FLAGS = re.compile(r"(?:[+-][a-z]+)+")
_FLAG = re.compile(r"([+-])([a-z]+)")
# A packet with one of these has a connection (or begins one), so it is not invalid.
_VALID = CT_STATE["new"] | CT_STATE["est"] | CT_STATE["rel"] | CT_STATE["rpl"]


def ct_state(flags: str) -> tuple[int, int]:
    """'+trk-inv' -> (value, mask) for match(ct_state=...).

    Raises ValueError if it is not a list of signed names of CT_STATE, each once.
    """
    if not _FLAGS.fullmatch(flags):
        raise ValueError(f"not a list of signed flags: {flags!r}")
    value = mask = 0
    for sign, name in _FLAG.findall(flags):
        bit = CT_STATE.get(name)
        if bit is None or mask & bit:
            raise ValueError(f"{name!r} in {flags!r} is unknown or named twice")
        mask |= bit
        value |= bit if sign == "+" else 0
    return value, mask


def ct_state_text(value: int, mask: int) -> str:
    """(value, mask) -> '+trk-inv': as ovs-ofctl takes it, set bits first."""
    plus = "".join(f"+{name}" for name, bit in CT_STATE.items() if value & mask & bit)
    return plus + "".join(f"-{name}" for name, bit in CT_STATE.items() if mask & bit and not value & bit)


def has_connection(value: int, mask: int) -> bool:
    """Tell whether a match on the state lets only packets through that have a connection's original tuple.

    Open vSwitch asks for it (is_ct_valid() in lib/flow.h); tracked alone is not enough, as an invalid packet
    is tracked and has none.
    """
    tracked = bool(value & mask & CT_STATE["trk"])
    not_invalid = bool(mask & CT_STATE["inv"] and not value & CT_STATE["inv"])
    return tracked and (not_invalid or bool(value & mask & _VALID))
