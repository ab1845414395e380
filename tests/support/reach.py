"""Who can open connections to whom, by single packets put to the meaning; and a plan's words, read back."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from itertools import permutations, product
from typing import NamedTuple

from cloison.addresses import IpAddress, Mac
from cloison.names import HostName, PortName
from controller.api.planning import reach
from controller.api.planning.draft import Draft
from controller.api.planning.reach import NOW, Reach, Talk
from controller.reconcile.meant import policy_intent, router_intent
from controller.store.state import State
from controller.verify.intent import HostIntent, Intent, NetworkIntent, PairIntent, PortIntent
from controller.verify.packet import ETH_IPV4, ETH_IPV6, Packet, connected
from controller.verify.semantics import meaning
from controller.verify.world import World

ANYWHERE = HostName("x")


class Probe(NamedTuple):
    """What begins a connection: protocol, and destination port, or type and code of ICMP."""

    protocol: str
    number: int
    detail: int


PROBES = [
    *(Probe("tcp", 6, port) for port in (22, 80, 1023, 1024)),
    *(Probe("udp", 17, port) for port in (53, 61)),
    Probe("gre", 47, 0),
    Probe("icmp", 1, 8 << 8),
    Probe("icmp", 1, 3 << 8 | 1),
]
# From one port to another, from where to where, and a probe.
Way = tuple[PortName, PortName, str, Probe]


def world_of(state: State) -> World:
    """All ports that can be plugged, on one host."""
    ports = {}
    for ofport, port in enumerate(state.ports.values(), 1):
        if port.requested_hosts and not port.disabled:
            ports[port.name] = PortIntent(
                name=port.name,
                number=port.number,
                mac=port.mac,
                addresses=tuple(f.address for f in port.fixed_ips),
                host=ANYWHERE,
                ofport=ofport,
                profile=port.profile,
                pairs=tuple(PairIntent(p.prefix, p.mac) for p in port.allowed_address_pairs),
            )
    networks = {
        name: NetworkIntent(
            name=name,
            vni=n.vni,
            subnets=tuple(s.cidr for s in state.subnets_of(name)),
            multicast=n.multicast,
            routers=tuple(router_intent(state, router, name) for router in state.routers_on(name)),
        )
        for name, n in state.networks.items()
    }
    hosts = {ANYWHERE: HostIntent(name=ANYWHERE, vtep=None)}
    policies = {name.tenant: policy_intent(state, name) for name in state.tenants}
    return World(Intent(hosts=hosts, networks=networks, ports=ports, policies=policies))


def packet_of(probe: Probe, source: PortIntent, a: IpAddress, b: IpAddress, to: Mac) -> Packet:
    fields = {f"ipv{a.version}_src": int(a), f"ipv{a.version}_dst": int(b), "ip_proto": probe.number}
    kind = ETH_IPV4 if a.version == 4 else ETH_IPV6
    packet = connected(Packet(eth_src=source.mac, eth_dst=to, eth_type=kind, ip_ttl=64, **fields))
    if probe.protocol == "icmp":
        return replace(packet, ct_tp_src=probe.detail >> 8, ct_tp_dst=probe.detail & 0xFF)
    return replace(packet, ct_tp_dst=probe.detail)


def talks(state: State) -> dict[Way, int]:
    """Of all pairs of all tenants: each probe from each address to each, by single packets; and how surely.

    Without what a port may send that is not checked: from anywhere.
    """
    world, found = world_of(state), {}
    for source, target in permutations(world.ports.values(), 2):
        for a, (b, named) in product(source.addresses, targets(state, target)):
            if a.version != b.version or not source.checked:
                continue
            # To whom it is sent does not matter within a network; into another it is a router of one's own.
            near = source.name.parent == target.name.parent
            routers = world.networks[source.name.parent].routers
            macs = [Mac(1)] if near else sorted({router.mac for router in routers})
            for probe, to in product(PROBES, macs):
                delivered = meaning(world, ANYWHERE, source.ofport, packet_of(probe, source, a, b, to))
                if target.ofport in {delivery.ofport for delivery in delivered}:
                    both = all(is_live(state, port.name) for port in (source, target))
                    found[source.name, target.name, f"IPv{a.version} {a} -> {named}", probe] = (
                        2 if both else 1
                    )
    return found


def targets(state: State, target: PortIntent) -> list[tuple[IpAddress, str]]:
    """Where a port may be reached, and what a plan calls that: its addresses, groups, broadcasts."""
    found: list[tuple[IpAddress, str]] = [(a, str(a)) for a in target.addresses]
    found += [(ip_address(group), "multicast groups") for group in ("224.0.0.251", "ff02::fb")]
    wide = [
        s.cidr for s in state.subnets_of(target.name.parent) if s.cidr.version == 4 and s.cidr.prefixlen < 31
    ]
    broadcasts = {ip_address("255.255.255.255"), *(cidr.broadcast_address for cidr in wide)}
    return [*found, *((address, f"{address} (broadcast)") for address in broadcasts)]


def is_live(state: State, name: PortName) -> bool:
    port = state.ports[name]
    return any(state.is_effective(binding) for binding in state.bindings_of(port.name))


def expected_talks(more: dict[Way, int], less: dict[Way, int], half: str) -> set[tuple[Way, str]]:
    found = set()
    for way, level in more.items():
        other = less.get(way, 0)
        if level > other:
            partly = level < NOW if half == reach.ONCE_PLUGGED else other > 0
            found.add((way, half if partly else ""))
    return found


def covers(words: str, probe: Probe) -> bool:
    """Tell whether words such as 'tcp ports 1-1023' say a probe."""
    if words.startswith("any protocol"):
        return probe.protocol not in words.removeprefix("any protocol").replace(",", "").split()
    name, *rest = words.split()
    if name != probe.protocol:
        return False
    said = dict(zip(rest[::2], rest[1::2], strict=True))
    kinds = {"port": probe.detail, "type": probe.detail >> 8, "code": probe.detail & 0xFF}
    return all(within(text, kinds[noun.removesuffix("s")]) for noun, text in said.items())


def within(text: str, number: int) -> bool:
    low, _, high = text.partition("-")
    return int(low) <= number <= int(high or low)


def told(talks_: tuple[Talk, ...], states: tuple[State, ...]) -> set[tuple[Way, str]]:
    """What a plan says of the same: not of other sources than a port's own addresses."""
    found = set()
    for talk in talks_:
        for words in talk.spaces:
            path, _, what = words.partition(", ")
            source = path.split()[1] if " -> " in path else ""
            own = {
                str(f.address)
                for s in states
                if talk.source in s.ports
                for f in s.ports[talk.source].fixed_ips
            }
            if source in own:
                found |= {
                    ((talk.source, talk.target, path, probe), talk.condition)
                    for probe in PROBES
                    if covers(what, probe)
                }
    return found


def assert_reach(made: Draft) -> int:
    """A plan says just what single packets say, before and after; return how much that was."""
    before, after = talks(made.before), talks(made.after)
    diff = Reach(made.before, made.after, made.touched).diff()
    states = (made.before, made.after)
    gained = expected_talks(after, before, reach.ONCE_PLUGGED)
    lost = expected_talks(before, after, reach.UNTIL_PLUGGED)
    assert diff.complete
    assert told(diff.gained, states) == gained
    assert told(diff.lost, states) == lost
    if before.keys() != after.keys():
        lines = [list(reach.standing_of(state, made.networks)) for state in states]
        assert lines[0] != lines[1]
    return len(gained) + len(lost)
