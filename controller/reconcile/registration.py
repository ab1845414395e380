"""Registering a host: what its agent says of itself, made into one transaction. Pure.

A VTEP address and a datapath id belong to one host. A host that comes back with others gives the old ones
back at once: nobody but that host could have used them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cloison.addresses import IpAddress
from cloison.errors import Precondition
from cloison.model import Host, Meta
from cloison.names import HostName
from controller.store import ids
from controller.store.state import State
from controller.store.txn import Txn


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What an agent's Hello says, checked for form."""

    host: HostName
    vtep: IpAddress
    datapath_id: int
    underlay_mtu: int
    agent_version: str
    datapath_type: str
    labels: Mapping[str, str] = field(default_factory=dict)
    # Those that it maps to a bridge, sorted.
    physical_networks: tuple[str, ...] = ()


def registration_txn(state: State, hello: Registration, *, new_uid: str, now_ns: int) -> Txn:
    """Return the transaction that stores what is new; empty if nothing is.

    Raises Precondition naming the other host when the VTEP or the datapath id is another host's.
    """
    old = state.hosts.get(hello.host)
    base = old or Host(name=hello.host, meta=Meta(uid=new_uid, create_time_ns=now_ns))
    new = replace(
        base,
        vtep=hello.vtep,
        datapath_id=hello.datapath_id,
        underlay_mtu=hello.underlay_mtu,
        agent_version=hello.agent_version,
        datapath_type=hello.datapath_type,
        agent_labels=dict(hello.labels),
        physical_networks=hello.physical_networks,
    )
    txn = Txn()
    if old is not None and new == old:
        return txn
    new = replace(new, meta=replace(base.meta, update_time_ns=now_ns))
    old_vtep = ids.vtep(old.vtep) if old and old.vtep else None
    _exchange(txn, state, new, ids.vtep(hello.vtep), old_vtep, "VTEP address")
    old_dpid = ids.dpid(old.datapath_id) if old and old.datapath_id else None
    _exchange(txn, state, new, ids.dpid(hello.datapath_id), old_dpid, "datapath id")
    if old is None:
        txn.create(new)
    else:
        txn.update(old, new)
    return txn


def _exchange(txn: Txn, state: State, host: Host, wanted: str, held: str | None, what: str) -> None:
    """Reserve wanted for the host and give held back, unless they are the same."""
    taken = state.reservations.get(wanted)
    if taken is not None and taken.owner != str(host.name):
        value = wanted.rpartition("/")[2]
        raise Precondition(
            "TAKEN",
            str(host.name),
            f"{what} {value} is {taken.owner}'s; give {host.name} another one, or delete {taken.owner}",
            (taken.owner,),
        )
    if wanted == held:
        return
    if taken is None:
        txn.reserve(wanted, host.name, host.meta.uid)
    before = state.reservations.get(held) if held else None
    if before is not None:
        txn.release(before, ())
