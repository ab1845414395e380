"""Command line of the labs: `python -m topologies up | plug | unplug | exec | ps | down | demo`.

Words for people; everything it does is in the modules beside it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Column, Table

from topologies import holder
from topologies.hints import RUN_DIR, next_commands
from topologies.spec import SpecError, load, of_hosts, shipped
from topologies.state import MARK, LabState, Process

console = Console(highlight=False)
run_dir_option = click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    default=RUN_DIR,
    show_default=True,
    envvar="CLOISON_LAB_DIR",
    help="Where the lab keeps sockets, logs and state.",
)


@click.group()
def cli() -> None:
    """Labs of network namespaces: hosts with Open vSwitch and an agent, a routed underlay, workloads."""


@cli.command()
@click.argument("topology", required=False)
@click.option("--hosts", type=int, help="A lab of so many hosts, without tenants.")
@click.option("--plain", is_flag=True, help="Without etcd, controller and agents: switches only.")
@click.option(
    "--resolver",
    "resolvers",
    multiple=True,
    help="Who answers names that are no tenant's: an address "
    "that the hosts reach on the underlay; repeatable. Without it such names are refused.",
)
@click.option("--metadata-url", default="", help="Whose metadata guests get; without it, the lab's own.")
@click.option(
    "--outside",
    "has_outside",
    is_flag=True,
    help="With a physical network, and the node `outside` beyond it: for external networks and floating IPs.",
)
@run_dir_option
def up(
    topology: str | None,
    hosts: int | None,
    plain: bool,
    resolvers: tuple[str, ...],
    metadata_url: str,
    has_outside: bool,
    run_dir: Path,
) -> None:
    """Start a lab and leave it running.

    TOPOLOGY is a YAML file or the name of a shipped one.
    """
    if (topology is None) == (hosts is None):
        raise click.UsageError(
            f"give either --hosts N or a topology: a file, or one of {', '.join(shipped())}"
        )
    try:
        if hosts is not None:
            of_hosts(hosts)
        else:
            load(str(topology))
        with console.status(f"starting the lab {topology or f'of {hosts} hosts'}"):
            flags = [part for address in resolvers for part in ("--resolver", address)]
            flags += ["--metadata-url", metadata_url] if metadata_url else []
            mode: holder.Mode = "plain" if plain else "full"
            state = holder.up(str(hosts or topology), run_dir, mode, flags, has_outside=has_outside)
    except (SpecError, holder.HolderError) as error:
        raise click.ClickException(str(error)) from error
    _show(state)
    console.print(next_commands(state, run_dir), soft_wrap=True)


@cli.command()
@click.argument("port", required=False)
@click.option("--host", default="", help="Where to plug it; for a port: another than it is scheduled to.")
@click.option("--iface-id", default="", help="Without PORT: what external_ids:iface-id is to hold.")
@click.option("--mac", default="", help="Without PORT: the guest's MAC address.")
@click.option("--address", "addresses", multiple=True, help="Without PORT: address with prefix length.")
@click.option("--name", default="", help="What to call the workload.")
@run_dir_option
def plug(
    port: str | None, host: str, iface_id: str, mac: str, addresses: tuple[str, ...], name: str, run_dir: Path
) -> None:
    """Start a workload and plug it on its host.

    PORT is a resource name, tenants/red/networks/web/ports/p1; without it say host, iface-id and MAC.
    """
    if port:
        _call(run_dir, do="plug", port=port, host=host, name=name)
    elif host and iface_id and mac:
        _call(run_dir, do="plug", host=host, iface_id=iface_id, mac=mac, addresses=addresses, name=name)
    else:
        raise click.UsageError("give a PORT, or --host, --iface-id and --mac (and --address)")


@cli.command()
@click.argument("name")
@run_dir_option
def unplug(name: str, run_dir: Path) -> None:
    """Take a workload off its host and end it."""
    _call(run_dir, do="unplug", name=name)


@cli.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@run_dir_option
def execute(name: str, command: tuple[str, ...], run_dir: Path) -> None:
    """Run a command in a workload, host or router: exec red-p1 -- ping 10.0.0.12"""
    state = _state(run_dir)
    record = {**state.nodes, **state.workloads}.get(name)
    if record is None:
        known = ", ".join((*state.workloads, *state.nodes))
        raise click.ClickException(f"no {name!r} in this lab; there are {known}")
    if not Process(record["pid"], record["start_ticks"]).alive:
        raise click.ClickException(f"{name} is dead: `down` cleans up, `up` starts anew")
    # From here on it is the command: its streams, its exit status. With the mark, `down` ends it too.
    os.environ[MARK] = state.mark
    os.execvp("mnexec", ["mnexec", "-a", str(record["pid"]), *command])


@cli.command("ps")
@run_dir_option
def processes(run_dir: Path) -> None:
    """Show hosts, daemons and workloads."""
    _show(_state(run_dir))


cli.add_command(processes, "status")


@cli.command()
@run_dir_option
def down(run_dir: Path) -> None:
    """End the lab; also clean up after one that was killed."""
    try:
        found = holder.down(run_dir)
    except holder.HolderError as error:
        raise click.ClickException(str(error)) from error
    console.print("the lab is gone" if found else f"no lab in {run_dir}")


@cli.command()
@click.option("--keep", is_flag=True, help="Leave the lab up afterwards.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the measurements as JSON to this file.")
@click.option("--topology", default="overlap", show_default=True, help="A topology with overlapping tenants.")
@run_dir_option
def demo(keep: bool, out: Path | None, topology: str, run_dir: Path) -> None:
    """Two tenants with the same addresses: who reaches whom, what leaked. Exit status 1 if wrong."""
    from topologies.demo import run  # gRPC stubs and the rest: other commands start without

    sys.exit(run.demo(topology, run_dir, keep, out, console))


def _show(state: LabState) -> None:
    nodes = Table("node", "kind", "loopback", "daemons", title=f"lab {state.topology}")
    for name, record in state.nodes.items():
        daemons = [k.partition("/")[2] for k in state.daemons if k.startswith(f"{name}/")]
        alive = [f"{d} {state.daemons[f'{name}/{d}']['pid']}" for d in daemons]
        nodes.add_row(name, record["kind"], record["loopback"], ", ".join(alive))
    console.print(nodes)
    if state.workloads:
        workloads = Table("workload", "host", "MAC", Column("addresses", overflow="fold"), "interface")
        for name, record in state.workloads.items():
            workloads.add_row(
                name, record["host"], record["mac"], "\n".join(record["addresses"]), record["tap"]
            )
        console.print(workloads)
    if not state.holder.alive:
        console.print("[red]the process that held this lab is dead: `down` cleans up[/red]")


def _state(run_dir: Path) -> LabState:
    try:
        return LabState.load(run_dir)
    except FileNotFoundError as error:
        hint = f"no lab in {run_dir}: start one with `python -m topologies up --hosts 3`"
        raise click.ClickException(hint) from error


def _call(run_dir: Path, **request: object) -> None:
    try:
        console.print(str(holder.call(run_dir, **request)))
    except holder.HolderError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    cli(prog_name="python -m topologies")
