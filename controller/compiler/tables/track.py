"""TRACK (7) and TRACKED (9): the connections of the port that sent the packet.

Each port has a zone of its own, its ofport: no two ports share a connection, whatever addresses they use. The
sender's zone knows every connection that its port opened before the packet gets anywhere, so that replies are
known as replies. What the tracker finds invalid is dropped, but not from a port without port security: it may
route what it has seen only half of. It is tracked all the same, for what others reply to it.

The first packet of `ssh 10.0.0.6`: TRACK -> new -> OPENING -> remembered -> ADDRESSING. The following ones:
established.
"""

from __future__ import annotations

from collections.abc import Iterator

from cloison.model import PROFILE_OPEN
from controller.compiler.cookies import STATIC
from controller.compiler.headers import ETH_IPV4, ETH_IPV6
from controller.compiler.pipeline import ADDRESSING, OPENING, TRACK, TRACKED
from controller.compiler.registers import FROM_PROFILE
from controller.flows import Flow, ct_state, match

LOOK_UP = 100
UNCHECKED = 310
INVALID = 300
NEW = 200
KNOWN = 100


def static_flows() -> Iterator[Flow]:
    """All of both tables: the zone is the port that the packet came in by."""
    for eth_type in (ETH_IPV4, ETH_IPV6):
        yield TRACK.flow(LOOK_UP, match(eth_type=eth_type), TRACK.track(OPENING), cookie=STATIC)
        new = match(eth_type=eth_type, ct_state=ct_state("+new+trk-inv"))
        yield TRACKED.flow(NEW, new, TRACKED.commit(), goto=ADDRESSING, cookie=STATIC)
    unchecked = match(**FROM_PROFILE.equals(PROFILE_OPEN), ct_state=ct_state("+inv+trk"))
    yield TRACKED.flow(UNCHECKED, unchecked, goto=ADDRESSING, cookie=STATIC)
    yield TRACKED.flow(INVALID, match(ct_state=ct_state("+inv+trk")), cookie=STATIC)
    yield TRACKED.flow(KNOWN, match(ct_state=ct_state("+trk-inv")), goto=ADDRESSING, cookie=STATIC)
