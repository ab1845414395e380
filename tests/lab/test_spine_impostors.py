"""Who may speak for a host: wrong certificates, other hosts' names, addresses and datapaths are turned away.

And what a host that speaks only for itself, but lies, gets out of it: nothing.
"""

from __future__ import annotations

import asyncio
import queue
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from cloison.identity import Identity
from cloison.v1 import host_pb2, host_sync_pb2_grpc, tenant_pb2, tenant_pb2_grpc
from cloison.v1 import host_sync_pb2 as pb
from controller.cli.pki import init_ca, issue
from tests.lab.observe import reinstalled, tables
from tests.lab.spine import SETTLE_S, Site, site, status_code
from tests.support.openflow_peer import Peer
from topologies.control import CONTROLLER_NAME, METADATA_PORT, OPENFLOW_PORT, Tls, channel
from topologies.daemon import Daemon
from topologies.wait import wait_until

LISTEN_S, SERVED_S = 15.0, 4.0
FREE_VTEP, FREE_DPID = "100.64.64.77", 0x77
Code = grpc.StatusCode


@pytest.fixture(scope="module")
def lab_site(module_run_dir: Path) -> Iterator[Site]:
    with site(module_run_dir) as built:
        yield built


@pytest.fixture
def cloud(lab_site: Site) -> Iterator[Site]:
    """Whatever is tried, afterwards every flow is the very same one and no host is new."""
    before, stored = tables(lab_site.lab), set(lab_site.lab.etcd.keys())
    yield lab_site
    lab_site.wait_active()
    assert reinstalled(before, tables(lab_site.lab)) == {}
    assert set(lab_site.lab.etcd.keys()) == stored
    for name in lab_site.lab.hosts:
        status = lab_site.host_status(name)
        assert status.agent_connected
        assert status.switch_connected


def certificate(cloud: Site, identity: str) -> Tls:
    """One of the lab's authority, made once."""
    assert cloud.lab.control is not None
    node, name = f"impostor-{identity.replace('/', '-')}", identity.replace("/", ".")
    directory = cloud.lab.run_dir / node / "tls"
    if not directory.exists():
        return cloud.lab.control.issue(identity, node)
    return Tls(directory / f"{name}.crt", directory / f"{name}.key", directory / "ca.crt")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory, lab_site: Site) -> Tls:
    """A certificate that says host/h1, of an authority of our own; the lab's is trusted, so we get to it."""
    directory = tmp_path_factory.mktemp("foreign")
    init_ca(directory / "ca", "somebody else's")
    done = issue(directory / "ca", Identity.parse("host/h1"), out=directory / "tls")
    return Tls(done.cert, done.key, certificate(lab_site, "host/h1").ca)


# --- agents -----------------------------------------------------------------------------------------------


@dataclass
class Answer:
    """What a controller said to an agent until the stream ended."""

    code: Code
    details: str = ""
    heard: list[pb.ControllerMessage] = field(default_factory=list)

    def kinds(self) -> set[str]:
        return {str(message.WhichOneof("kind")) for message in self.heard}


def hello(cloud: Site, host: str, vtep: str = "", dpid: int = 0, epoch: int = 0) -> pb.AgentMessage:
    """What the agent of a host says, unless told to say something else."""
    known = cloud.host_status(host) if host in cloud.lab.hosts else None
    return pb.AgentMessage(
        hello=pb.Hello(
            host_id=host,
            vtep_address=vtep or (known.vtep_address if known else FREE_VTEP),
            datapath_id=dpid or (int(known.datapath_id, 16) if known else FREE_DPID),
            underlay_mtu=1500,
            epoch=epoch,
        )
    )


def nothing_plugged() -> pb.AgentMessage:
    return pb.AgentMessage(inventory=pb.Inventory(complete=True))


