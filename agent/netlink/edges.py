"""The edges of this host in the kernel: namespaces, their legs, and what is in them; read, made so, removed.

Decides nothing (agent.plan does). Everything is ours by the names of the files and devices alone. What rules
were loaded is kept beside the namespace, so that a restarted agent knows whether they are still the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import suppress
from pathlib import Path

from agent.netlink import edge_wire, wire
from agent.netlink.announce import Announcer, frames
from agent.netlink.edge_room import HARMLESS, Room
from agent.netlink.links import hush
from agent.netlink.namespaces import Namespaces
from agent.netlink.requests import Requests
from agent.plan import (
    INSIDE,
    LEGS,
    OUTSIDE,
    SETTINGS,
    EdgeState,
    Leg,
    Standing,
    WantedEdge,
    edge_of_link,
    inside_link,
    outside_link,
)
from agent.plan.edge_rules import SHAPE
from cloison.addresses import IpAddress
from cloison.errors import Unavailable

_PORTS: dict[str, Callable[[int], str]] = {INSIDE: inside_link, OUTSIDE: outside_link}
_FAMILIES = (4, 6)


class EdgeKernel:
    """Works in the namespaces held in a directory; one task at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._namespaces = Namespaces(directory)
        self._host = Requests()
        self._announcer = Announcer()

    def close(self) -> None:
        """Close the sockets and say no more; nothing in the kernel changes."""
        self._announcer.close()
        self._host.close()

    async def numbers(self) -> set[int]:
        """Return the edges of which there is anything here; raises Unavailable."""
        found = self._namespaces.numbers()
        async for bodies in self._host.dump(wire.link_dump()):
            for body in bodies:
                number = edge_of_link(edge_wire.device(body).name)
                if number is not None:
                    found.add(number)
        return found

    async def ports(self, number: int) -> dict[str, int]:
        """Return the indexes of an edge's devices on the host by leg; raises Unavailable."""
        return {leg: device.ifindex for leg, device in (await self._host_ends(number)).items()}

    async def read(self, number: int) -> EdgeState:
        """Return what there is of an edge; raises Unavailable."""
        netns = self._namespaces.open(number)
        if netns is None:
            return EdgeState()
        async with Room(netns) as room:
            return await self._read(number, room)

    async def apply(self, wanted: WantedEdge, actual: EdgeState) -> tuple[EdgeState, list[str]]:
        """Make an edge what is wanted, from what was read of it; return what is there then, and what was
        refused.

        Raises Unavailable with the kernel's words.
        """
        number = wanted.edge.number
        if not wanted.edge.active:
            self._announcer.end(number)
        netns = self._namespaces.open(number)
        if netns is None:
            await self._namespaces.make(number)
            netns = self._namespaces.open(number)
        if netns is None:
            raise Unavailable("the namespace is gone as soon as it was made")
        async with Room(netns) as room:
            await self._legs(wanted, room)
            if actual.rules != wanted.state.rules:
                await self._rules(wanted, room)
            refused = await self._settle(wanted, actual, room)
            after = await self._read(number, room)
            await self._announce(wanted, actual, after, room)
        return after, refused

    async def announce(self, wanted: WantedEdge) -> None:
        """Tell the link outside where the addresses of an active edge are; raises Unavailable."""
        netns = self._namespaces.open(wanted.edge.number)
        if netns is None:
            raise Unavailable("the namespace is gone")
        async with Room(netns) as room:
            await self._say(wanted, room, wanted.edge.answered)

    async def _say(self, wanted: WantedEdge, room: Room, addresses: Iterable[IpAddress]) -> None:
        said = frames(wanted.edge.outside_mac, addresses)
        if said:
            self._announcer.begin(wanted.edge.number, await room.socket_on(OUTSIDE), said)

    async def remove(self, number: int) -> None:
        """Take away all there is of an edge; raises Unavailable."""
        self._announcer.end(number)
        ends = (await self._host_ends(number)).values()
        await self._host_batch([edge_wire.delete_link(end.ifindex) for end in ends])
        await self._namespaces.remove(number)
        self._memory(number).unlink(missing_ok=True)

    async def _host_ends(self, number: int) -> dict[str, edge_wire.Device]:
        names = {port(number): leg for leg, port in _PORTS.items()}
        _, answers = await self._host.batch([wire.link_get(name) for name in names])
        devices = [edge_wire.device(body) for body in answers]
        return {names[device.name]: device for device in devices if device.name in names}

    async def _host_batch(self, requests: list[bytes]) -> None:
        refusals, _ = await self._host.batch(requests)
        for refusal in refusals:
            if refusal.errno not in HARMLESS:
                raise Unavailable(f"devices on the host: {refusal}")

    async def _read(self, number: int, room: Room) -> EdgeState:
        devices, ends = await room.legs(), await self._host_ends(number)
        by_index = {device.ifindex: device.name for device in devices.values()}
        settings, finished, listing = await room.look(SETTINGS)
        legs = {}
        for name, device in devices.items():
            end = ends.get(name)
            if end is not None and _is_pair(end, device):
                finishes = finished.get(name, False)
                legs[name] = Leg(device.mac, device.mtu, device.up, finishes, end.mtu, end.up)
        routes = [
            edge_wire.route(b, by_index) for v in _FAMILIES for b in await room.dump(edge_wire.dump_routes(v))
        ]
        near = [
            edge_wire.neighbour(b, by_index)
            for v in _FAMILIES
            for b in await room.dump(edge_wire.dump_neighbours(v))
        ]
        addresses = [edge_wire.address(b, by_index) for b in await room.dump(edge_wire.dump_addresses())]
        return EdgeState(
            legs=legs,
            addresses=frozenset(filter(None, addresses)),
            routes=frozenset(filter(None, routes)),
            neighbours=frozenset(filter(None, near)),
            settings=settings,
            rules=self._loaded(number, listing),
        )

    async def _legs(self, wanted: WantedEdge, room: Room) -> None:
        """Make the pairs of devices that are not there, or are not one pair."""
        number, made = wanted.edge.number, False
        devices, ends = await room.legs(), await self._host_ends(number)
        for name in LEGS:
            device, end, leg = devices.get(name), ends.get(name), wanted.state.legs[name]
            if device is not None and end is not None and _is_pair(end, device):
                continue
            if end is not None and end.kind != "veth":
                raise Unavailable(f"{end.name} is the name of a device that is not a veth")
            if not made:
                made = True
                general = {key: value for key, value in SETTINGS.items() if not _is_of_leg(key)}
                await room.set_up(general, {})
            await self._host_batch([edge_wire.delete_link(end.ifindex)] if end is not None else [])
            if device is not None:
                await room.carry_out([edge_wire.delete_link(device.ifindex)])
            port = _PORTS[name](number)
            await self._host_batch([edge_wire.new_pair(port, leg.mtu, room.netns, name, leg.mac)])
            hush(port)

    async def _settle(self, wanted: WantedEdge, actual: EdgeState, room: Room) -> list[str]:
        """Change what differs, the outside down first where it is to be silent; return what was refused."""
        want, devices = wanted.state, await room.legs()
        ends = await self._host_ends(wanted.edge.number)
        index = {name: device.ifindex for name, device in devices.items()}
        finish, requests, on_host, lost = {}, [], [], set()
        for name, leg in want.legs.items():
            if actual.legs.get(name) == leg or name not in index or name not in ends:
                continue
            lost.add(name)
            finish[name] = leg.finished
            requests.append(edge_wire.set_link(index[name], mac=leg.mac, mtu=leg.mtu, up=leg.up))
            on_host.append(edge_wire.set_link(ends[name].ifindex, mtu=leg.port_mtu, up=True))
        settings = {k: v for k, v in want.settings.items() if actual.settings.get(k) != v}
        if settings or finish:
            await room.set_up(settings, finish)
        await self._host_batch(on_host)
        return await room.carry_out([*requests, *_changes(wanted, actual, index, lost)])

    async def _rules(self, wanted: WantedEdge, room: Room) -> None:
        number = wanted.edge.number
        _, _, before = await room.look({})
        known = bool(self._loaded(number, before))
        # Whoever knows what is there exchanges the rules in their chains; else all goes, whoever put it
        # there.
        try:
            listing = await room.load(wanted.rules, anew=not known)
        except Unavailable:
            if not known:
                raise
            listing = await room.load(wanted.rules, anew=True)
        await room.forget_connections(Standing(wanted.edge))
        self._memory(number).write_text(f"{wanted.state.rules} {listing} {SHAPE}\n")

    async def _announce(self, wanted: WantedEdge, before: EdgeState, after: EdgeState, room: Room) -> None:
        """Tell the link which addresses are answered for here since now."""
        if not wanted.edge.active or OUTSIDE not in after.legs:
            return
        was_up = OUTSIDE in before.legs and before.legs[OUTSIDE].up
        known = {a.address for a in before.addresses if a.leg == OUTSIDE} if was_up else set()
        fresh = {a.address for a in after.addresses if a.leg == OUTSIDE} - known
        await self._say(wanted, room, [a for a in wanted.edge.answered if a in fresh])

    def _memory(self, number: int) -> Path:
        return self._directory / f"e{number}.rules"

    def _loaded(self, number: int, listing: str) -> str:
        """Return the digest of the rules that were loaded, '' unless they are still what is listed."""
        with suppress(OSError, ValueError):
            rules, listed, shape = self._memory(number).read_text().split()
            if (listed, shape) == (listing, SHAPE):
                return rules
        return ""


