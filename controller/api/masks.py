"""Update masks (AIP-134, AIP-161): which fields of a request replace those of the stored object. Pure.

No mask means every field that is set in the request; "*" means all that can be changed. What only the
server writes is passed over, as AIP-203 has it; what may never change must be equal or absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from google.api import field_behavior_pb2  # type: ignore[import-untyped] # has no stubs
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from cloison.errors import InvalidIntent

# Set by the client, never by a mask: what is updated, and its expected version.
_ADDRESSING = frozenset({"name", "etag"})


def _behaviors(field: Any) -> Sequence[int]:
    behaviors: Sequence[int] = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return behaviors


@cache
def writable_fields(descriptor: Any) -> tuple[str, ...]:
    """Return the names of the fields that a client may set, in the order of their declaration."""
    return tuple(
        f.name
        for f in descriptor.fields
        if f.name not in _ADDRESSING
        and field_behavior_pb2.OUTPUT_ONLY not in _behaviors(f)
        and field_behavior_pb2.IDENTIFIER not in _behaviors(f)
    )


@cache
def mutable_fields(descriptor: Any) -> tuple[str, ...]:
    """Return the names of the fields that a client may change after creation."""
    by_name = descriptor.fields_by_name
    return tuple(
        name
        for name in writable_fields(descriptor)
        if field_behavior_pb2.IMMUTABLE not in _behaviors(by_name[name])
    )


def populated_fields(message: Message) -> frozenset[str]:
    """Return the names of the top-level fields that are set (for a scalar: differ from its default)."""
    return frozenset(field.name for field, _ in message.ListFields())


def _checked(path: str, field: str, descriptor: Any) -> str:
    known = descriptor.fields_by_name
    top = path.split(".", 1)[0]
    allowed = ", ".join(mutable_fields(descriptor))
    if top not in known:
        raise InvalidIntent.of(field, path, f"one of {allowed}, or * for all of them")
    if top != path:
        raise InvalidIntent.of(
            field, path, f"{top} as a whole: parts of fields can't be updated by themselves"
        )
    return top


def fields_to_update(message: Message, mask: FieldMask | None, resource_field: str) -> frozenset[str]:
    """Return the names of the fields that the request replaces; raises InvalidIntent for unknown paths.

    Immutable fields are among them when they were named or set: the caller compares them.
    """
    descriptor = message.DESCRIPTOR
    writable = frozenset(writable_fields(descriptor))
    if mask is None or not mask.paths:
        return populated_fields(message) & writable
    paths: Iterable[str] = mask.paths
    if list(paths) == ["*"]:
        immutable = writable - set(mutable_fields(descriptor))
        return frozenset(mutable_fields(descriptor)) | (populated_fields(message) & immutable)
    if "*" in paths:
        raise InvalidIntent.of("update_mask", ",".join(paths), "* alone, or the names of fields")
    names = {_checked(path, "update_mask", descriptor) for path in paths}
    return frozenset(names & writable)
