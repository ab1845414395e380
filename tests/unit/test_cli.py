"""The command line against a real server: what it shows, what it stores, how it fails."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import structlog
import yaml
from click.testing import CliRunner, Result

from cloison.names import HostName, PortName
from cloison.v1 import port_pb2
from controller.cli import contexts, resources
from controller.cli.main import cli
from controller.reconcile.tracker import Condition, HostStatus
from tests.support.api import Api, serving

NET = "tenants/acme/networks/web"


class Served:
    """An API server in a thread of its own, as the command line is synchronous."""

    def __init__(self, directory: Path) -> None:
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._directory = directory
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        async with serving(self._directory) as api:
            self.api: Api = api
            self._ready.set()
            await self._stop.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    with TemporaryDirectory(prefix="cl-") as directory:
        monkeypatch.setenv("CLOISON_CONFIG", f"{directory}/config.yaml")
        for name in ("CLOISON_CONTEXT", "CLOISON_TENANT", "CLOISON_NETWORK"):
            monkeypatch.delenv(name, raising=False)
        # The server shares our process, and must not write into what the command line shows.
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(io.StringIO()))  # type: ignore[arg-type]
        server = Served(Path(directory))
        run("context", "set", "demo", "--endpoint", server.api.address, "--insecure")
        yield server
        server.close()
        structlog.reset_defaults()


def run(*args: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, list(args), prog_name="cloison")
    assert result.exit_code == code, (args, result.output, result.exception)
    if code:
        assert result.stdout == "" or "delete" in args
        assert "Traceback" not in result.output
    return result


def read(*args: str) -> Any:
    return json.loads(run(*args, "-o", "json").stdout)


@pytest.fixture
def world(served: Served) -> Served:
    run("tenant", "create", "acme")
    run("host", "create", "h1")
    run("network", "create", "web", "--tenant", "acme", "--label", "tier=front")
    run("subnet", "create", "s4", "--tenant", "acme", "--network", "web", "--cidr", "10.0.0.0/24")
    run("port", "create", "web1", "-t", "acme", "-n", "web", "--ip", "10.0.0.5", "--host", "h1")
    return served


def test_create_and_read_back(world: Served) -> None:
    port = read("port", "get", "web1", "--tenant", "acme", "--network", "web")
    assert port["fixed_ips"] == [{"subnet": f"{NET}/subnets/s4", "ip_address": "10.0.0.5"}]
    assert port["requested_hosts"] == ["hosts/h1"]
    assert read("port", "get", f"{NET}/ports/web1") == port
    assert read("port", "list") == [port]
    assert read("port", "list", "--tenant", "acme") == [port]
    assert read("port", "list", "--network", NET) == [port]
    assert yaml.safe_load(run("port", "get", f"{NET}/ports/web1", "-o", "yaml").stdout) == port


def test_tables(world: Served) -> None:
    lines = run("port", "list").stdout.splitlines()
    assert lines[0].split() == [
        *("TENANT", "NETWORK", "PORT", "STATE", "MAC", "ADDRESSES", "GROUPS", "HOST", "REQUESTED")
    ]
    assert {"acme", "web", "web1", "DOWN", "10.0.0.5", "default", "h1"} <= set(lines[1].split())
    assert "tier=front" in run("network", "list").stdout
    assert "10.0.0.2-10.0.0.254" in run("subnet", "list").stdout
    assert "hosts/h1" in run("port", "get", f"{NET}/ports/web1").stdout
    empty = run("binding", "list")
    assert (empty.stdout, empty.stderr) == ("", "no bindings\n")


def test_the_contexts_tenant_is_assumed(world: Served) -> None:
    run("context", "set", "demo", "--tenant", "acme")
    assert read("port", "get", "web1", "-n", "web")["name"] == f"{NET}/ports/web1"


def test_update(world: Served) -> None:
    run("port", "update", f"{NET}/ports/web1", "--disabled", "--label", "a=1", "--label", "b=2")
    run("port", "update", f"{NET}/ports/web1", "--remove-label", "a", "--label", "c=3")
    port = read("port", "get", f"{NET}/ports/web1")
    assert (port["disabled"], port["labels"]) == (True, {"b": "2", "c": "3"})
    run("port", "update", f"{NET}/ports/web1", "--enabled", "--clear", "requested_hosts", "--clear", "labels")
    port = read("port", "get", f"{NET}/ports/web1")
    assert {"disabled", "labels", "requested_hosts"}.isdisjoint(port)
    result = run("port", "update", f"{NET}/ports/web1", code=2)
    assert "nothing to change" in result.stderr
    run("subnet", "update", f"{NET}/subnets/s4", "--no-gateway", "--pool", "10.0.0.10-10.0.0.20")
    subnet = read("subnet", "get", f"{NET}/subnets/s4")
    assert subnet["allocation_pools"] == [{"start": "10.0.0.10", "end": "10.0.0.20"}]


def test_delete(world: Served) -> None:
    assert run("port", "delete", f"{NET}/ports/web1", "--wait").stdout == f"{NET}/ports/web1 deleted\n"
    assert read("port", "list") == []
    # What is waited for is the deletion: this very resource at this very revision.
    assert world.api.tracker.waited == [(PortName.parse(f"{NET}/ports/web1"), world.api.store.state.revision)]


def test_dry_run(world: Served) -> None:
    before = world.api.store.state.revision
    result = run("port", "create", "web2", "-t", "acme", "-n", "web", "--dry-run", "-o", "json")
    assert {c["name"]: c["action"] for c in json.loads(result.stdout)["changes"]} == {
        f"{NET}/ports/web2": "CREATE"
    }
    assert "nothing was changed" in result.stderr
    run("port", "delete", f"{NET}/ports/web1", "--dry-run")
    run("network", "delete", NET, "--dry-run", code=1)
    assert world.api.store.state.revision == before


def test_pages_are_turned(world: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.cli.commands.PAGE_SIZE", 2)
    for i in range(5):
        run("tenant", "create", f"t{i}")
    assert [t["name"] for t in read("tenant", "list")] == [
        "tenants/acme",
        *(f"tenants/t{i}" for i in range(5)),
    ]


def test_wrong_fields(world: Served) -> None:
    result = run("subnet", "create", "s5", "-t", "acme", "-n", "web", "--cidr", "10.1.0.1/24", code=1)
    assert result.stderr == "error: subnet.cidr: '10.1.0.1/24' is wrong: no host bits set: 10.1.0.0/24\n"
    result = run("port", "create", "P", "-t", "acme", "-n", "web", "--mac", "x", "--ip", "y", code=1)
    first, *lines = result.stderr.splitlines()
    assert first == "error: the request is wrong in several places"
    assert sorted(line.split(":")[0].strip() for line in lines) == [
        "port.fixed_ips[0].ip_address",
        "port.mac_address",
        "port_id",
    ]


def test_what_is_in_the_way(world: Served) -> None:
    result = run("network", "delete", "web", "-t", "acme", code=1)
    assert f"in the way: {NET}/ports/web1" in result.stderr
    assert f"in the way: {NET}/subnets/s4" in result.stderr


def test_what_to_do_next(world: Served) -> None:
    assert "`list` shows what there is" in run("tenant", "get", "nope", code=1).stderr
    assert "choose another name" in run("tenant", "create", "acme", code=1).stderr
    stale = run("port", "update", f"{NET}/ports/web1", "--disabled", "--etag", "1", code=1).stderr
    assert "its etag is now" in stale
    assert "`get` shows it" in stale
    assert "name the tenant: --tenant NAME" in run("port", "get", "web1", code=2).stderr
    assert "is not KEY=VALUE" in run("tenant", "create", "x", "--label", "y", code=2).stderr
    assert "FIRST-LAST" in run(
        "subnet", "create", f"{NET}/subnets/x", "--cidr", "10.1.0.0/24", "--pool", "10", code=2
    ).stderr  # fmt: skip


def test_wait(world: Served) -> None:
    run("port", "create", "web2", "-t", "acme", "-n", "web", "--wait")
    assert run("wait", f"{NET}/ports/web2").stdout.startswith(f"{NET}/ports/web2 is in force at revision")
    world.api.tracker.missing = (Condition("HOST_UNREACHABLE", "hosts/h1 has not confirmed", ("hosts/h1",)),)
    result = run("port", "create", "web3", "-t", "acme", "-n", "web", "--wait", "--timeout", "1", code=3)
    assert "is changed in the store, but not in force everywhere after 1 s" in result.stderr
    assert "HOST_UNREACHABLE: hosts/h1 has not confirmed" in result.stderr
    assert read("port", "get", f"{NET}/ports/web3")


def test_status(world: Served) -> None:
    world.api.tracker.hosts[HostName("h1")] = HostStatus(agent_connected=True, switch_connected=True)
    out = run("status").stdout
    assert "1 of 1 connected" in out
    assert "0 of 1 active" in out
    assert read("status")["hosts_connected"] == 1


def test_bindings(world: Served) -> None:
    world.run(world.api.bind(f"{NET}/ports/web1", "hosts/h1", 9))
    world.api.tracker.ports[PortName.parse(f"{NET}/ports/web1")] = (port_pb2.Port.ACTIVE, (), HostName("h1"))
    assert read("binding", "get", "web1", "-t", "acme", "-n", "web")["ofport"] == 9
    assert read("binding", "get", f"{NET}/ports/web1") == read("binding", "list")[0]
    assert "ACTIVE" in run("binding", "list").stdout
    assert "ACTIVE" in run("port", "list").stdout


def test_watch(world: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted, as by a person, when the snapshot is complete."""
    lines: list[str] = []

    def echo(text: str, **_: Any) -> None:
        lines.append(text)
        if "SNAPSHOT_COMPLETE" in text or "snapshot complete" in text:
            raise KeyboardInterrupt

    monkeypatch.setattr("controller.cli.state_commands.click.echo", echo)
    for args in (["watch", "-o", "json"], ["watch", "--tenant", "acme"]):
        CliRunner().invoke(cli, args)
    assert json.loads(lines[0])["tenant"]["name"] == "tenants/acme"
    assert any(line.endswith(f"{NET}/ports/web1  DOWN") for line in lines)


