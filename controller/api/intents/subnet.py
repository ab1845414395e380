"""Subnets: what creating, changing and deleting one stores. Pure.

The gateway's address is reserved like a port's, so that no port can get it, whoever comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cloison.addresses import IpAddress, IpNetwork
from cloison.codec import resource_to_proto
from cloison.errors import InvalidIntent
from cloison.model import AllocationPool, Network, Subnet
from cloison.names import HostName, NetworkName, SubnetName
from cloison.service_link import SERVICE_ADDRESSES
from cloison.v1 import subnet_pb2
from controller.api import masks, validate
from controller.api.intents import common, guest_settings, release
from controller.store import ids, transit
from controller.store.state import State
from controller.store.txn import Txn

POOLS_MAX = 32


def _gateway(check: validate.Checker, message: subnet_pb2.Subnet, cidr: IpNetwork) -> IpAddress | None:
    if message.no_gateway:
        check.that(
            not message.gateway_ip,
            "subnet.gateway_ip",
            message.gateway_ip,
            "nothing, since no_gateway is set",
        )
        return None
    if not message.gateway_ip:
        first, _ = validate.usable(cidr)
        return type(cidr.network_address)(first)
    gateway = check.take(lambda: validate.address(message.gateway_ip, "subnet.gateway_ip"))
    if gateway is not None:
        check.that(
            validate.is_usable(gateway, cidr),
            "subnet.gateway_ip",
            message.gateway_ip,
            validate.usable_expected(cidr),
        )
        check.that(
            gateway not in SERVICE_ADDRESSES,
            "subnet.gateway_ip",
            message.gateway_ip,
            validate.SERVICE_EXPECTED,
        )
    return gateway


def _pool(
    check: validate.Checker, message: subnet_pb2.AllocationPool, cidr: IpNetwork, field: str
) -> AllocationPool | None:
    ends = []
    for end, text in (("start", message.start), ("end", message.end)):
        address = check.take(lambda text=text, end=end: validate.address(text, f"{field}.{end}"))  # type: ignore[misc]
        if address is None:
            continue
        if check.that(
            validate.is_usable(address, cidr), f"{field}.{end}", text, validate.usable_expected(cidr)
        ):
            ends.append(address)
    if len(ends) < 2:
        return None
    check.that(
        int(ends[0]) <= int(ends[1]), field, f"{ends[0]}-{ends[1]}", "start not after end: swap the two"
    )
    return AllocationPool(ends[0], ends[1])


def _default_pools(cidr: IpNetwork, gateway: IpAddress | None) -> tuple[AllocationPool, ...]:
    """Return all usable addresses but the gateway."""
    first, last = validate.usable(cidr)
    make = type(cidr.network_address)
    if gateway is None or not first <= int(gateway) <= last:
        ranges = [(first, last)]
    else:
        ranges = [(first, int(gateway) - 1), (int(gateway) + 1, last)]
    return tuple(AllocationPool(make(low), make(high)) for low, high in ranges if low <= high)


def _check_pools(check: validate.Checker, pools: Sequence[AllocationPool], gateway: IpAddress | None) -> None:
    for i, pool in enumerate(pools):
        field, text = f"subnet.allocation_pools[{i}]", f"{pool.start}-{pool.end}"
        if gateway is not None and int(pool.start) <= int(gateway) <= int(pool.end):
            check.wrong(
                "subnet.gateway_ip",
                gateway,
                f"an address outside the allocation pools: it is in {field} ({text}), leave it out there",
            )
        for j, other in enumerate(pools[:i]):
            check.that(
                int(pool.end) < int(other.start) or int(other.end) < int(pool.start),
                field,
                text,
                f"a range apart from allocation_pools[{j}] ({other.start}-{other.end})",
            )


def _pools(
    check: validate.Checker, message: subnet_pb2.Subnet, cidr: IpNetwork, gateway: IpAddress | None
) -> tuple[AllocationPool, ...]:
    if not message.allocation_pools:
        return _default_pools(cidr, gateway)
    count = len(message.allocation_pools)
    if not check.that(
        count <= POOLS_MAX, "subnet.allocation_pools", f"{count} pools", f"at most {POOLS_MAX} pools"
    ):
        return ()
    parsed = [
        _pool(check, pool, cidr, f"subnet.allocation_pools[{i}]")
        for i, pool in enumerate(message.allocation_pools)
    ]
    pools = tuple(pool for pool in parsed if pool is not None)
    if len(pools) == count:
        _check_pools(check, pools, gateway)
    return pools


def _check_overlap(state: State, network: NetworkName, cidr: IpNetwork) -> None:
    for other in state.subnets_of(network):
        if other.cidr.overlaps(cidr):
            raise InvalidIntent.of(
                "subnet.cidr", cidr, f"a range that does not overlap {other.cidr} of {other.name}"
            )


def _reserve_gateway(txn: Txn, state: State, subnet: Subnet) -> None:
    if subnet.gateway_ip is None:
        return
    key = ids.ip(subnet.name.parent, subnet.gateway_ip)
    held = state.reservations.get(key)
    release.refuse_taken(
        held,
        "subnet.gateway_ip",
        subnet.gateway_ip,
        f"an address that is not taken: {held.owner if held else 'nobody'} has it",
    )
    txn.reserve(key, subnet.name, subnet.meta.uid)


def create(state: State, request: subnet_pb2.CreateSubnetRequest, stamp: common.Stamp) -> tuple[Txn, Subnet]:
    """Return the transaction that makes the subnet; an empty one for a repeated request."""
    check, message = validate.Checker(), request.subnet
    parent = check.take(lambda: NetworkName.parse(request.parent, "parent"))
    validate.check_resource_id(check, request.subnet_id, "subnet_id")
    validate.check_request_id(check, request.request_id)
    common.check_meta(check, message, "subnet")
    cidr = check.take(lambda: validate.cidr(message.cidr, "subnet.cidr"))
    gateway = _gateway(check, message, cidr) if cidr else None
    pools = _pools(check, message, cidr, gateway) if cidr else ()
    told = guest_settings.parse(check, message, cidr) if cidr else None
    check.done()
    assert parent is not None
    assert cidr is not None
    assert told is not None
    network = _network(state, parent)
    name = SubnetName(parent.tenant, parent.network, request.subnet_id)
    if not stamp.system:
        transit.refuse(state, parent, name)
    existing = common.repeated(state.subnets.get(name), request)
    if existing is not None:
        return Txn(), existing
    _check_overlap(state, parent, cidr)
    subnet = Subnet(
        name=name,
        meta=common.new_meta(message, request, stamp),
        cidr=cidr,
        gateway_ip=gateway,
        allocation_pools=pools,
        dhcp=not message.no_dhcp,
        dns_servers=told.dns_servers,
        routes=told.routes,
        ntp_servers=told.ntp_servers,
        ipv6_mode=told.ipv6_mode,
    )
    txn = Txn()
    txn.create(subnet)
    # Of two overlapping subnets made at one moment, the second then loses the race for the network and is
    # judged again, with the first in view.
    txn.update(network, common.touched(network, stamp))
    _reserve_gateway(txn, state, subnet)
    return txn, subnet


def _network(state: State, parent: NetworkName) -> Network:
    common.found(state.tenants, parent.parent)
    return common.found(state.networks, parent)


def _merged(old: Subnet, message: subnet_pb2.Subnet, fields: frozenset[str]) -> subnet_pb2.Subnet:
    """Return the stored subnet as a message, with the named fields taken from the request."""
    merged = resource_to_proto(old)
    for field in fields:
        merged.ClearField(field)
    chosen = subnet_pb2.Subnet()
    chosen.CopyFrom(message)
    for field in {f.name for f in message.DESCRIPTOR.fields} - fields:
        chosen.ClearField(field)
    merged.MergeFrom(chosen)
    # One of the two fields says it all when the other was not named.
    if "gateway_ip" in fields and "no_gateway" not in fields:
        merged.no_gateway = False
    if "no_gateway" in fields and merged.no_gateway and "gateway_ip" not in fields:
        merged.gateway_ip = ""
    return merged


def update(state: State, request: subnet_pb2.UpdateSubnetRequest, stamp: common.Stamp) -> tuple[Txn, Subnet]:
    """Return the transaction that changes what the mask names; range and IPv6 mode stay."""
    name = SubnetName.parse(request.subnet.name, "subnet.name")
    fields = masks.fields_to_update(request.subnet, request.update_mask, "subnet")
    old = common.found(state.subnets, name)
    transit.refuse(state, name.parent, name)
    common.check_etag(old, request.subnet.etag)
    if "cidr" in fields:
        common.check_immutable("subnet.cidr", request.subnet.cidr, str(old.cidr))
    if "ipv6_mode" in fields:
        guest_settings.check_mode(request.subnet, old)
    merged = _merged(old, request.subnet, fields - {"cidr", "ipv6_mode"})
    check = validate.Checker()
    common.check_meta(check, merged, "subnet")
    gateway = _gateway(check, merged, old.cidr)
    pools = _pools(check, merged, old.cidr, gateway)
    told = guest_settings.parse(check, merged, old.cidr)
    check.done()
    new = replace(
        old,
        meta=common.changed_meta(old.meta, merged, fields),
        gateway_ip=gateway,
        allocation_pools=pools,
        dhcp=not merged.no_dhcp,
        dns_servers=told.dns_servers,
        routes=told.routes,
        ntp_servers=told.ntp_servers,
    )
    txn, new = common.changed(old, new, stamp)
    if new.gateway_ip != old.gateway_ip:
        _refuse_routed(state, old)
        _release_gateway(txn, state, old, _holders(state, old))
        _reserve_gateway(txn, state, new)
    return txn, new


def _refuse_routed(state: State, subnet: Subnet) -> None:
    """Refuse to take the gateway's address away while a router has it."""
    routers = [
        router.name
        for router in state.routers_using(subnet.name)
        if any(i.subnet == subnet.name and i.address == subnet.gateway_ip for i in router.interfaces)
    ]
    common.refuse_if_referenced(
        subnet.name, routers, f"has gateway_ip {subnet.gateway_ip}, which is the address of"
    )


