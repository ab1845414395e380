"""The key schema: what lies where in etcd. The only module that makes or reads a key. Pure.

    /cloison/v1/ tenants/{t}  networks/{t}/{n}  subnets/{t}/{n}/{s}  ports/{t}/{n}/{p}  hosts/{h}
                 securitygroups/{t}/{g}         addressgroups/{t}/{g}        routers/{t}/{r}
                 externalnetworks/{e}           floatingips/{t}/{f}
                 edges/{t}/{r}/{h}              a way out of a router on a host; '-' on its gateway hosts
                 peerings/{t}/{p}
                 profiles/{t}/{number}          a distinct set of security groups that ports have
                 bindings/{t}/{n}/{p}/{h}       tunnelports/{h}/{vni}
                 alloc/KIND/[SCOPE/]VALUE       an identifier that is taken, or waits to be free again
                 refs/{referred}/{referrer}     empty value; keeps the referred from being deleted
                 epoch          the last fencing number of a controller
                 fence          every transaction compares it; see base.py

Keys are ASCII, and every prefix ends in '/', so that hosts/h1/ is no prefix of hosts/h10/. A *reservation
key* is what follows alloc/: see ids.py.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from cloison.addresses import IpAddress
from cloison.errors import InvalidIntent
from cloison.model import (
    PolicyProfile,
    PortBinding,
    Reservation,
    RouterEdge,
    Stored,
    TunnelPort,
    Vni,
)
from cloison.names import (
    AddressGroupName,
    ExternalNetworkName,
    FloatingIpName,
    HostName,
    NetworkName,
    PeeringName,
    PortName,
    ResourceName,
    RouterName,
    SecurityGroupName,
    SubnetName,
    TenantName,
)
from controller.store import ids

PREFIX = "/cloison/v1/"
EPOCH = f"{PREFIX}epoch"
FENCE = f"{PREFIX}fence"
_ALLOC = f"{PREFIX}alloc/"
_REFS = f"{PREFIX}refs/"
# In the place of a host; no host has such an id.
_ON_GATEWAY_HOSTS = "-"


class BindingKey(NamedTuple):
    """What a port binding is found under; equal to the plain pair."""

    port: PortName
    host: HostName


class TunnelPortKey(NamedTuple):
    """What a tunnel port is found under; equal to the plain pair."""

    host: HostName
    vni: Vni


class ProfileKey(NamedTuple):
    """What a policy profile is found under; as text, what references name it by."""

    tenant: TenantName
    number: int

    def __str__(self) -> str:
        return f"profiles/{self.tenant.tenant}/{self.number}"


class EdgeKey(NamedTuple):
    """What a router's edge is found under; host is None for the one of the gateway hosts."""

    router: RouterName
    host: HostName | None

    def __str__(self) -> str:
        return f"{self.router}/edges/{self.host.host if self.host else _ON_GATEWAY_HOSTS}"


class PartKey(NamedTuple):
    """A part of a resource that others need while the rest may change: what references name it by."""

    owner: ResourceName
    part: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.part}"


def address_of(port: PortName, address: IpAddress) -> PartKey:
    """Return what keeps an address of a port."""
    return PartKey(port, f"addresses/{address}")


def interfaces_of(router: RouterName) -> PartKey:
    """Return what is kept with any interface of a router."""
    return PartKey(router, "subnets")


def interface_of(router: RouterName, subnet: SubnetName) -> PartKey:
    """Return what keeps a router's interface in a subnet."""
    return PartKey(router, f"subnets/{subnet.network}/{subnet.subnet}")


# A str is a reservation key. Keys of different kinds may be equal as tuples: see locate() for a unique one.
StoredKey = ResourceName | BindingKey | TunnelPortKey | ProfileKey | EdgeKey | str
# What can refer to others, and be referred to.
Referable = ResourceName | ProfileKey | EdgeKey | PartKey


def range_end(prefix: str) -> str:
    """Return the first key after all keys that begin with prefix, which must end in '/'."""
    if not prefix.endswith("/"):
        raise ValueError(f"{prefix!r} does not end in '/'")
    return prefix[:-1] + chr(ord("/") + 1)


# -- keys of objects -------------------------------------------------------------------------------


