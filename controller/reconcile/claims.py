"""Where the addresses of allowed address pairs live: at the port that announced them last. Pure.

A claim is stored with the binding of the port that made it, so it ends with that binding. It counts only as
long as the port lists the address and nobody else has it, or its wire MAC, as one of its own; then it is one
of the port's addresses in all respects but one: what the port may send from it, it may send without it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv6Address

from cloison.addresses import IpAddress, link_local, wire_mac
from cloison.errors import CloisonError, InvalidIntent
from cloison.model import Port, PortBinding, Reservation, Subnet
from cloison.names import HostName, NetworkName, PortName
from controller.compiler.view import mac_leads_to
from controller.reconcile.plugged import live_binding
from controller.store import ids, keys
from controller.store.state import State
from controller.store.txn import Txn

CLAIMS_MAX = 16


class ClaimRefused(CloisonError):
    """An address does not come to live at a port; the text says why."""


def claimed_by(state: State, port: Port, binding: PortBinding) -> tuple[IpAddress, ...]:
    """Return the addresses of its pairs that live at a port."""
    network = port.name.parent
    return tuple(
        address
        for address in binding.claimed
        if lists(port, address)
        and all(address != fixed_ip.address for fixed_ip in port.fixed_ips)
        and len(state.claimants(network, wire_mac(address))) == 1
        and _living_owner(state, port, address) is None
    )


def claim_txn(state: State, host: HostName, number: int, address: IpAddress) -> Txn:
    """Return the change by which an address comes to live at the port of that number on a host.

    No change if it does already. Raises ClaimRefused if it may not.
    """
    binding = binding_on(state, host, number)
    port = state.ports[binding.port]
    _check(state, port, binding, address)
    network, txn = port.name.parent, Txn()
    wire = wire_mac(address)
    others = [b for b in state.claimants(network, wire) if _key(b) != _key(binding)]
    for other in others:
        if any(wire_mac(a) == wire and a != address for a in other.claimed):
            raise ClaimRefused(f"{other.port} has an address with the same wire MAC")
    kept = [a for a in binding.claimed if lists(port, a)]
    if address in binding.claimed and not others:
        return txn
    claimed = _in_order({*kept, address})
    if len(claimed) > CLAIMS_MAX:
        raise ClaimRefused(f"it has {CLAIMS_MAX} addresses of its pairs already")
    # That nobody else comes to have it at the same moment: no binding of the network may have changed.
    txn.require_none_newer(keys.bindings_prefix(network), state.revision)
    txn.require(port)
    txn.update(binding, replace(binding, claimed=claimed))
    for other in others:
        left = tuple(a for a in other.claimed if a != address)
        txn.update(other, replace(other, claimed=left))
    return txn


def lists(port: Port, address: IpAddress) -> bool:
    """Tell whether an address is in one of a port's allowed address pairs."""
    pairs = port.allowed_address_pairs
    return any(address.version == p.prefix.version and address in p.prefix for p in pairs)


def living_at(state: State, network: NetworkName, address: IpAddress) -> Port | None:
    """Return the port at which an address of a network lives, its own or claimed."""
    reservation = state.reservations.get(ids.ip(network, address))
    if reservation is not None:
        try:
            port = state.ports.get(PortName.parse(reservation.owner))
        except InvalidIntent:
            port = None
        owns = port is not None and any(ip.address == address for ip in port.fixed_ips)
        if port is not None and owns and live_binding(state, port) is not None:
            return port
    for binding in state.claimants(network, wire_mac(address)):
        port = state.ports.get(binding.port)
        lives = port is not None and live_binding(state, port) == binding
        if port is not None and lives and address in claimed_by(state, port, binding):
            return port
    return None


def rivals(state: State, port: Port) -> Iterator[PortName]:
    """Yield the ports whose claims depend on whether this one lives, by its addresses."""
    for wire in {wire_mac(address) for address in _own(port)}:
        for binding in state.claimants(port.name.parent, wire):
            if binding.port != port.name:
                yield binding.port


def co_claimants(state: State, binding: PortBinding) -> Iterator[PortName]:
    """Yield the other ports that claim what a binding claims, or did: none has it while there are several."""
    for address in binding.claimed:
        for other in state.claimants(binding.port.parent, wire_mac(address)):
            if other.port != binding.port:
                yield other.port


def _own(port: Port) -> Iterable[IpAddress]:
    return (*(fixed_ip.address for fixed_ip in port.fixed_ips), link_local(port.mac))


def _check(state: State, port: Port, binding: PortBinding, address: IpAddress) -> None:
    if live_binding(state, port) != binding:
        raise ClaimRefused("it does not live there")
    if not lists(port, address):
        raise ClaimRefused("the address is in none of its allowed address pairs")
    if not any(address in subnet.cidr for subnet in _subnets(state, port.name.parent, address)):
        raise ClaimRefused("the address is in no subnet of its network")
    for reservation in _reservations(state, port.name.parent, address):
        if reservation.released:
            raise ClaimRefused("the address is being given back")
    owner = _living_owner(state, port, address)
    if owner is not None:
        raise ClaimRefused(f"{owner} has the address, or one with the same wire MAC")


def _subnets(state: State, network: NetworkName, address: IpAddress) -> Iterator[Subnet]:
    return (s for s in state.subnets_of(network) if s.cidr.version == address.version)


def _living_owner(state: State, port: Port, address: IpAddress) -> PortName | None:
    """Return another port that is plugged and has the address, or its wire MAC, as its own."""
    for reservation in _reservations(state, port.name.parent, address):
        try:
            name = PortName.parse(reservation.owner)
        except InvalidIntent:
            continue
        other = state.ports.get(name)
        if other is None or name == port.name or live_binding(state, other) is None:
            continue
        if wire_mac(address) in {wire_mac(own) for own in _own(other)}:
            return name
    return None


def _reservations(state: State, network: NetworkName, address: IpAddress) -> Iterator[Reservation]:
    wanted = [ids.ip(network, address)]
    if isinstance(address, IPv6Address):
        wanted.append(ids.wire6(network, address))
    for key in wanted:
        found = state.reservations.get(key)
        if found is not None:
            yield found


def binding_on(state: State, host: HostName, number: int) -> PortBinding:
    """Return the binding of the port of that number on a host; raises ClaimRefused if there is none."""
    for binding in state.bindings_on(host):
        port = state.ports.get(binding.port)
        if port is not None and port.number == number:
            return binding
    raise ClaimRefused("no port of that number is plugged there")


def _key(binding: PortBinding) -> tuple[PortName, HostName]:
    return binding.port, binding.host


def _in_order(addresses: Iterable[IpAddress]) -> tuple[IpAddress, ...]:
    return tuple(sorted(addresses, key=lambda a: (a.version, int(a))))


def reached_by_mac(port: Port) -> bool:
    """Tell whether a port's real MAC leads to it."""
    addresses = (fixed_ip.address for fixed_ip in port.fixed_ips)
    return mac_leads_to(port.allowed_address_pairs, port.profile, addresses)
