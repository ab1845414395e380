"""Forwarding databases: every MAC of every remote port leads to its host's VTEP, and in a network with
multicast that of every other host; there is nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cloison.addresses import IpAddress, format_mac, host_mac
from cloison.names import HostName
from controller.verify.intent import NetworkIntent
from controller.verify.path import Fdb
from controller.verify.violation import FDB, Violation
from controller.verify.world import Members, World

Whereabouts = dict[tuple[HostName | None, IpAddress | None], list[int]]
"""MACs by the host of the port that has them, and that host's VTEP; None, None if no port has them."""


def whereabouts(world: World, network: NetworkIntent, macs: Iterable[int]) -> Whereabouts:
    """Return where some MACs of a network are."""
    members = world.members_of(network.name)
    of_hosts = world.host_macs(network)
    found: Whereabouts = {}
    for mac in macs:
        port = members.by_frame_mac.get(mac)
        name = of_hosts.get(mac) if port is None else port.host
        there = world.hosts.get(name) if name is not None else None
        place = (there.name, there.vtep) if there is not None else (None, None)
        found.setdefault(place, []).append(mac)
    return found


def wrong_entries(
    world: World, network: NetworkIntent, host: HostName, held: Fdb | None, macs: Whereabouts
) -> Iterator[Violation]:
    """Yield what is wrong with the entries for some MACs; held None: the host has no FDB for the network."""
    if held is None:
        if not any(world.senders_into(host, network.name)):
            return
        held = {}
    get = held.get
    for (at, vtep), here in macs.items():
        wanted = None if vtep is None or at == host else vtep
        for mac in here:
            got = get(mac)
            # The same object, most often; comparing addresses takes its time.
            if got is not wanted and got != wanted:
                yield _violation(network, host, mac, wanted, got, world.members_of(network.name))


def right(held: Fdb, host: HostName, macs: Whereabouts) -> bool:
    """Tell, fast, whether `wrong_entries` has nothing to say; False if that is not sure."""
    get = held.get
    for (at, vtep), here in macs.items():
        wanted = None if at == host else vtep
        for mac in here:
            if get(mac) is not wanted:
                return False
    return True


def suspects(world: World, network: NetworkIntent, host: HostName, held: Fdb | None, whole: Fdb) -> set[int]:
    """Return MACs among which all wrong entries of a host are; fast where nothing is wrong.

    whole: the entries of all ports of the network (whole_fdb).
    """
    members = world.members_of(network.name)
    if held is None:
        return set(whole) if any(world.senders_into(host, network.name)) else set()
    own: set[int] = set()
    for port in members.by_host.get(host, {}).values():
        own |= port.frame_macs
    own.update(mac for mac, name in world.host_macs(network).items() if name == host)
    own &= whole.keys()
    if len(held) == len(whole) - len(own) and held.items() <= whole.items() and own.isdisjoint(held):
        return set()
    return set(held) | set(whole)


def whole_fdb(world: World, network: NetworkIntent) -> dict[int, IpAddress]:
    """Return where every MAC of a network is."""
    found = {}
    for name, ports in world.members_of(network.name).by_host.items():
        host = world.hosts.get(name)
        if host is None or host.vtep is None:
            continue
        for port in ports.values():
            found.update(dict.fromkeys(port.frame_macs, host.vtep))
        if network.multicast:
            found[int(host_mac(host.vtep))] = host.vtep
    return found


def _violation(
    network: NetworkIntent,
    host: HostName,
    mac: int,
    wanted: IpAddress | None,
    held: IpAddress | None,
    members: Members,
) -> Violation:
    def said(vtep: IpAddress | None) -> str:
        return f"to {vtep}" if vtep is not None else "nowhere"

    port = members.by_frame_mac.get(mac)
    return Violation(
        FDB,
        f"VNI {network.vni} on {host} sends {format_mac(mac)} {said(held)}, should send it {said(wanted)}",
        host,
        (str(network.name), *([str(port.name)] if port is not None else ())),
    )
