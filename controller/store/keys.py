"""The key schema: what lies where in etcd. The only module that makes or reads a key. Pure.

    /cloison/v1/ tenants/{t}  networks/{t}/{n}  subnets/{t}/{n}/{s}  ports/{t}/{n}/{p}  hosts/{h}
                 securitygroups/{t}/{g}         addressgroups/{t}/{g}        routers/{t}/{r}
                 profiles/{t}/{number}          a distinct set of security groups that ports have
                 bindings/{t}/{n}/{p}/{h}       tunnelports/{h}/{vni}
                 alloc/KIND/[SCOPE/]VALUE       an identifier that is taken, or waits to be free again
                 refs/{referred}/{referrer}     empty value; keeps the referred from being deleted
                 epoch          the last fencing number of a controller
                 fence          every transaction compares it; see base.py

Keys are ASCII, and every prefix ends in '/', so that hosts/h1/ is no prefix of hosts/h10/. A *reservation
key* is what follows alloc/, for example 'vni/5001'; its *scope* is all but the last part (with 'ip4' or 'ip6'
for 'ip': 10.0.0.1 and ::a00:1 are the same number).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from typing import NamedTuple
from urllib.parse import quote

from cloison.addresses import IpAddress
from cloison.errors import InvalidIntent
from cloison.model import (
    PolicyProfile,
    PortBinding,
    Reservation,
    Stored,
    TunnelPort,
    Vni,
)
from cloison.names import (
    AddressGroupName,
    HostName,
    NetworkName,
    PortName,
    ResourceName,
    RouterName,
    SecurityGroupName,
    SubnetName,
    TenantName,
)

PREFIX = "/cloison/v1/"
EPOCH = f"{PREFIX}epoch"
FENCE = f"{PREFIX}fence"
_ALLOC = f"{PREFIX}alloc/"
_REFS = f"{PREFIX}refs/"

TENANT_NUMBER_SCOPE = "tenant-number"
PORT_NUMBER_SCOPE = "port-number"
PROFILE_NUMBER_SCOPE = "profile-number"
GROUP_NUMBER_SCOPE = "group-number"
VNI_SCOPE = "vni"
IFACE_SCOPE = "iface"
VTEP_SCOPE = "vtep"
DPID_SCOPE = "dpid"
_PROFILE_KIND = "profile"
_HEX_DIGITS = {"mac": 12, "wire6": 8, DPID_SCOPE: 16, _PROFILE_KIND: 64}
_DECIMAL = frozenset(
    {VNI_SCOPE, PORT_NUMBER_SCOPE, TENANT_NUMBER_SCOPE, PROFILE_NUMBER_SCOPE, GROUP_NUMBER_SCOPE}
)


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


# A str is a reservation key. Keys of different kinds may be equal as tuples: see locate() for a unique one.
StoredKey = ResourceName | BindingKey | TunnelPortKey | ProfileKey | str
# What can refer to others, and be referred to.
Referable = ResourceName | ProfileKey


def range_end(prefix: str) -> str:
    """Return the first key after all keys that begin with prefix, which must end in '/'."""
    if not prefix.endswith("/"):
        raise ValueError(f"{prefix!r} does not end in '/'")
    return prefix[:-1] + chr(ord("/") + 1)


# -- keys of objects -------------------------------------------------------------------------------


def resource_key(name: ResourceName) -> str:
    """Return the key of a resource."""
    match name:
        case PortName(tenant, network, port):
            return f"{PREFIX}ports/{tenant}/{network}/{port}"
        case SubnetName(tenant, network, subnet):
            return f"{PREFIX}subnets/{tenant}/{network}/{subnet}"
        case SecurityGroupName(tenant, group):
            return f"{PREFIX}securitygroups/{tenant}/{group}"
        case AddressGroupName(tenant, group):
            return f"{PREFIX}addressgroups/{tenant}/{group}"
        case RouterName(tenant, router):
            return f"{PREFIX}routers/{tenant}/{router}"
        case NetworkName(tenant, network):
            return f"{PREFIX}networks/{tenant}/{network}"
        case TenantName(tenant):
            return f"{PREFIX}tenants/{tenant}"
        case HostName(host):
            return f"{PREFIX}hosts/{host}"


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
            kinds = ("networks", "routers", "securitygroups", "addressgroups", "profiles")
            return tuple(f"{PREFIX}{kind}/{tenant}/" for kind in kinds)
        case _:
            return ()


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


# -- reservation keys ------------------------------------------------------------------------------


def tenant_number(number: int) -> str:
    """Reservation key of a tenant's short number."""
    return f"{TENANT_NUMBER_SCOPE}/{number}"


def port_number(number: int) -> str:
    """Reservation key of a port's short number."""
    return f"{PORT_NUMBER_SCOPE}/{number}"


def vni(number: int) -> str:
    """Reservation key of a VXLAN network identifier."""
    return f"{VNI_SCOPE}/{number}"


def profile_number(number: int) -> str:
    """Reservation key of a policy profile's number."""
    return f"{PROFILE_NUMBER_SCOPE}/{number}"


def group_number(number: int) -> str:
    """Reservation key of a security group's short number."""
    return f"{GROUP_NUMBER_SCOPE}/{number}"


def profile(tenant: TenantName, groups: Iterable[SecurityGroupName]) -> str:
    """Reservation key of a set of security groups: no two profiles of a tenant are of the same set."""
    digest = sha256("\n".join(sorted(map(str, groups))).encode())
    return f"{_PROFILE_KIND}/{tenant.tenant}/{digest.hexdigest()}"


def mac(network: NetworkName, address: int) -> str:
    """Reservation key of a MAC in a network."""
    return f"{mac_scope(network)}/{address:012x}"


