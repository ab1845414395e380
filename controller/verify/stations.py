"""Contracts of the stages that are the same for all: tracking, delivery, the overlay, the local services.

Each says what its table owes whatever frame comes to it, with whatever is in the registers: so they need to
be proved once for each content of the tables (known.py). What connection tracking says is any connection at
all; that the packet has something to do with it is not even needed. Zones are not spoken of here: a flow
that uses another one than its table's is not understood (grammar.py). The sender's zone is the one of
in_port, the receiver's the one of TO_PORT; OpenFlow ports belong to one object each, so nobody else writes
there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

from cloison.addresses import HOST_PREFIX, WIRE4_PREFIX, WIRE6_PREFIX
from controller.verify import semantics
from controller.verify.contracts import ANYTHING, same_header
from controller.verify.explore import Question, explore
from controller.verify.frame import Frame
from controller.verify.packet import (
    CT_MASK,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    FIELD_MASKS,
    HEADER_MASK,
    NEW,
    OFFSETS,
    REPLY,
    WIDTHS,
    Cube,
    cube,
)
from controller.verify.packet import (
    TRACKED as CT_TRACKED,
)
from controller.verify.policy import PROFILE_OPEN
from controller.verify.space import Region, member
from controller.verify.stages import (
    ABROAD_AS,
    ABROAD_BIT,
    ABROAD_TO,
    ADDRESSING,
    COMMIT,
    DELIVER,
    DIRECTION,
    EGRESS,
    ETHERNET_BYTES,
    EXIT,
    FORWARD,
    FROM_PORT,
    FROM_PROFILE,
    FROM_SERVICE,
    INITIATOR,
    METER,
    OPENING,
    ORIGIN,
    OUTPUT,
    OVERSIZE_BIT,
    RESPONDER,
    SERVICE,
    SOURCE,
    TAG,
    TAG_PREFIX,
    TENANT,
    TO_PORT,
    TO_PORT_BITS,
    TO_PROFILE,
    TO_SERVICE_PREFIX,
    TRACK,
    TRACKED,
)
from controller.verify.symbolic import Bridge, Leaf

_SRC, _DST = OFFSETS["eth_src"], OFFSETS["eth_dst"]
_ADDRESS_BITS = 32
HOST_MACS = (HOST_PREFIX << 32, 0xFFFF << 32)
_OVERSIZE_AT = OFFSETS[ORIGIN] + OVERSIZE_BIT
STATIC_TABLES = (TRACK, TRACKED, DELIVER, DIRECTION, COMMIT, SOURCE, TAG, OUTPUT)
HOST_TABLES = (EXIT, SERVICE)
Check = Callable[[Leaf, object], bool]


def content(bridge: Bridge, tables: Iterable[int]) -> Hashable:
    """Return all that some tables do, as a value."""
    return tuple(bridge.tables[number].content if number in bridge.tables else None for number in tables)


def broken_station(bridge: Bridge) -> str:
    """Return what is wrong with the tables that are the same on every host; "" if nothing is."""
    for holds, what in (
        (_track, "a packet is not looked up in its sender's zone, or goes on though it is invalid"),
        (_deliver, "what is for a port of this host is not judged, or judged although it needs not be"),
        (_direction, "who opened a connection is not told right"),
        (_commit, "a connection that was admitted is not remembered in its receiver's zone"),
        (_source, "the source MAC is not made from the source address"),
        (_tag, "the sender's profile does not travel with the frame"),
        (_output, "a frame does not leave by the port that was chosen"),
    ):
        if not holds(bridge):
            return what
    return ""


def _all(bridge: Bridge, start: Frame, table: int, ask: Callable[[Question], object], check: Check) -> bool:
    """Tell whether every part of a frame that comes to a table ends, at the next stop, as it should."""
    for leaf in bridge.run(start, table, stop_at=table + 1):
        for region, answer in explore(leaf.region, ask):
            if not check(_narrowed(leaf, region), answer) and member(region) is not None:
                return False
    return True


def _narrowed(leaf: Leaf, region: Region) -> Leaf:
    if leaf.stopped is None:
        return leaf._replace(region=region)
    table, frame = leaf.stopped
    return leaf._replace(region=region, stopped=(table, frame._replace(region=region)))


def _ends(leaf: Leaf, table: object, *, asks: bool = False, writes: int = 0) -> bool:
    """Tell whether a leaf stops at a table (None: is dropped), having written no more than some bits.

    asks: whether it asks connection tracking, or tells it.
    """
    if leaf.sent or leaf.stopped is None:
        return table is None and not leaf.sent
    tracks = any(rule.does("ct") for rule in leaf.rules)
    return leaf.stopped[0] == table and tracks == asks and leaf.stopped[1].written | writes == writes


def _track(bridge: Bridge) -> bool:
    for kind in (ETH_IPV4, ETH_IPV6):
        packets = Frame(Region(*cube(eth_type=kind)))
        asked = _all(bridge, packets, TRACK, lambda _: OPENING, lambda leaf, to: _ends(leaf, to, asks=True))
        if not asked or not _remembers(bridge, TRACKED, ADDRESSING, kind):
            return False
    return True


def _commit(bridge: Bridge) -> bool:
    stays = cube(**{ORIGIN: (0, 1 << ABROAD_BIT)})
    return all(
        _remembers(bridge, COMMIT, SOURCE, kind, stays) and _crosses(bridge, kind)
        for kind in (ETH_IPV4, ETH_IPV6)
    )


def _crosses(bridge: Bridge, kind: int) -> bool:
    """Tell whether what is abroad goes to FORWARD once, unchanged, as what the other tenant knows it as."""
    at = OFFSETS[ORIGIN] + ABROAD_BIT
    abroad = {ORIGIN: (1 << ABROAD_BIT, 1 << ABROAD_BIT)}
    start = Frame(Region(*cube(eth_type=kind, **abroad)))
    wanted = start.copy(OFFSETS[ABROAD_AS], OFFSETS[FROM_PROFILE], WIDTHS[FROM_PROFILE])
    wanted = wanted.copy(OFFSETS[ABROAD_TO], OFFSETS[TENANT], WIDTHS[TENANT]).write(at, 1, 0)
    for leaf in bridge.run(start, COMMIT, stop_at=COMMIT + 1):
        once = leaf.stopped is None and not leaf.sent and len(leaf.copies) == 1
        asks = any(rule.does("ct") for rule in leaf.rules)
        good = once and not asks and leaf.copies[0][0] == FORWARD and _same(leaf.copies[0][1], wanted)
        if not good and member(leaf.region) is not None:
            return False
    return True


def _same(frame: Frame, wanted: Frame) -> bool:
    """Tell whether two frames are written alike: who sent it for whom, and that it is not abroad any more."""
    origins = all(frame.origins(name) == wanted.origins(name) for name in (FROM_PROFILE, TENANT))
    home = frame.bits(OFFSETS[ORIGIN] + ABROAD_BIT, 1) == 0
    return frame.written == wanted.written and origins and home and frame.aged == wanted.aged


def _remembers(bridge: Bridge, table: int, onward: int, kind: int, only: Cube = (0, 0)) -> bool:
    """Tell whether a table tells connection tracking of what is new, and drops what is invalid.

    Not what a port without port security sends: that goes on, and tracking is not told of it. only: of the
    frames in these.
    """

    def ask(seen: Question) -> tuple[int | None, bool] | None:
        if not semantics.invalid(seen):
            return onward, seen.has("ct_state", NEW, NEW)
        # Nothing invalid comes to COMMIT; there it may do what it likes.
        return None if table == COMMIT else (onward if seen.has(FROM_PROFILE, PROFILE_OPEN) else None, False)

    def check(leaf: Leaf, wanted: object) -> bool:
        return not isinstance(wanted, tuple) or _ends(leaf, wanted[0], asks=wanted[1], writes=CT_MASK)

    value, mask = cube(eth_type=kind, ct_state=(CT_TRACKED, CT_TRACKED))
    packets = Frame(Region(value | only[0], mask | only[1]))
    return _all(bridge, packets, table, ask, check)


def _deliver(bridge: Bridge) -> bool:
    def ask(seen: Question) -> int | None:
        if seen.has(ORIGIN, FROM_SERVICE, FROM_SERVICE):
            return OUTPUT
        if seen.has("eth_type", ETH_ARP) or semantics.discovery(seen):
            return OUTPUT
        if semantics.listening(seen):
            return SOURCE
        takes_all = seen.has(TO_PROFILE, PROFILE_OPEN)
        if semantics.tracked(seen):
            return SOURCE if takes_all and seen.has(FROM_PROFILE, PROFILE_OPEN) else DIRECTION
        return SOURCE if takes_all else None

    return _all(bridge, Frame(ANYTHING), DELIVER, ask, lambda leaf, to: _ends(leaf, to, asks=to == DIRECTION))


_ENDS = FIELD_MASKS[INITIATOR] | FIELD_MASKS[RESPONDER]


def _direction(bridge: Bridge) -> bool:
    def ask(seen: Question) -> str:
        if semantics.invalid(seen):
            return "passes" if seen.has(TO_PROFILE, PROFILE_OPEN) else "is dropped"
        return "replies" if seen.has("ct_state", REPLY, REPLY) else "opens"

    def check(leaf: Leaf, verdict: object) -> bool:
        if verdict in ("passes", "is dropped"):
            return _ends(leaf, SOURCE if verdict == "passes" else None)
        if not _ends(leaf, EGRESS, writes=_ENDS) or leaf.stopped is None:
            return False
        ends = (TO_PROFILE, FROM_PROFILE) if verdict == "replies" else (FROM_PROFILE, TO_PROFILE)
        frame = leaf.stopped[1]
        return all(_is_copy(frame, *pair) for pair in zip((INITIATOR, RESPONDER), ends, strict=True))

    packets = Frame(Region(*cube(ct_state=(CT_TRACKED, CT_TRACKED))))
    return _all(bridge, packets, DIRECTION, ask, check)


def _is_copy(frame: Frame, name: str, of: str) -> bool:
    return frame.origins(name) == {OFFSETS[name] + n: OFFSETS[of] + n for n in range(WIDTHS[name])}


def _source(bridge: Bridge) -> bool:
    wires = {ETH_IPV4: (WIRE4_PREFIX, "ipv4_src"), ETH_IPV6: (WIRE6_PREFIX, "ipv6_src")}

    def ask(seen: Question) -> int | None:
        return next((kind for kind in wires if seen.has("eth_type", kind)), None)

    def check(leaf: Leaf, kind: object) -> bool:
        start = Frame(leaf.region)
        if isinstance(kind, int):
            prefix, address = wires[kind]
            start = start.copy(OFFSETS[address], _SRC, _ADDRESS_BITS).write(_SRC + _ADDRESS_BITS, 16, prefix)
        return _same_at(leaf, OUTPUT, start)

    return _all(bridge, Frame(ANYTHING), SOURCE, ask, check)


def _tag(bridge: Bridge) -> bool:
    def ask(seen: Question) -> int | None:
        if not seen.has(ORIGIN, 1 << OVERSIZE_BIT, 1 << OVERSIZE_BIT):
            return OUTPUT
        # What is for a group is not answered (RFC 1122, section 3.2.2).
        return None if seen.has("eth_dst", *HOST_MACS) else METER

    def check(leaf: Leaf, to: object) -> bool:
        start = Frame(leaf.region)
        if to is None:
            return _ends(leaf, None)
        if to == METER:
            return _same_at(leaf, METER, start)
        tagged = start.copy(OFFSETS[FROM_PROFILE], _SRC, _ADDRESS_BITS)
        return _same_at(leaf, OUTPUT, tagged.write(_SRC + _ADDRESS_BITS, 16, TAG_PREFIX))

    return _all(bridge, Frame(ANYTHING), TAG, ask, check)


def _same_at(leaf: Leaf, table: int, wanted: Frame) -> bool:
    """Tell whether a leaf stops at a table with such a header; nothing but the header was written."""
    stopped = leaf.stopped
    return _ends(leaf, table, writes=HEADER_MASK) and stopped is not None and same_header(stopped[1], wanted)


def _output(bridge: Bridge) -> bool:
    chosen = (("output-field", OFFSETS[TO_PORT], TO_PORT_BITS, 0),)
    return all(
        (rule is not None and rule.steps == chosen and rule.onward is None) or member(part.region) is None
        for rule, part in bridge.lookup(OUTPUT, Frame(ANYTHING))
    )


def broken_host_station(bridge: Bridge, mtu: int, service_ofport: int | None) -> str:
    """Return what is wrong with the tables that depend on the host alone; "" if nothing is."""
    if not _exits(bridge, mtu):
        return "what leaves for the overlay is not measured, or not sent as it is"
    if not _serves(bridge, service_ofport):
        return "the local services are not told who asks, or somebody else is"
    return ""


def _exits(bridge: Bridge, mtu: int) -> bool:
    """Tell whether EXIT measures IP packets by the MTU, and nothing leaves as long as that is not known."""
    measured = ("longer", mtu + ETHERNET_BYTES, _OVERSIZE_AT, 0)

    def check(leaf: Leaf, tracked: object) -> bool:
        if not mtu:
            return _ends(leaf, None)
        if not tracked:
            return _ends(leaf, OUTPUT)
        once = [step for rule in leaf.rules for step in rule.steps] == [measured]
        return once and _ends(leaf, TAG, writes=1 << _OVERSIZE_AT)

    return _all(bridge, Frame(ANYTHING), EXIT, semantics.internet, check)


def _serves(bridge: Bridge, ofport: int | None) -> bool:
    asker = Frame(ANYTHING).copy(OFFSETS[FROM_PORT], _DST, _ADDRESS_BITS)
    wanted = asker.write(_DST + _ADDRESS_BITS, 16, TO_SERVICE_PREFIX)
    for leaf in bridge.run(Frame(ANYTHING), SERVICE):
        if ofport is None:
            good = not leaf.sent
        else:
            good = len(leaf.sent) == 1 and leaf.sent[0][0] == ofport
            good = good and same_header(leaf.sent[0][1], wanted._replace(region=leaf.region))
        if not good and member(leaf.region) is not None:
            return False
    return True
