"""Reservation keys: what an identifier that is taken is called. Only this module makes or reads one. Pure.

A *reservation key* names an identifier, for example 'vni/5001': it is what follows alloc/ in a key of etcd
(keys.py). Its *scope* is all but the last part (with 'ip4' or 'ip6' for 'ip', and so for 'ext': 10.0.0.1 and
::a00:1 are the same number). Each identifier has one spelling, or it could be taken twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote

from cloison.addresses import IpAddress
from cloison.errors import InvalidIntent
from cloison.names import ExternalNetworkName, NetworkName, SecurityGroupName, TenantName

TENANT_NUMBER_SCOPE = "tenant-number"
PORT_NUMBER_SCOPE = "port-number"
PROFILE_NUMBER_SCOPE = "profile-number"
GROUP_NUMBER_SCOPE = "group-number"
VNI_SCOPE = "vni"
IFACE_SCOPE = "iface"
VTEP_SCOPE = "vtep"
DPID_SCOPE = "dpid"
_PROFILE_KIND = "profile"
_EXTERNAL_KIND = "ext"
_SEGMENT_KIND = "segment"
# The last part is an address; its family belongs to the scope.
_ADDRESSES = frozenset({"ip", _EXTERNAL_KIND})
_HEX_DIGITS = {"mac": 12, "wire6": 8, DPID_SCOPE: 16, _PROFILE_KIND: 64}
_DECIMAL = frozenset(
    {
        VNI_SCOPE,
        PORT_NUMBER_SCOPE,
        TENANT_NUMBER_SCOPE,
        PROFILE_NUMBER_SCOPE,
        GROUP_NUMBER_SCOPE,
        _SEGMENT_KIND,
    }
)


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


def external(network: ExternalNetworkName, address: IpAddress) -> str:
    """Reservation key of an address outside."""
    return f"{_EXTERNAL_KIND}/{network.external_network}/{address}"


def external_scope(network: ExternalNetworkName, version: int) -> str:
    """Scope of the addresses of one family of an external network; its numbers are int(address)."""
    return f"{_EXTERNAL_KIND}{version}/{network.external_network}"


def is_external(key: str) -> bool:
    """Tell whether a reservation key is that of an address outside."""
    return key.startswith(f"{_EXTERNAL_KIND}/")


def segment(physical_network: str, vlan: int) -> str:
    """Reservation key of a VLAN (0: untagged) of a physical network: it is one external network's."""
    return f"{_SEGMENT_KIND}/{quote(physical_network, safe='')}/{vlan}"


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
def split(key: str) -> tuple[str, int | str]:
    """Return (scope, number) of a reservation key; text in place of a number for iface and vtep.

    Raises InvalidIntent for a key that none of the functions above makes: each identifier has one spelling,
    or it could be taken twice.
    """
    scope, _, last = key.rpartition("/")
    kind = scope.partition("/")[0]
    try:
        if kind in _ADDRESSES:
            address = IPv6Address(last) if ":" in last else IPv4Address(last)
            family = f"{kind}{address.version}"
            found: tuple[str, int | str] = scope.replace(kind, family, 1), int(address)
        elif len(last) == _HEX_DIGITS.get(kind):
            found = scope, int(last, 16)
        elif kind in _DECIMAL and last.isdecimal():
            found = scope, int(last)
        elif kind in (IFACE_SCOPE, VTEP_SCOPE) and last:
            found = scope, last
        else:
            raise ValueError("no such kind")
        if join(*found) != key:
            raise ValueError("another spelling")
    except ValueError as error:
        raise InvalidIntent.of("key", key, "a reservation key of this schema") from error
    return found


def join(scope: str, number: int | str) -> str:
    """Inverse of split."""
    kind, _, rest = scope.partition("/")
    match kind:
        case "ip4" | "ext4":
            return f"{kind[:-1]}/{rest}/{IPv4Address(number)}"
        case "ip6" | "ext6":
            return f"{kind[:-1]}/{rest}/{IPv6Address(number)}"
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
