"""`cloison port stats`: what became of the frames from and to a port."""

from __future__ import annotations

from typing import Any

import click

from cloison.v1 import port_pb2
from controller.cli import commands, completion, output, session
from controller.cli.resources import PORT


@click.command()
@click.argument("port", shell_complete=completion.names_of("port"))
@commands.scoped(PORT)
@output.option
def stats(port: str, output: str, **values: Any) -> None:
    """Show what became of the frames from and to a PORT, and why some were dropped."""
    request = port_pb2.GetPortStatisticsRequest(name=commands.name_of(PORT, port, values))
    stub = PORT.stub(session.current().channel)
    _show(session.current().call(stub.GetPortStatistics, request), output)


def _show(found: port_pb2.PortStatistics, how: str) -> None:
    if how != "table":
        output.data(output.to_dict(found), how)
        return
    counts = (
        ("received from the guest", found.received_from_guest),
        ("of these, believed", found.admitted),
        ("delivered to the guest", found.delivered),
    )
    output.table(((what, c.packets, c.bytes) for what, c in counts), ("FRAMES", "PACKETS", "BYTES"))
    drops = [drop for drop in found.drops if drop.count.packets]
    if not drops:
        click.echo("nothing was dropped")
        return
    output.table(
        (
            (
                d.reason,
                d.table,
                d.count.packets,
                d.count.bytes,
                "this port" if d.of_port else "the whole host",
            )
            for d in drops
        ),
        ("DROPPED", "IN TABLE", "PACKETS", "BYTES", "OF"),
    )
