"""The parts of an external network's message, each held against what is there. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from cloison.addresses import IpAddress, IpNetwork
from cloison.errors import InvalidIntent
from cloison.model import MTU_LIMIT_MAX, MTU_LIMIT_MIN, VLAN_MAX, ExternalSubnet
from cloison.names import HostName, TenantName
from cloison.v1 import external_network_pb2 as pb
from controller.api import validate
from controller.store.state import State

N = TypeVar("N", HostName, TenantName)

MTU_DEFAULT = 1500
RANGES_MAX = 32
# One is where it lives; the others stand by. As many as a port may have.
GATEWAY_HOSTS_MAX = 16
# So that it is one transaction that etcd takes as it comes (128 operations).
SHARED_WITH_MAX = 100
_PHYSICAL_NETWORK = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?")
_SHOWN_MAX = 8
_FIELD = "external_network"


def physical_network(check: validate.Checker, text: str) -> str:
    """Return the name under which hosts map it to a bridge."""
    check.that(
        bool(_PHYSICAL_NETWORK.fullmatch(text)),
        f"{_FIELD}.physical_network",
        text,
        "a name as in --bridge-mappings of the agents, such as physnet1: 1 to 64 characters of A-Z, a-z, "
        "0-9, '_', '.' and '-', beginning and ending with a letter or digit",
    )
    return text


def vlan(check: validate.Checker, number: int) -> int:
    """Return the VLAN, 0 for none."""
    expected = f"a VLAN from 1 to {VLAN_MAX}, or 0 for untagged frames"
    check.that(0 <= number <= VLAN_MAX, f"{_FIELD}.vlan", number, expected)
    return number


def mtu(check: validate.Checker, number: int) -> int:
    """Return the largest packet, in bytes; what Ethernet carries if nothing was said."""
    check.that(
        number == 0 or MTU_LIMIT_MIN <= number <= MTU_LIMIT_MAX,
        f"{_FIELD}.mtu",
        number,
        f"{MTU_LIMIT_MIN} to {MTU_LIMIT_MAX} bytes, or 0 for {MTU_DEFAULT}",
    )
    return number or MTU_DEFAULT


def tenants(check: validate.Checker, state: State, texts: Sequence[str]) -> tuple[TenantName, ...]:
    """Return the tenants that may use it, sorted."""
    field, found = f"{_FIELD}.shared_with", list[TenantName]()
    for place, text in check.each(field, texts, SHARED_WITH_MAX, "tenants"):
        name = check.take(lambda t=text, p=place: TenantName.parse(t, p))  # type: ignore[misc]
        if name is None or not check.that(name in state.tenants, place, text, "a tenant that exists"):
            continue
        if check.that(name not in found, place, text, "each tenant once"):
            found.append(name)
    return tuple(sorted(found))


def hosts(check: validate.Checker, state: State, texts: Sequence[str]) -> tuple[HostName, ...]:
    """Return the gateway hosts, in the order given."""
    field, found = f"{_FIELD}.gateway_hosts", list[HostName]()
    known = ", ".join(map(str, sorted(state.hosts)[:_SHOWN_MAX])) or "none yet"
    for place, text in check.each(field, texts, GATEWAY_HOSTS_MAX, "hosts"):
        name = check.take(lambda t=text, p=place: HostName.parse(t, p))  # type: ignore[misc]
        if name is None:
            continue
        if not check.that(name in state.hosts, place, text, f"a host that exists, such as: {known}"):
            continue
        if check.that(name not in found, place, text, "each host once"):
            found.append(name)
    return tuple(found)


def subnets(check: validate.Checker, messages: Sequence[pb.ExternalSubnet]) -> tuple[ExternalSubnet, ...]:
    """Return the ranges of addresses, at most one of each family, IPv4 first."""
    field, found = f"{_FIELD}.subnets", dict[int, ExternalSubnet]()
    check.that(bool(messages), field, "no subnets", "a subnet of IPv4, of IPv6, or one of each")
    for place, message in check.each(field, messages, 2, "subnets"):
        cidr = check.take(lambda m=message, p=place: validate.cidr(m.cidr, f"{p}.cidr"))  # type: ignore[misc]
        if cidr is None:
            continue
        first, last = validate.usable(cidr)
        if not check.that(first < last, f"{place}.cidr", cidr, "a range with two addresses or more"):
            continue
        if cidr.version in found:
            other = found[cidr.version].cidr
            check.wrong(
                f"{place}.cidr", cidr, f"a range of the other family: {other} is IPv{cidr.version} too"
            )
            continue
        gateway = _gateway(check, message.gateway_ip, cidr, f"{place}.gateway_ip")
        ranges = _ranges(check, message.allocation_ranges, cidr, f"{place}.allocation_ranges")
        found[cidr.version] = ExternalSubnet(cidr, gateway, ranges)
    return tuple(found[version] for version in sorted(found))


def _gateway(check: validate.Checker, text: str, cidr: IpNetwork, field: str) -> IpAddress | None:
    if not text:
        return None
    address = check.take(lambda: validate.address(text, field))
    # Routers outside are often reached by their link-local address (RFC 4861, section 6.3.4).
    if address is None or (cidr.version == address.version == 6 and address.is_link_local):
        return address
    right = validate.is_usable(address, cidr)
    return address if check.that(right, field, text, validate.usable_expected(cidr)) else None


def _ranges(
    check: validate.Checker, messages: Sequence[pb.AllocationRange], cidr: IpNetwork, field: str
) -> tuple[tuple[IpAddress, IpAddress], ...]:
    found: list[tuple[IpAddress, IpAddress]] = []
    for place, message in check.each(field, messages, RANGES_MAX, "ranges"):
        first = check.take(lambda m=message, p=place: _end(m.first, cidr, f"{p}.first"))  # type: ignore[misc]
        last = check.take(lambda m=message, p=place: _end(m.last, cidr, f"{p}.last"))  # type: ignore[misc]
        if first is None or last is None:
            continue
        text = f"{first}-{last}"
        if not check.that(int(first) <= int(last), place, text, "first not after last: swap the two"):
            continue
        for low, high in found:
            apart = int(last) < int(low) or int(high) < int(first)
            check.that(apart, place, text, f"a range apart from {low}-{high}")
        found.append((first, last))
    return tuple(sorted(found, key=lambda pair: int(pair[0])))


def _end(text: str, cidr: IpNetwork, field: str) -> IpAddress:
    address = validate.address(text, field)
    if not validate.is_usable(address, cidr):
        raise InvalidIntent.of(field, text, validate.usable_expected(cidr))
    return address
