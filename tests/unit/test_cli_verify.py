"""`cloison verify` and `cloison trace` against a real server: pages, files, signatures, exit status."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cloison.identity import Identity
from controller.cli.main import cli
from controller.cli.pki import Issued, init_ca, issue
from controller.signing import Signer
from tests.support.proof import ProofSite, leak, port, proof_site, put_quietly


class Served:
    """A site in a thread of its own, as the command line is synchronous."""

    def __init__(self, directory: Path, signer: Signer) -> None:
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self.site: ProofSite
        self._thread = threading.Thread(
            target=lambda: self._loop.run_until_complete(self._serve(directory, signer)), daemon=True
        )
        self._thread.start()
        assert self._ready.wait(20)

    async def _serve(self, directory: Path, signer: Signer) -> None:
        async with AsyncExitStack() as stack:
            self.site = await stack.enter_async_context(proof_site(directory, signer))
            self._ready.set()
            await self._stop.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def on_loop(self, work: Callable[[], Any]) -> None:
        """Change something of the site, on its own thread."""
        done = threading.Event()

        def run_there() -> None:
            work()
            done.set()

        self._loop.call_soon_threadsafe(run_there)
        assert done.wait(10)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("ca")
    init_ca(directory)
    return directory


def issued(authority: Path, identity: str) -> Issued:
    return issue(authority, Identity.parse(identity), force=True)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, authority: Path) -> Iterator[Served]:
    pair = issued(authority, "controller/c1")
    signer = Signer(pair.cert.read_bytes(), pair.key.read_bytes())
    with TemporaryDirectory(prefix="cl-") as directory:
        monkeypatch.setenv("CLOISON_CONFIG", f"{directory}/config.yaml")
        for name in ("CLOISON_CONTEXT", "CLOISON_TENANT", "CLOISON_NETWORK"):
            monkeypatch.delenv(name, raising=False)
        server = Served(Path(directory), signer)
        run("context", "set", "demo", "--endpoint", server.site.address, "--insecure")
        yield server
        server.close()


def run(*args: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, list(args), prog_name="cloison")
    assert result.exit_code == code, (args, result.output, result.exception)
    assert "Traceback" not in result.output
    return result


def test_the_page_says_what_was_checked_and_the_file_can_be_checked(
    served: Served, authority: Path, tmp_path: Path
) -> None:
    file, ca = tmp_path / "a.json", authority / "ca.crt"
    page = run("verify", "--live", "--out", str(file)).output
    for words in (
        "Isolation HOLDS",
        "what switches and kernels held",
        "2 tenants, 2 networks, 4 ports",
        "h2",
    ):
        assert words in page
    checked = run("verify", "--check", str(file), "--ca", str(ca)).output
    assert "Isolation HOLDS" in checked
    assert "signed by cloison://controller/c1" in checked
    told = json.loads(run("verify", "--check", str(file), "--ca", str(ca), "-o", "json").stdout)
    assert told["live"] is True
    assert len(told["hosts"]) == 2


def test_a_forged_file_is_not_believed(served: Served, authority: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    served.on_loop(lambda: put_quietly(served.site.hosts[0], leak(served.site)))
    page = run("verify", "--live", "--out", str(file), code=1).output
    for words in ("Isolation DOES NOT HOLD", "LEAK", f"concerns {port('blue', 1)}", "packet", "cookie=0xbad"):
        assert words in page
    ca = str(authority / "ca.crt")
    assert "DOES NOT HOLD" in run("verify", "--check", str(file), "--ca", ca, code=1).output
    content = json.loads(file.read_text())
    cases: dict[str, dict[str, str]] = {
        "payload": {"payload": content["payload"].replace('"holds":false', '"holds":true')},
        "signature": {"signature": ""},
        "certificate": {"certificate": issued(authority, "host/h1").cert.read_text()},
    }
    for name, change in cases.items():
        forged = tmp_path / f"{name}.json"
        forged.write_text(json.dumps(content | change))
        run("verify", "--check", str(forged), "--ca", ca, code=1).stderr.index(f"{name}.json is not")
    (tmp_path / "junk.json").write_text("{}")
    assert (
        "no saved attestation"
        in run("verify", "--check", str(tmp_path / "junk.json"), "--ca", ca, code=1).stderr
    )


@pytest.mark.parametrize(
    ("signer", "says"),
    [
        ("operator/jo", "one of a controller"),
        ("controller/c2", "it says controller 'c1', but controller/c2 signed it"),
    ],
)
def test_who_may_sign(served: Served, authority: Path, tmp_path: Path, signer: str, says: str) -> None:
    file, pair = tmp_path / "a.json", issued(authority, signer)
    run("verify", "--out", str(file))
    content = json.loads(file.read_text())
    made = Signer(pair.cert.read_bytes(), pair.key.read_bytes()).sign(content["payload"].encode())
    content |= {"signature": base64.b64encode(made).decode(), "certificate": pair.cert.read_text()}
    file.write_text(json.dumps(content))
    ca = str(authority / "ca.crt")
    assert says in run("verify", "--check", str(file), "--ca", ca, code=1).stderr


def test_another_authority_is_not_believed(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    run("verify", "--out", str(file))
    init_ca(tmp_path / "other")
    said = run("verify", "--check", str(file), "--ca", str(tmp_path / "other" / "ca.crt"), code=1).stderr
    assert "one issued by the authority given" in said
    assert "--ca FILE" in run("verify", "--check", str(file), code=2).stderr
    run("verify", "--check", str(file), "--live", code=2)


def test_a_trace_as_a_page_and_as_data(served: Served) -> None:
    page = run("trace", "p1", "-t", "red", "-n", "web", "icmp to 10.0.0.12").output
    for words in ("hosts/h1", "ADMISSION", "FDB", "hosts/h2", f"delivered to {port('red', 2)}", "as meant"):
        assert words in page
    page = run("trace", port("red", 1), "icmp", "from", "10.0.0.9", "to", "10.0.0.12").output
    assert "CLAIMED: dropped by a flow of that table: source address 10.0.0.9 is not the port's own" in page
    told = json.loads(run("trace", port("red", 1), "--to", port("red", 2), "-o", "json").stdout)
    assert told["delivered"] == [port("red", 2)]
    told = json.loads(run("trace", port("red", 1), "--to", port("blue", 1), "-o", "json").stdout)
    assert told["agree"] is True
    assert "delivered" not in told
    page = run("trace", port("red", 1), "udp src port 53 reply to 10.0.0.12").output
    for words in ("udp_src=53,udp_dst=50000,ct_state=+est+rpl+trk", "admitted by rule ", "as meant"):
        assert words in page
    page = run("trace", port("red", 1), "tcp oversize to 10.0.0.12").output
    assert "reaches    the local services of hosts/h1: path MTU" in page
    refused = run("trace", port("red", 1), "imcp to 10.0.0.12", code=1).stderr
    assert "'imcp' is wrong: words such as icmp" in refused


def test_a_trace_that_is_not_as_meant_has_its_own_exit_status(served: Served) -> None:
    def tamper() -> None:
        put_quietly(served.site.hosts[0], leak(served.site))
        served.site.hosts[0].trace = lambda flow: "    drop\n"  # type: ignore[method-assign]

    served.on_loop(tamper)
    page = run("trace", port("red", 1), "--to", port("red", 2), "--live", code=1).output
    assert "NOT AS MEANT" in page
    assert "ofproto/trace on hosts/h1" in page