_KINDS: dict[type[ResourceName], str] = {
    TenantName: "tenants",
    NetworkName: "networks",
    SubnetName: "subnets",
    PortName: "ports",
    HostName: "hosts",
    SecurityGroupName: "securitygroups",
    AddressGroupName: "addressgroups",
    RouterName: "routers",
    ExternalNetworkName: "externalnetworks",
    FloatingIpName: "floatingips",
    PeeringName: "peerings",
}
_NAMED = {kind: name for name, kind in _KINDS.items()}


def resource_key(name: ResourceName) -> str:
    """Return the key of a resource: its kind, and the ids of its name."""
    return f"{PREFIX}{_KINDS[type(name)]}/{'/'.join(name)}"


def binding_key(port: PortName, host: HostName) -> str:
    """Return the key of a port's binding on a host."""
    return f"{PREFIX}bindings/{port.tenant}/{port.network}/{port.port}/{host.host}"


def bindings_prefix(network: NetworkName) -> str:
    """Return the prefix of the bindings of all ports of a network."""
    return f"{PREFIX}bindings/{network.tenant}/{network.network}/"


def tunnel_port_key(host: HostName, vni: int) -> str:
    """Return the key of a network's tunnel port on a host."""
    return f"{PREFIX}tunnelports/{host.host}/{vni}"


def profile_key(profile: ProfileKey) -> str:
    """Return the key of a policy profile."""
    return f"{PREFIX}{profile}"


def edge_key(edge: EdgeKey) -> str:
    """Return the key of a router's edge."""
    place = edge.host.host if edge.host else _ON_GATEWAY_HOSTS
    return f"{PREFIX}edges/{edge.router.tenant}/{edge.router.router}/{place}"


def allocation_key(reservation_key: str) -> str:
    """Return the key of a reservation."""
    return _ALLOC + reservation_key


def reference_key(referred: Referable, referrer: Referable) -> str:
    """Return the key that says: referrer needs referred."""
    return f"{_REFS}{referred}/{referrer}"


def stored_key(stored: Stored) -> StoredKey:
    """Return what a stored object is found under in `State`."""
    match stored:
        case Reservation():
            return stored.key
        case PortBinding():
            return BindingKey(stored.port, stored.host)
        case TunnelPort():
            return TunnelPortKey(stored.host, stored.vni)
        case PolicyProfile():
            return ProfileKey(stored.tenant, stored.number)
        case RouterEdge():
            return EdgeKey(stored.router, stored.host)
        case _:
            return stored.name


def key_of(stored: Stored) -> str:
    """Return the key of a stored object in etcd."""
    return locate(stored_key(stored))


# -- prefixes: what is in the way of a delete ------------------------------------------------------


def child_prefixes(name: ResourceName) -> tuple[str, ...]:
    """Return the prefixes under which lies whatever belongs to the named resource."""
    match name:
        case NetworkName(tenant, network):
            return (f"{PREFIX}subnets/{tenant}/{network}/", f"{PREFIX}ports/{tenant}/{network}/")
        case TenantName(tenant):
            kinds = (
                *("networks", "routers", "peerings", "floatingips"),
                *("securitygroups", "addressgroups", "profiles"),
            )
            return tuple(f"{PREFIX}{kind}/{tenant}/" for kind in kinds)
        case RouterName(tenant, router):
            return (f"{PREFIX}edges/{tenant}/{router}/",)
        case _:
            return ()


def floating_ips_prefix(tenant: TenantName) -> str:
    """Return the prefix under which lie the floating IPs of a tenant."""
    return f"{PREFIX}floatingips/{tenant.tenant}/"


def group_prefixes(tenant: TenantName) -> tuple[str, ...]:
    """Return the prefixes under which lie the security and address groups of a tenant."""
    return tuple(f"{PREFIX}{kind}/{tenant.tenant}/" for kind in ("securitygroups", "addressgroups"))


def report_prefixes(name: ResourceName) -> tuple[str, ...]:
    """Return the prefixes of what agents reported about a port or a host, which goes when it goes."""
    match name:
        case PortName(tenant, network, port):
            return (f"{PREFIX}bindings/{tenant}/{network}/{port}/",)
        case HostName(host):
            return (f"{PREFIX}tunnelports/{host}/",)
        case _:
            return ()


def report_owner(prefix: str) -> PortName | HostName:
    """Return the port or host of a prefix that report_prefixes made."""
    parts = prefix.removeprefix(PREFIX).removesuffix("/").split("/")
    return PortName(*parts[1:]) if parts[0] == "bindings" else HostName(*parts[1:])


