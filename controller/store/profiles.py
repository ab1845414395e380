"""Policy profiles: one record per distinct set of security groups that ports of a tenant have. Pure.

A profile comes with the first port that has its set, in that port's own transaction, and is kept by the
references of its ports. When the last port is gone it is of no use, but it is not taken away at that moment:
another port with the same set may be on its way. `collect` does that later, and so does the end of one of its
groups. Its number then waits for the hosts that may have it in a flow, like any other identifier.

Races are decided by etcd. Of two ports that bring the same new set, one takes the reservation of the set,
and the other is built again and finds the profile. A profile goes only if nobody refers to it at the moment
of the commit, so a port that joins and the profile's end never both happen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cloison.model import PROFILE_FIRST, PolicyProfile, Port
from cloison.names import HostName, PortName, SecurityGroupName, TenantName
from controller.store import ids
from controller.store.changes import Change
from controller.store.keys import ProfileKey
from controller.store.state import State
from controller.store.txn import Txn


def join(
    txn: Txn, state: State, tenant: TenantName, groups: Iterable[SecurityGroupName], number: int
) -> None:
    """See to it that the profile of a set of groups is there: as it was read, or made with this number.

    Nothing is done for the reserved profiles. Follow with `refer` for the port.
    """
    if number < PROFILE_FIRST:
        return
    wanted = tuple(sorted(set(groups)))
    found = state.profile_for(tenant, wanted)
    if found is not None:
        txn.require(found)
        return
    made = PolicyProfile(tenant=tenant, number=number, groups=wanted)
    key = ProfileKey(tenant, number)
    txn.create(made)
    txn.reserve(ids.profile(tenant, wanted), key, str(key))
    txn.reserve(ids.profile_number(number), key, str(key))
    for group in wanted:
        txn.add_reference(group, key)


def refer(txn: Txn, port: PortName, old: int | None, new: int | None) -> None:
    """Put the reference to a port's profile in the place of that to its last one; None: no port."""
    if old == new:
        return
    if new is not None and new >= PROFILE_FIRST:
        txn.add_reference(ProfileKey(port.parent.parent, new), port)
    if old is not None and old >= PROFILE_FIRST:
        txn.drop_reference(ProfileKey(port.parent.parent, old), port)


def retire(txn: Txn, state: State, profile: PolicyProfile) -> None:
    """Delete a profile that no port has; its number waits for the hosts that may have it in a flow."""
    key = ProfileKey(profile.tenant, profile.number)
    for group in profile.groups:
        txn.drop_reference(group, key)
    txn.delete(profile)
    waits: dict[str, tuple[HostName, ...]] = {
        ids.profile(profile.tenant, profile.groups): (),
        ids.profile_number(profile.number): hosts_of(state, profile.tenant),
    }
    for reservation_key, hosts in waits.items():
        reservation = state.reservations.get(reservation_key)
        if reservation is not None and reservation.owner_uid == str(key) and not reservation.released:
            txn.release(reservation, hosts)


def hosts_of(state: State, tenant: TenantName) -> tuple[HostName, ...]:
    """Return the hosts that may have flows of a tenant's policy: it has ports there, or had until lately."""
    hosts = set(state.tenant_hosts(tenant))
    for waiting in state.reservations.released():
        if waiting.owner.startswith(f"{tenant}/"):
            hosts.update(waiting.hosts)
    return tuple(sorted(hosts))


# -- for the one who collects them ----------------------------------------------------------------


def idle(state: State) -> Iterator[PolicyProfile]:
    """Yield the profiles that no port has: what to begin with."""
    for profile in state.profiles.values():
        if not state.has_ports_with_profile(profile.number):
            yield profile


def left(changes: Iterable[Change]) -> Iterator[int]:
    """Yield the numbers of profiles that some port has left in these changes: they may be idle now."""
    for change in changes:
        if isinstance(change.old, Port):
            number = change.old.profile
            kept = isinstance(change.new, Port) and change.new.profile == number
            if number >= PROFILE_FIRST and not kept:
                yield number


def collect(state: State, number: int) -> Txn:
    """Return the transaction that takes an idle profile away; an empty one if it is gone, or in use again.

    One profile a transaction: a port that joins one at the same moment must not keep the others.
    """
    txn = Txn()
    profile = state.profiles.get(number)
    if profile is not None and not state.has_ports_with_profile(number):
        retire(txn, state, profile)
    return txn
