"""Certificates: judged by real TLS handshakes, in memory and over gRPC, and by what is on the disk."""

import json
import os
import ssl
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner

from cloison.errors import InvalidIntent, NotFound, Precondition
from cloison.identity import Identity
from controller.cli.pki import Issued, init_ca, inspect, issue, pki

CONTROLLER = Identity.parse("controller/c1")
HOST = Identity.parse("host/h1")
YEARS_AGO = datetime.now(UTC) - timedelta(days=1000)


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    directory = tmp_path / "ca"
    init_ca(directory)
    return directory


def server_context(files: Issued, ca: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    context.load_verify_locations(ca or files.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(files: Issued, ca: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_cert_chain(files.cert, files.key)
    context.load_verify_locations(ca or files.ca)
    return context


def handshake(
    server: ssl.SSLContext, client: ssl.SSLContext, server_name: str = "controller.c1"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Run a whole TLS handshake and one byte each way; raises ssl.SSLError if a side refuses the other."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    dialled = client.wrap_bio(to_client, to_server, server_hostname=server_name)
    served = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [dialled.do_handshake, served.do_handshake, lambda: served.write(b"s"), lambda: dialled.read(1)]
    # With TLS 1.3 the client is done before the server has judged it: hence the byte.
    for _ in range(10):
        while waiting:
            try:
                waiting[0]()
            except ssl.SSLWantReadError:
                waiting.append(waiting.pop(0))
                break
            waiting.pop(0)
    assert not waiting, "the handshake did not end"
    return dialled, served


def test_both_sides_accept_each_other_and_learn_who_it_is(ca: Path) -> None:
    server, client = issue(ca, CONTROLLER), issue(ca, HOST)
    dialled, served = handshake(server_context(server), client_context(client))
    for end, expected in ((served, HOST), (dialled, CONTROLLER)):
        certificate = end.getpeercert()
        assert certificate is not None
        uris = [str(value) for kind, value in certificate["subjectAltName"] if kind == "URI"]
        assert Identity.from_uris(uris) == expected


@pytest.mark.parametrize(
    "name", ["controller.c1", "controller", "api.example.org", "192.0.2.1", "2001:db8::1"]
)
def test_a_server_is_known_by_each_of_its_names(ca: Path, name: str) -> None:
    server = issue(ca, CONTROLLER, ["192.0.2.1", "2001:db8::1"], ["API.example.org"])
    handshake(server_context(server), client_context(issue(ca, HOST)), name)


@pytest.mark.parametrize("name", ["controller.c2", "host.h1", "etcd", "192.0.2.2"])
def test_a_server_is_known_by_no_other_name(ca: Path, name: str) -> None:
    server = issue(ca, CONTROLLER, ["192.0.2.1"])
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(server_context(server), client_context(issue(ca, HOST)), name)


def test_another_authority_of_the_same_name_is_refused_by_both_sides(ca: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    init_ca(other)
    server, stranger = issue(ca, CONTROLLER), issue(other, HOST)
    with pytest.raises(ssl.SSLError, match=r"(?i)verif|unknown ca"):
        handshake(server_context(server), client_context(stranger, ca=server.ca))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server_context(server, ca=stranger.ca), client_context(stranger))


def test_an_expired_certificate_is_refused(ca: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    init_ca(old, now=YEARS_AGO)
    server = issue(old, CONTROLLER)
    expired = issue(old, HOST, days=10, now=YEARS_AGO)
    with pytest.raises(ssl.SSLError, match=r"(?i)expired"):
        handshake(server_context(server), client_context(expired))
    handshake(server_context(server), client_context(issue(old, Identity.parse("host/h2"))))


def test_a_host_can_not_serve(ca: Path) -> None:
    host = issue(ca, HOST, ["192.0.2.1"])
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        handshake(server_context(host), client_context(issue(ca, CONTROLLER)), "host.h1")


def test_a_leaf_can_not_issue(ca: Path, tmp_path: Path) -> None:
    leaf, below = issue(ca, CONTROLLER), tmp_path / "below"
    below.mkdir()
    (below / "ca.crt").write_bytes(leaf.cert.read_bytes())
    (below / "ca.key").write_bytes(leaf.key.read_bytes())
    forged = issue(below, HOST)
    forged.cert.write_bytes(forged.cert.read_bytes() + leaf.cert.read_bytes())
    with pytest.raises(ssl.SSLError, match=r"(?i)ca cert|verif|unknown ca"):
        handshake(server_context(leaf, ca / "ca.crt"), client_context(forged, ca / "ca.crt"))


def test_grpc_accepts_them_with_the_names_clients_use(ca: Path) -> None:
    server_files, client_files = issue(ca, CONTROLLER), issue(ca, HOST)
    root = server_files.ca.read_bytes()
    credentials = grpc.ssl_server_credentials(
        [(server_files.key.read_bytes(), server_files.cert.read_bytes())], root, require_client_auth=True
    )
    seen: dict[str, list[bytes]] = {}

    def who(_: bytes, context: grpc.ServicerContext) -> bytes:
        seen.update({key: list(value) for key, value in context.auth_context().items()})
        return b""

    server = grpc.server(ThreadPoolExecutor(1))
    handler = grpc.method_handlers_generic_handler("t", {"Who": grpc.unary_unary_rpc_method_handler(who)})
    server.add_generic_rpc_handlers((handler,))
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        channel_credentials = grpc.ssl_channel_credentials(
            root, client_files.key.read_bytes(), client_files.cert.read_bytes()
        )
        options = [("grpc.ssl_target_name_override", "controller.c1")]
        with grpc.secure_channel(f"127.0.0.1:{port}", channel_credentials, options) as channel:
            channel.unary_unary("/t/Who")(b"", timeout=20, wait_for_ready=True)
    finally:
        server.stop(None).wait()
    names = [name.decode() for name in seen["x509_subject_alternative_name"]]
    assert Identity.from_uris(names) == HOST


def test_keys_are_for_their_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = init_ca(tmp_path / "ca")
        leaf = issue(tmp_path / "ca", HOST, out=tmp_path / "out")
    finally:
        os.umask(before)
    for key in (made.key, leaf.key):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert key.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
        assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert leaf.ca.read_bytes() == made.cert.read_bytes()


def test_nothing_is_replaced_without_force(ca: Path) -> None:
    made = issue(ca, HOST)
    before = {path: path.read_bytes() for path in ca.iterdir()}
    with pytest.raises(Precondition, match="exists already"):
        issue(ca, HOST)
    with pytest.raises(Precondition, match="exists already"):
        init_ca(ca)
    made.key.unlink()
    with pytest.raises(Precondition, match="exists already"):
        issue(ca, HOST)
    assert not made.key.exists(), "a key was written though its certificate was refused"
    before.pop(made.key)
    assert {path: path.read_bytes() for path in ca.iterdir()} == before


def test_force_replaces_the_pair_and_leaves_no_rest(ca: Path) -> None:
    old = inspect(issue(ca, HOST).cert)
    files = {path.name for path in ca.iterdir()}
    new = issue(ca, HOST, force=True)
    assert inspect(new.cert).serial != old.serial
    assert {path.name for path in ca.iterdir()} == files
    handshake(server_context(issue(ca, CONTROLLER)), client_context(new))


def test_a_certificate_does_not_outlive_its_authority(tmp_path: Path) -> None:
    ca = init_ca(tmp_path, days=10)
    leaf = issue(tmp_path, HOST, days=365)
    assert leaf.not_after == ca.not_after
    info = inspect(leaf.cert)
    assert timedelta(minutes=4) < datetime.now(UTC) - info.not_before < timedelta(minutes=10)


def test_an_unusable_authority_is_refused(ca: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"ca\.crt"):
        issue(tmp_path / "nowhere", HOST)
    init_ca(tmp_path / "old", days=1, now=YEARS_AGO)
    with pytest.raises(Precondition, match="expired"):
        issue(tmp_path / "old", HOST)
    other = init_ca(tmp_path / "other")
    (ca / "ca.key").write_bytes(other.key.read_bytes())
    with pytest.raises(Precondition, match="not the key"):
        issue(ca, HOST)
    (ca / "ca.key").write_text("rubbish")
    with pytest.raises(Precondition, match="no usable private key"):
        issue(ca, HOST)
    with pytest.raises(Precondition, match="another authority"):
        issue(tmp_path / "other", HOST, out=ca)
    assert not (ca / "host.h1.crt").exists()


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"ips": ["10.0.0.1/24"]}, "ip"),
        ({"ips": ["10.0.0.999"]}, "ip"),
        ({"dns": ["*.example.org"]}, "dns"),
        ({"dns": ["a..b"]}, "dns"),
        ({"dns": [""]}, "dns"),
        ({"dns": ["x" * 64 + ".org"]}, "dns"),
        ({"dns": ["controller.c1"]}, "dns"),
        ({"dns": ["Controller"]}, "dns"),
        ({"dns": ["tenant.acme.admin"]}, "dns"),
        ({"days": 0}, "days"),
        ({"days": 10**9}, "days"),
    ],
)
def test_wrong_arguments_write_nothing(ca: Path, arguments: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidIntent) as caught:
        issue(ca, HOST, **arguments)  # type: ignore[arg-type]
    assert [violation.field for violation in caught.value.violations] == [field]
    assert {path.name for path in ca.iterdir()} == {"ca.crt", "ca.key"}


def test_the_longest_name_works(ca: Path) -> None:
    identity = Identity.parse("controller/" + "c" * 63)
    server = issue(ca, identity)
    handshake(server_context(server), client_context(issue(ca, HOST)), identity.dns_name)
    assert inspect(server.cert).identity == identity


def test_commands_from_nothing_to_a_certificate(tmp_path: Path) -> None:
    runner, directory = CliRunner(), str(tmp_path / "pki")

    def run(*arguments: str) -> str:
        result = runner.invoke(pki, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    assert f"{directory}/ca.crt" in run("init", "--dir", directory)
    made = run("issue", "controller/c1", "--dir", directory, "--ip", "10.0.0.1", "--dns", "api.example.org")
    assert f"{directory}/controller.c1.crt" in made
    shown = run("show", f"{directory}/controller.c1.crt")
    assert "cloison://controller/c1" in shown
    assert "10.0.0.1" in shown
    info = json.loads(run("show", f"{directory}/controller.c1.crt", "-o", "json"))
    assert info["identity"] == "controller/c1"
    assert info["usages"] == ["server", "client"]
    assert info["sha256"] in shown


def test_command_errors_say_what_to_do_and_show_no_traceback(tmp_path: Path) -> None:
    runner, directory = CliRunner(), str(tmp_path / "pki")

    def fail(*arguments: str) -> str:
        result = runner.invoke(pki, arguments)
        assert result.exit_code in (1, 2)
        assert isinstance(result.exception, SystemExit), result.exception
        return result.output

    assert "cloison pki init" in fail("issue", "host/h1", "--dir", directory)
    runner.invoke(pki, ["init", "--dir", directory])
    assert "--force" in fail("init", "--dir", directory)
    assert "controller/NAME" in fail("issue", "hots/h1", "--dir", directory)
    assert "prefix length" in fail("issue", "host/h1", "--dir", directory, "--ip", "10.0.0.1/8")
    assert "PEM file" in fail("show", f"{directory}/ca.key")
    (tmp_path / "file").write_text("")
    assert "file" in fail("issue", "host/h1", "--dir", directory, "--out", str(tmp_path / "file" / "x"))
