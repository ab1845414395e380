"""What the intents of all resources share: stamps, etags, repeated creates, changed metadata. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID

from google.protobuf.message import Message

from cloison.codec import etag_of
from cloison.errors import AlreadyExists, Conflict, Exhausted, InvalidIntent, NotFound, Precondition
from cloison.immutable import ImmutableMapping
from cloison.model import (
    AddressGroup,
    ExternalNetwork,
    FloatingIp,
    Host,
    Meta,
    Network,
    Peering,
    Port,
    Resource,
    Revision,
    Router,
    SecurityGroup,
    Subnet,
    Tenant,
)
from cloison.names import ResourceName
from controller.api import validate
from controller.store.txn import Txn

R = TypeVar(
    "R",
    Tenant,
    Network,
    Subnet,
    Port,
    Host,
    SecurityGroup,
    AddressGroup,
    Router,
    Peering,
    ExternalNetwork,
    FloatingIp,
)
REFERRERS_NAMED_MAX = 5


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a call brings from outside: the time, a uid for what it creates, and whether an operator calls.

    system: nobody calls, the controllers do it: for what is part of something else.
    """

    now_ns: int
    uid: str
    operator: bool = True
    system: bool = False
    # Of a call with several operations, which what it creates is to remember; see planning/several.py.
    request_id: str = ""
    request_digest: bytes = b""

    def seed(self, purpose: str) -> int:
        """Return a number of 64 bits that is spread evenly over uids and purposes."""
        return int.from_bytes(sha256(f"{self.uid}/{purpose}".encode()).digest()[:8])

    def uid_for(self, purpose: str) -> str:
        """Return the uid of something else that the same call makes."""
        return str(UUID(bytes=sha256(f"{self.uid}/uid/{purpose}".encode()).digest()[:16], version=4))

    def part(self, purpose: str) -> Stamp:
        """Return the stamp of something that comes along: the same for the same purpose."""
        return Stamp(self.now_ns, self.uid_for(purpose), operator=True, system=True)


def request_digest(request: Message) -> bytes:
    """Return SHA-256 of a create request without request_id and validate_only."""
    bare: Any = type(request)()
    bare.CopyFrom(request)
    bare.request_id, bare.validate_only = "", False
    return sha256(bare.SerializeToString(deterministic=True)).digest()


def check_meta(check: validate.Checker, message: Any, field: str) -> None:
    """Check display_name and labels of a resource message."""
    validate.check_display_name(check, message.display_name, f"{field}.display_name")
    validate.check_labels(check, message.labels, f"{field}.labels")


def new_meta(message: Any, request: Any, stamp: Stamp) -> Meta:
    """Return the metadata of an object that a create request makes."""
    return Meta(
        uid=stamp.uid,
        create_time_ns=stamp.now_ns,
        update_time_ns=stamp.now_ns,
        display_name=message.display_name,
        labels=ImmutableMapping(message.labels),
        request_id=(request.request_id or stamp.request_id).lower(),
        request_digest=request_digest(request) if request.request_id else stamp.request_digest,
    )


def changed_meta(meta: Meta, message: Any, fields: Iterable[str]) -> Meta:
    """Return the metadata with the named fields taken from message."""
    names = set(fields)
    return replace(
        meta,
        display_name=message.display_name if "display_name" in names else meta.display_name,
        labels=ImmutableMapping(message.labels) if "labels" in names else meta.labels,
    )


def touched(resource: R, stamp: Stamp) -> R:
    """Return a changed object as it is to be stored: with the time, and no revision yet."""
    meta = replace(resource.meta, update_time_ns=stamp.now_ns, revision=Revision(0))
    return replace(resource, meta=meta)


def changed(old: R, new: R, stamp: Stamp) -> tuple[Txn, R]:
    """Return the transaction that puts new in the place of old; an empty one if they are the same."""
    txn = Txn()
    if new == old:
        return txn, old
    new = touched(new, stamp)
    txn.update(old, new)
    return txn, new


def repeated(existing: R | None, request: Any) -> R | None:
    """Return the object if the request is the one that made it, None if the id is free.

    Raises AlreadyExists for an id that is taken, InvalidIntent for a request_id used for something else.
    """
    if existing is None:
        return None
    if not request.request_id or existing.meta.request_id != request.request_id.lower():
        raise AlreadyExists(str(existing.name))
    if existing.meta.request_digest != request_digest(request):
        raise InvalidIntent.of(
            "request_id",
            request.request_id,
            f"a new UUID: {existing.name} was created with this one and different contents",
        )
    return existing


def found(mapping: Mapping[Any, R], name: ResourceName) -> R:
    """Return the object of that name, or raise NotFound."""
    resource = mapping.get(name)
    if resource is None:
        raise NotFound(str(name))
    return resource


def check_etag(resource: Resource, etag: str) -> None:
    """Raise Conflict if an etag was given and the object has another one."""
    if etag and etag.strip('"') != (current := etag_of(resource.meta.revision)):
        raise Conflict(str(resource.name), etag[:120], current)


def refuse_if_referenced(name: ResourceName, referrers: Iterable[object], what: str) -> None:
    """Raise Precondition naming the referrers, if there are any."""
    names = sorted(map(str, referrers))
    if not names:
        return
    shown = ", ".join(names[:REFERRERS_NAMED_MAX])
    more = f" and {len(names) - REFERRERS_NAMED_MAX} more" if len(names) > REFERRERS_NAMED_MAX else ""
    raise Precondition(
        "REFERENCED", str(name), f"{name} {what}: {shown}{more}; delete or change these first", names
    )


def check_room(count: int, most: int, owner: ResourceName, what: str) -> None:
    """Raise Exhausted if an owner has as many of something as it may have."""
    if count >= most:
        raise Exhausted(f"{owner} has {count} {what}, and may have no more than {most}; delete some")


def check_immutable(field: str, value: object, current: object) -> None:
    """Raise InvalidIntent if a field that may never change was sent with another value."""
    if value != current:
        raise InvalidIntent.of(field, value, f"{current}, as at creation: this field can't be changed")
