"""Checks of single fields, shared by all resources. Pure.

A `Checker` gathers what is wrong in a request, so that a caller learns everything at once: field, value,
and what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TypeVar
from uuid import UUID

from cloison.addresses import (
    MULTICAST_BIT,
    WIRE4_PREFIX,
    WIRE6_PREFIX,
    IpAddress,
    IpNetwork,
    Mac,
    parse_mac,
)
from cloison.errors import FieldViolation, InvalidIntent
from cloison.names import ID_EXPECTED, ID_PATTERN

DISPLAY_NAME_CHARS_MAX = 120
LABELS_MAX = 64
LABEL_VALUE_CHARS_MAX = 255
LABEL_KEY = re.compile(r"[a-z0-9](?:[a-z0-9_./-]{0,61}[a-z0-9])?")
LABEL_KEY_EXPECTED = (
    "1 to 63 characters of a-z, 0-9, '_', '.', '/' and '-', beginning and ending with a letter or digit"
)
PAGE_SIZE_MAX, PAGE_SIZE_DEFAULT = 1000, 100
VIOLATIONS_MAX = 50
IPV4_PREFIX_LEN_MIN, IPV6_PREFIX_LEN_MIN = 8, 16

SERVICE_EXPECTED = "another address: the local services of each host answer at this one"
DOMAIN_CHARS_MAX = 180

_DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_TOKEN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.:-]{0,126}[A-Za-z0-9])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Ranges no guest may be given: to stacks they mean this host, this link, many hosts, or no address.
NEVER: tuple[tuple[IpNetwork, str], ...] = (
    (IPv4Network("0.0.0.0/8"), "0.0.0.0/8 means 'this network' (RFC 1122)"),
    (IPv4Network("127.0.0.0/8"), "127.0.0.0/8 is loopback"),
    (IPv4Network("169.254.0.0/16"), "169.254.0.0/16 is link-local"),
    (IPv4Network("224.0.0.0/4"), "224.0.0.0/4 is multicast"),
    (IPv4Network("240.0.0.0/4"), "240.0.0.0/4 is reserved"),
    (IPv6Network("::/8"), "::/8 holds loopback, the unspecified and IPv4-mapped addresses"),
    (IPv6Network("fe80::/10"), "fe80::/10 is link-local: each port has such an address by its MAC"),
    (IPv6Network("ff00::/8"), "ff00::/8 is multicast"),
)

T = TypeVar("T")


class Checker:
    """Gathers violations; nothing is raised before `done` (or `need`)."""

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def wrong(self, field: str, value: object, expected: str) -> None:
        """Note that a field is wrong."""
        if len(self._violations) < VIOLATIONS_MAX:
            self._violations.extend(InvalidIntent.of(field, value, expected).violations)

    def that(self, right: bool, field: str, value: object, expected: str) -> bool:
        """Note a violation unless right; returns right."""
        if not right:
            self.wrong(field, value, expected)
        return right

    def take(self, parse: Callable[[], T]) -> T | None:
        """Return what parse returns; an InvalidIntent that it raises is noted, and None returned."""
        try:
            return parse()
        except InvalidIntent as error:
            self._violations.extend(error.violations)
            return None

    def each(self, field: str, items: Sequence[T], most: int, what: str) -> Iterator[tuple[str, T]]:
        """Yield each item after the name of its field; if they are too many, note that and yield none."""
        if self.that(len(items) <= most, field, f"{len(items)} {what}", f"at most {most} {what}"):
            for i, item in enumerate(items):
                yield f"{field}[{i}]", item

    def done(self) -> None:
        """Raise InvalidIntent if anything was wrong."""
        if self._violations:
            raise InvalidIntent(self._violations)


def check_resource_id(check: Checker, value: str, field: str) -> None:
    """A client-chosen id: present, and an RFC 1035 label in lower case."""
    check.that(bool(ID_PATTERN.fullmatch(value)), field, value, ID_EXPECTED)


def check_display_name(check: Checker, value: str, field: str) -> None:
    """At most 120 characters on one line."""
    check_line(check, value, field, DISPLAY_NAME_CHARS_MAX)


def check_line(check: Checker, value: str, field: str, chars_max: int) -> None:
    """At most so many characters on one line."""
    check.that(
        len(value) <= chars_max and not _CONTROL.search(value),
        field,
        value,
        f"at most {chars_max} characters, no control characters or line breaks",
    )


def check_labels(check: Checker, labels: Mapping[str, str], field: str) -> None:
    """At most 64 labels; keys like file names in lower case, values on one line."""
    check.that(len(labels) <= LABELS_MAX, field, f"{len(labels)} labels", f"at most {LABELS_MAX} labels")
    for key, value in sorted(labels.items())[: LABELS_MAX + 1]:
        check.that(bool(LABEL_KEY.fullmatch(key)), f"{field} (key)", key, LABEL_KEY_EXPECTED)
        check.that(
            len(value) <= LABEL_VALUE_CHARS_MAX and not _CONTROL.search(value),
            f"{field}[{key[:63]}]",
            value,
            f"at most {LABEL_VALUE_CHARS_MAX} characters, no control characters or line breaks",
        )


def check_request_id(check: Checker, value: str) -> None:
    """Empty, or a UUID in its usual form that is not zero (AIP-155)."""
    if not value:
        return
    try:
        right = str(UUID(value)) == value.lower() and UUID(value).int != 0
    except ValueError:
        right = False
    check.that(right, "request_id", value, "a UUID such as 7c1b7f5e-5f0e-4d43-9a52-3d2d8a3a5b1c, or nothing")


def page_size(value: int) -> int:
    """Return how many to answer with; raises InvalidIntent if negative (AIP-158)."""
    if value < 0:
        raise InvalidIntent.of(
            "page_size", value, f"0 (meaning {PAGE_SIZE_DEFAULT}) or more; at most {PAGE_SIZE_MAX} are sent"
        )
    return min(value or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def address(text: str, field: str) -> IpAddress:
    """Return the IPv4 or IPv6 address; raises InvalidIntent (also for a zone such as %eth0)."""
    kind: type[IPv4Address] | type[IPv6Address] = IPv6Address if ":" in text else IPv4Address
    if "%" not in text and len(text) <= 45:
        try:
            return kind(text)
        except ValueError:
            pass  # said below
    raise InvalidIntent.of(field, text, "an IPv4 or IPv6 address such as 10.0.0.5 or 2001:db8::5")


def cidr(text: str, field: str) -> IpNetwork:
    """Return the range; raises InvalidIntent for host bits, ranges no guest may use, and absurd sizes."""
    if "/" not in text or "%" in text or len(text) > 49:
        raise InvalidIntent.of(field, text, "a range such as 10.0.0.0/24 or 2001:db8::/64")
    try:
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise InvalidIntent.of(field, text, "a range such as 10.0.0.0/24 or 2001:db8::/64") from error
    base, _, length = text.partition("/")
    if not length.isdecimal():
        raise InvalidIntent.of(field, text, f"a prefix length, not a mask: {network}")
    if address(base, field) != network.network_address:
        raise InvalidIntent.of(field, text, f"no host bits set: {network}")
    least = IPV4_PREFIX_LEN_MIN if network.version == 4 else IPV6_PREFIX_LEN_MIN
    if network.prefixlen < least:
        raise InvalidIntent.of(field, text, f"a prefix length of at least {least}")
    for never, why in NEVER:
        if never.overlaps(network):
            raise InvalidIntent.of(field, text, f"a range that guests can use: {why}")
    return network


def prefix(text: str, field: str) -> IpNetwork:
    """Return any range without host bits; an address alone is a range of one. Raises InvalidIntent."""
    whole = text if "/" in text else f"{text}/{128 if ':' in text else 32}"
    base, _, length = whole.partition("/")
    if "%" in text or len(text) > 49 or not (length.isascii() and length.isdecimal() and len(length) <= 3):
        raise InvalidIntent.of(field, text, _RANGE_EXPECTED)
    try:
        network = ip_network(f"{base}/{int(length)}", strict=False)
    except ValueError as error:
        raise InvalidIntent.of(field, text, _RANGE_EXPECTED) from error
    if address(base, field) != network.network_address:
        raise InvalidIntent.of(field, text, f"no host bits set: {network}")
    return network


_RANGE_EXPECTED = "a range such as 10.0.0.0/24 or 2001:db8::/64, or an address"


def unicast(text: str, field: str) -> IpAddress:
    """Return an address that one machine can have; raises InvalidIntent."""
    found = address(text, field)
    if found.is_multicast or found.is_unspecified or found.is_loopback or int(found) == 0xFFFFFFFF:
        raise InvalidIntent.of(field, text, "the address of one machine: not loopback, multicast or zero")
    return found


def dns_label(text: str, field: str) -> str:
    """Return one label of a DNS name (RFC 1123, section 2.1), in lower case; raises InvalidIntent."""
    if not _DNS_LABEL.fullmatch(text):
        raise InvalidIntent.of(
            field, text, "1 to 63 characters of a-z, 0-9 and '-', '-' neither first nor last: one label"
        )
    return text


def dns_domain(text: str, field: str) -> str:
    """Return a domain name in lower case, without a dot at its end; raises InvalidIntent."""
    if len(text) > DOMAIN_CHARS_MAX or not all(map(_DNS_LABEL.fullmatch, text.split("."))):
        raise InvalidIntent.of(
            field,
            text,
            f"a domain such as web.acme.internal: at most {DOMAIN_CHARS_MAX} characters, labels of a-z, 0-9 "
            "and '-' joined by dots",
        )
    return text


def plain_text(text: str, field: str, chars_max: int) -> str:
    """Return text of printable ASCII without blanks, as file names and URLs are; raises InvalidIntent."""
    if len(text) > chars_max or not all("!" <= char <= "~" for char in text):
        raise InvalidIntent.of(field, text, f"at most {chars_max} printable ASCII characters without blanks")
    return text


def usable(network: IpNetwork) -> tuple[int, int]:
    """Return the first and last address (as numbers) that an interface may have in the range.

    Without network and broadcast address in IPv4 (all of /31 and /32: RFC 3021), without the subnet-router
    anycast address in IPv6 (RFC 4291, 2.6.1; all of /127 and /128: RFC 6164).
    """
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.max_prefixlen - network.prefixlen <= 1:
        return first, last
    return first + 1, last - 1 if network.version == 4 else last


def is_usable(at: IpAddress, network: IpNetwork) -> bool:
    """Tell whether an interface may have an address in the range."""
    first, last = usable(network)
    return at.version == network.version and first <= int(at) <= last


def usable_expected(network: IpNetwork) -> str:
    """Return in words what an interface may have in the range."""
    first, last = usable(network)
    make = type(network.network_address)
    return f"an address of {network} that an interface can have: {make(first)} to {make(last)}"


def mac(text: str, field: str) -> Mac:
    """Return a MAC that a guest may have; raises InvalidIntent for multicast, zero and wire MACs."""
    try:
        value = parse_mac(text)
    except ValueError as error:
        raise InvalidIntent.of(field, text, "a MAC such as 52:54:00:12:34:56, or nothing") from error
    if value & MULTICAST_BIT:
        raise InvalidIntent.of(field, text, "a unicast MAC: the lowest bit of its first byte must be 0")
    if value == 0:
        raise InvalidIntent.of(field, text, "a MAC other than zero")
    if WIRE4_PREFIX <= value >> 32 <= WIRE6_PREFIX:
        raise InvalidIntent.of(
            field,
            text,
            "a MAC outside 0a:f0:... to 0a:f6:..., which frames carry inside the overlay (wire MACs)",
        )
    return value


def token(text: str, field: str) -> str:
    """Return text that can be an external_ids:iface-id, or stand in an HTTP header; raises InvalidIntent."""
    if not _TOKEN.fullmatch(text):
        raise InvalidIntent.of(
            field,
            text,
            "1 to 128 characters of A-Z, a-z, 0-9, '_', '.', ':' and '-', such as a UUID, or nothing",
        )
    return text
