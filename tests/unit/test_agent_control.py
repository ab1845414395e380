"""The connection to ovs-vswitchd's control socket: kept, made anew when it must be, and never confused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.ovsdb.control import ControlSocket
from cloison.errors import Unavailable
from tests.support.agent_host import eventually


class Switch:
    """Answers commands in JSON as ovs-vswitchd does; says how often it was dialled."""

    def __init__(self, path: Path, name: str = "one") -> None:
        self._path, self._name = path, name
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self.dialled = 0
        self.heard: list[str] = []
        self.is_mute = False

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self._path))

    async def end(self) -> None:
        """As when the process ends: the socket stays, and nobody listens there."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.dialled += 1
        self._writers.append(writer)
        decoder, text = json.JSONDecoder(), ""
        while data := await reader.read(4096):
            text += data.decode()
            while text:
                try:
                    request, end = decoder.raw_decode(text)
                except json.JSONDecodeError:
                    break
                text = text[end:]
                self.heard.append(request["method"])
                if not self.is_mute:
                    self._answer(request, writer)

    def _answer(self, request: dict, writer: asyncio.StreamWriter) -> None:
        words = "\n".join([self._name, request["method"], *request["params"]])
        refused = request["method"] == "refuse"
        reply = {
            "id": request["id"],
            "result": None if refused else words,
            "error": words if refused else None,
        }
        writer.write(json.dumps(reply).encode())


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[tuple[Switch, ControlSocket]]:
    switch, control = Switch(path), ControlSocket()
    await switch.start()
    try:
        yield switch, control
    finally:
        control.close()
        await switch.end()


async def test_one_connection_serves_all_commands_in_turn(tmp_path: Path) -> None:
    path = tmp_path / "ctl"
    async with running(path) as (switch, control):
        assert await control.command(path, "first", "a", "b") == "one\nfirst\na\nb"
        said = await asyncio.gather(*(control.command(path, f"m{n}", "x" * 70_000) for n in range(5)))
        assert [words.split("\n")[1] for words in said] == [f"m{n}" for n in range(5)], "each its own answer"
        assert await control.commands(path, [("p", "1"), ("q",)]) == ["one\np\n1", "one\nq"]
        assert switch.dialled == 1


async def test_a_refusal_is_told_and_spoils_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ctl"
    async with running(path) as (_, control):
        with pytest.raises(Unavailable, match="refuse"):
            await control.commands(path, [("fine",), ("refuse",), ("fine",)])
        assert await control.command(path, "next") == "one\nnext"


async def test_a_switch_that_was_started_again_is_asked_itself(tmp_path: Path) -> None:
    path = tmp_path / "ctl"
    async with running(path) as (switch, control):
        await control.command(path, "before")
        await switch.end()
        with pytest.raises(Unavailable):
            await control.command(path, "nobody")
        again = Switch(path, "two")
        await again.start()
        assert await control.command(path, "after") == "two\nafter"
        await again.end()


async def test_one_that_lingers_is_not_taken_for_the_one_that_took_its_place(tmp_path: Path) -> None:
    """Whoever listens at the path now has the cache that matters; the old connection may live on."""
    path = tmp_path / "ctl"
    async with running(path) as (switch, control):
        await control.command(path, "before")
        again = Switch(path, "two")
        await again.start()
        assert await control.command(path, "revalidator/purge") == "two\nrevalidator/purge"
        assert switch.heard == ["before"]
        await again.end()


async def test_an_answer_that_comes_too_late_is_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ctl"
    async with running(path) as (switch, control):
        await control.command(path, "before")
        switch.is_mute = True
        monkeypatch.setattr("agent.ovsdb.control.TIMEOUT_S", 0.05)
        with pytest.raises(Unavailable, match="revalidator/purge"):
            await control.command(path, "revalidator/purge")
        monkeypatch.undo()
        switch.is_mute = False
        assert await control.command(path, "next") == "one\nnext"
        assert switch.dialled == 2, "what the first connection may still say is not waited for"


async def test_who_gives_up_takes_no_other_command_along(tmp_path: Path) -> None:
    path = tmp_path / "ctl"
    async with running(path) as (switch, control):
        switch.is_mute = True
        first = asyncio.create_task(control.command(path, "first"))
        second = asyncio.create_task(control.command(path, "second"))
        await eventually(lambda: "first" in switch.heard, "the first command")
        switch.is_mute = False
        first.cancel()
        assert await second == "one\nsecond"
