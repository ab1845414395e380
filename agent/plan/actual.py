"""What the kernel of this host holds of ours: devices, their FDBs, the firewall. A mirror; netlink/ fills
it.

Everything is ours by its name alone (`vx` + 6 hexadecimal digits, the nftables tables `cloison`), so a
process without memory recognises it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.plan.digest import FdbDigest
from agent.plan.model import Peer, Vtep
from cloison.addresses import Mac
from cloison.model import Vni

SERVICE_AGENT_LINK = "cl-services-a"
"""The agent's own end of the local services' pair of devices; the other (SERVICE_LINK) is on the bridge."""

_LINK_NAME = re.compile(r"vx([0-9a-f]{6})")


def link_name(vni: int) -> str:
    """Return the name of the VXLAN device of a network."""
    return f"vx{vni:06x}"


def link_vni(name: str) -> Vni | None:
    """Return the VNI that the name of one of our devices stands for, None for any other name."""
    match = _LINK_NAME.fullmatch(name)
    return Vni(int(match[1], 16)) if match else None


@dataclass(frozen=True, slots=True)
class Link:
    """One of our devices as it is.

    `sound`: what cannot be altered afterwards is as we make it (but for `local`).
    """

    vni: Vni
    ifindex: int
    mtu: int
    up: bool
    learning: bool
    local: bytes
    sound: bool


@dataclass(frozen=True, slots=True)
class ServiceLink:
    """Indexes of the local services' devices: the end on the bridge, and the agent's end."""

    ifindex: int
    agent_ifindex: int


@dataclass(frozen=True, slots=True)
class Firewall:
    """The nftables part: who may send VXLAN of which VNI, and whom the host's own IP stack must not hear.

    `intact` is False when tables, chains or rules are not as we write them, or are not there.
    """

    peers: frozenset[Peer] = frozenset()
    guarded: frozenset[str] = frozenset()
    intact: bool = False


@dataclass(slots=True)
class Actual:
    """The mirror. `strays` are MACs whose entry has a form that we never write.

    `taken` are our names on other kinds.
    """

    links: dict[Vni, Link] = field(default_factory=dict)
    fdb: dict[Vni, dict[Mac, Vtep]] = field(default_factory=dict)
    strays: dict[Vni, set[int]] = field(default_factory=dict)
    taken: set[Vni] = field(default_factory=set)
    firewall: Firewall = field(default_factory=Firewall)
    digest: FdbDigest = field(default_factory=FdbDigest)
    links_changed: int = 0
    """Counts the changes of `links`."""

    def set_entry(self, vni: Vni, mac: Mac, vtep: Vtep | None) -> None:
        """Note what was read for one MAC; None means that there is no entry."""
        entries = self.fdb.setdefault(vni, {})
        if vtep is None:
            entries.pop(mac, None)
            self.digest.discard(vni, mac)
        elif entries.get(mac) != vtep:
            entries[mac] = vtep
            self.digest.put(vni, mac, vtep)

    def set_fdb(self, vni: Vni, entries: Mapping[Mac, Vtep], strays: set[int]) -> None:
        """Note the whole FDB of one device."""
        self.fdb[vni] = dict(entries)
        self.digest.set_network(vni, entries)
        self.strays.pop(vni, None)
        if strays:
            self.strays[vni] = strays

    def set_link(self, vni: Vni, link: Link | None) -> None:
        """Note a device; None, or one with another ifindex, takes the FDB we knew along."""
        self.links_changed += 1
        before = self.links.pop(vni, None)
        if before is not None and (link is None or link.ifindex != before.ifindex):
            self.fdb.pop(vni, None)
            self.strays.pop(vni, None)
            self.digest.drop_network(vni)
        if link is not None:
            self.links[vni] = link
