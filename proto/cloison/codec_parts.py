"""The parts that messages have in common: text to value and back. Pure.

Reading is strict: whatever is malformed raises InvalidIntent that names the field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from cloison.addresses import IpAddress, IpNetwork
from cloison.errors import InvalidIntent
from cloison.immutable import ImmutableMapping
from cloison.model import Meta, Revision
from cloison.v1 import record_pb2

NANOS = 1_000_000_000
# Last nanosecond of the year 9999, where google.protobuf.Timestamp ends.
TIME_NS_MAX = 253_402_300_799 * NANOS + NANOS - 1

_NO_LABELS: ImmutableMapping[str, str] = ImmutableMapping()

T = TypeVar("T")


def parse_text(parse: Callable[[str], T], text: str, field: str, expected: str) -> T:
    """Return what parse makes of a text; its ValueError becomes InvalidIntent with what was expected."""
    try:
        return parse(text)
    except ValueError as error:
        raise InvalidIntent.of(field, text, expected) from error


def parse_number(value: int, field: str, low: int, high: int) -> int:
    """Return value if it is in [low, high], else raise InvalidIntent."""
    if not low <= value <= high:
        raise InvalidIntent.of(field, value, f"a number from {low} to {high}")
    return value


def parse_address(text: str, field: str) -> IpAddress:
    """Return the address in a text, else raise InvalidIntent."""
    # An IPv6 zone ('fe80::1%eth0') means something on one machine only.
    if "%" in text:
        raise InvalidIntent.of(field, text, "an IPv4 or IPv6 address without a zone")
    parse: Callable[[str], IpAddress] = IPv6Address if ":" in text else IPv4Address
    return parse_text(parse, text, field, "an IPv4 or IPv6 address")


def parse_range(text: str, field: str) -> IpNetwork:
    """Return the range in a text, which has no host bits, else raise InvalidIntent."""
    if "/" not in text or "%" in text:
        raise InvalidIntent.of(field, text, "a range such as 10.0.0.0/24 or 2001:db8::/64")
    return parse_text(ip_network, text, field, "a range such as 10.0.0.0/24, with no host bits set")


def enum_names(enum: Any, *, zero: bool) -> dict[int, str]:
    """Return the names of an enum by number; of 0, which says "unspecified", only with zero.

    A message of a newer version may hold a number that has no name here.
    """
    return {number: name for name, number in enum.items() if number or zero}


def time_to_proto(time_ns: int, into: Timestamp) -> None:
    """Write nanoseconds since 1970 into a timestamp; 0 leaves it empty."""
    if time_ns:
        into.seconds, into.nanos = divmod(time_ns, NANOS)


def time_from_proto(time: Timestamp, field: str) -> int:
    """Return nanoseconds since 1970, else raise InvalidIntent."""
    return parse_number(time.seconds * NANOS + time.nanos, field, 0, TIME_NS_MAX)


def labels_of(labels: Mapping[str, str]) -> ImmutableMapping[str, str]:
    """Return labels that nobody can change."""
    return ImmutableMapping(labels) if labels else _NO_LABELS


def meta_to_proto(name: object, meta: Meta, message: Any) -> None:
    """Write what every resource has into its message."""
    message.name, message.uid, message.display_name = str(name), meta.uid, meta.display_name
    time_to_proto(meta.create_time_ns, message.create_time)
    time_to_proto(meta.update_time_ns, message.update_time)
    if meta.labels:
        message.labels.update(meta.labels)


def meta_from_proto(message: Any, revision: int, record: record_pb2.Record | None = None) -> Meta:
    """Return what every resource has, else raise InvalidIntent."""
    if not message.uid:
        raise InvalidIntent.of("uid", "", "a unique id")
    return Meta(
        uid=message.uid,
        revision=Revision(revision),
        create_time_ns=time_from_proto(message.create_time, "create_time"),
        update_time_ns=time_from_proto(message.update_time, "update_time"),
        display_name=message.display_name,
        labels=labels_of(message.labels),
        request_id=record.request_id if record else "",
        request_digest=record.request_digest if record else b"",
    )
