"""`cloison`: the command line. A client of the API, nothing more.

Exit codes: 0 done, 1 refused, 2 wrong command line, 3 stored but not in force in time, 4 controller not
reachable (or asks to try again), 5 not permitted, 6 there are changes (plan --detailed-exitcode).
"""

from __future__ import annotations

import os
import sys
from typing import Any

DEBUG = bool(os.environ.get("CLOISON_DEBUG"))
# Before gRPC is imported: its own log lines say nothing that our errors don't.
if not DEBUG:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import click  # noqa: E402
from click.shell_completion import get_completion_class  # noqa: E402

from controller.cli import (  # noqa: E402
    commands,
    context_commands,
    contexts,
    outside_commands,
    peering_commands,
    plan_commands,
    port_commands,
    resources,
    rule_commands,
    state_commands,
    verify_commands,
)
from controller.cli.pki import pki  # noqa: E402
from controller.cli.session import Session  # noqa: E402


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 1 refused, 2 usage, 3 not in force in time, 4 unreachable, 5 not permitted.",
)
@click.option(
    "--context",
    "context_name",
    envvar=contexts.CONTEXT_ENV,
    metavar="NAME",
    help="Use another context this once.",
)
@click.version_option(package_name="cloison", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, context_name: str | None) -> None:
    """Keep the tenants of a cloud apart: tenants, networks, ports, security groups, hosts."""
    ctx.obj = Session(context_name)
    ctx.call_on_close(ctx.obj.close)


@cli.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_script(shell: str) -> None:
    """Print the completion script of a shell: eval "$(cloison completion bash)"."""
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "cloison", "_CLOISON_COMPLETE").source())


for _resource in resources.ALL.values():
    _group = commands.make_group(_resource)
    if _resource is resources.SECURITY_GROUP:
        _group.add_command(rule_commands.rule)
    elif _resource is resources.PEERING:
        _group.add_command(peering_commands.list_command)
    elif _resource is resources.PORT:
        _group.add_command(port_commands.stats)
    elif _resource is resources.ROUTER:
        _group.add_command(outside_commands.set_gateway)
        _group.add_command(outside_commands.unset_gateway)
    elif _resource is resources.EXTERNAL_NETWORK:
        _group.add_command(outside_commands.addresses)
    cli.add_command(_group)
for _command in (
    context_commands.context,
    state_commands.status,
    state_commands.watch,
    state_commands.wait,
    plan_commands.plan,
    plan_commands.apply,
    plan_commands.export,
    verify_commands.verify,
    verify_commands.trace,
    pki,
):
    cli.add_command(_command)


def main(argv: list[str] | None = None) -> Any:
    """Run the command line and exit; shows a traceback only if CLOISON_DEBUG is set."""
    try:
        cli.main(args=argv, prog_name="cloison")
    except Exception as error:
        if DEBUG:
            raise
        click.echo(f"error: unexpected {type(error).__name__}: {error}", err=True)
        click.echo("  next: run it again with CLOISON_DEBUG=1 and report what it shows", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