def _holders(state: State, subnet: Subnet) -> tuple[HostName, ...]:
    network = state.networks.get(subnet.name.parent)
    return release.holders(state, network) if network else ()


def _release_gateway(txn: Txn, state: State, subnet: Subnet, hosts: tuple[HostName, ...]) -> None:
    if subnet.gateway_ip is not None:
        key = ids.ip(subnet.name.parent, subnet.gateway_ip)
        release.release(txn, state, [key], subnet.meta.uid, hosts)


def delete(state: State, request: subnet_pb2.DeleteSubnetRequest) -> tuple[Txn, Subnet]:
    """Return the transaction that removes a subnet; raises Precondition while ports or routers use it."""
    name = SubnetName.parse(request.name)
    subnet = common.found(state.subnets, name)
    transit.refuse(state, name.parent, name)
    common.check_etag(subnet, request.etag)
    common.refuse_if_referenced(
        name, (p.name for p in state.ports_using(name)), "still has ports with addresses"
    )
    routers = (router.name for router in state.routers_using(name))
    common.refuse_if_referenced(name, routers, "is still joined by")
    return remove(state, subnet, _holders(state, subnet)), subnet


def remove(state: State, subnet: Subnet, hosts: tuple[HostName, ...]) -> Txn:
    """Return the transaction that removes a subnet; its gateway's address waits for these hosts."""
    txn = Txn()
    txn.delete(subnet)
    _release_gateway(txn, state, subnet, hosts)
    return txn