def call(
    cloud: Site, connection: grpc.Channel, messages: Sequence[pb.AgentMessage], listen_s: float = LISTEN_S
) -> Answer:
    """Say it over a stream, and listen until it ends or nothing new is due any more."""
    outgoing: queue.Queue[pb.AgentMessage | None] = queue.Queue()
    for message in messages:
        outgoing.put(message)
    stub = host_sync_pb2_grpc.HostSyncStub(connection)
    stream = stub.Sync(iter(outgoing.get, None), timeout=listen_s)
    answer = Answer(Code.OK)
    try:
        for message in stream:
            answer.heard.append(message)
    except grpc.RpcError as error:
        answer.code, answer.details = error.code(), error.details()
    finally:
        outgoing.put(None)
    return answer


def speak(cloud: Site, tls: Tls, *messages: pb.AgentMessage, listen_s: float = LISTEN_S) -> Answer:
    """As `call`, with a certificate."""
    with channel(f"unix:{cloud.lab.controller.socket}", tls) as connection:
        return call(cloud, connection, messages, listen_s)


def test_an_agent_with_another_hosts_certificate_is_refused(cloud: Site) -> None:
    answer = speak(cloud, certificate(cloud, "host/h2"), hello(cloud, "h1"), nothing_plugged())
    assert (answer.code, answer.heard) == (Code.PERMISSION_DENIED, [])
    assert "h1" in answer.details
    assert "h2" in answer.details


def test_a_real_agent_started_under_another_hosts_name_gets_nothing(cloud: Site) -> None:
    """The program itself, on h3, with h3's certificate, saying it is h1."""
    host, real = cloud.host("h3"), cloud.host("h3").agent
    assert real is not None
    swaps = {"h3": "h1", str(cloud.lab.run_dir / "h3" / "agent"): str(cloud.lab.run_dir / "h3" / "impostor")}
    argv = [swaps.get(word, word) for word in real.argv]
    agents_vtep = argv.index("--vtep") + 1
    argv[agents_vtep] = cloud.host("h1").vtep
    impostor = Daemon("impostor", host.node, argv, cloud.lab.run_dir, cloud.lab.state, _environment(real))
    real.kill()
    impostor.start()
    try:
        wait_until(lambda: "PERMISSION_DENIED" in cloud.log("h3", "impostor"), SETTLE_S, "the refusal")
        assert "obeying controller" not in cloud.log("h3", "impostor")
    finally:
        impostor.kill()
        real.start()
    cloud.lab.wait_connected()


def _environment(daemon: Daemon) -> dict[str, str]:
    return dict(daemon._env)


@pytest.mark.parametrize("who", ["tenant/red/admin", "operator/eve", "controller/c9", "etcd/e9"])
def test_nobody_but_a_host_is_an_agent(cloud: Site, who: str) -> None:
    answer = speak(cloud, certificate(cloud, who), hello(cloud, "h1"), nothing_plugged())
    assert (answer.code, answer.heard) == (Code.PERMISSION_DENIED, [])


def test_a_host_is_nothing_but_an_agent(cloud: Site) -> None:
    with channel(f"unix:{cloud.lab.controller.socket}", certificate(cloud, "host/h1")) as connection:
        stub = tenant_pb2_grpc.TenantServiceStub(connection)
        listing = tenant_pb2.ListTenantsRequest()
        assert status_code(lambda: stub.ListTenants(listing, timeout=5)) is Code.PERMISSION_DENIED


def test_an_agent_of_another_authority_without_certificate_or_in_plain_text_gets_no_connection(
    cloud: Site, foreign: Tls
) -> None:
    endpoint = f"unix:{cloud.lab.controller.socket}"
    options = [("grpc.ssl_target_name_override", CONTROLLER_NAME)]
    anonymous = grpc.ssl_channel_credentials(foreign.ca.read_bytes())
    for connection in (
        channel(endpoint, foreign),
        grpc.secure_channel(endpoint, anonymous, options),
        grpc.insecure_channel(endpoint),
    ):
        with connection:
            answer = call(cloud, connection, [hello(cloud, "h1"), nothing_plugged()])
        assert (answer.code, answer.heard) == (Code.UNAVAILABLE, [])


