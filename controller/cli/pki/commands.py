"""The commands `cloison pki init|issue|show`. Print what was made and what to do with it; no tracebacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import click
from rich.console import Console
from rich.text import Text

from cloison.errors import CloisonError, InvalidIntent, NotFound, Precondition
from cloison.identity import PATH_EXPECTED, Identity
from controller.cli.pki import authority
from controller.cli.pki.reading import inspect

P = ParamSpec("P")
R = TypeVar("R")

_HINTS = {
    "FILE_EXISTS": "Give another directory, or --force to replace it.",
    "OTHER_AUTHORITY": "Use --out with an empty directory.",
    "AUTHORITY_EXPIRED": "Make a new authority (cloison pki init --force) and issue all certificates again.",
    "BAD_AUTHORITY": "Restore ca.key and ca.crt from the same backup.",
}


def _plain_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors a person can mend into one message and what to do next; exit status 1."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except Precondition as error:
            raise click.ClickException(f"{error}. {_HINTS.get(error.kind, '')}".rstrip()) from error
        except NotFound as error:
            raise click.ClickException(
                f"{error}. Make an authority with: cloison pki init --dir DIR"
            ) from error
        except CloisonError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            raise click.ClickException(f"{error.filename or 'file'}: {error.strerror}") from error

    return run


class _IdentityType(click.ParamType[Identity]):
    name = "identity"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Identity:
        if isinstance(value, Identity):
            return value
        try:
            return Identity.parse(str(value))
        except InvalidIntent:
            self.fail(f"{value!r} names nobody. Write {PATH_EXPECTED}.", param, ctx)


_DIRECTORY = click.Path(file_okay=False, path_type=Path)
_dir_option = click.option(
    "--dir",
    "directory",
    type=_DIRECTORY,
    default=Path("pki"),
    show_default=True,
    help="The authority's directory.",
)
_force_option = click.option("--force", is_flag=True, help="Replace files that exist.")


@click.group()
def pki() -> None:
    """Make a certificate authority and certificates."""


@pki.command()
@_dir_option
@click.option("--name", default="cloison", show_default=True, help="The authority's common name.")
@click.option("--days", type=int, default=authority.CA_DAYS, show_default=True, help="How long it is good.")
@_force_option
@_plain_errors
def init(directory: Path, name: str, days: int, force: bool) -> None:
    """Make an authority: ca.crt for everybody, ca.key for nobody else."""
    made = authority.init_ca(directory, name, days, force=force)
    _show_files("authority", name, made)
    click.echo(f"\nNext: cloison pki issue controller/c1 --dir {directory} --ip ADDRESS")


@pki.command()
@click.argument("identity", type=_IdentityType())
@_dir_option
@click.option("--ip", "ips", multiple=True, metavar="ADDRESS", help="An address of the server; repeatable.")
@click.option("--dns", multiple=True, metavar="NAME", help="A further DNS name; repeatable.")
@click.option("--days", type=int, default=authority.LEAF_DAYS, show_default=True, help="How long it is good.")
@click.option("--out", type=_DIRECTORY, help="Where to write it, if not to the authority's directory.")
@_force_option
@_plain_errors
def issue(
    identity: Identity,
    directory: Path,
    ips: tuple[str, ...],
    dns: tuple[str, ...],
    days: int,
    out: Path | None,
    force: bool,
) -> None:
    """Issue a certificate for IDENTITY.

    IDENTITY is controller/NAME, etcd/NAME, host/NAME, operator/NAME, tenant/TENANT/admin or
    tenant/TENANT/viewer.
    """
    made = authority.issue(directory, identity, ips, dns, days, out, force=force)
    _show_files("identity", identity.uri, made)


@pki.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@_plain_errors
def show(file: Path, output: str) -> None:
    """Say whom a certificate names, what it may do, and until when."""
    info = inspect(file)
    if output == "json":
        click.echo(
            json.dumps(asdict(info) | {"identity": info.identity and info.identity.path}, default=_json)
        )
        return
    now = datetime.now(UTC)
    state = "expired" if info.not_after < now else "not yet valid" if info.not_before > now else "valid"
    _print_rows(
        [
            ("identity", info.identity.uri if info.identity else "none"),
            ("kind", "authority" if info.is_ca else "certificate"),
            ("state", state),
            ("subject", info.subject),
            ("issuer", info.issuer),
            ("names", ", ".join(info.dns_names) or "none"),
            ("addresses", ", ".join(info.ip_addresses) or "none"),
            ("may act as", ", ".join(info.usages) or "-"),
            ("from", f"{info.not_before:%Y-%m-%d %H:%M} UTC"),
            ("until", f"{info.not_after:%Y-%m-%d %H:%M} UTC"),
            ("serial", info.serial),
            ("sha256", info.sha256),
        ]
    )


def _show_files(kind: str, name: str, made: authority.Issued) -> None:
    rows = [(kind, name), ("certificate", str(made.cert)), ("key", f"{made.key} (keep it secret)")]
    if made.ca != made.cert:
        rows.append(("authority", str(made.ca)))
    rows.append(("good until", f"{made.not_after:%Y-%m-%d %H:%M} UTC"))
    _print_rows(rows)


def _print_rows(rows: list[tuple[str, str]]) -> None:
    width = max(len(label) for label, _ in rows) + 2
    console = Console(highlight=False, emoji=False)
    for label, value in rows:
        # soft_wrap: a path is never broken over two lines, so that it can be copied.
        console.print(Text.assemble((label.ljust(width), "bold"), value), soft_wrap=True)


def _json(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)
