"""Showing resources: as a table for people, as proto3 JSON or YAML for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click
import yaml
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table
from rich.text import Text

F = TypeVar("F", bound=Callable[..., Any])
Column = tuple[str, Callable[[Any], object]]
_STATE_STYLES = {"ACTIVE": "green", "BUILDING": "yellow", "ERROR": "red", "yes": "green", "no": "red"}
_PIPE_COLUMNS = 400


def option(function: F) -> F:
    """Add -o table|json|yaml to a command."""
    decorate = click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json", "yaml"]),
        default="table",
        show_default=True,
        help="How to show the answer.",
    )
    return decorate(function)


def to_dict(message: Message) -> dict[str, Any]:
    """Return a message as plain data, fields named as in the .proto files."""
    plain: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return plain


def data(value: Any, output: str) -> None:
    """Write plain data as JSON or YAML."""
    if output == "json":
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip())


def console() -> Console:
    """Return where tables go; a pipe gets long lines rather than folded ones."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _PIPE_COLUMNS, highlight=False)


def _cell(value: object) -> Text:
    text = str(value)
    return Text(text, style=_STATE_STYLES.get(text, ""))


def table(rows: Iterable[Sequence[object]], headers: Sequence[str]) -> None:
    """Write a table without frames."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for header in headers:
        made.add_column(header, overflow="fold")
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    console().print(made)


def many(messages: Sequence[Message], columns: Sequence[Column], output: str, empty: str) -> None:
    """Show a list."""
    if output != "table":
        data([to_dict(message) for message in messages], output)
    elif not messages:
        click.echo(empty, err=True)
    else:
        table([[show(m) for _, show in columns] for m in messages], [header for header, _ in columns])


def one(message: Message, output: str) -> None:
    """Show one resource with all its fields."""
    if output != "table":
        data(to_dict(message), output)
        return
    grid = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for field, value in to_dict(message).items():
        grid.add_row(field, _cell(_flat(value)))
    console().print(grid)


def _flat(value: Any) -> str:
    """Return nested data as lines."""
    if isinstance(value, dict):
        return "  ".join(f"{key}={_flat(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return "\n".join(_flat(item) for item in value)
    return str(value)
