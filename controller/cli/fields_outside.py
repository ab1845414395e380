"""Options about the way out: those of external networks and floating IPs, and of a router's gateway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from controller.cli.fields import Apply, Field


def _plain(field: str) -> Apply:
    def apply(message: Any, value: Any, parent: str) -> None:
        setattr(message, field, value)

    return apply


def _named(field: str, plural: str) -> Apply:
    def apply(message: Any, values: Sequence[str], parent: str) -> None:
        getattr(message, field).extend(v if "/" in v else f"{plural}/{v}" for v in values)

    return apply


def _subnets(message: Any, values: Sequence[str], parent: str) -> None:
    for value in values:
        cidr, *rest = (part.strip() for part in value.split(","))
        subnet = message.subnets.add(cidr=cidr)
        for part in rest:
            first, dash, last = part.partition("-")
            if dash:
                subnet.allocation_ranges.add(first=first.strip(), last=last.strip())
            elif subnet.gateway_ip:
                raise click.BadParameter(
                    f"{value!r} is not CIDR[,GATEWAY][,FIRST-LAST...], such as 192.0.2.0/24,192.0.2.1",
                    param_hint="--subnet",
                )
            else:
                subnet.gateway_ip = part


def external_network_name(value: str) -> str:
    """Return the full name of an external network."""
    return value if "/" in value else f"externalNetworks/{value}"


def _external_network(message: Any, value: str, parent: str) -> None:
    message.external_network = external_network_name(value)


def _port(message: Any, value: str, parent: str) -> None:
    network, slash, port = value.partition("/")
    if not slash:
        raise click.BadParameter(
            f"{value!r} is not NETWORK/PORT, such as web/p1, or a full name", param_hint="--port"
        )
    message.port = value if "/" in port else f"{parent}/networks/{network}/ports/{port}"


EXTERNAL_NETWORK_FIELDS = (
    Field(
        ("--physical-network",),
        "physical_network",
        "As hosts map it in --bridge-mappings.",
        _plain("physical_network"),
        required=True,
    ),
    Field(("--vlan",), "vlan", "VLAN of it.  [default: untagged]", _plain("vlan"), type=int),
    Field(
        ("--subnet",),
        "subnets",
        "CIDR[,GATEWAY][,FIRST-LAST...]: range, router outside, what is given out; one a family.",
        _subnets,
        multiple=True,
    ),
    Field(
        ("--share-with",),
        "shared_with",
        "A tenant that may use it; repeatable.",
        _named("shared_with", "tenants"),
        multiple=True,
        names="tenant",
    ),
    Field(
        ("--gateway-host",),
        "gateway_hosts",
        "A host to go out by, the preferred first; repeatable.",
        _named("gateway_hosts", "hosts"),
        multiple=True,
        names="host",
    ),
    Field(("--mtu",), "mtu", "Largest packet, in bytes.  [default: 1500]", _plain("mtu"), type=int),
)
FLOATING_IP_FIELDS = (
    Field(
        ("--external-network",),
        "external_network",
        "Where the address is from.",
        _external_network,
        on_update=False,
        required=True,
    ),
    Field(("--ip",), "ip_address", "The address.  [default: any]", _plain("ip_address"), on_update=False),
    Field(
        ("--ip-version",),
        "ip_version",
        "4 or 6, of any address.  [default: 4]",
        _plain("ip_version"),
        on_update=False,
        type=int,
    ),
    Field(("--port",), "port", "NETWORK/PORT that it stands for.  [default: none]", _port),
    Field(("--fixed-ip",), "fixed_ip", "Which of its addresses.  [default: the first]", _plain("fixed_ip")),
    Field(
        ("--distributed/--by-gateway",),
        "distributed",
        "Answer for it on the port's own host.",
        _plain("distributed"),
        is_flag=True,
    ),
)
