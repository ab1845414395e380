"""`cloison context`: which controllers one can talk to."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from controller.cli import contexts, output, session


@click.group("context")
def context() -> None:
    """Which controllers you can talk to, and with which certificates."""


@context.command("list")
@output.option
def list_(output: str) -> None:
    """List the contexts; * marks the one in use."""
    known = contexts.load()
    current = session.current().context_name or known.current
    if output != "table":
        _data([{"name": n, "current": n == current, **asdict(c)} for n, c in known.contexts.items()], output)
        return
    rows = [("*" if n == current else "", n, c.endpoint, c.cert or "-") for n, c in known.contexts.items()]
    _table(rows)


def _data(value: Any, how: str) -> None:
    output.data(value, how)


def _table(rows: list[tuple[str, str, str, str]]) -> None:
    output.table(rows, ("", "CONTEXT", "ENDPOINT", "CERTIFICATE"))


@context.command()
@click.argument("name", required=False)
@click.option("-o", "--output", "how", type=click.Choice(["json", "yaml"]), default="yaml", show_default=True)
def show(name: str | None, how: str) -> None:
    """Show one context; without a name, the one in use."""
    chosen, found = contexts.load().chosen(name or session.current().context_name)
    output.data({"name": chosen, "file": str(contexts.path()), **asdict(found)}, how)


@context.command()
@click.argument("name")
def use(name: str) -> None:
    """Make a context the current one."""
    known = contexts.load()
    known.chosen(name)
    contexts.save(replace(known, current=name))
    click.echo(f"now using {name} ({known.contexts[name].endpoint})")


_FILE = click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path)


@context.command("set")
@click.argument("name")
@click.option("--endpoint", help="HOST:PORT or unix:PATH.")
@click.option("--ca", type=_FILE, help="The authority's certificate.")
@click.option("--cert", type=_FILE, help="Your certificate.")
@click.option("--key", type=_FILE, help="Its key.")
@click.option("--server-name", help="The controller's name in its certificate, such as controller.c1.")
@click.option("--insecure/--secure", default=None, help="Without TLS, for a controller with --insecure.")
@click.option("--tenant", help="The tenant meant where none is named.")
def set_(name: str, **given: Any) -> None:
    """Make a context, or change what is given of one."""
    known = contexts.load()
    values: dict[str, Any] = {
        key: str(v) if isinstance(v, Path) else v for key, v in given.items() if v is not None
    }
    old = known.contexts.get(name)
    if old is None and "endpoint" not in values:
        raise click.UsageError("a new context needs an --endpoint")
    made = replace(old, **values) if old else contexts.Context(**values)
    contexts.save(known.with_context(name, made))
    click.echo(f"context {name} is in {contexts.path()}")
    if made.insecure:
        click.secho(
            "warning: without TLS, anybody on the way can read and change everything", fg="yellow", err=True
        )


@context.command()
@click.argument("name")
def delete(name: str) -> None:
    """Forget a context; certificates stay where they are."""
    known = contexts.load()
    known.chosen(name)
    rest = {n: c for n, c in known.contexts.items() if n != name}
    current = known.current if known.current != name else next(iter(rest), "")
    contexts.save(contexts.Contexts(current, rest))
    click.echo(f"context {name} forgotten")
