"""The control plane of a lab: certificates, etcd, the controller and the agents, as programs.

Runs them the way an operator would; must never reach into them. Everything speaks TLS with certificates of
the lab's own authority.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path

import grpc
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cloison.identity import Identity
from controller.cli.pki import init_ca, issue
from topologies.daemon import Daemon
from topologies.host import Host
from topologies.nodes import Completed, LabNode
from topologies.state import LabState
from topologies.switch import BRIDGE

GRPC_PORT = 7443
OPENFLOW_PORT = 6653
ETCD_PORT = 2379
ETCD_PEER_PORT = 2380
METADATA_PORT = 8775
# So that a tenant of some thousand ports can be planned and applied as one change.
ETCD_TXN_OPS_MAX = 20_000
ETCD_REQUEST_BYTES_MAX = 10 << 20
# Go lets a heap grow by half before it collects, not to twice its size (docs/operations.md).
ETCD_ENV = {"GOGC": "50"}
CONTROLLER_ID = "c1"
CONTROLLER_NAME = f"controller.{CONTROLLER_ID}"
CONTEXT = "lab"
OPERATOR = "lab"
CONTEXT_FILE = "config.yaml"
LOCALHOST = "127.0.0.1"
CERTIFICATE_DAYS = 30
PROBE_S, COMMAND_S = 5.0, 20


@dataclass(frozen=True)
class Tls:
    """Certificate, key and authority of one party, as files."""

    cert: Path
    key: Path
    ca: Path

    @property
    def flags(self) -> list[str]:
        """As our programs take them."""
        return ["--ca", str(self.ca), "--cert", str(self.cert), "--key", str(self.key)]


class Authority:
    """The lab's certificate authority; keys never leave the run directory."""

    def __init__(self, run_dir: Path) -> None:
        """Makes the authority."""
        self._run_dir = run_dir
        self._dir = run_dir / "pki"
        init_ca(self._dir, "cloison lab", days=CERTIFICATE_DAYS)

    def issue(self, identity: str, node: str, *ips: str) -> Tls:
        """A certificate for an identity ("host/h1"), kept with the node that uses it."""
        out = self._run_dir / node / "tls"
        done = issue(self._dir, Identity.parse(identity), ips=ips, days=CERTIFICATE_DAYS, out=out)
        return Tls(done.cert, done.key, done.ca)


class Etcd(Daemon):
    """One etcd member that serves controllers only: a host's certificate opens nothing."""

    def __init__(self, node: LabNode, run_dir: Path, state: LabState, tls: Tls, client: Tls) -> None:
        """`tls`: of an `etcd/...` identity, for 127.0.0.1; `client`: of a controller, to look into it."""
        self.endpoint = f"https://127.0.0.1:{ETCD_PORT}"
        peers = f"https://127.0.0.1:{ETCD_PEER_PORT}"
        self._tls = client
        argv = [
            "etcd",
            "--name=e1",
            f"--data-dir={run_dir / node.name / 'etcd'}",
            f"--listen-client-urls={self.endpoint}",
            f"--advertise-client-urls={self.endpoint}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=e1={peers}",
            "--enable-grpc-gateway=false",
            "--client-cert-auth",
            "--client-cert-allowed-hostname=controller",
            *(f"--trusted-ca-file={tls.ca}", f"--cert-file={tls.cert}", f"--key-file={tls.key}"),
            "--peer-client-cert-auth",
            "--peer-cert-allowed-hostname=etcd",
            *(
                f"--peer-trusted-ca-file={tls.ca}",
                f"--peer-cert-file={tls.cert}",
                f"--peer-key-file={tls.key}",
            ),
            "--logger=zap",
            *(f"--max-txn-ops={ETCD_TXN_OPS_MAX}", f"--max-request-bytes={ETCD_REQUEST_BYTES_MAX}"),
        ]
        super().__init__("etcd", node, argv, run_dir, state, ETCD_ENV, ready=self._healthy)

    def ctl(self, *args: str, check: bool = True) -> Completed:
        """`etcdctl` (API 3) with the controller's certificate. Raises NodeError if it fails and `check`."""
        tls = self._tls
        files = [f"--cacert={tls.ca}", f"--cert={tls.cert}", f"--key={tls.key}"]
        patience = [f"--dial-timeout={COMMAND_S}s", f"--command-timeout={COMMAND_S}s"]
        argv = ["env", "ETCDCTL_API=3", "etcdctl", f"--endpoints={self.endpoint}", *patience, *files, *args]
        return self.node.run(argv, check=check)

    def keys(self, prefix: str = "") -> list[str]:
        """All keys that begin with `prefix`; every key without one."""
        return [k for k in self.ctl("get", prefix, "--prefix", "--keys-only").stdout.splitlines() if k]

    def _healthy(self) -> bool:
        context = ssl.create_default_context(cafile=str(self._tls.ca))
        context.load_cert_chain(self._tls.cert, self._tls.key)

        def ask() -> bytes:
            connection = HTTPSConnection(LOCALHOST, ETCD_PORT, timeout=PROBE_S, context=context)
            try:
                connection.request("GET", "/health")
                return connection.getresponse().read()
            finally:
                connection.close()

        return b'"true"' in self.node.within(ask)


