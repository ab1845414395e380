"""The tenants' names: what a name means to a guest of one tenant. Pure.

A zone is what one network says: `<host>.<domain>` for each port, and the ports' addresses backwards. A
tenant's zones are those of all its networks; a guest is told of its own tenant's only, and of its own
network first, then of those routed with it. Names are text here: lower case, labels joined by '.', no final
dot. A label that no host name can have (RFC 952, RFC 1123, and '_') is written with a backslash and so never
equals one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from cloison.addresses import IpAddress
from cloison.model import Vni
from cloison.service_link import DNS4, DNS6, METADATA4, METADATA6

ROOT_DOMAIN = "cloison.internal"
"""The zone above all default domains: names in it that the tenant does not have exist nowhere."""
SERVER_NAME = f"dns.{ROOT_DOMAIN}"
METADATA_NAME = f"metadata.{ROOT_DOMAIN}"
_OWN = {
    SERVER_NAME: (DNS4.packed, DNS6.packed),
    METADATA_NAME: (METADATA4.packed, METADATA6.packed),
}
_OWN_ADDRESSES = {address: name for name, addresses in _OWN.items() for address in addresses}

LOCAL_REVERSE = frozenset(
    [f"{net}.in-addr.arpa" for net in ("10", "127", "254.169", "168.192")]
    + [f"{second}.172.in-addr.arpa" for second in range(16, 32)]
    + [f"{second}.100.in-addr.arpa" for second in range(64, 128)]
    + [f"{net}.ip6.arpa" for net in ("c.f", "d.f", "8.e.f", "9.e.f", "a.e.f", "b.e.f")]
)
"""RFC 6303, RFC 7793: private addresses have no names outside. A tenant's 10.0.0.5 is not the provider's."""

_NAME_CHARS_MAX = 253
_LABEL = re.compile(rb"[a-z0-9_-]{1,63}")


class Zone(Protocol):
    """The names of one network: hosts' names are relative to the domain. Never changed in place."""

    @property
    def tenant(self) -> str:
        """Id of the tenant whose guests are told."""

    @property
    def domain(self) -> str:
        """Without a final dot; '': no host has a name."""

    @property
    def hosts(self) -> Mapping[str, Sequence[IpAddress | bytes]]:
        """What each host's name means; addresses may be packed."""


@dataclass(frozen=True, slots=True)
class Node:
    """What is known of a name. `apex` is the zone it is in; exists False: no such name, nor one below it."""

    apex: str
    exists: bool
    addresses: tuple[bytes, ...] = ()
    names: tuple[str, ...] = ()

    def is_apex(self, name: str) -> bool:
        """Tell whether name is that of the zone itself."""
        return name == self.apex


class _Indexed:
    """A zone, and its names backwards. Kept up by differences: a change costs what it changes."""

    def __init__(self) -> None:
        self.zone: Zone | None = None
        self.tenant = ""
        self.domain = ""
        self.reverse: dict[bytes, list[str]] = {}
        self.parents: Counter[str] = Counter()
        self._hosts: dict[str, tuple[bytes, ...]] = {}
        # Whether there was ever a name in other than small letters.
        self._folds = False

    def set(self, zone: Zone) -> None:
        """Take over what zone says."""
        before, domain = self.zone, zone.domain.lower().strip(".")
        known = {} if before is None else before.hosts
        self.zone, self.tenant = zone, zone.tenant
        if before is None or domain != self.domain:
            self.domain, known = domain if _is_name(domain) else "", {}
            for name in [*self._hosts]:
                self._put(name, ())
        # One record that makes no sense stops no other.
        wanted = zone.hosts if self.domain else {}
        changed = {name for name, addresses in wanted.items() if known.get(name) is not addresses}
        changed |= known.keys() - wanted.keys()
        self._folds = self._folds or any(name != name.lower() for name in changed)
        if self._folds:
            # Several names may be one: which of them counts is known of all together.
            wanted = {name.lower(): addresses for name, addresses in wanted.items()}
            changed = {*wanted, *self._hosts}
        for name in changed:
            is_name = name in wanted and _is_name(f"{name}.{domain}")
            packed = tuple(dict.fromkeys(_packed(wanted[name]))) if is_name else ()
            if self._hosts.get(name, ()) != packed:
                self._put(name, packed)

    def _put(self, name: str, addresses: tuple[bytes, ...]) -> None:
        before = self._hosts.pop(name, None)
        if before is not None:
            self._count_parents(name, -1)
            for address in before:
                names = self.reverse[address]
                names.remove(name)
                if not names:
                    del self.reverse[address]
        if addresses:
            self._hosts[name] = addresses
            self._count_parents(name, 1)
            for address in addresses:
                self.reverse.setdefault(address, []).append(name)

    def _count_parents(self, name: str, step: int) -> None:
        for parent in _above(name):
            self.parents[parent] += step
            if not self.parents[parent]:
                del self.parents[parent]

    def addresses(self, host: str) -> tuple[bytes, ...]:
        """Return the addresses of a host."""
        return self._hosts.get(host, ())


