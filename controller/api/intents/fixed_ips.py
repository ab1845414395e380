"""The addresses of a port: from what was asked for to addresses of subnets. Pure.

Three steps: `parse` looks at the fields alone, `check` at the state, `resolve` allocates what was left open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address

from cloison.addresses import IpAddress, Mac, format_mac, link_local
from cloison.errors import Exhausted, InvalidIntent
from cloison.model import FixedIp, Subnet
from cloison.names import NetworkName, SubnetName
from cloison.service_link import SERVICE_ADDRESSES
from cloison.v1 import port_pb2
from controller.api import allocate, validate
from controller.api.intents import common, guest_settings, release
from controller.store import ids
from controller.store.state import State

FIXED_IPS_MAX = 16
_SHOWN_MAX = 8


@dataclass(frozen=True, slots=True)
class Wanted:
    """One entry of fixed_ips: a subnet, an address, or both; family stands for any subnet of that family."""

    subnet: SubnetName | None = None
    address: IpAddress | None = None
    family: int = 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """A wish that the state allows: the subnets it may come from, and the address if that was chosen."""

    subnets: tuple[Subnet, ...]
    address: IpAddress | None = None


def parse(check: validate.Checker, entries: Sequence[port_pb2.FixedIp]) -> tuple[Wanted, ...]:
    """Check each entry by itself."""
    wanted: list[Wanted] = []
    for i, entry in enumerate(entries):
        field = f"port.fixed_ips[{i}]"
        if i >= FIXED_IPS_MAX:
            check.wrong("port.fixed_ips", f"{len(entries)} addresses", f"at most {FIXED_IPS_MAX} addresses")
            break
        if not entry.subnet and not entry.ip_address:
            check.wrong(field, "", "a subnet, an ip_address, or both")
            continue
        subnet = address = None
        if entry.subnet:
            subnet = check.take(lambda e=entry, f=field: SubnetName.parse(e.subnet, f"{f}.subnet"))  # type: ignore[misc]
        if entry.ip_address:
            address = check.take(lambda e=entry, f=field: validate.address(e.ip_address, f"{f}.ip_address"))  # type: ignore[misc]
            check.that(
                address is None or all(address != other.address for other in wanted),
                f"{field}.ip_address",
                entry.ip_address,
                "each address once",
            )
        wanted.append(Wanted(subnet, address))
    return tuple(wanted)


def one_of_each_family(state: State, network: NetworkName) -> tuple[Wanted, ...]:
    """Return the wishes of a port that names no address."""
    families = {subnet.cidr.version for subnet in state.subnets_of(network)}
    return tuple(Wanted(family=family) for family in sorted(families))


def keep(wanted: Iterable[Wanted], current: Iterable[FixedIp]) -> tuple[Wanted, ...]:
    """Return the wishes with addresses left open taken from those that the port has in that subnet."""
    wishes = list(wanted)
    named = {wish.address for wish in wishes}
    spare = [fixed_ip for fixed_ip in current if fixed_ip.address not in named]
    for i, wish in enumerate(wishes):
        if wish.address is None:
            match = next((f for f in spare if f.subnet == wish.subnet), None)
            if match is not None:
                spare.remove(match)
                wishes[i] = Wanted(match.subnet, match.address)
    return tuple(wishes)


def clash(address: IPv6Address, owner: str) -> str:
    """Say why two IPv6 addresses cannot be in one network."""
    kind = "link-local address" if address.is_link_local else "address"
    return (
        f"its {kind} {address} ends in the same 32 bits as an address (or link-local address) of {owner}; "
        "the low 32 bits of IPv6 addresses must differ in a network: frames are forwarded by them (wire MAC)"
    )


def check(
    check: validate.Checker,
    state: State,
    network: NetworkName,
    wanted: Sequence[Wanted],
    uid: str,
) -> tuple[Chosen, ...]:
    """Check each wish against the state; uid is that of the port, whose own addresses are free to it."""
    chosen = []
    subnets = sorted(state.subnets_of(network), key=lambda s: s.name)
    for i, wish in enumerate(wanted):
        field = f"port.fixed_ips[{i}]"
        candidates = _candidates(check, subnets, network, wish, field)
        if wish.address is not None and candidates:
            _check_address(check, state, candidates[0], wish.address, uid, f"{field}.ip_address")
        chosen.append(Chosen(tuple(candidates), wish.address))
    return tuple(chosen)


def _candidates(
    check: validate.Checker, subnets: Sequence[Subnet], network: NetworkName, wish: Wanted, field: str
) -> list[Subnet]:
    """Return the subnets that a wish may be met from; notes a violation if there is none."""
    shown = ", ".join(f"{s.name.subnet} ({s.cidr})" for s in subnets[:_SHOWN_MAX]) or "none yet"
    if wish.subnet is not None:
        named = [s for s in subnets if s.name == wish.subnet]
        check.that(bool(named), f"{field}.subnet", wish.subnet, f"a subnet of {network}; it has {shown}")
        return named
    if wish.address is not None:
        address = wish.address
        holding = [s for s in subnets if address.version == s.cidr.version and address in s.cidr]
        check.that(
            bool(holding),
            f"{field}.ip_address",
            address,
            f"an address of a subnet of {network}; it has {shown}",
        )
        return holding
    return [s for s in subnets if s.cidr.version == wish.family]


def _check_address(
    check: validate.Checker, state: State, subnet: Subnet, address: IpAddress, uid: str, field: str
) -> None:
    first, last = validate.usable(subnet.cidr)
    make = type(subnet.cidr.network_address)
    if address.version != subnet.cidr.version or not first <= int(address) <= last:
        check.wrong(
            field, address, f"an address of {subnet.name} ({subnet.cidr}): {make(first)} to {make(last)}"
        )
        return
    if address == subnet.gateway_ip:
        check.wrong(field, address, f"another address: this one is the gateway of {subnet.name}")
        return
    if not check.that(address not in SERVICE_ADDRESSES, field, address, validate.SERVICE_EXPECTED):
        return
    if guest_settings.makes_its_own(subnet):
        # It follows from the MAC, which may not be known yet: see resolve.
        return
    network = subnet.name.parent
    held = release.foreign(state.reservations.get(ids.ip(network, address)), uid)
    if held is not None:
        release.refuse_released(held, field, address)
        check.wrong(
            field, address, f"an address that is free{_example(state, subnet)}: {held.owner} has this one"
        )
        return
    if isinstance(address, IPv6Address):
        wire = release.foreign(state.reservations.get(ids.wire6(network, address)), uid)
        if wire is not None:
            release.refuse_released(wire, field, address)
            check.wrong(
                field, address, f"another address{_example(state, subnet)}: {clash(address, wire.owner)}"
            )


def _example(state: State, subnet: Subnet) -> str:
    """Return ', such as 10.0.0.7', if an address is free."""
    try:
        return f", such as {allocate.address(state, subnet, common.Stamp(0, 'example'))}"
    except Exhausted:
        return ""


def wires(network: NetworkName, chosen: Iterable[Chosen]) -> frozenset[str]:
    """Return the wire MAC keys of the addresses that were chosen by the caller, not made from a MAC."""
    return frozenset(
        ids.wire6(network, choice.address)
        for choice in chosen
        if isinstance(choice.address, IPv6Address)
        and not any(map(guest_settings.makes_its_own, choice.subnets))
    )


def resolve(
    state: State, network: NetworkName, mac: Mac, chosen: Sequence[Chosen], stamp: common.Stamp, uid: str = ""
) -> tuple[FixedIp, ...]:
    """Return the addresses of the port, those left open allocated, or made from its MAC (EUI-64).

    uid: that of a port that is there already. Raises Exhausted, and InvalidIntent for an address that the
    guest would not make for itself.
    """
    avoid = {ids.wire6(network, link_local(mac))} | wires(network, chosen)
    avoid.update(ids.ip(network, choice.address) for choice in chosen if choice.address is not None)
    addresses = []
    for i, choice in enumerate(chosen):
        fixed_ip = _self_made(state, choice, mac, f"port.fixed_ips[{i}]", uid)
        if fixed_ip is None:
            fixed_ip = _allocated(state, choice, stamp, avoid)
        addresses.append(fixed_ip)
        avoid.add(ids.ip(network, fixed_ip.address))
        if isinstance(fixed_ip.address, IPv6Address):
            avoid.add(ids.wire6(network, fixed_ip.address))
    return tuple(addresses)


def _self_made(state: State, choice: Chosen, mac: Mac, field: str, uid: str) -> FixedIp | None:
    """Return the address that the guest makes from its MAC; None where addresses are given out instead."""
    subnet = choice.subnets[0] if choice.subnets else None
    if subnet is None or not guest_settings.makes_its_own(subnet):
        return None
    made = allocate.eui64(subnet, mac)
    if choice.address not in (None, made):
        raise InvalidIntent.of(
            f"{field}.ip_address",
            choice.address,
            f"{made}, or nothing: with {subnet.ipv6_mode} guests make it from their MAC {format_mac(mac)}",
        )
    held = release.foreign(state.reservations.get(ids.ip(subnet.name.parent, made)), uid)
    if held is not None or made == subnet.gateway_ip:
        if held is not None:
            release.refuse_released(held, field, made)
        owner = held.owner if held is not None else subnet.name
        raise InvalidIntent.of(
            "port.mac_address",
            format_mac(mac),
            f"another MAC: {owner} has {made}, which a guest makes of this one",
        )
    return FixedIp(subnet.name, made)


def follow_mac(state: State, addresses: Iterable[FixedIp], mac: Mac, uid: str) -> tuple[FixedIp, ...]:
    """Return a port's addresses when its MAC has become another: those made from it change with it."""
    found = []
    for one in addresses:
        subnet = state.subnets.get(one.subnet)
        choice = Chosen((subnet,) if subnet is not None else ())
        found.append(_self_made(state, choice, mac, "port.fixed_ips", uid) or one)
    return tuple(found)


def given_out(state: State, addresses: Iterable[FixedIp]) -> Iterator[FixedIp]:
    """Yield those addresses that do not follow from the MAC."""
    for one in addresses:
        subnet = state.subnets.get(one.subnet)
        if subnet is None or not guest_settings.makes_its_own(subnet):
            yield one


def _allocated(state: State, choice: Chosen, stamp: common.Stamp, avoid: Iterable[str]) -> FixedIp:
    if choice.address is not None:
        return FixedIp(choice.subnets[0].name, choice.address)
    failure: Exhausted | None = None
    for subnet in choice.subnets:
        try:
            return FixedIp(subnet.name, allocate.address(state, subnet, stamp, avoid))
        except Exhausted as error:
            failure = failure or error
    raise failure or Exhausted("no subnet to take an address from")
