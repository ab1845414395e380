"""Choosing identifiers: VNIs, numbers, MACs, addresses. Pure, and the same for the same state and seed.

Each search begins at a place that depends on the seed (the uid of what is being created), so its cost does
not grow with what is taken until a range is nearly full. Identifiers that were released and not yet
confirmed by every host are reserved like any other, and so never chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv6Address

from cloison.addresses import IpAddress, Mac, link_local
from cloison.errors import Exhausted
from cloison.model import (
    GROUP_NUMBER_MAX,
    PORT_NUMBER_MAX,
    PROFILE_FIRST,
    PROFILE_MAX,
    TENANT_NUMBER_MAX,
    VNI_MAX,
    VNI_MIN,
    ExternalNetwork,
    Subnet,
    Vni,
)
from cloison.names import NetworkName
from cloison.service_link import SERVICE_ADDRESSES
from controller.api import validate
from controller.api.intents.common import Stamp
from controller.store import ids
from controller.store.reservations import Reservations
from controller.store.state import State

# Allocated MACs begin 02: locally administered, unicast, and never a wire MAC (0a:f0, 0a:f6).
MAC_FIRST_BYTE = 0x02


def _number(state: State, scope: str, low: int, high: int, seed: int, what: str) -> int:
    number = state.reservations.first_free(scope, low, high, low + seed % (high - low + 1))
    if number is None:
        raise Exhausted(f"no free {what} is left of {low} to {high}; delete what is no longer needed")
    return number


def tenant_number(state: State, stamp: Stamp) -> int:
    """Return a free short number for a tenant."""
    seed = stamp.seed("tenant-number")
    return _number(state, ids.TENANT_NUMBER_SCOPE, 1, TENANT_NUMBER_MAX, seed, "tenant number")


def port_number(state: State, stamp: Stamp) -> int:
    """Return a free short number for a port."""
    seed = stamp.seed("port-number")
    return _number(state, ids.PORT_NUMBER_SCOPE, 1, PORT_NUMBER_MAX, seed, "port number")


def group_number(state: State, stamp: Stamp) -> int:
    """Return a free short number for a security group."""
    seed = stamp.seed("group-number")
    return _number(state, ids.GROUP_NUMBER_SCOPE, 1, GROUP_NUMBER_MAX, seed, "security group number")


def profile_number(state: State, stamp: Stamp) -> int:
    """Return a free number for a policy profile."""
    scope, seed = ids.PROFILE_NUMBER_SCOPE, stamp.seed("profile-number")
    return _number(state, scope, PROFILE_FIRST, PROFILE_MAX, seed, "policy profile number")


def eui64(subnet: Subnet, mac: int) -> IPv6Address:
    """Return the address that a guest with this MAC makes for itself in a /64 (RFC 4291, appendix A)."""
    host = int(link_local(mac)) & 0xFFFF_FFFF_FFFF_FFFF
    return IPv6Address(int(subnet.cidr.network_address) | host)


def vni(state: State, stamp: Stamp) -> Vni:
    """Return a free VXLAN network identifier."""
    return Vni(_number(state, ids.VNI_SCOPE, VNI_MIN, VNI_MAX, stamp.seed("vni"), "VNI"))


def mac(state: State, network: NetworkName, stamp: Stamp, avoid: Iterable[str] = ()) -> Mac:
    """Return a free MAC whose link-local address has a wire MAC of its own in the network.

    avoid: reservation keys that the same request takes for its chosen addresses.
    """
    avoided = frozenset(avoid)
    seed = stamp.seed("mac")
    # The upper half varies too, so that ports of different networks rarely share a MAC; what has to be
    # unique in the network are the lower 24 bits, which make up the link-local address's wire MAC.
    high = MAC_FIRST_BYTE << 40 | (seed >> 24 & 0xFFFF) << 24
    scope = ids.mac_scope(network)
    for number in state.reservations.free_from(scope, high, high | 0xFFFFFF, high | seed & 0xFFFFFF):
        wire = ids.wire6(network, link_local(number))
        if wire not in avoided and state.reservations.is_free(wire):
            return Mac(number)
    raise Exhausted(f"no free MAC is left in {network}")


def _candidates(
    reservations: Reservations, scope: str, pools: Sequence[tuple[int, int]], seed: int
) -> Iterator[int]:
    """Yield the free numbers of all pools once, from a place given by the seed, going round."""
    offset = seed % sum(last - first + 1 for first, last in pools)
    index = 0
    while offset > pools[index][1] - pools[index][0]:
        offset -= pools[index][1] - pools[index][0] + 1
        index += 1
    first, last = pools[index]
    yield from reservations.free_from(scope, first, last, first + offset)
    for first, last in (*pools[index + 1 :], *pools[:index]):
        yield from reservations.free_from(scope, first, last)


def address(state: State, subnet: Subnet, stamp: Stamp, avoid: Iterable[str] = ()) -> IpAddress:
    """Return a free address of the subnet's pools; in IPv6 with low 32 bits that are free in the network.

    avoid: reservation keys that the same request takes otherwise. Raises Exhausted.
    """
    network, avoided = subnet.name.parent, frozenset(avoid)
    make = type(subnet.cidr.network_address)
    pools = [(int(pool.start), int(pool.end)) for pool in subnet.allocation_pools]
    scope = ids.ip_scope(network, subnet.cidr.version)
    gateways = _gateway_wires(state, network)
    if pools:
        for number in _candidates(state.reservations, scope, pools, stamp.seed(str(subnet.name))):
            candidate = make(number)
            if candidate in SERVICE_ADDRESSES or ids.ip(network, candidate) in avoided:
                continue
            if not isinstance(candidate, IPv6Address):
                return candidate
            wire = ids.wire6(network, candidate)
            if wire not in avoided and wire not in gateways and state.reservations.is_free(wire):
                return candidate
    raise Exhausted(
        f"no free address is left in the allocation pools of {subnet.name} ({subnet.cidr}); "
        "delete ports, widen the pools, or add a subnet"
    )


def external_address(state: State, network: ExternalNetwork, version: int, stamp: Stamp) -> IpAddress:
    """Return a free address outside of one family. Raises Exhausted, also where there is no such subnet."""
    for subnet in network.subnets:
        if subnet.cidr.version != version:
            continue
        make = type(subnet.cidr.network_address)
        ranges = [(int(first), int(last)) for first, last in subnet.ranges] or [validate.usable(subnet.cidr)]
        scope = ids.external_scope(network.name, version)
        for number in _candidates(state.reservations, scope, ranges, stamp.seed(f"{network.name}/{version}")):
            return make(number)
        raise Exhausted(f"no free address is left in {subnet.cidr} of {network.name}")
    raise Exhausted(f"{network.name} has no subnet of IPv{version}")


def _gateway_wires(state: State, network: NetworkName) -> frozenset[str]:
    """Return the wire keys of the IPv6 gateways: resolving one must not look like a frame for a port."""
    gateways = (subnet.gateway_ip for subnet in state.subnets_of(network))
    return frozenset(ids.wire6(network, g) for g in gateways if isinstance(g, IPv6Address))