class TestContexts:
    def test_round_trip(self, served: Served) -> None:
        run("context", "set", "other", "--endpoint", "unix:/nowhere.sock", "--insecure")
        assert [c["name"] for c in read("context", "list") if c["current"]] == ["demo"]
        run("context", "use", "other")
        assert yaml.safe_load(run("context", "show").stdout)["endpoint"] == "unix:/nowhere.sock"
        assert read("--context", "demo", "tenant", "list") == []
        run("context", "delete", "other")
        assert contexts.load().current == "demo"
        assert contexts.path().stat().st_mode & 0o077 == 0

    def test_the_environment_chooses(self, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        run("context", "set", "other", "--endpoint", "unix:/nowhere.sock", "--insecure")
        monkeypatch.setenv("CLOISON_CONTEXT", "other")
        assert "/nowhere.sock" in run("status", code=4).stderr

    def test_none_yet(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CLOISON_CONFIG", str(tmp_path / "x.yaml"))
        monkeypatch.delenv("CLOISON_CONTEXT", raising=False)
        assert "cloison context set NAME --endpoint" in run("status", code=1).stderr

    @pytest.mark.parametrize(
        "text", ["- a", "contexts: 5", "contexts: {a: {}}", "{", "contexts: {a: {endpoint: x, colour: y}}"]
    )
    def test_a_broken_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        (tmp_path / "x.yaml").write_text(text)
        monkeypatch.setenv("CLOISON_CONFIG", str(tmp_path / "x.yaml"))
        assert str(tmp_path / "x.yaml") in run("status", code=1).stderr

    def test_missing_certificates(self, served: Served) -> None:
        run("context", "set", "tls", "--endpoint", "127.0.0.1:1")
        assert "names no ca file" in run("--context", "tls", "status", code=1).stderr

    def test_nobody_listens(self, served: Served) -> None:
        run("context", "set", "tcp", "--endpoint", "127.0.0.1:1", "--insecure")
        result = run("--context", "tcp", "status", code=4)
        assert "cannot reach the controller at 127.0.0.1:1" in result.stderr
        assert "nobody listens there" in result.stderr


def test_statistics_of_a_port(world: Served) -> None:
    port = f"{NET}/ports/web1"
    result = run("port", "stats", "web1", "-t", "acme", "-n", "web", code=1)
    assert "plugged nowhere" in result.stderr
    world.run(world.api.bind(port, "hosts/h1"))
    told = world.api.statistics.answers[PortName.parse(port)] = port_pb2.PortStatistics(
        received_from_guest=port_pb2.Count(packets=120, bytes=12000),
        admitted=port_pb2.Count(packets=20, bytes=2000),
    )
    lines = run("port", "stats", port).stdout.splitlines()
    assert lines[1].split()[-2:] == ["120", "12000"]
    assert lines[-1] == "nothing was dropped"
    for of_port, packets in ((True, 100), (False, 170)):
        count = port_pb2.Count(packets=packets, bytes=packets * 100)
        told.drops.add(reason="SPOOFED", table="ADMISSION", count=count, of_port=of_port)
    lines = run("port", "stats", port).stdout.splitlines()
    assert [line.split() for line in lines[-2:]] == [
        ["SPOOFED", "ADMISSION", "100", "10000", "this", "port"],
        ["SPOOFED", "ADMISSION", "170", "17000", "the", "whole", "host"],
    ]
    shown = read("port", "stats", port)
    assert (shown["name"], shown["host"], shown["admitted"]["packets"]) == (port, "hosts/h1", "20")
    assert [drop["reason"] for drop in shown["drops"]] == ["SPOOFED", "SPOOFED"]


def test_completion(world: Served) -> None:
    env = {
        "COMP_WORDS": "cloison port get -t acme -n web ",
        "COMP_CWORD": "7",
        "_CLOISON_COMPLETE": "bash_complete",
    }
    result = CliRunner().invoke(cli, [], prog_name="cloison", env=env)
    assert "plain,web1" in result.output.splitlines()
    env |= {"COMP_WORDS": "cloison port stats -t acme -n web "}
    result = CliRunner().invoke(cli, [], prog_name="cloison", env=env)
    assert "plain,web1" in result.output.splitlines()
    assert "_CLOISON_COMPLETE=bash_complete" in run("completion", "bash").stdout


def test_completion_never_disturbs(served: Served) -> None:
    run("context", "set", "demo", "--endpoint", "unix:/nowhere.sock")
    env = {"COMP_WORDS": "cloison tenant get ", "COMP_CWORD": "3", "_CLOISON_COMPLETE": "bash_complete"}
    assert CliRunner().invoke(cli, [], prog_name="cloison", env=env).output.strip() == ""


@pytest.mark.parametrize("noun", list(resources.ALL))
def test_every_verb_has_help(noun: str) -> None:
    verbs = ["list", "get"] + (["create", "update", "delete"] if resources.ALL[noun].writable else [])
    for verb in verbs:
        assert "Usage: cloison" in run(noun, verb, "-h").stdout
