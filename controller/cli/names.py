"""Short names and full ones: `web` with --tenant acme is tenants/acme/networks/web. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

PLURALS = {
    "tenant": "tenants",
    "network": "networks",
    "subnet": "subnets",
    "port": "ports",
    "host": "hosts",
    "router": "routers",
    "peering": "peerings",
    "security-group": "securityGroups",
    "address-group": "addressGroups",
    "external-network": "externalNetworks",
    "floating-ip": "floatingIps",
}
Scope = Mapping[str, str | None]


def parent_name(parents: Sequence[str], scope: Scope, *, wildcard: bool) -> str:
    """Return e.g. tenants/acme/networks/web for ('tenant', 'network'); '-' for what is not given, if allowed.

    A parent given by its full name brings the ones above it.
    """
    ids: list[str] = []
    for noun in parents:
        given = scope.get(noun)
        if given and "/" in given:
            ids = given.split("/")[1::2]
            continue
        if not given and not wildcard:
            raise click.UsageError(
                f"name the {noun}: --{noun} NAME, or give full names such as {_example(parents)}"
            )
        ids.append(given or "-")
    return "/".join(f"{PLURALS[noun]}/{i}" for noun, i in zip(parents, ids, strict=False))


def _example(parents: Sequence[str]) -> str:
    return "/".join(f"{PLURALS[noun]}/{noun.upper()}" for noun in parents)


def full_name(noun: str, parents: Sequence[str], text: str, scope: Scope) -> str:
    """Return the resource name of a short or full one."""
    if "/" in text:
        return text
    parent = parent_name(parents, scope, wildcard=False)
    return f"{parent}/{PLURALS[noun]}/{text}" if parent else f"{PLURALS[noun]}/{text}"


def tenant_of(name: str) -> str:
    """Return the tenant that something of a full name is in."""
    return "/".join(name.split("/")[:2])


def split_parent(name: str) -> tuple[str, str]:
    """Return (parent, id) of a full name."""
    parts = name.split("/")
    return "/".join(parts[:-2]), parts[-1]


def id_at(name: str, noun: str) -> str:
    """Return the id of a part of a full name: id_at('tenants/acme/networks/web', 'tenant') is 'acme'."""
    parts = name.split("/")
    plural = PLURALS[noun]
    return parts[parts.index(plural) + 1] if plural in parts[:-1] else ""
