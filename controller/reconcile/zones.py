"""Whose connections a zone of the connection tracker holds. Pure.

The zone of a local port is its OpenFlow port. A zone tells connections apart by addresses and ports only, so
what it remembers of one owner would open the door to the next. Who the owner is is read off the flows that
admit the port's frames, in the switch as well as in what is desired: so a controller that starts anew, with
no memory of its own, knows which zones are still their owner's (and drops none of their connections) and
which ones it knows nothing about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from controller.compiler.cookies import CookieKind
from controller.compiler.pipeline import ADMISSION, CLAIMED, TABLES
from controller.compiler.registers import CLAIMED_IP, TO_PORT
from controller.flows import Flow, FlowKey

# One thing that an owner is admitted with: (cookie of the port) or (cookie, field, value, mask).
Claim = tuple[int] | tuple[int, str, int, int]
Owner = frozenset[Claim]

NOBODY: Owner = frozenset()
_ADMITTING = (ADMISSION.number, CLAIMED.number)
# A zone is that of the port a packet came from, or is for: only flows here say which that is.
_LEADING = frozenset({*_ADMITTING, *(table.number for table in TABLES if TO_PORT in table.writes)})
# Fields of a match, and of which source they speak.
_SOURCES = {name: name for name in ("eth_src", "ipv4_src", "ipv6_src")} | {CLAIMED_IP.field.name: "ipv4_src"}


def zone_of(flow: Flow) -> int | None:
    """Return the zone whose owner this flow says, None for one that lets in nothing of a local port's."""
    if flow.table not in _ADMITTING or flow.goto is None or flow.cookie >> 60 != CookieKind.PORT:
        return None
    return next((term.value for term in flow.match if term.field.name == "in_port"), None)


def leads_to_zones(key: FlowKey) -> bool:
    """Tell whether a flow of this key may decide in which zone a packet comes."""
    return key.table in _LEADING


def owner_of(flows: Iterable[Flow]) -> Owner:
    """Return whom these flows admit: which port, under which source addresses."""
    claims: set[Claim] = set()
    for flow in flows:
        claims.add((flow.cookie,))
        claims.update(
            (flow.cookie, _SOURCES[term.field.name], term.value, term.mask)
            for term in flow.match
            if term.field.name in _SOURCES
        )
    return frozenset(claims)


def cookies_of(owner: Owner) -> set[int]:
    """Return the cookies of an owner's flows."""
    return {claim[0] for claim in owner}


def may_keep(before: Owner, after: Owner) -> bool:
    """Tell whether the owner's connections may outlive the change.

    Yes if it is the same port and may use all the addresses it could use before: of the others it gets, it
    had no connections, as each time it lost some the zone was flushed.
    """
    return bool(before) and before <= after and cookies_of(before) == cookies_of(after)


class ZonedFlows:
    """Flows by key, of which those that say who owns a zone are found by the zone as well.

    meters, cookies: how many flows name each meter, or have each cookie.
    """

    def __init__(self, flows: Mapping[FlowKey, Flow] | None = None) -> None:
        self.flows: dict[FlowKey, Flow] = {}
        self.meters: Counter[int] = Counter()
        # Meters that flows have begun to name, or name no more; who has seen to that takes them out.
        self.moved_meters: set[int] = set()
        self.cookies: Counter[int] = Counter()
        self._by_zone: dict[int, tuple[Flow, ...]] = {}
        for key, flow in (flows or {}).items():
            self.put(key, flow)

    def put(self, key: FlowKey, flow: Flow) -> None:
        """Add a flow, in the place of another one of its key."""
        # (A key takes long to hash: it is looked up as seldom as can be.)
        before = self.flows.get(key)
        if before is not None:
            self._unlink(before)
        self.flows[key] = flow
        self.cookies[flow.cookie] += 1
        if flow.meter is not None:
            self.meters[flow.meter] += 1
            if self.meters[flow.meter] == 1:
                self.moved_meters.add(flow.meter)
        zone = zone_of(flow)
        if zone is not None:
            self._by_zone[zone] = (*self._by_zone.get(zone, ()), flow)

    def drop(self, key: FlowKey) -> None:
        """Take a flow out; nothing happens if it is not there."""
        flow = self.flows.pop(key, None)
        if flow is not None:
            self._unlink(flow)

    def _unlink(self, flow: Flow) -> None:
        self.cookies[flow.cookie] -= 1
        if not self.cookies[flow.cookie]:
            del self.cookies[flow.cookie]
        if flow.meter is not None:
            self.meters[flow.meter] -= 1
            if not self.meters[flow.meter]:
                del self.meters[flow.meter]
                self.moved_meters.add(flow.meter)
        zone = zone_of(flow)
        if zone is not None:
            others = tuple([other for other in self._by_zone.pop(zone) if other is not flow])
            if others:
                self._by_zone[zone] = others

    def owner(self, zone: int) -> Owner:
        """Return the owner of a zone, NOBODY if none is known."""
        return owner_of(self._by_zone.get(zone, ()))
