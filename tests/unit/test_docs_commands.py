"""Every command that a page names is there, with all the options that it is shown with."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from controller.cli.main import cli

_ROOT = Path(__file__).parents[2]
_PAGES = [_ROOT / "README.md", _ROOT / "topologies" / "README.md", *sorted((_ROOT / "docs").glob("*.md"))]
_SPAN, _LINE = re.compile(r"`(cloison [a-z][^`]*)`"), re.compile(r"^    (cloison [a-z].*)$", re.MULTILINE)
_NO_WORD = re.compile(r"[^a-z-]")


def named(page: Path) -> list[str]:
    """The commands of a page, in code spans and indented lines; continued lines are one."""
    text = page.read_text().replace("\\\n", " ")
    return [found.split("  #")[0] for pattern in (_SPAN, _LINE) for found in pattern.findall(text)]


def faults(line: str) -> list[str]:
    """What of a command line does not exist."""
    words, known = line.split()[1:], set(_options(cli))
    command: click.Command = cli
    while isinstance(command, click.Group) and words[:1] and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            return [] if _NO_WORD.search(words[0]) else [f"no command {words[0]!r}"]
        command, words = found, words[1:]
        known |= set(_options(command))
    used = [word.strip("[](),;").split("=")[0] for word in words if word.startswith("-")]
    return [f"no option {option}" for option in used if option not in known and option.strip("-")]


def _options(command: click.Command) -> list[str]:
    own = [text for option in command.params for text in (*option.opts, *option.secondary_opts)]
    return [*own, "-h", "--help"]


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_the_commands_of_a_page_exist(page: Path) -> None:
    assert [(line, wrong) for line in named(page) if (wrong := faults(line))] == []


def test_the_pages_do_name_commands() -> None:
    assert len(named(_ROOT / "README.md")) > 20
    assert len(named(_ROOT / "docs" / "operations.md")) > 40


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("cloison port create a --tenant acme --hots h1", ["no option --hots"]),
        ("cloison prot list", ["no command 'prot'"]),
        ("cloison port stats ...", []),
    ],
)
def test_what_does_not_exist_is_found(line: str, wrong: list[str]) -> None:
    assert faults(line) == wrong
