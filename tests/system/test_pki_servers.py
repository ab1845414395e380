"""The real etcd and the real Open vSwitch take our certificates, and only those they should."""

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloison.identity import Identity
from controller.cli.pki import Issued, init_ca, issue
from tests.support.etcd import free_ports

pytestmark = pytest.mark.system

DEADLINE_S = 20
REFUSED_S = 2


@dataclass(frozen=True)
class Pki:
    ca: Path
    etcd: Issued
    controller: Issued
    host: Issued


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    ca = tmp_path_factory.mktemp("ca")
    init_ca(ca)
    member, controller, host = (Identity.parse(text) for text in ("etcd/e1", "controller/c1", "host/h1"))
    return Pki(ca, issue(ca, member, ["127.0.0.1"]), issue(ca, controller, ["127.0.0.1"]), issue(ca, host))


def etcdctl(
    endpoint: str, pki: Pki, who: Issued | None, *command: str, timeout_s: int = DEADLINE_S
) -> subprocess.CompletedProcess[str]:
    tls = ["--cacert", str(pki.ca / "ca.crt")]
    if who:
        tls += ["--cert", str(who.cert), "--key", str(who.key)]
    arguments = ["etcdctl", "--endpoints", endpoint, f"--command-timeout={timeout_s}s", *tls, *command]
    environment = {"ETCDCTL_API": "3", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def etcd(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if shutil.which("etcd") is None:
        pytest.fail("etcd is not installed: run make deps")
    data = tmp_path_factory.mktemp("etcd")
    endpoint, peer = (f"https://127.0.0.1:{port}" for port in free_ports(2))
    tls = [f"--cert-file={pki.etcd.cert}", f"--key-file={pki.etcd.key}", f"--trusted-ca-file={pki.etcd.ca}"]
    peer_tls = [f"--peer-{option.removeprefix('--')}" for option in tls]
    only = [
        "--client-cert-auth",
        "--client-cert-allowed-hostname=controller",
        "--peer-client-cert-auth",
        "--peer-cert-allowed-hostname=etcd",
    ]
    urls = [
        f"--listen-client-urls={endpoint}",
        f"--advertise-client-urls={endpoint}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=e1={peer}",
    ]
    command = ["etcd", "--name=e1", f"--data-dir={data}/e1", "--enable-grpc-gateway=false", *urls, *tls]
    with (data / "log").open("wb") as log:
        process = subprocess.Popen([*command, *peer_tls, *only], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + DEADLINE_S
        while etcdctl(endpoint, pki, pki.controller, "get", "x", timeout_s=REFUSED_S).returncode != 0:
            assert process.poll() is None, (data / "log").read_text()
            assert time.monotonic() < deadline, (data / "log").read_text()
        yield endpoint
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def test_etcd_serves_controllers(etcd: str, pki: Pki) -> None:
    assert etcdctl(etcd, pki, pki.controller, "put", "a", "b").stdout == "OK\n"


def test_etcd_refuses_hosts_members_as_clients_and_strangers(etcd: str, pki: Pki) -> None:
    for who in (pki.host, pki.etcd, None):
        assert etcdctl(etcd, pki, who, "get", "", "--prefix", timeout_s=REFUSED_S).returncode != 0
    assert etcdctl(etcd, pki, pki.controller, "get", "", "--prefix").returncode == 0


@contextmanager
def open_vswitch_dialling(pki: Pki) -> Iterator[socket.socket]:
    """A connection that Open vSwitch's own TLS client has opened to us with the certificate of host h1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_S)
        files = ["-p", str(pki.host.key), "-c", str(pki.host.cert), "-C", str(pki.ca / "ca.crt")]
        command = ["ovsdb-client", *files, "list-dbs", f"ssl:127.0.0.1:{listener.getsockname()[1]}"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(DEADLINE_S)
                yield connection
        finally:
            process.kill()
            process.wait()


def server_context(files: Issued, ca: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_open_vswitch_dials_a_controller_and_proves_its_host(pki: Pki) -> None:
    context = server_context(pki.controller, pki.ca / "ca.crt")
    with (
        open_vswitch_dialling(pki) as connection,
        context.wrap_socket(connection, server_side=True) as stream,
    ):
        certificate = stream.getpeercert()
        # It asks its question only of a peer it has verified: it has accepted the controller.
        assert b"list_dbs" in stream.recv(4096)
    assert certificate is not None
    uris = [str(value) for kind, value in certificate["subjectAltName"] if kind == "URI"]
    assert Identity.from_uris(uris) == Identity.parse("host/h1")


def test_open_vswitch_refuses_a_controller_of_another_authority(pki: Pki, tmp_path: Path) -> None:
    init_ca(tmp_path)
    rogue = server_context(issue(tmp_path, Identity.parse("controller/c1"), ["127.0.0.1"]), pki.ca / "ca.crt")
    # TLS 1.2 brings the refusal within the handshake, 1.3 after it.
    with (
        open_vswitch_dialling(pki) as connection,
        pytest.raises(ssl.SSLError),
        rogue.wrap_socket(connection, server_side=True) as stream,
    ):
        stream.recv(4096)