def mac_scope(network: NetworkName) -> str:
    """Scope of the MACs of a network; its numbers are 48 bits."""
    return f"mac/{network.tenant}/{network.network}"


def ip(network: NetworkName, address: IpAddress) -> str:
    """Reservation key of an address in a network."""
    return f"ip/{network.tenant}/{network.network}/{address}"


def ip_scope(network: NetworkName, version: int) -> str:
    """Scope of the addresses of one family in a network; its numbers are int(address)."""
    return f"ip{version}/{network.tenant}/{network.network}"


def wire6(network: NetworkName, address: IPv6Address) -> str:
    """Reservation key of the low 32 bits of an IPv6 address: two addresses may not share a wire MAC."""
    return f"{wire6_scope(network)}/{int(address) & 0xFFFFFFFF:08x}"


def wire6_scope(network: NetworkName) -> str:
    """Scope of the low halves of IPv6 addresses in a network; its numbers are 32 bits."""
    return f"wire6/{network.tenant}/{network.network}"


def iface(iface_id: str) -> str:
    """Reservation key of an iface-id, which may hold any characters."""
    return f"{IFACE_SCOPE}/{quote(iface_id, safe='')}"


def vtep(address: IpAddress) -> str:
    """Reservation key of a host's tunnel address."""
    return f"{VTEP_SCOPE}/{address}"


def dpid(datapath_id: int) -> str:
    """Reservation key of a datapath id."""
    return f"{DPID_SCOPE}/{datapath_id:016x}"


# Reading and then storing a reservation asks twice in a row, which the cache makes once.
@lru_cache(maxsize=4096)
def split_reservation(key: str) -> tuple[str, int | str]:
    """Return (scope, number) of a reservation key; text in place of a number for iface and vtep.

    Raises InvalidIntent for a key that none of the functions above makes: each identifier has one spelling,
    or it could be taken twice.
    """
    scope, _, last = key.rpartition("/")
    kind = scope.partition("/")[0]
    try:
        if kind == "ip":
            address = IPv6Address(last) if ":" in last else IPv4Address(last)
            found: tuple[str, int | str] = f"ip{address.version}{scope[2:]}", int(address)
        elif len(last) == _HEX_DIGITS.get(kind):
            found = scope, int(last, 16)
        elif kind in _DECIMAL and last.isdecimal():
            found = scope, int(last)
        elif kind in (IFACE_SCOPE, VTEP_SCOPE) and last:
            found = scope, last
        else:
            raise ValueError("no such kind")
        if join_reservation(*found) != key:
            raise ValueError("another spelling")
    except ValueError as error:
        raise InvalidIntent.of("key", key, "a reservation key of this schema") from error
    return found


def join_reservation(scope: str, number: int | str) -> str:
    """Inverse of split_reservation."""
    kind, _, rest = scope.partition("/")
    match kind:
        case "ip4":
            return f"ip/{rest}/{IPv4Address(number)}"
        case "ip6":
            return f"ip/{rest}/{IPv6Address(number)}"
        case "mac":
            return f"{scope}/{number:012x}"
        case "wire6":
            return f"{scope}/{number:08x}"
        case "dpid":
            return f"{scope}/{number:016x}"
        case "profile":
            return f"{scope}/{number:064x}"
        case _:
            return f"{scope}/{number}"


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
        split_reservation(reservation_key)
        return reservation_key
    match key[len(PREFIX) :].split("/"):
        case ["ports", tenant, network, port]:
            return PortName.parse(f"tenants/{tenant}/networks/{network}/ports/{port}", "key")
        case ["subnets", tenant, network, subnet]:
            return SubnetName.parse(f"tenants/{tenant}/networks/{network}/subnets/{subnet}", "key")
        case ["networks", tenant, network]:
            return NetworkName.parse(f"tenants/{tenant}/networks/{network}", "key")
        case ["tenants", tenant]:
            return TenantName.parse(f"tenants/{tenant}", "key")
        case ["hosts", host]:
            return HostName.parse(f"hosts/{host}", "key")
        case ["bindings", tenant, network, port, host]:
            name = PortName.parse(f"tenants/{tenant}/networks/{network}/ports/{port}", "key")
            return BindingKey(name, HostName.parse(f"hosts/{host}", "key"))
        case ["securitygroups", tenant, group]:
            return SecurityGroupName.parse(f"tenants/{tenant}/securityGroups/{group}", "key")
        case ["addressgroups", tenant, group]:
            return AddressGroupName.parse(f"tenants/{tenant}/addressGroups/{group}", "key")
        case ["routers", tenant, router]:
            return RouterName.parse(f"tenants/{tenant}/routers/{router}", "key")
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


def locate(key: StoredKey) -> str:
    """Return the key in etcd of what is found under key in `State`: inverse of parse."""
    match key:
        case str():
            return _ALLOC + key
        case BindingKey(port, host):
            return binding_key(port, host)
        case TunnelPortKey(host, number):
            return tunnel_port_key(host, number)
        case ProfileKey():
            return profile_key(key)
        case _:
            return resource_key(key)


def listed_ranges() -> list[tuple[str, str]]:
    """Return the ranges (start, end) that together hold every key but the references, in order.

    Many, because to answer for a page etcd walks its index of the whole rest of the range: reading a
    million keys as one range takes minutes.
    """
    kinds = ["ip", "iface", "mac", PORT_NUMBER_SCOPE, "wire6"]
    objects = ["bindings", "networks", "ports", "subnets", "tunnelports"]
    cuts = {PREFIX, *(f"{_ALLOC}{kind}/" for kind in kinds), *(f"{PREFIX}{name}/" for name in objects)}
    starts = sorted({*cuts, *(range_end(cut) for cut in cuts), _REFS, range_end(_REFS)})
    return [(start, end) for start, end in pairwise(starts) if start != _REFS]
