"""What two halves of a peering come to: which networks they join, or what is missing. Pure.

A function of the state alone. A half is held against its own router and the other halves there, and against
the one half that answers it. Fail closed: whatever does not fit, nothing is joined.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from cloison.addresses import IpNetwork, is_within
from cloison.model import Network, Peering, Router, Subnet
from cloison.names import NetworkName, RouterName, SubnetName


class Known(Protocol):
    """What of a state this looks at."""

    @property
    def routers(self) -> Mapping[RouterName, Router]:
        """All routers."""

    @property
    def subnets(self) -> Mapping[SubnetName, Subnet]:
        """All subnets."""

    @property
    def networks(self) -> Mapping[NetworkName, Network]:
        """All networks."""

    def peerings_at(self, router: RouterName) -> tuple[Peering, ...]:
        """Return the peerings whose own router this is."""


class Placed(NamedTuple):
    """A prefix of a peering, and the network of the subnet that it is in."""

    prefix: IpNetwork
    network: NetworkName


class Link(NamedTuple):
    """Two halves that accept each other, seen from one of them."""

    own: Peering
    peer: Peering
    here: tuple[Placed, ...]
    there: tuple[Placed, ...]


class Lack(NamedTuple):
    """Why a half joins nothing: a stable word, and a sentence."""

    reason: str
    message: str


def link_of(state: Known, peering: Peering) -> Link | Lack:
    """Return what a half and the one that answers it come to."""
    answers = [p for p in state.peerings_at(peering.peer_router) if p.peer_router == peering.router]
    if len(answers) != 1:
        return Lack(
            "PEER_NOT_ACCEPTED",
            f"{peering.peer_router} has not accepted: its tenant has no peering that names {peering.router}",
        )
    peer = answers[0]
    own_lack, here = _half(state, peering)
    if own_lack is not None:
        return own_lack
    peer_lack, there = _half(state, peer)
    if peer_lack is not None:
        return Lack("PEER_NOT_READY", f"the side of {peer.router} is not ready: its tenant sees why")
    if not _all_within(peer.prefixes, peering.peer_prefixes):
        said = "lists prefixes that are not within peer_prefixes"
        return Lack("PEER_PREFIXES_NOT_ACCEPTED", f"the side of {peer.router} {said}")
    if not _all_within(peering.prefixes, peer.peer_prefixes):
        return Lack(
            "PREFIXES_NOT_ACCEPTED",
            f"the side of {peer.router} does not accept all of prefixes: they must be in its peer_prefixes",
        )
    return Link(peering, peer, here, there)


def links_at(state: Known, router: RouterName) -> Iterator[Link]:
    """Yield the peerings in effect of a router, in the order of their names."""
    for peering in sorted(state.peerings_at(router), key=lambda p: p.name):
        found = link_of(state, peering)
        if isinstance(found, Link):
            yield found


def peered_networks(state: Known, router: Router, network: NetworkName) -> set[NetworkName]:
    """Return the networks of other tenants that a router joins with one of its own."""
    return {
        other.network
        for link in links_at(state, router.name)
        if any(own.network == network for own in link.here)
        for other in link.there
    }


def overlapping(state: Known, router: Router, peering: Peering) -> Iterator[tuple[IpNetwork, str]]:
    """Yield (prefix, what it is at odds with) for what a half may not accept from the other side."""
    for prefix in peering.peer_prefixes:
        for interface in router.interfaces:
            subnet = state.subnets.get(interface.subnet)
            if subnet is not None and prefix.overlaps(subnet.cidr):
                yield prefix, f"{subnet.cidr} of {subnet.name}, to which {router.name} is connected"
        for route in router.routes:
            # A shorter one, such as a default route, leads where the peering does not.
            if is_within(route.destination, prefix):
                yield prefix, f"the route to {route.destination} of {router.name}"
        for other in state.peerings_at(router.name):
            if other.name != peering.name:
                for range_ in other.peer_prefixes:
                    if prefix.overlaps(range_):
                        yield prefix, f"{range_}, which {other.name} accepts"


def place(state: Known, router: Router, prefix: IpNetwork) -> Placed | None:
    """Return where a prefix of the own side is, None if it is in no subnet of the router."""
    for interface in router.interfaces:
        subnet = state.subnets.get(interface.subnet)
        if (
            subnet is not None
            and is_within(prefix, subnet.cidr)
            and interface.subnet.parent in state.networks
        ):
            return Placed(prefix, interface.subnet.parent)
    return None


def _half(state: Known, peering: Peering) -> tuple[Lack | None, tuple[Placed, ...]]:
    router = state.routers.get(peering.router)
    if router is None:
        return Lack("NO_ROUTER", f"{peering.router} is not there"), ()
    twins = [p for p in state.peerings_at(router.name) if p.peer_router == peering.peer_router]
    if len(twins) > 1:
        names = ", ".join(str(p.name) for p in sorted(twins, key=lambda p: p.name))
        return Lack("AMBIGUOUS", f"more than one peering with {peering.peer_router}: {names}"), ()
    odds = next(overlapping(state, router, peering), None)
    if odds is not None:
        return Lack("OVERLAP", f"peer_prefixes has {odds[0]}, which overlaps {odds[1]}"), ()
    placed = [(prefix, place(state, router, prefix)) for prefix in peering.prefixes]
    lost = [prefix for prefix, at in placed if at is None]
    if lost:
        said = f"{lost[0]} of prefixes is within no subnet of an interface of {router.name}"
        return Lack("PREFIX_NOT_CONNECTED", said), ()
    return None, tuple(at for _, at in placed if at is not None)


def _all_within(prefixes: Iterable[IpNetwork], ranges: Iterable[IpNetwork]) -> bool:
    known = tuple(ranges)
    return all(any(is_within(prefix, range_) for range_ in known) for prefix in prefixes)