def test_a_vtep_address_of_another_host_is_refused(cloud: Site) -> None:
    tls = certificate(cloud, "host/h9")
    answer = speak(cloud, tls, hello(cloud, "h9", vtep=cloud.host("h1").vtep), nothing_plugged())
    assert (answer.code, answer.heard) == (Code.FAILED_PRECONDITION, [])
    assert cloud.host("h1").vtep in answer.details
    assert "hosts/h1" in answer.details


def test_a_datapath_id_of_another_host_is_refused(cloud: Site) -> None:
    dpid = int(cloud.host_status("h1").datapath_id, 16)
    answer = speak(cloud, certificate(cloud, "host/h9"), hello(cloud, "h9", dpid=dpid), nothing_plugged())
    assert (answer.code, answer.heard) == (Code.FAILED_PRECONDITION, [])
    assert "hosts/h1" in answer.details


@pytest.mark.parametrize("vtep", ["", "nonsense", "224.0.0.1", "127.0.0.1", "0.0.0.0"])
def test_a_vtep_address_that_can_be_none_is_refused(cloud: Site, vtep: str) -> None:
    message = hello(cloud, "h9")
    message.hello.vtep_address = vtep
    answer = speak(cloud, certificate(cloud, "host/h9"), message, nothing_plugged())
    assert (answer.code, answer.heard) == (Code.INVALID_ARGUMENT, [])
    assert "vtep_address" in answer.details


def test_an_agent_that_obeyed_a_newer_controller_is_not_served_by_an_older_one(cloud: Site) -> None:
    message = hello(cloud, "h9", epoch=1 << 40)
    answer = speak(cloud, certificate(cloud, "host/h9"), message, nothing_plugged())
    assert (answer.code, answer.heard) == (Code.FAILED_PRECONDITION, [])


def test_a_host_that_claims_all_there_is_learns_and_changes_nothing(lab_site: Site) -> None:
    """A registered host with nothing scheduled to it names every iface-id and every VNI (T16)."""
    cloud = lab_site
    before, stored = tables(cloud.lab), set(cloud.lab.etcd.keys())
    claims = [
        pb.Interface(name=f"tap{number}", iface_id=port.iface_id, ofport=number + 1)
        for number, port in enumerate(cloud.ports.values())
    ]
    tunnels = [
        pb.TunnelPort(vni=cloud.vni(tenant), ofport=100 + n) for n, tenant in enumerate(("red", "blue"))
    ]
    lies = pb.AgentMessage(inventory=pb.Inventory(complete=True, interfaces=claims, tunnel_ports=tunnels))
    ack = pb.AgentMessage(ack=pb.Ack(revision=1 << 40))
    answer = speak(cloud, certificate(cloud, "host/h9"), hello(cloud, "h9"), lies, ack, listen_s=SERVED_S)
    verdicts = [v for m in answer.heard for v in m.verdicts.verdicts]
    assert {v.iface_id for v in verdicts} == {port.iface_id for port in cloud.ports.values()}
    assert not any(v.bound for v in verdicts)
    assert not [m for m in answer.heard if m.WhichOneof("kind") == "delta"]
    cloud.wait_active()
    assert {port.name: cloud.port(port.name).host for port in cloud.ports.values()} == {
        port.name: port.requested_hosts[0] for port in cloud.ports.values()
    }
    assert reinstalled(before, tables(cloud.lab)) == {}
    new = set(cloud.lab.etcd.keys()) - stored
    assert {key for key in new if "h9" not in key and "/alloc/" not in key} == set()
    assert not [key for key in new if "bindings" in key or "tunnelports" in key]
    _forget_h9(cloud)
    wait_until(lambda: set(cloud.lab.etcd.keys()) == stored, SETTLE_S, "h9 gone without a trace")


def _forget_h9(cloud: Site) -> None:
    def gone() -> bool:
        cloud.client.hosts.DeleteHost(host_pb2.DeleteHostRequest(name="hosts/h9"), timeout=5)
        return True

    wait_until(gone, SETTLE_S, "h9 deleted")


