"""From contracts that do not hold to violations: asks the judge about the packets concerned. Pure.

Each packet it finds is sent through the concrete path once more, which gives the way table by table, and is
the check on the symbolic engine itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import replace
from itertools import islice

from cloison.names import HostName, NetworkName
from controller.verify import admission
from controller.verify.accuser import Accuser
from controller.verify.budget import MORE_STEPS, WALK_STEPS, Budget, Exhausted
from controller.verify.exact import apart
from controller.verify.frame import Frame, entering
from controller.verify.grammar import Refused
from controller.verify.holding import Held
from controller.verify.intent import NetworkIntent, PortIntent
from controller.verify.losses import Losses
from controller.verify.metering import unmetered
from controller.verify.packet import FIELD_MASKS, OFFSETS, WIDTHS, Packet, cube
from controller.verify.path import Fabric
from controller.verify.policing import Difference
from controller.verify.policy import PROFILE_OPEN
from controller.verify.shapes import PACKETS
from controller.verify.space import Region, member, within
from controller.verify.stages import FROM_PROFILE
from controller.verify.symbolic import Undefined
from controller.verify.violation import (
    BLACKHOLE,
    REFLECTION,
    STAGE,
    UNDEFINED,
    UNPROVED,
    Violation,
)
from controller.verify.witness import Witness, starts_of
from controller.verify.world import World

VIOLATIONS_MAX = 20
# How many senders are asked about a table that is the same for all.
STATION_SENDERS_MAX = 3
# How many packets out of the overlay are looked at for one that shows what it does.
REFLECTIONS_MAX = 128
Sender = tuple[HostName, int]


class Findings:
    """Packets to be judged, each sender and each packet once."""

    def __init__(self, world: World, hosts: Mapping[HostName, Held], budget: Budget | None = None) -> None:
        self._world = world
        self._hosts = hosts
        self._budget = budget or Budget()
        self._witness = Witness(world, hosts, self._budget)
        # Destination MACs in question by sender, None for all packets.
        self._senders: dict[Sender, set[int] | None] = {}
        self._overlays: dict[tuple[HostName, NetworkName], NetworkIntent] = {}
        self._strangers: set[HostName] = set()
        self._stations: dict[HostName, str] = {}
        self._meters: list[tuple[PortIntent, str]] = []
        self._policies: dict[tuple[HostName, str], list[Difference | Refused]] = {}
        self.losses = Losses(world, self._witness, self._budget)

    def entry(self, host: HostName, ofport: int) -> None:
        """All packets that enter by one OpenFlow port are in question."""
        network = self._world.by_tunnel.get((host, ofport))
        if network is not None:
            self.network(host, network, None)
        else:
            self._senders[host, ofport] = None

    def strangers(self, host: HostName) -> None:
        """Packets that enter by OpenFlow ports which nothing is known to have are in question."""
        self._strangers.add(host)

    def station(self, host: HostName, wrong: str) -> None:
        """A table that is the same for all does not do what it should."""
        self._stations[host] = wrong

    def meter(self, port: PortIntent, what: str) -> None:
        """Some of what a port sends does not go through its meter as it should."""
        self._meters.append((port, what))

    def policy(self, host: HostName, tenant: str, wrong: Difference | Refused) -> None:
        """A tenant's connections are not judged on a host as its security groups mean."""
        self._policies.setdefault((host, tenant), []).append(wrong)

    def senders(self, host: HostName, network: NetworkName) -> None:
        """What a network's ports on one host send is in question."""
        for port in self._world.ports_on(host, network).values():
            self._senders[host, port.ofport] = None

    def network(self, host: HostName, network: NetworkIntent, macs: set[int] | None) -> None:
        """What comes to a network's FORWARD on one host (under some MACs, None for all) is in question."""
        self._overlays[host, network.name] = network
        service = self._world.service_of(host)
        if service is not None:
            self._senders[host, service] = None
        for port in self._world.members_of(network.name).ports.values():
            assert port.host is not None, port
            known = self._senders.setdefault((port.host, port.ofport), set())
            if macs is None:
                self._senders[port.host, port.ofport] = None
            elif known is not None:
                known.update(macs)
        # What routers bring may go on to a next hop, by its MAC, whatever it is for.
        for source in self._world.routing_to.get(network.name, set()):
            for port in self._world.members_of(source).ports.values():
                assert port.host is not None, port
                self._senders[port.host, port.ofport] = None

    def violations(self) -> Iterator[Violation]:
        """Yield what is really wrong, at most VIOLATIONS_MAX and one for each sender.

        What gets through comes first. What gets lost does not count before all has been looked at: however
        much of it there is, it hides nothing. What was not looked at to the end is said last, and never kept
        back.
        """
        lost: list[Violation] = []
        unproved: list[Violation] = []
        shown = 0
        for found in self._all():
            if found.kind == UNPROVED:
                unproved.append(found)
            elif found.kind == BLACKHOLE:
                lost.append(found)
            else:
                yield found
                shown += 1
                if shown == VIOLATIONS_MAX:
                    return
                # That it is wrong is known; nobody's search is to keep others from being named.
                self._budget.hurry(MORE_STEPS)
        lost += islice(self.losses.violations(), VIOLATIONS_MAX - shown)
        yield from lost[: VIOLATIONS_MAX - shown]
        yield from unproved[:VIOLATIONS_MAX]

    def _all(self) -> Iterator[Violation]:
        for (host, _), network in sorted(self._overlays.items()):
            yield from self._to_the_end(self._overlay(host, network), host, str(network.name))
        for host in sorted(self._strangers):
            yield from self._to_the_end(self._unknown(host), host, str(host))
        for host, wrong in sorted(self._stations.items()):
            self._budget.begin()
            yield self._station(host, wrong)
        for port, what in self._meters:
            self._budget.begin()
            yield self._unmetered(port, what)
        for (host, tenant), found in sorted(self._policies.items()):
            accuser = Accuser(self._world, self._witness.fabric, self._budget)
            for difference in found:
                self._budget.begin()
                yield accuser.violation(host, tenant, difference)
        for (host, ofport), macs in sorted(self._senders.items(), key=self._named_first):
            sender = self._world.by_ofport.get((host, ofport))
            concerned = str(sender.name if sender is not None else host)
            yield from self._to_the_end(self._sent(host, ofport, macs), host, concerned)

    def _to_the_end(self, search: Iterator[Violation], host: HostName, concerned: str) -> Iterator[Violation]:
        self._budget.begin()
        try:
            yield from search
        except Exhausted:
            message = f"{concerned}: that nothing gets where it should not could not be proved in time"
            yield Violation(UNPROVED, message, host, (concerned,))

    def _sent(self, host: HostName, ofport: int, macs: set[int] | None) -> Iterator[Violation]:
        """What is wrong for a sender, if anything."""
        starts = PACKETS if macs is None else tuple(starts_of(macs))
        violation = self._witness.worst(host, ofport, starts)
        if macs is None and (violation is None or violation.kind == BLACKHOLE):
            violation = self._untracked(host, ofport) or violation
        if violation is not None:
            yield violation

    def _station(self, host: HostName, wrong: str) -> Violation:
        """With a packet that suffers, if one is found among a few senders.

        If packets are only lost it is still said of the table: that is known, and what else it does is not.
        """
        lost: Violation | None = None
        for sender in islice(self._near(host), STATION_SENDERS_MAX):
            found = self._witness.worst(*sender, PACKETS)
            if found is not None and found.kind not in (BLACKHOLE, UNPROVED):
                return found
            lost = lost or found
        said = Violation(STAGE, f"on {host} {wrong}", host)
        if lost is None:
            return said
        return replace(said, objects=lost.objects, packet=lost.packet, in_port=lost.in_port, path=lost.path)

    def _near(self, host: HostName) -> Iterator[Sender]:
        """Ports on a host, then others of their networks."""
        for network in self._world.on_host.get(host, ()):
            for port in self._world.senders_on(host, network):
                yield host, port.ofport
        for network in self._world.on_host.get(host, ()):
            for port in self._world.members_of(network).ports.values():
                if port.host is not None and port.host != host:
                    yield port.host, port.ofport

    def _named_first(self, item: tuple[tuple[HostName, int], set[int] | None]) -> tuple[bool, HostName, int]:
        """Order of senders: what a port sends says whom it concerns, what the services send does not."""
        host, ofport = item[0]
        return ofport == self._world.service_of(host), host, ofport

    def _unmetered(self, port: PortIntent, what: str) -> Violation:
        assert port.host is not None, port
        found = self._witness.worst(port.host, port.ofport, PACKETS)
        passes = unmetered(self._hosts[port.host].bridge, port.number, port.ofport)
        # That something is lost, here or elsewhere, does not hide what goes on without its meter.
        if found is not None and not (passes and found.kind in (BLACKHOLE, UNPROVED)):
            return found
        message = f"{what}, of {port.name}, does not go through the right meter, or through one at all"
        return Violation(STAGE, message, port.host, (str(port.name),), in_port=port.ofport)

    def _untracked(self, host: HostName, ofport: int) -> Violation | None:
        """With a packet of a port that arrives somewhere past connection tracking; None if there is none."""
        port = self._world.by_ofport.get((host, ofport))
        if port is None:
            return None
        try:
            for region in admission.untracked(self._hosts[host].bridge, port):
                for trail in self._witness.judge.trails(host, ofport, region):
                    for arrival in trail.deliveries:
                        number = self._witness.judge.one_of(trail.region, arrival)
                        if number is not None:
                            message = f"what {port.name} sends gets past connection tracking"
                            packet = Packet.unpack(number)
                            return Violation(STAGE, message, host, (str(port.name),), packet, ofport)
        except Undefined:
            pass  # said by _worst
        return None

    def _overlay(self, host: HostName, network: NetworkIntent) -> Iterator[Violation]:
        """Frames out of the overlay, of any kind: they must stay with the network's local ports.

        Best shown with one that nothing stops later; policy may drop one and not another.
        """
        ofport = network.tunnels.get(host)
        if ofport is None:
            return
        here = {p.ofport for p in self._world.ports_on(host, network.name).values()}
        guessed: Violation | None = None
        for found in islice(self._reflections(host, network, ofport, here), REFLECTIONS_MAX):
            guessed = guessed or found
            self._budget.spend(WALK_STEPS)
            if _escapes_really(self._witness.fabric, found, here):
                yield found
                return
        if guessed is not None:
            yield guessed

    def _reflections(
        self, host: HostName, network: NetworkIntent, ofport: int, here: Set[int]
    ) -> Iterator[Violation]:
        objects = (str(network.name),)
        pending = list(reversed(PACKETS))
        while pending:
            region = pending.pop()
            try:
                for number, out in self._escapes(host, entering(region, ofport), here):
                    message = (
                        f"a frame out of the overlay of {network.name} leaves {host} by OpenFlow port {out}"
                    )
                    yield Violation(REFLECTION, message, host, objects, Packet.unpack(number), ofport)
            except Undefined as undefined:
                packet = Packet.unpack(member(undefined.region) or 0)
                yield Violation(UNDEFINED, str(undefined), host, objects, packet, ofport)
                pending = [*apart(region, undefined.region), *pending]

    def _escapes(self, host: HostName, entered: Frame, here: Set[int]) -> Iterator[tuple[int, int]]:
        """Yield packets, as numbers, that leave a host by another OpenFlow port than these, and by which."""
        for region, sent in self._witness.judge.run(host, entered):
            for copy in sent:
                if copy.ofport in here:
                    continue
                if copy.unsure and not _says_profile(region):
                    # Whom policy lets through depends on the sender's profile: such a packet is to say one.
                    for profile in (PROFILE_OPEN, *sorted(self._world.tenant_by_profile)):
                        part = within(region, cube(eth_src=(profile, _PROFILE_BITS)))
                        if part is not None:
                            yield from self._escapes(host, entered._replace(region=part), here)
                    continue
                number = self._witness.judge.one_of(region, copy)
                if number is not None:
                    yield number, copy.ofport

    def _unknown(self, host: HostName) -> Iterator[Violation]:
        holes = tuple(cube(in_port=ofport) for ofport in (0, *self._world.ofports_of(host)))
        # An OpenFlow port is a number of 16 bits (ofproto, OFPP_MAX).
        low = cube(in_port=(0, 0xFFFF0000))
        for kind in PACKETS:
            region = within(kind._replace(holes=(*kind.holes, *holes)), low)
            assert region is not None, "no packet has an in_port yet"
            fault = next(self._witness.judge.faults(host, None, (region,)), None)
            if fault is not None:
                ofport = (fault.number & FIELD_MASKS["in_port"]) >> OFFSETS["in_port"]
                yield self._witness.of(host, ofport, fault)
                return


def _escapes_really(fabric: Fabric, found: Violation, here: Set[int]) -> bool:
    assert found.host is not None, found
    assert found.packet is not None, found
    try:
        sent = fabric.walk(found.host, found.in_port, found.packet).hops[0].run.sent
    except Refused:
        return True
    return any(copy.ofport not in here for copy in sent)


_PROFILE_BITS = (1 << WIDTHS[FROM_PROFILE]) - 1


def _says_profile(region: Region) -> bool:
    """Tell whether all packets of a region name one profile where frames of the overlay do."""
    wanted = _PROFILE_BITS << OFFSETS["eth_src"]
    return region.mask & wanted == wanted
