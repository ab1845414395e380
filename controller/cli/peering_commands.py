"""`cloison peering list --effective`: every permission between tenants, both sides of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from cloison.protocols import service_text
from cloison.v1 import peering_pb2
from controller.cli import output
from controller.cli.commands import all_of, scope_of, scoped
from controller.cli.output import Column
from controller.cli.resources import PEERING


def services_text(services: Iterable[Any]) -> str:
    """Return services on one line, - for none."""
    return " ".join(service_text(s.protocol, s.port_min, s.port_max) for s in services) or "-"


def _since(message: Any) -> str:
    return str(message.active_since.ToDatetime().strftime("%Y-%m-%d %H:%M:%S"))


# What the second may open to the first.
EFFECTIVE: tuple[Column, ...] = (
    ("FROM", lambda m: m.peer_router),
    ("PREFIXES", lambda m: " ".join(m.reachable_prefixes)),
    ("MAY OPEN", lambda m: services_text(m.services)),
    ("TO", lambda m: m.router),
    ("PREFIXES", lambda m: " ".join(m.prefixes)),
    ("BY", lambda m: m.name),
    ("SINCE", _since),
)


def directions(peerings: Iterable[Any]) -> list[Any]:
    """Return each direction of the peerings in effect once, as the half that permits it.

    Who sees one half only sees the other direction in what that half says of its peer.
    """
    active = [p for p in peerings if p.state == peering_pb2.Peering.ACTIVE]
    permitting = {(p.router, p.peer_router): p for p in active}
    for seen in active:
        permitting.setdefault((seen.peer_router, seen.router), _other_half(seen))
    return sorted(permitting.values(), key=lambda p: (p.router, p.peer_router))


def _other_half(seen: Any) -> Any:
    """The half of the peer, as far as this one shows it."""
    return peering_pb2.Peering(
        name=f"(the half of {'/'.join(seen.peer_router.split('/')[:2])})",
        router=seen.peer_router,
        peer_router=seen.router,
        prefixes=seen.reachable_prefixes,
        reachable_prefixes=seen.prefixes,
        services=seen.reachable_services,
        reachable_services=seen.services,
        active_since=seen.active_since,
        state=seen.state,
    )


@click.command("list", help="List peerings; without a parent, all that you may see.")
@scoped(PEERING)
@click.option(
    "--effective", is_flag=True, help="Only what is in effect: who may open what to whom, a line a direction."
)
@output.option
def list_command(output: str, effective: bool, **values: Any) -> None:
    """List them."""
    found = list(all_of(PEERING, scope_of(values)))
    if effective:
        _show(directions(found), output)
    else:
        _many(found, output)


def _show(found: list[Any], how: str) -> None:
    output.many(found, EFFECTIVE, how, "nothing may pass between tenants")


def _many(found: list[Any], how: str) -> None:
    output.many(found, PEERING.columns, how, "no peerings")