class Zones:
    """All zones known on this host, by VNI."""

    def __init__(self) -> None:
        self._zones: dict[Vni, _Indexed] = {}
        self._tenants: dict[str, dict[Vni, _Indexed]] = {}

    def replace(self, zones: Mapping[Vni, Zone]) -> None:
        """Know these zones from now on, and no others; a zone that is the same object as before is free."""
        for vni in self._zones.keys() - zones.keys():
            self._remove(vni)
        for vni, zone in zones.items():
            known = self._zones.get(vni)
            if known is not None and known.tenant != zone.tenant:
                self._remove(vni)
                known = None
            if known is None:
                known = self._zones[vni] = _Indexed()
                self._tenants.setdefault(zone.tenant, {})[vni] = known
            if known.zone is not zone:
                known.set(zone)

    def _remove(self, vni: Vni) -> None:
        tenant = self._zones.pop(vni).tenant
        del self._tenants[tenant][vni]
        if not self._tenants[tenant]:
            del self._tenants[tenant]

    def find(self, tenant: str, vni: Vni, name: str, near: Set[Vni] = frozenset()) -> Node | None:
        """Return what a guest of tenant in network vni is told of name; None if somebody else may know.

        near: the networks routed with it. Of several that have an address, its own comes first, then these.
        """
        known = self._tenants.get(tenant, {})
        order = sorted(known, key=lambda other: (other != vni, other not in near, other))
        zones = [known[other] for other in order]
        if name.endswith((".in-addr.arpa", ".ip6.arpa")):
            return _find_reverse(zones, name)
        return _find_forward(zones, name)


def _find_forward(zones: Sequence[_Indexed], name: str) -> Node | None:
    domains = {zone.domain for zone in zones if zone.domain}
    apex = next((suffix for suffix in (name, *_above(name)) if suffix in domains), None)
    is_between = any(domain.endswith("." + name) for domain in domains)
    if apex is None:
        if name != ROOT_DOMAIN and not name.endswith("." + ROOT_DOMAIN):
            return None
        own = _OWN.get(name, ())
        return Node(ROOT_DOMAIN, bool(own) or is_between or name == ROOT_DOMAIN, own)
    if name in _OWN:
        return Node(ROOT_DOMAIN, True, _OWN[name])
    if name == apex:
        return Node(apex, True)
    host = name[: -len(apex) - 1]
    within = [zone for zone in zones if zone.domain == apex]
    addresses = dict.fromkeys(address for zone in within for address in zone.addresses(host))
    exists = bool(addresses) or is_between or any(host in zone.parents for zone in within)
    return Node(apex, exists, tuple(addresses))


def _find_reverse(zones: Sequence[_Indexed], name: str) -> Node | None:
    apex = next((suffix for suffix in (name, *_above(name)) if suffix in LOCAL_REVERSE), None)
    address = address_of(name)
    if address is not None:
        for zone in zones:
            hosts = zone.reverse.get(address)
            if hosts:
                names = tuple(f"{host}.{zone.domain}" for host in sorted(hosts))
                return Node(apex or name, True, (), names)
        own = _OWN_ADDRESSES.get(address)
        if own is not None:
            return Node(apex or name, True, (), (own,))
    if apex is None:
        return None
    # A part of an address may have names below it. "Exists" is right where it does, and harmless where not.
    return Node(apex, address is None and _is_partial(name))


def text_of(labels: Sequence[bytes]) -> str:
    """Return the text, as used here, of a name's labels (without that of the root)."""
    lowered = [label.lower() for label in labels]
    return ".".join(lb.decode() if _LABEL.fullmatch(lb) else "\\" + lb.hex() for lb in lowered)


def address_of(name: str) -> bytes | None:
    """Return the packed address of a whole reverse name (RFC 1035, 3.5; RFC 3596, 2.5), or None."""
    labels = name.split(".")
    try:
        if name.endswith(".in-addr.arpa") and len(labels) == 6:
            return IPv4Address(".".join(labels[3::-1])).packed
        if name.endswith(".ip6.arpa") and len(labels) == 34 and all(len(label) == 1 for label in labels[:32]):
            return bytes.fromhex("".join(labels[31::-1]))
    except ValueError:
        return None
    return None


def _packed(addresses: Sequence[IpAddress | bytes]) -> Iterator[bytes]:
    for address in addresses:
        packed = address if isinstance(address, bytes) else address.packed
        if len(packed) in (4, 16):
            yield packed


def _is_name(name: str) -> bool:
    """Tell whether text is a name as this module has names, and short enough for DNS."""
    return len(name) <= _NAME_CHARS_MAX and all(
        _LABEL.fullmatch(label.encode(errors="replace")) for label in name.split(".")
    )


def _is_partial(name: str) -> bool:
    """Tell whether a reverse name is the beginning of an address."""
    if name.endswith(".in-addr.arpa"):
        labels = name.split(".")[:-2]
        return len(labels) < 4 and all(
            lb.isdecimal() and lb == str(int(lb)) and int(lb) < 256 for lb in labels
        )
    labels = name.split(".")[:-2]
    return len(labels) < 32 and all(len(lb) == 1 and lb in "0123456789abcdef" for lb in labels)


def _above(name: str) -> Iterator[str]:
    """Yield the names above a name, the nearest first."""
    while "." in name:
        name = name.partition(".")[2]
        yield name