class Controller(Daemon):
    """The controller, served to agents over the underlay and to people over a socket in the run directory."""

    def __init__(
        self, node: LabNode, run_dir: Path, state: LabState, tls: Tls, etcd: Etcd, address: str
    ) -> None:
        """`address`: where agents and switches reach it on the underlay."""
        self.socket = run_dir / "api.sock"
        self.agent_endpoint = f"{address}:{GRPC_PORT}"
        self._tls = tls
        argv = [
            *(sys.executable, "-m", "controller", "--etcd", etcd.endpoint),
            *("--etcd-ca", str(tls.ca), "--etcd-cert", str(tls.cert), "--etcd-key", str(tls.key)),
            *("--etcd-max-txn-ops", str(ETCD_TXN_OPS_MAX)),
            *("--etcd-max-request-bytes", str(ETCD_REQUEST_BYTES_MAX)),
            *("--grpc-listen", self.agent_endpoint, "--grpc-listen", f"unix:{self.socket}"),
            *("--openflow-listen", f"{address}:{OPENFLOW_PORT}"),
            *("--openflow-advertise", f"ssl:{address}:{OPENFLOW_PORT}"),
            *(*tls.flags, "--log-format", "console"),
        ]
        super().__init__("controller", node, argv, run_dir, state, _python_env(), ready=self._serves)

    def _serves(self) -> bool:
        if not self.socket.exists():
            return False
        with channel(f"unix:{self.socket}", self._tls) as connection:
            request = health_pb2.HealthCheckRequest()
            answer = health_pb2_grpc.HealthStub(connection).Check(request, timeout=PROBE_S)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


class ControlPlane:
    """The authority, etcd and the controller of a lab, and what its agents need to join."""

    def __init__(
        self, node: LabNode, address: str, run_dir: Path, state: LabState, progress: Callable[[str], None]
    ) -> None:
        """Issues the certificates and writes the context file; `address`: of `node` on the underlay."""
        self._run_dir, self._state, self._progress = run_dir, state, progress
        progress("issuing certificates")
        self._authority = Authority(run_dir)
        tls = self._authority.issue(f"controller/{CONTROLLER_ID}", node.name, LOCALHOST, address)
        member = self._authority.issue("etcd/e1", node.name, LOCALHOST)
        self.etcd = Etcd(node, run_dir, state, member, client=tls)
        self.controller = Controller(node, run_dir, state, tls, self.etcd, address)
        self.metadata_url = f"http://{address}:{METADATA_PORT}"
        served = [sys.executable, "-m", "topologies.metadata", address, str(METADATA_PORT)]
        self.metadata = Daemon("metadata", node, served, run_dir, state, _python_env())
        operator = self._authority.issue(f"operator/{OPERATOR}", "operator")
        write_context(run_dir / CONTEXT_FILE, f"unix:{self.controller.socket}", operator)
        state.config = str(run_dir / CONTEXT_FILE)

    def start(self) -> None:
        """Start etcd, then the controller, and what stands for the IaaS. Raises DaemonError."""
        self._progress("starting etcd")
        self.etcd.start()
        self._progress("starting the controller")
        self.controller.start()
        self.metadata.start()

    def issue(self, identity: str, node: str) -> Tls:
        """A further certificate of the lab's authority, in the directory of `node`."""
        return self._authority.issue(identity, node)

    def agent(self, host: Host, mtu: int, flags: Sequence[str] = ()) -> Daemon:
        """The agent of a host, not started; it is ready when br-int is there. `mtu`: of the underlay.

        `flags`: further arguments; what they say counts instead of the lab's own metadata service.
        """
        tls = self._authority.issue(f"host/{host.name}", host.name)
        argv = [
            sys.executable,
            *("-m", "agent", "--host", host.name, "--controller", self.controller.agent_endpoint),
            *("--controller-name", CONTROLLER_NAME, *tls.flags, "--vtep", host.vtep),
            *("--state-dir", str(self._run_dir / host.name / "agent"), "--ovsdb", host.switch.remote),
            *("--bridge", BRIDGE, "--underlay-mtu", str(mtu), "--vswitchd-ctl", host.switch.control),
            *("--metadata-url", self.metadata_url),
            *flags,
        ]
        ready = host.switch.has_bridge
        return Daemon("agent", host.node, argv, self._run_dir, self._state, _python_env(), ready)


def channel(endpoint: str, tls: Tls) -> grpc.Channel:
    """A gRPC channel to the controller, which must show the certificate of `CONTROLLER_NAME`."""
    credentials = grpc.ssl_channel_credentials(
        tls.ca.read_bytes(), tls.key.read_bytes(), tls.cert.read_bytes()
    )
    options = [("grpc.ssl_target_name_override", CONTROLLER_NAME), ("grpc.initial_reconnect_backoff_ms", 100)]
    return grpc.secure_channel(endpoint, credentials, options)


def write_context(path: Path, endpoint: str, tls: Tls) -> None:
    """A context file for the `cloison` command line and for `client`."""
    context = {
        "endpoint": endpoint,
        "ca": str(tls.ca),
        "cert": str(tls.cert),
        "key": str(tls.key),
        "server_name": CONTROLLER_NAME,
        "insecure": False,
    }
    path.write_text(yaml.safe_dump({"current": CONTEXT, "contexts": {CONTEXT: context}}), encoding="utf-8")


def _python_env() -> dict[str, str]:
    # A checkout is run in place: the programs find the packages where we found them.
    root = Path(__file__).resolve().parent.parent
    return {"PYTHONPATH": f"{root}:{root / 'proto'}", "PYTHONUNBUFFERED": "1"}