def reference_prefix(referred: Referable) -> str:
    """Return the prefix of the references to something; of a tenant, to anything of it that has a name."""
    return f"{_REFS}{referred}/"


# -- reading keys ----------------------------------------------------------------------------------


def is_object(key: str) -> bool:
    """Tell whether a key holds an object that `State` mirrors (references, epoch and fence are not)."""
    return key not in (EPOCH, FENCE) and not key.startswith(_REFS)


def parse(key: str) -> StoredKey:
    """Return what the object under an object's key is found under in `State`.

    Raises InvalidIntent for a key that this module does not make.
    """
    if not key.startswith(PREFIX):
        raise InvalidIntent.of("key", key, f"a key under {PREFIX}")
    if key.startswith(_ALLOC):
        reservation_key = key[len(_ALLOC) :]
        ids.split(reservation_key)
        return reservation_key
    kind, *ids_of_it = parts = key[len(PREFIX) :].split("/")
    named = _NAMED.get(kind)
    if named is not None and len(ids_of_it) == len(named._fields):
        return named.parse(str(named._make(ids_of_it)), "key")
    match parts:
        case ["bindings", tenant, network, port, host]:
            name = PortName.parse(f"tenants/{tenant}/networks/{network}/ports/{port}", "key")
            return BindingKey(name, HostName.parse(f"hosts/{host}", "key"))
        case ["edges", tenant, router, place]:
            on = None if place == _ON_GATEWAY_HOSTS else HostName.parse(f"hosts/{place}", "key")
            return EdgeKey(RouterName.parse(f"tenants/{tenant}/routers/{router}", "key"), on)
        case ["profiles", tenant, number] if number.isdecimal() and str(int(number)) == number:
            return ProfileKey(TenantName.parse(f"tenants/{tenant}", "key"), int(number))
        case ["tunnelports", host, number] if number.isdecimal() and str(int(number)) == number:
            return TunnelPortKey(HostName.parse(f"hosts/{host}", "key"), Vni(int(number)))
    raise InvalidIntent.of("key", key, "a key of this schema")


def is_reservation(key: str) -> bool:
    """Tell whether a key is that of an identifier."""
    return key.startswith(_ALLOC)


def reservation_part(key: str) -> str:
    """Return the reservation key of a reservation's key; any other key as it is."""
    return key.removeprefix(_ALLOC)


_OF_TENANTS = frozenset(
    {
        "tenants",
        "networks",
        "subnets",
        "ports",
        "bindings",
        "securitygroups",
        "addressgroups",
        "routers",
        "floatingips",
        "edges",
        "peerings",
        "profiles",
    }
)


def tenant_of(key: str) -> str:
    """Return the tenant a key belongs to, for logs; empty if it belongs to none."""
    parts = key.removeprefix(PREFIX).split("/")
    if parts[0] in _OF_TENANTS and len(parts) > 1:
        return parts[1]
    if parts[0] == "alloc" and len(parts) > 4:
        return parts[2]
    return ""


def locate(key: StoredKey | Referable) -> str:
    """Return the key in etcd of what is found under key in `State` (of a part, its owner's): undoes parse."""
    if isinstance(key, str):
        return _ALLOC + key
    match key:
        case PartKey(owner):
            return resource_key(owner)
        case BindingKey(port, host):
            return binding_key(port, host)
        case TunnelPortKey(host, number):
            return tunnel_port_key(host, number)
        case ProfileKey():
            return profile_key(key)
        case EdgeKey():
            return edge_key(key)
        case _:
            return resource_key(key)


def listed_ranges() -> list[tuple[str, str]]:
    """Return the ranges (start, end) that together hold every key but the references, in order.

    Many, because to answer for a page etcd walks its index of the whole rest of the range: reading a
    million keys as one range takes minutes.
    """
    kinds = ["ip", "iface", "mac", ids.PORT_NUMBER_SCOPE, "wire6"]
    objects = ["bindings", "networks", "ports", "subnets", "tunnelports"]
    cuts = {PREFIX, *(f"{_ALLOC}{kind}/" for kind in kinds), *(f"{PREFIX}{name}/" for name in objects)}
    starts = sorted({*cuts, *(range_end(cut) for cut in cuts), _REFS, range_end(_REFS)})
    return [(start, end) for start, end in pairwise(starts) if start != _REFS]
