"""What a lab that was started suggests: commands that the command line takes."""

from __future__ import annotations

import os
import shlex

import pytest

from controller.cli.main import cli
from topologies.hints import RUN_DIR, next_commands
from topologies.state import LabState, Process


@pytest.mark.parametrize("has_outside", [False, True])
def test_an_external_network_is_suggested_where_there_is_an_outside(has_outside: bool) -> None:
    state = LabState("mark", "2", Process.of(os.getpid()), config="c.yaml")
    state.nodes["h1"] = {"kind": "host"}
    if has_outside:
        state.nodes["outside"] = {"kind": "outside"}
    suggested = [line.strip() for line in next_commands(state, RUN_DIR).splitlines()]
    found = [line for line in suggested if line.startswith("cloison external-network")]
    assert len(found) == has_outside
    for line in found:
        _, noun, verb, *arguments = shlex.split(line)
        command = cli.commands[noun].commands[verb]  # type: ignore[attr-defined]
        values = command.make_context(verb, list(arguments)).params
        assert values["name"] == "inet"
        assert "203.0.113.0/24,203.0.113.1" in arguments
