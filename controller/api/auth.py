"""Who calls, and what they may do: one table of all methods, one decision.

The identity comes from the peer's certificate and from nothing else. What belongs to another tenant is
refused without looking whether it exists. A method that is not in the table is refused to everybody.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from cloison.errors import InvalidIntent, PermissionDenied
from cloison.identity import Identity, Role
from controller.api.errors import Unauthenticated


@dataclass(frozen=True, slots=True)
class Caller:
    """The other end of a call. secure is false when it was not asked for a certificate (--insecure)."""

    identity: Identity
    secure: bool = True

    @property
    def tenant(self) -> str | None:
        """Id of the only tenant whose resources it may see; None if that is no restriction."""
        return self.identity.name if self.identity.role.is_tenant else None

    @property
    def is_operator(self) -> bool:
        """Whether it may change everything."""
        return self.identity.role is Role.OPERATOR


class Permission(Enum):
    """What a method asks of its caller."""

    HOST_SYNC = "being the agent of a host"
    OPERATE = "being an operator"
    READ_INFRASTRUCTURE = "being an operator or a controller"
    # For these two a tenant's people are limited to what is theirs.
    READ_TENANT = "being an operator, a controller, or an admin or viewer of the tenant"
    WRITE_TENANT = "being an operator or an admin of the tenant"
    PROBE = "being an operator, a controller, or an admin or viewer of a tenant"


_READERS = frozenset({Role.OPERATOR, Role.CONTROLLER})
_ROLES: dict[Permission, frozenset[Role]] = {
    Permission.HOST_SYNC: frozenset({Role.HOST}),
    Permission.OPERATE: frozenset({Role.OPERATOR}),
    Permission.READ_INFRASTRUCTURE: _READERS,
    Permission.READ_TENANT: _READERS | {Role.TENANT_ADMIN, Role.TENANT_VIEWER},
    Permission.WRITE_TENANT: frozenset({Role.OPERATOR, Role.TENANT_ADMIN}),
    Permission.PROBE: _READERS | {Role.TENANT_ADMIN, Role.TENANT_VIEWER},
}


@dataclass(frozen=True, slots=True)
class Rule:
    """The permission a method needs; name_field is the path to the resource name that it is about.

    filtered: the method itself narrows its answer to what the caller may see, so that an empty name or a
    tenant of "-" is in order.
    """

    permission: Permission
    name_field: str = ""
    filtered: bool = False


def _standard(service: str, noun: str, read: Permission, write: Permission) -> dict[str, Rule]:
    """The rules of the five standard methods of a child of a tenant (or of nothing)."""
    prefix, plural = f"/cloison.v1.{service}/", f"{noun}s"
    field = re.sub(r"(?<!^)(?=[A-Z])", "_", noun).lower()
    return {
        f"{prefix}Create{noun}": Rule(write, "parent"),
        f"{prefix}Get{noun}": Rule(read, "name"),
        f"{prefix}List{plural}": Rule(read, "parent", filtered=True),
        f"{prefix}Update{noun}": Rule(write, f"{field}.name"),
        f"{prefix}Delete{noun}": Rule(write, "name"),
    }


METHODS: dict[str, Rule] = {
    "/cloison.v1.TenantService/CreateTenant": Rule(Permission.OPERATE),
    "/cloison.v1.TenantService/GetTenant": Rule(Permission.READ_TENANT, "name"),
    "/cloison.v1.TenantService/ListTenants": Rule(Permission.READ_TENANT, filtered=True),
    "/cloison.v1.TenantService/UpdateTenant": Rule(Permission.OPERATE),
    "/cloison.v1.TenantService/DeleteTenant": Rule(Permission.OPERATE),
    **_standard("NetworkService", "Network", Permission.READ_TENANT, Permission.WRITE_TENANT),
    **_standard("SubnetService", "Subnet", Permission.READ_TENANT, Permission.WRITE_TENANT),
    **_standard("PortService", "Port", Permission.READ_TENANT, Permission.WRITE_TENANT),
    "/cloison.v1.PortService/GetPortStatistics": Rule(Permission.READ_TENANT, "name"),
    **_standard("SecurityGroupService", "SecurityGroup", Permission.READ_TENANT, Permission.WRITE_TENANT),
    "/cloison.v1.SecurityGroupService/AddSecurityGroupRules": Rule(Permission.WRITE_TENANT, "name"),
    "/cloison.v1.SecurityGroupService/RemoveSecurityGroupRules": Rule(Permission.WRITE_TENANT, "name"),
    **_standard("AddressGroupService", "AddressGroup", Permission.READ_TENANT, Permission.WRITE_TENANT),
    **_standard("RouterService", "Router", Permission.READ_TENANT, Permission.WRITE_TENANT),
    **_standard("FloatingIpService", "FloatingIp", Permission.READ_TENANT, Permission.WRITE_TENANT),
    "/cloison.v1.ExternalNetworkService/CreateExternalNetwork": Rule(Permission.OPERATE),
    # To a tenant's people those that are shared with it.
    "/cloison.v1.ExternalNetworkService/GetExternalNetwork": Rule(Permission.READ_TENANT, filtered=True),
    "/cloison.v1.ExternalNetworkService/ListExternalNetworks": Rule(Permission.READ_TENANT, filtered=True),
    "/cloison.v1.ExternalNetworkService/ListExternalAddresses": Rule(Permission.READ_INFRASTRUCTURE),
    "/cloison.v1.ExternalNetworkService/UpdateExternalNetwork": Rule(Permission.OPERATE),
    "/cloison.v1.ExternalNetworkService/DeleteExternalNetwork": Rule(Permission.OPERATE),
    **_standard("PeeringService", "Peering", Permission.READ_TENANT, Permission.WRITE_TENANT),
    **_standard("HostService", "Host", Permission.READ_INFRASTRUCTURE, Permission.OPERATE),
    # Where a port is plugged is the operator's knowledge.
    "/cloison.v1.PortBindingService/GetPortBinding": Rule(Permission.READ_INFRASTRUCTURE),
    "/cloison.v1.PortBindingService/ListPortBindings": Rule(Permission.READ_INFRASTRUCTURE),
    # Each operation is then judged as its own method would be.
    "/cloison.v1.PlanService/Plan": Rule(Permission.WRITE_TENANT, filtered=True),
    "/cloison.v1.PlanService/Apply": Rule(Permission.WRITE_TENANT, filtered=True),
    "/cloison.v1.BatchService/Commit": Rule(Permission.WRITE_TENANT, filtered=True),
    "/cloison.v1.StateService/Watch": Rule(Permission.READ_TENANT, "parent", filtered=True),
    "/cloison.v1.StateService/WaitRealized": Rule(Permission.READ_TENANT, "name"),
    "/cloison.v1.StateService/GetStatus": Rule(Permission.READ_INFRASTRUCTURE),
    "/cloison.v1.VerifyService/Verify": Rule(Permission.READ_INFRASTRUCTURE),
    # A tenant's people may follow packets from their own ports; what they see of it is theirs.
    "/cloison.v1.VerifyService/Trace": Rule(Permission.READ_TENANT, "port"),
    "/cloison.v1.HostSync/Sync": Rule(Permission.HOST_SYNC),
    "/grpc.health.v1.Health/Check": Rule(Permission.PROBE),
    "/grpc.health.v1.Health/List": Rule(Permission.PROBE),
    "/grpc.health.v1.Health/Watch": Rule(Permission.PROBE),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Rule(Permission.PROBE),
}


class Authenticator(Protocol):
    """Tells who is at the other end of a call."""

    def __call__(self, context: Any) -> Caller:
        """Return the caller; raises Unauthenticated."""
        ...


def caller_by_certificate(context: Any) -> Caller:
    """Return whom the URI in the peer's certificate names; gRPC has verified its chain by then.

    Only URIs count: a DNS name that reads like one of ours must not.
    """
    try:
        uris = [raw.decode("utf-8", "replace") for raw in context.auth_context().get("peer_uri", ())]
        return Caller(Identity.from_uris(uris))
    except InvalidIntent as error:
        raise Unauthenticated(
            f"the client certificate names nobody: {error}; `cloison pki issue` makes one that does"
        ) from error


def caller_insecure(context: Any) -> Caller:
    """Return an operator, whoever it is: for --insecure."""
    return Caller(Identity(Role.OPERATOR, "insecure"), secure=False)


_CALLER: ContextVar[Caller] = ContextVar("caller")


def current_caller() -> Caller:
    """Return the caller of the call that is being served; raises LookupError outside of one."""
    return _CALLER.get()


def set_current_caller(caller: Caller) -> None:
    """Note who the running call is from; each call has a task, and so a context, of its own."""
    _CALLER.set(caller)


def check_role(caller: Caller, method: str) -> Rule:
    """Return the rule of a method if the caller's role is admitted at all, else raise PermissionDenied."""
    rule = METHODS.get(method)
    if rule is None:
        raise PermissionDenied(
            f"{method} is not open to anybody: it has no entry in the table of permissions"
        )
    if rule.permission is Permission.HOST_SYNC and not caller.secure:
        return rule
    if caller.identity.role not in _ROLES[rule.permission]:
        raise PermissionDenied(
            f"{caller.identity} may not call {method.rsplit('/', 1)[-1]}: that takes {rule.permission.value}"
        )
    return rule


def check_call(caller: Caller, method: str, request: Any) -> None:
    """Raise PermissionDenied unless a method with this request is the caller's to call."""
    check_request(caller, check_role(caller, method), request)


def check_request(caller: Caller, rule: Rule, request: Any) -> None:
    """Raise PermissionDenied unless the resource that the request names is the caller's business."""
    if caller.tenant is None or rule.permission not in (Permission.READ_TENANT, Permission.WRITE_TENANT):
        return
    if not rule.name_field:
        if rule.filtered:
            return
        raise PermissionDenied(f"{caller.identity} may not call this")
    name = request
    for part in rule.name_field.split("."):
        name = getattr(name, part)
    if rule.filtered and name == "":
        return
    parts = str(name).split("/")
    named = parts[1] if len(parts) >= 2 and parts[0] == "tenants" else ""
    if named == caller.tenant or (rule.filtered and named == "-"):
        return
    raise PermissionDenied(
        f"{caller.identity} may only use names under tenants/{caller.tenant}; {rule.name_field} is another"
    )
