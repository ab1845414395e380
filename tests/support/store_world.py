"""Stores under test: what they are asked to keep, and what somebody knows who follows one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Protocol
from uuid import uuid4

from cloison.errors import AlreadyExists, NotFound, Precondition
from cloison.model import FixedIp, Meta, Network, Port, PortBinding, Reservation, Stored, Subnet, Tenant, Vni
from cloison.names import HostName, NetworkName, PortName, SubnetName, TenantName
from controller.store import ids, keys
from controller.store.changes import RevisionChanges
from controller.store.keys import stored_key
from controller.store.state import State
from controller.store.store import Store, Subscription
from controller.store.txn import Txn

ACME = TenantName("acme")
WEB = NetworkName("acme", "web")
LAN = SubnetName("acme", "web", "lan")
H1 = HostName("h1")
DEADLINE_S = 20.0


class Backend(Protocol):
    """One etcd, or what is like one, and its controllers."""

    async def new_store(self, *, subscription_revisions_max: int = 20_000) -> Store:
        """Start one more controller's store."""

    def cut(self, store: Store) -> None:
        """Keep a store from following."""

    def mend(self, store: Store) -> None:
        """Undo cut."""

    async def put_raw(self, key: str, value: bytes | None) -> None:
        """Write past all stores."""

    async def compact(self) -> None:
        """Forget all history."""

    async def keys(self) -> list[str]:
        """All keys there are."""


def meta(**fields) -> Meta:
    return Meta(uid=str(uuid4()), **fields)


def tenant(name=ACME, number=1) -> Tenant:
    return Tenant(name=name, meta=meta(), number=number)


def network(name=WEB, vni=5001) -> Network:
    return Network(name=name, meta=meta(), vni=Vni(vni))


def subnet(name=LAN, cidr="10.0.0.0/16") -> Subnet:
    return Subnet(name=name, meta=meta(), cidr=ip_network(cidr), gateway_ip=None, allocation_pools=())


def port(name: PortName | str, address: str | None = None, number=1, **fields) -> Port:
    made = meta()
    return Port(
        name=name if isinstance(name, PortName) else PortName(*WEB, name),
        meta=made,
        number=number,
        mac=0x525400000000 + number,
        fixed_ips=(FixedIp(LAN, ip_address(address)),) if address else (),
        iface_id=made.uid,
        **({"requested_hosts": (), "disabled": False} | fields),
    )


def creating(*objects: Stored) -> Callable[[State], tuple[Txn, None]]:
    def build(state: State) -> tuple[Txn, None]:
        txn = Txn()
        for stored in objects:
            if state.lookup(stored_key(stored)) is not None:
                raise AlreadyExists(str(stored_key(stored)))
            txn.create(stored)
        return txn, None

    return build


def taking(new: Port, address: str) -> Callable[[State], tuple[Txn, Port]]:
    """Create a port with a chosen address, as the API does."""

    def build(state: State) -> tuple[Txn, Port]:
        if LAN not in state.subnets:
            raise NotFound(str(LAN))
        key = ids.ip(WEB, ip_address(address))
        if key in state.reservations:
            raise Precondition("TAKEN", str(new.name), f"{address} is taken", [state.reservations[key].owner])
        txn = Txn()
        made = replace(new, fixed_ips=(FixedIp(LAN, ip_address(address)),))
        txn.create(made)
        txn.reserve(key, made.name, made.meta.uid)
        txn.add_reference(LAN, made.name)
        return txn, made

    return build


def taking_any(new: Port) -> Callable[[State], tuple[Txn, Port]]:
    """Create a port with whatever address is free."""

    def build(state: State) -> tuple[Txn, Port]:
        low = int(IPv4Address("10.0.0.1"))
        number = state.reservations.first_free(ids.ip_scope(WEB, 4), low, low + 5000)
        assert number is not None
        return taking(new, str(IPv4Address(number)))(state)

    return build


def deleting(name) -> Callable[[State], tuple[Txn, None]]:
    def build(state: State) -> tuple[Txn, None]:
        old = state.get(name)
        if old is None:
            raise NotFound(str(name))
        if isinstance(name, SubnetName) and (users := state.ports_using(name)):
            raise Precondition("REFERENCED", str(name), "in use", [str(user.name) for user in users])
        if isinstance(name, NetworkName) and state.children_of(name):
            raise Precondition("REFERENCED", str(name), "not empty")
        txn = Txn()
        if isinstance(old, Port):
            for fixed_ip in old.fixed_ips:
                txn.release(state.reservations[ids.ip(name.parent, fixed_ip.address)], ())
                txn.drop_reference(fixed_ip.subnet, name)
        txn.delete(old)
        return txn, None

    return build


def relabelling(name, display_name: str) -> Callable[[State], tuple[Txn, None]]:
    def build(state: State) -> tuple[Txn, None]:
        old = state.get(name)
        assert old is not None
        txn = Txn()
        txn.update(old, replace(old, meta=replace(old.meta, display_name=display_name)))
        return txn, None

    return build


async def eventually(condition: Callable[[], object], what: str = "", deadline_s: float = DEADLINE_S) -> None:
    """Poll until condition() is true."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, what or "not within the deadline"
        await asyncio.sleep(0.01)


def content(state: State) -> dict[object, Stored]:
    """Everything in a state."""
    tables = (
        *(state.tenants, state.networks, state.subnets, state.ports, state.hosts),
        *(state.security_groups, state.address_groups, state.routers, state.peerings),
        *(state.external_networks, state.floating_ips),
    )
    found: dict[object, Stored] = {str(name): stored for table in tables for name, stored in table.items()}
    return (
        found
        | dict(state.bindings)
        | dict(state.tunnel_ports)
        | {("edge", key): edge for key, edge in state.router_edges.items()}
        | {str(keys.stored_key(profile)): profile for profile in state.profiles.values()}
        | {f"r/{k}": r for k, r in state.reservations.items()}
    )


class Replica:
    """What a subscriber knows that begins with a snapshot and then only believes the changes."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.known = content(store.state)
        self.seen: list[RevisionChanges] = []
        self.subscription: Subscription = store.subscribe()

    def catch_up(self) -> None:
        for changes in self.subscription.pending():
            self.seen.append(changes)
            for change in changes.changes:
                key = change.key if isinstance(change.stored, PortBinding) else str(change.key)
                key = f"r/{key}" if isinstance(change.stored, Reservation) else key
                assert self.known.get(key) == change.old
                if change.new is None:
                    del self.known[key]
                else:
                    self.known[key] = change.new

    def check(self) -> None:
        self.catch_up()
        assert self.known == content(self.store.state)
