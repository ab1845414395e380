"""Who a certificate names: the URI in its subject alternative name, as a typed value. Pure.

    cloison://controller/c1      cloison://host/h1           cloison://tenant/acme/admin
    cloison://etcd/e1            cloison://operator/alice    cloison://tenant/acme/viewer

A certificate holds exactly one such URI, and the same identity as a DNS name with '/' turned into '.'
(`host.h1`), for peers that verify by DNS name only. Being an identity grants nothing: the API decides that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from cloison.errors import InvalidIntent
from cloison.names import ID_EXPECTED, ID_PATTERN

SCHEME = "cloison://"
PATH_EXPECTED = (
    "controller/NAME, etcd/NAME, host/NAME, operator/NAME, tenant/TENANT/admin or tenant/TENANT/viewer; "
    f"each name {ID_EXPECTED}"
)
# Longer than any identity can be: what a stranger sends is cut off before it is looked at.
_PATH_CHARS_MAX = 200


class Role(StrEnum):
    """What kind of party it is; for a tenant's people, also what they may do."""

    CONTROLLER = "controller"
    ETCD = "etcd"
    HOST = "host"
    OPERATOR = "operator"
    TENANT_ADMIN = "tenant-admin"
    TENANT_VIEWER = "tenant-viewer"

    @property
    def is_tenant(self) -> bool:
        """Whether the identity's name is a tenant's."""
        return self in _GRANT_OF

    @property
    def is_server(self) -> bool:
        """Whether others connect to it (its certificate must then serve as well as dial)."""
        return self in (Role.CONTROLLER, Role.ETCD)


_GRANT_OF = {Role.TENANT_ADMIN: "admin", Role.TENANT_VIEWER: "viewer"}
_TENANT_ROLE_OF = {grant: role for role, grant in _GRANT_OF.items()}
_PLAIN_ROLES = {role.value: role for role in Role if not role.is_tenant}


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """One party: its role, and the id of the controller, host, etcd member, operator or tenant.

    Raises InvalidIntent if name is no valid id, so an Identity that exists is well-formed.
    """

    role: Role
    name: str

    def __post_init__(self) -> None:
        if not ID_PATTERN.fullmatch(self.name):
            raise InvalidIntent.of("identity", self.name, f"a name of {ID_EXPECTED}")

    @property
    def path(self) -> str:
        """The short form, as on the command line: `host/h1`, `tenant/acme/admin`."""
        if self.role.is_tenant:
            return f"tenant/{self.name}/{_GRANT_OF[self.role]}"
        return f"{self.role.value}/{self.name}"

    @property
    def uri(self) -> str:
        """The form in certificates: `cloison://host/h1`."""
        return SCHEME + self.path

    @property
    def dns_name(self) -> str:
        """The same as a DNS name: `host.h1`, `tenant.acme.admin`."""
        return self.path.replace("/", ".")

    def __str__(self) -> str:
        return self.path

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Return the identity of a URI or of its short form; raises InvalidIntent for any other text.

        Exactly one text gives each identity (and its URI): no percent-encoding, upper case, empty or
        additional segments, query or fragment, so two spellings can never be judged differently.
        """
        path = text.removeprefix(SCHEME)
        parts = path.split("/") if len(path) <= _PATH_CHARS_MAX else []
        role: Role | None = None
        if len(parts) == 2:
            role = _PLAIN_ROLES.get(parts[0])
        elif len(parts) == 3 and parts[0] == "tenant":
            role = _TENANT_ROLE_OF.get(parts[2])
        if role is None or not ID_PATTERN.fullmatch(parts[1]):
            raise InvalidIntent.of("identity", text, PATH_EXPECTED)
        return cls(role, parts[1])

    @classmethod
    def from_uris(cls, uris: Iterable[str]) -> Identity:
        """Return the identity among the URIs of a certificate; URIs of other schemes are passed over.

        Raises InvalidIntent unless exactly one of them is ours and well-formed: with two, which one
        counts would be anybody's guess. The scheme is compared without regard to case (RFC 3986, 3.1),
        so that a second identity can't be slipped in as `CLOISON://`.
        """
        scheme = SCHEME.split(":", maxsplit=1)[0] + ":"
        ours = [uri for uri in uris if uri[: len(scheme)].lower() == scheme]
        if len(ours) != 1:
            shown = ", ".join(ours) or "none"
            raise InvalidIntent.of("certificate", shown, f"exactly one URI {SCHEME}... in the certificate")
        if not ours[0].startswith(SCHEME):
            raise InvalidIntent.of("certificate", ours[0], f"a URI beginning with {SCHEME}")
        return cls.parse(ours[0])