# --- switches ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def dialled(cloud: Site, host: str, tls: ssl.SSLContext | None) -> AsyncIterator[Peer]:
    """A connection from a host's namespace to the controller's OpenFlow port."""
    address = (str(cloud.lab.underlay.loopback("ctl")), OPENFLOW_PORT)
    raw = cloud.host(host).node.within(lambda: socket.create_connection(address, timeout=5))
    raw.setblocking(False)
    name = CONTROLLER_NAME if tls else None
    reader, writer = await asyncio.open_connection(sock=raw, ssl=tls, server_hostname=name)
    peer = Peer(reader, writer)
    try:
        yield peer
    finally:
        peer.close()


def context(tls: Tls | None, ca: Path) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(ca))
    if tls is not None:
        made.load_cert_chain(tls.cert, tls.key)
    return made


async def test_a_switch_under_another_hosts_datapath_id_is_refused(cloud: Site) -> None:
    """h2, with its own certificate, from its own address, claims to be h1's bridge; also a free number."""
    tls = certificate(cloud, "host/h2")
    refused = cloud.log().count("refused a switch")
    for dpid in (int(cloud.host_status("h1").datapath_id, 16), 0xDEAD):
        async with dialled(cloud, "h2", context(tls, tls.ca)) as peer:
            await peer.claim(dpid)
            await peer.until_closed()
    assert cloud.log().count("refused a switch") == refused + 2


@pytest.mark.parametrize("who", ["operator/eve", "tenant/red/admin", "controller/c9", "host/h9"])
async def test_a_certificate_that_is_not_the_hosts_opens_no_session(cloud: Site, who: str) -> None:
    tls = certificate(cloud, who)
    async with dialled(cloud, "h1", context(tls, tls.ca)) as peer:
        try:
            await peer.claim(int(cloud.host_status("h1").datapath_id, 16))
        except (EOFError, ConnectionError, ssl.SSLError):
            return  # closed before we could even say who we are
        await peer.until_closed()


async def test_a_switch_of_another_authority_without_certificate_or_in_plain_text_is_refused(
    cloud: Site, foreign: Tls
) -> None:
    for tls in (context(foreign, foreign.ca), context(None, foreign.ca), None):
        with pytest.raises((EOFError, ConnectionError, ssl.SSLError, TimeoutError)):
            async with dialled(cloud, "h1", tls) as peer:
                await peer.claim(int(cloud.host_status("h1").datapath_id, 16))


# --- doors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["host/h1", "tenant/red/admin"])
def test_etcd_serves_controllers_only(cloud: Site, who: str) -> None:
    tls, etcd = certificate(cloud, who), cloud.lab.etcd
    files = [f"--cacert={tls.ca}", f"--cert={tls.cert}", f"--key={tls.key}", "--command-timeout=1s"]
    argv = ["env", "ETCDCTL_API=3", "etcdctl", f"--endpoints={etcd.endpoint}", *files]
    done = etcd.node.run([*argv, "get", "", "--prefix", "--keys-only"])
    assert (done.returncode != 0, done.stdout) == (True, "")


def test_hosts_and_controller_listen_where_they_must_and_nowhere_else(cloud: Site) -> None:
    """The inventory of open doors: none on a host but the tunnels' UDP port, two on the controller.

    And the lab's own metadata service, which stands for an IaaS's on the controller's node.
    """
    wanted = {name: {("udp", 4789)} for name in cloud.lab.hosts}
    wanted["ctl"] = {("tcp", 7443), ("tcp", OPENFLOW_PORT), ("tcp", METADATA_PORT)}
    found = {name: _open_doors(cloud, name) for name in wanted}
    assert found == wanted


def _open_doors(cloud: Site, node: str) -> set[tuple[str, int]]:
    """(protocol, port) of every socket that listens on an address others can reach."""
    text = cloud.lab.nodes[node].run(["ss", "-Hlntu"], check=True).stdout
    doors = set()
    for line in text.splitlines():
        protocol, _, _, _, local = line.split()[:5]
        address, _, port = local.rpartition(":")
        if not address.startswith("127.") and address != "[::1]":
            doors.add((protocol, int(port)))
    return doors
