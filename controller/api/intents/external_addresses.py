"""Addresses outside: which are asked for, who has them, and when they are free again. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cloison.addresses import IpAddress
from cloison.errors import InvalidIntent
from cloison.model import ExternalNetwork
from cloison.names import ExternalNetworkName, HostName, TenantName
from controller.api import validate
from controller.api.intents import release
from controller.store import ids
from controller.store.keys import Referable
from controller.store.state import State
from controller.store.txn import Txn


def shared(state: State, text: str, tenant: TenantName, field: str) -> ExternalNetwork:
    """Return the external network of a name, if it is shared with a tenant; raises InvalidIntent.

    Whether there is one that is not, is not a tenant's to know.
    """
    network = state.external_networks.get(ExternalNetworkName.parse(text, field))
    if network is None or tenant not in network.shared_with:
        known = ", ".join(sorted(str(n.name) for n in state.external_networks_of(tenant))) or "there is none"
        raise InvalidIntent.of(field, text, f"an external network that is shared with {tenant}: {known}")
    return network


def chosen(
    state: State, network: ExternalNetwork, text: str, field: str, *, tenant: TenantName, uid: str
) -> IpAddress:
    """Return an address that was asked for, if its owner of that uid may have it.

    Raises InvalidIntent, and Unavailable while it is not free yet.
    """
    address = validate.address(text, field)
    subnet = next((s for s in network.subnets if s.cidr.version == address.version), None)
    shown = " and ".join(str(s.cidr) for s in network.subnets)
    if subnet is None or address not in subnet.cidr:
        raise InvalidIntent.of(field, text, f"an address of {network.name}, which has {shown}")
    first, last = validate.usable(subnet.cidr)
    if not first <= int(address) <= last:
        make = type(subnet.cidr.network_address)
        raise InvalidIntent.of(field, text, f"an address of {make(first)} to {make(last)}")
    held = release.foreign(state.reservations.get(ids.external(network.name, address)), uid)
    if held is not None:
        # Whose it is, is not another tenant's to know.
        if held.owner.startswith(f"{tenant}/"):
            release.refuse_released(held, field, address)
        owner = held.owner if held.owner.startswith(f"{tenant}/") else "somebody else"
        raise InvalidIntent.of(field, text, f"an address that is free: {owner} has this one")
    return address


def reserve(
    txn: Txn, network: ExternalNetwork, addresses: Iterable[IpAddress], owner: Referable, uid: str
) -> None:
    """Take addresses for an owner. (Of the network as it was read: its subnets, and who may use it.)"""
    txn.require(network)
    for address in sorted(addresses, key=str):
        txn.reserve(ids.external(network.name, address), owner, uid)


def give_back(
    txn: Txn,
    state: State,
    network: ExternalNetworkName,
    addresses: Iterable[IpAddress],
    uid: str,
    hosts: tuple[HostName, ...] | None = None,
) -> None:
    """Release addresses: nobody gets one before every host that may answer for it has confirmed.

    hosts: those, where they were found before something else went.
    """
    keys = [ids.external(network, address) for address in addresses]
    release.release(txn, state, keys, uid, holders(state, network) if hosts is None else hosts)


def holders(state: State, name: ExternalNetworkName) -> tuple[HostName, ...]:
    """Return the hosts that may answer for addresses of an external network."""
    network = state.external_networks.get(name)
    if network is None:
        return ()
    mapping = (h.name for h in state.hosts.values() if network.physical_network in h.physical_networks)
    # Also those that were gateway hosts until now, where a port that leads out may still be plugged.
    out = [edge.port for router in state.routers_out(name) for edge in state.edges_of(router.name)]
    bound = (binding.host for port in out for binding in state.bindings_of(port))
    return tuple(sorted({*network.gateway_hosts, *mapping, *bound}))
