"""A transaction being put together: what must still be so, and what is then written. Pure.

What keeps the store whole is built in, not left to the callers: a resource is created only under a parent
that is there, a reference is added only to what is there, and what has children or is referred to cannot be
deleted, whatever happens at the same moment elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from cloison.codec import record_to_bytes
from cloison.errors import InvalidIntent
from cloison.model import PolicyProfile, PortBinding, Reservation, Resource, RouterEdge, Stored, TunnelPort
from cloison.names import ExternalNetworkName, HostName, NetworkName, ResourceName, TenantName
from controller.store import ids, keys
from controller.store.keys import ProfileKey, Referable

# Room in a request for the frame around the operations.
_FRAME_BYTES = 4096
# Key, tags and lengths of one operation or comparison in the request, estimated from above.
_OP_OVERHEAD_BYTES = 48


@dataclass(frozen=True, slots=True)
class Limits:
    """What etcd takes in one transaction: its --max-txn-ops and --max-request-bytes, with its defaults."""

    ops: int = 128
    request_bytes: int = 1_536 * 1024


DEFAULT_LIMITS = Limits()


class Condition(Enum):
    """What a comparison asks of a key (or, with a range end, of every key in the range)."""

    ABSENT = "absent"
    PRESENT = "present"
    # Last written at exactly that revision; or not after it (which holds where there is nothing).
    UNCHANGED = "unchanged"
    NOT_NEWER = "not-newer"

    # They are parts of keys of dicts; Enum's own is written in Python.
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class Compare:
    """One comparison; revision is the mod revision that UNCHANGED and NOT_NEWER ask for."""

    key: str
    condition: Condition
    revision: int = 0
    range_end: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    """One operation: put the value, or delete the key (with a range end: every key in the range).

    stored is the object that value encodes, if it is one: for those who ask what would be.
    """

    key: str
    value: bytes | None
    range_end: str = ""
    stored: Stored | None = field(default=None, compare=False, repr=False)


class Txn:
    """Comparisons and writes of one change; all of it happens at one revision, or nothing."""

    def __init__(self, compares: Iterable[Compare] = (), writes: Iterable[Write] = ()) -> None:
        """compares, writes: parts of other transactions, for who puts them together (combine.py)."""
        self._compares: dict[tuple[str, str, Condition], Compare] = {
            (c.key, c.range_end, c.condition): c for c in compares
        }
        self._writes: dict[str, Write] = {write.key: write for write in writes}
        self._held: dict[tuple[str, str], bytes] = {}

    def __bool__(self) -> bool:
        return bool(self._writes)

    @property
    def compares(self) -> tuple[Compare, ...]:
        """What must be so."""
        return tuple(self._compares.values())

    @property
    def writes(self) -> tuple[Write, ...]:
        """What is then written; each key once."""
        return tuple(self._writes.values())

    @property
    def reservation_keys(self) -> tuple[str, ...]:
        """The identifiers that this transaction takes."""
        prefix = keys.allocation_key("")
        return tuple(
            compare.key[len(prefix) :]
            for compare in self._compares.values()
            if compare.condition is Condition.ABSENT
            # A range that must be empty takes nothing.
            and not compare.range_end
            and compare.key.startswith(prefix)
        )

    # -- objects -----------------------------------------------------------------------------------

    def create(self, stored: Stored) -> None:
        """Write an object that must not be there yet; the parent of a resource must be, or come with it."""
        key = keys.key_of(stored)
        if isinstance(stored, Reservation):
            raise TypeError("reservations are made with reserve()")
        self._compare(key, Condition.ABSENT)
        for parent in _parents(stored):
            self._need(keys.resource_key(parent))
        self._put(key, stored)

    def update(self, old: Stored, new: Stored) -> None:
        """Write a new version of an object that must still be as it was read."""
        key = keys.key_of(old)
        if keys.key_of(new) != key:
            raise ValueError(f"an update cannot move {key} to {keys.key_of(new)}")
        self._unchanged(old)
        self._put(key, new)

    def delete(self, old: Stored) -> None:
        """Delete an object that must still be as it was read, and have neither children nor referrers.

        Children and references that this transaction itself has deleted before are in nobody's way. With a
        port go its bindings and with a host its tunnel ports, those included that are reported at this very
        moment.
        """
        self._unchanged(old)
        self._write(keys.key_of(old), None)
        if isinstance(old, PolicyProfile):
            self.require_unreferenced(ProfileKey(old.tenant, old.number))
        elif isinstance(old, Resource):
            self.require_no_children(old.name)
            self.require_unreferenced(old.name)
            for prefix in keys.report_prefixes(old.name):
                self._write(prefix, None, keys.range_end(prefix))

    def require(self, stored: Stored) -> None:
        """Demand that an object is as it was read; nothing is written to it."""
        self._unchanged(stored)

    def require_present(self, name: ResourceName) -> None:
        """Demand that a resource is there, in whatever version."""
        self._compare(keys.resource_key(name), Condition.PRESENT)

    def require_absent(self, name: ResourceName) -> None:
        """Demand that a resource is not there."""
        self._compare(keys.resource_key(name), Condition.ABSENT)

    def require_none_newer(self, prefix: str, revision: int) -> None:
        """Demand that nothing under a prefix was created or changed after a revision."""
        self._compare(prefix, Condition.NOT_NEWER, revision, keys.range_end(prefix))

    # -- identifiers -------------------------------------------------------------------------------

    def reserve(self, key: str, owner: Referable, owner_uid: str) -> None:
        """Take an identifier that must be free (key as made by the functions of `keys`)."""
        ids.split(key)
        stored, place = Reservation(key=key, owner=str(owner), owner_uid=owner_uid), keys.allocation_key(key)
        self._compare(place, Condition.ABSENT)
        # A value does not hold its key: an owner's reservations all have the same one.
        holder = stored.owner, owner_uid
        if holder not in self._held:
            self._held[holder] = record_to_bytes(stored)
        self._write(place, self._held[holder], stored=stored)

    def release(self, reservation: Reservation, hosts: Iterable[HostName]) -> None:
        """Give an identifier back; it stays taken until these hosts have confirmed (none: free at once)."""
        waiting = tuple(sorted(set(hosts)))
        self._unchanged(reservation)
        released = Reservation(
            key=reservation.key,
            owner=reservation.owner,
            owner_uid=reservation.owner_uid,
            released=True,
            hosts=waiting,
        )
        if waiting:
            self._put(keys.key_of(reservation), released)
        else:
            self._write(keys.key_of(reservation), None)

    # -- references --------------------------------------------------------------------------------

    def add_reference(self, referred: Referable, referrer: Referable) -> None:
        """Keep referred, which must be there, from being deleted as long as referrer needs it.

        It may be what this transaction has created before.
        """
        self._need(keys.locate(referred))
        self._write(keys.reference_key(referred, referrer), b"")

    def drop_reference(self, referred: Referable, referrer: Referable) -> None:
        """Undo add_reference."""
        self._write(keys.reference_key(referred, referrer), None)

    def require_unreferenced(self, name: Referable) -> None:
        """Demand that nobody refers to the named resource or profile."""
        self._compare_empty(keys.reference_prefix(name))

    def require_unused_by(self, name: Referable, tenant: TenantName) -> None:
        """Demand that nothing of a tenant refers to the named resource."""
        self._compare_empty(f"{keys.reference_prefix(name)}{tenant}/")

    def require_no_reservations(self, scope: str, but: Iterable[str] = ()) -> None:
        """Demand that no identifier is taken whose key begins with scope and '/', but for some keys."""
        prefix = keys.allocation_key(f"{scope}/")
        self._compare_empty(prefix, (keys.allocation_key(key) for key in but))

    def require_no_children(self, name: ResourceName) -> None:
        """Demand that nothing lies under the named resource."""
        for prefix in keys.child_prefixes(name):
            self._compare_empty(prefix)

    # -- limits ------------------------------------------------------------------------------------

    @property
    def size_bytes(self) -> int:
        """Size of the request, estimated from above."""
        compares = sum(2 * len(c.key) + _OP_OVERHEAD_BYTES for c in self._compares.values())
        writes = sum(2 * len(w.key) + len(w.value or b"") + _OP_OVERHEAD_BYTES for w in self._writes.values())
        return compares + writes

    @property
    def ops(self) -> int:
        """How many operations etcd counts: comparisons (the store's fence among them) or writes."""
        return max(len(self._compares) + 1, len(self._writes))

    def fits(self, limits: Limits) -> bool:
        """Tell whether etcd would take the transaction for its size."""
        return self.ops <= limits.ops and self.size_bytes + _FRAME_BYTES <= limits.request_bytes

    def check_limits(self, limits: Limits = DEFAULT_LIMITS) -> None:
        """Raise InvalidIntent if etcd would refuse the transaction for its size."""
        if self.ops > limits.ops:
            raise InvalidIntent.of(
                "request",
                f"{self.ops} operations",
                f"at most {limits.ops} in one change: make it smaller, or start etcd with --max-txn-ops and "
                f"the controllers with --etcd-max-txn-ops of {self.ops} or more",
            )
        size_bytes = self.size_bytes + _FRAME_BYTES
        if size_bytes > limits.request_bytes:
            raise InvalidIntent.of(
                "request",
                f"{size_bytes} bytes",
                f"at most {limits.request_bytes} bytes in one change: make it smaller, or start etcd with "
                "--max-request-bytes and the controllers with --etcd-max-request-bytes of "
                f"{size_bytes} or more",
            )

    # -- parts -------------------------------------------------------------------------------------

    def _need(self, key: str) -> None:
        """Demand that an object is there, unless this transaction creates it."""
        if (key, "", Condition.ABSENT) not in self._compares:
            self._compare(key, Condition.PRESENT)

    def _unchanged(self, stored: Stored) -> None:
        revision = stored.meta.revision if isinstance(stored, Resource) else stored.revision
        if revision <= 0:
            raise ValueError(f"{keys.key_of(stored)} was never read from the store")
        self._compare(keys.key_of(stored), Condition.UNCHANGED, revision)

    def _compare(self, key: str, condition: Condition, revision: int = 0, range_end: str = "") -> None:
        known = self._compares.get((key, range_end, condition))
        if known is not None and known.revision != revision:
            raise ValueError(f"{key} was read at {known.revision} and at {revision}")
        self._compares[key, range_end, condition] = Compare(key, condition, revision, range_end)

    def _compare_empty(self, prefix: str, but: Iterable[str] = ()) -> None:
        """Demand that nothing lies under a prefix, but what this transaction deletes, and some keys."""
        start, end = prefix, keys.range_end(prefix)
        deleted = (w.key for w in self._writes.values() if w.value is None and start <= w.key < end)
        for key in sorted({*deleted, *but}):
            if start < key:
                self._compare(start, Condition.ABSENT, range_end=key)
            # The first key after it.
            start = key + "\0"
        self._compare(start, Condition.ABSENT, range_end=end)

    def _put(self, key: str, stored: Stored) -> None:
        self._write(key, record_to_bytes(stored), stored=stored)

    def _write(
        self, key: str, value: bytes | None, range_end: str = "", stored: Stored | None = None
    ) -> None:
        # etcd refuses a second operation on a key, and rightly: which one would count?
        if key in self._writes:
            raise InvalidIntent.of(
                "request", key.removeprefix(keys.PREFIX), "each identifier and object once"
            )
        self._writes[key] = Write(key, value, range_end, stored)


# Names of what belongs to nothing.
_TOP = TenantName | HostName | ExternalNetworkName


def _parents(stored: Stored) -> tuple[ResourceName, ...]:
    """Return what must be there for an object to be created."""
    match stored:
        case PortBinding():
            return (stored.port, stored.host)
        case TunnelPort():
            return (stored.host,)
        case PolicyProfile():
            return (stored.tenant,)
        case RouterEdge():
            place = () if stored.host is None else (stored.host,)
            return (stored.router, stored.port, *place)
        case Reservation():
            return ()
        case _:
            name = stored.name
    return () if isinstance(name, _TOP) else (_parent(name),)


def _parent(name: ResourceName) -> ResourceName:
    if isinstance(name, _TOP):
        raise TypeError(f"{name} has no parent")
    parent: NetworkName | TenantName = name.parent
    return parent