def _changes(
    wanted: WantedEdge, actual: EdgeState, index: Mapping[str, int], lost: Set[str]
) -> Iterator[bytes]:
    """Yield the changes of what is on the legs, by index.

    lost: those that may have lost what was read of them.
    """
    want = wanted.state
    for route in actual.routes - want.routes:
        yield edge_wire.delete_route(route, index.get(route.leg, 0))
    for near in actual.neighbours - want.neighbours:
        yield edge_wire.delete_neighbour(near, index.get(near.leg, 0))
    for address in actual.addresses - want.addresses:
        yield edge_wire.delete_address(address, index.get(address.leg, 0))
    # The router's own addresses come first: under the first one of a device the edge speaks itself.
    floating = {pair.address for pair in wanted.edge.floating}
    for address in sorted(want.addresses, key=lambda at: (at.address in floating, str(at.address))):
        if address not in actual.addresses or address.leg in lost:
            yield edge_wire.put_address(address, index.get(address.leg, 0))
    for near in want.neighbours:
        if near not in actual.neighbours or near.leg in lost:
            yield edge_wire.put_neighbour(near, index.get(near.leg, 0))
    for route in want.routes:
        if route not in actual.routes or route.leg in lost:
            yield edge_wire.put_route(route, index.get(route.leg, 0))


def _is_pair(end: edge_wire.Device, device: edge_wire.Device) -> bool:
    return end.kind == "veth" and end.peer == device.ifindex and device.peer == end.ifindex


def _is_of_leg(key: str) -> bool:
    return any(f"/{leg}/" in key for leg in LEGS)
