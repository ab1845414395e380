"""Every command that changes something can show first what it would do, and asks the plan alone for that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from controller.cli import plan_commands, session
from controller.cli.main import cli
from tests.unit.test_cli import Served, run, served, world  # noqa: F401 - fixtures

# Commands that read, and those that change files here alone.
READING = {
    "list", "get", "show", "stats", "addresses", "status", "watch", "wait", "plan", "export", "verify",
    "trace", "completion",
}  # fmt: skip
LOCAL = {"context", "pki"}
# What is needed besides a name, by option.
VALUES = {
    "--cidr": "10.7.0.0/24",
    "--router": "r1",
    "--peer-router": "tenants/globex/routers/r1",
    "--external-network": "inet",
    "--physical-network": "phys",
    "--tenant": "acme",
    "--network": "web",
}
# Where nothing to do is an error.
MORE = {"update": ["--display-name", "other"], "add": ["--ingress"]}


def leaves(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from leaves(below, (*path, name))
    else:
        yield path, command


MUTATING = [
    (path, command) for path, command in leaves(cli) if path[-1] not in READING and path[0] not in LOCAL
]


def test_there_are_such_commands() -> None:
    assert {path[-1] for path, _ in MUTATING} >= {"create", "update", "delete", "add", "remove", "apply"}


@pytest.mark.parametrize(("path", "command"), MUTATING, ids=[" ".join(path) for path, _ in MUTATING])
def test_it_can_be_tried_and_only_the_plan_is_asked(
    path: tuple[str, ...], command: click.Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--dry-run" in options
    if path == ("apply",):
        return
    tried: list[Sequence[Any]] = []
    monkeypatch.setattr(plan_commands, "dry_run", lambda requests, how: tried.append(requests))
    monkeypatch.setattr(session.Session, "call", asked)
    monkeypatch.setenv("CLOISON_CONFIG", str(tmp_path / "config.yaml"))
    run("context", "set", "nobody", "--endpoint", "127.0.0.1:1", "--insecure")
    words = [*path, "--dry-run", *MORE.get(path[-1], [])]
    for parameter in command.params:
        name = parameter.opts[-1]
        if name in VALUES and (parameter.required or name in ("--tenant", "--network")):
            words += [name, VALUES[name]]
    words += ["x" for parameter in command.params if isinstance(parameter, click.Argument)]
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (requests,) = tried
    assert requests


def asked(*_: Any) -> None:
    raise AssertionError("somebody else than the plan was asked")


def test_what_files_say_can_be_tried(world: Served, tmp_path: Path) -> None:  # noqa: F811 - a fixture
    before = world.api.store.state.revision
    file = tmp_path / "acme.yaml"
    file.write_text(run("export", "acme").stdout.replace("front", "back"))
    result = run("apply", "-f", str(file), "--dry-run")
    assert "tenants/acme/networks/web" in result.stdout
    assert "nothing was changed" in result.stderr
    assert world.api.store.state.revision == before
