"""Which security groups a port is in: from what was asked for to its policy profile. Pure.

A port is in some groups (those named, or the tenant's default one), in none (no_security_groups), or has no
port security at all (no_port_security), which only operators may give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloison.errors import PermissionDenied
from cloison.model import PROFILE_NONE, PROFILE_OPEN, Port
from cloison.names import SecurityGroupName, TenantName
from cloison.v1 import port_pb2
from controller.api import allocate, validate
from controller.api.intents import budget, common
from controller.api.intents.security_group import default_of
from controller.store import profiles
from controller.store.state import State
from controller.store.txn import Txn

GROUPS_PER_PORT_MAX = 16
_SHOWN_MAX = 8


@dataclass(frozen=True, slots=True)
class Membership:
    """The groups, sorted; none if the port is in none, or open: without port security."""

    groups: tuple[SecurityGroupName, ...] = ()
    open: bool = False

    @classmethod
    def of(cls, port: Port) -> Membership:
        """Return that of a port."""
        return cls(port.security_groups, port.profile == PROFILE_OPEN)

    @property
    def reserved(self) -> int | None:
        """Number of its profile if that is one of the reserved ones."""
        if self.open:
            return PROFILE_OPEN
        return None if self.groups else PROFILE_NONE


def refuse_open(stamp: common.Stamp, message: port_pb2.Port, old: Port | None) -> None:
    """Raise PermissionDenied if somebody else than an operator asks for, or ends, a port without security."""
    was = old is not None and old.profile == PROFILE_OPEN
    if message.no_port_security != was and not stamp.operator:
        raise PermissionDenied(
            "only operators may change port.no_port_security; leave it "
            + ("as it is" if old is not None else "out")
        )


def parse(check: validate.Checker, texts: Sequence[str], tenant: TenantName) -> tuple[SecurityGroupName, ...]:
    """Check the names of groups by themselves."""
    names: list[SecurityGroupName] = []
    for place, text in check.each("port.security_groups", texts, GROUPS_PER_PORT_MAX, "groups"):
        name = check.take(lambda t=text, p=place: SecurityGroupName.parse(t, p))  # type: ignore[misc]
        if name is None or not check.that(
            name.tenant == tenant.tenant, place, text, f"a security group of {tenant}, as the port is"
        ):
            continue
        if check.that(name not in names, place, text, "each group once"):
            names.append(name)
    return tuple(names)


def wanted(
    check: validate.Checker,
    message: port_pb2.Port,
    named: tuple[SecurityGroupName, ...],
    fields: frozenset[str],
    tenant: TenantName,
    old: Port | None = None,
) -> Membership:
    """Return what a request comes to. named: what parse found; old: the port as it is, None at creation."""
    default = (default_of(tenant),)
    given = tuple(sorted(named)) if "security_groups" in fields else ()
    was_open = old is not None and old.profile == PROFILE_OPEN
    is_open = message.no_port_security if "no_port_security" in fields else was_open
    nowhere = "no_security_groups" in fields and message.no_security_groups
    if is_open:
        hint = "" if "no_port_security" in fields else ", as it is now"
        check.that(
            not given,
            "port.security_groups",
            ", ".join(g.group for g in given),
            f"nothing, since no_port_security is set{hint}: groups mean nothing to such a port",
        )
        return Membership(open=True)
    if nowhere:
        check.that(
            not given,
            "port.security_groups",
            ", ".join(g.group for g in given),
            "nothing, since no_security_groups is set",
        )
        return Membership()
    if given:
        return Membership(given)
    if old is None or was_open or fields & {"security_groups", "no_security_groups"}:
        return Membership(default)
    return Membership.of(old)


def check_groups(check: validate.Checker, state: State, tenant: TenantName, member: Membership) -> None:
    """Check that the groups are there."""
    for i, name in enumerate(member.groups):
        if name not in state.security_groups:
            known = sorted(group.name.group for group in state.groups_of(tenant))
            shown = f"; {tenant} has {', '.join(known[:_SHOWN_MAX])}" if known else f"; {tenant} has none"
            check.wrong(f"port.security_groups[{i}]", name, f"a security group that exists{shown}")


def number_of(state: State, tenant: TenantName, member: Membership, stamp: common.Stamp) -> int:
    """Return the number of the profile, a new one if there is none yet. Raises what budget.check raises."""
    if member.reserved is not None:
        return member.reserved
    found = state.profile_for(tenant, member.groups)
    if found is not None:
        return found.number
    number = allocate.profile_number(state, stamp)
    budget.check(state, tenant, "port.security_groups", profiles={number: member.groups})
    return number


def join(txn: Txn, state: State, old: Port | None, new: Port) -> None:
    """Put a port's profile in the place of the one it had: made if need be, and referred to."""
    if old is None or old.profile != new.profile:
        profiles.join(txn, state, new.name.parent.parent, new.security_groups, new.profile)
    profiles.refer(txn, new.name, old.profile if old else None, new.profile)
