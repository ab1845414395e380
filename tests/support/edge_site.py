"""A host with edges, between an inside (a router and its guests, in one namespace) and an outside.

br-ex is an Open vSwitch bridge with the outside on it; on br-int frames go from each inside to its edge and
back.
"""

from __future__ import annotations

import asyncio
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

from cloison.addresses import format_mac
from cloison.v1 import host_sync_pb2 as pb
from tests.support.agent_host import AgentHost, eventually
from tests.support.guest_netns import GuestNamespace
from tests.support.netns import network_namespace, sh
from tests.support.ovs import Ovs
from tests.support.sync_peer import PeerSession, SyncPeer

ANSWER_S, SILENCE_S = 15.0, 2.0
PHYSNET, BRIDGE = "physnet1", "br-ex"
TARGET = "tcp:127.0.0.1:6653"
ROUTER_MAC, OUTSIDE_MAC = 0x0AF300000002, 0x525400000001
GUEST4, OTHER4, ROUTED4 = "10.0.0.5", "10.0.0.6", "10.0.1.7"
GUEST6, OTHER6, ROUTED6 = "fd00:10::5", "fd00:10::6", "fd00:11::7"
SNAT4, SNAT6 = "203.0.113.2", "2001:db8::2"
FLOAT4, FLOAT6 = "203.0.113.5", "2001:db8::5"
NEAR4, NEAR6 = "203.0.113.1", "2001:db8::1"
FAR4, FAR6 = "198.51.100.1", "2001:db8:1::1"
SERVE = """
import socket, sys, threading
version, at, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
server = socket.socket(socket.AF_INET6 if version == "6" else socket.AF_INET)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((at, port)); server.listen()
print("ready", flush=True)
def serve(c, peer):
    c.sendall(peer[0].encode() + b"\\n")
    while data := c.recv(65536):
        c.sendall(data)
while True:
    threading.Thread(target=serve, args=server.accept(), daemon=True).start()
"""
TALK = """
import socket, sys
source, at, port, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
c = socket.create_connection((at, port), 15, (source, 0))
c.settimeout(15)
lines = c.makefile("rb")
print(lines.readline().decode().strip(), flush=True)
for word in sys.stdin if size == 0 else ["x" * size]:
    c.sendall(word.strip().encode() + b"\\n")
    print(len(lines.readline()), flush=True)
"""


def prefix(text: str) -> pb.EdgePrefix:
    network = ip_network(text)
    return pb.EdgePrefix(address=network.network_address.packed, prefix_length=network.prefixlen)


def at(text: str) -> pb.EdgeAddress:
    interface = ip_interface(text)
    return pb.EdgeAddress(address=interface.ip.packed, prefix_length=interface.network.prefixlen)


def packed(*texts: str) -> list[bytes]:
    return [ip_address(text).packed for text in texts]


def floating(*pairs: tuple[str, str]) -> list[pb.FloatingAddress]:
    return [pb.FloatingAddress(address=packed(a)[0], fixed=packed(f)[0]) for a, f in pairs]


def edge(number: int = 7, **fields: object) -> pb.Edge:
    """An edge of a router with SNAT in both families.

    `last` is the last part of its own addresses outside.
    """
    last = fields.pop("last", 2)
    made = pb.Edge(
        number=number,
        iface_id=f"gw-{number}",
        router=f"tenants/acme/routers/r{number}",
        inside_mac=0x020000000000 + number,
        inside=[at("100.127.0.2/16"), at("fd00:c101:50::2/64")],
        inside_mtu=1450,
        router_mac=ROUTER_MAC,
        router_addresses=packed("100.127.0.1", "fd00:c101:50::1"),
        inside_prefixes=[prefix(p) for p in ("10.0.0.0/24", "10.0.1.0/24", "fd00:10::/64", "fd00:11::/64")],
        physical_network=PHYSNET,
        outside_mac=0x020000001000 + number,
        outside_mtu=1500,
        outside=[at(f"203.0.113.{last}/24"), at(f"2001:db8::{last}/64")],
        outside_prefixes=[prefix("203.0.113.0/24"), prefix("2001:db8::/64")],
        gateways=packed(NEAR4, NEAR6),
        snat=packed(f"203.0.113.{last}", f"2001:db8::{last}"),
        active=True,
    )
    for name, value in fields.items():
        made.ClearField(name)  # type: ignore[arg-type]
        made.MergeFrom(pb.Edge(**{name: value}))  # type: ignore[arg-type]
    return made


class Inside:
    """A router with the guests behind it, as one namespace on br-int."""

    def __init__(self, directory: Path, number: int) -> None:
        self.number = number
        self.netns = GuestNamespace(directory, format_mac(ROUTER_MAC), tap=f"tap{number}")

    def prepare(self) -> None:
        run = self.netns.run
        for address in ("100.127.0.1/16", "fd00:c101:50::1/64"):
            run(f"ip address add {address} dev eth0")
        for address in (GUEST4, OTHER4, ROUTED4, GUEST6, OTHER6, ROUTED6):
            run(f"ip address add {address} dev lo")
        run("ip link set eth0 mtu 1450 up")
        run("ip route add default via 100.127.0.2")
        run("ip -6 route add default via fd00:c101:50::2")


class EdgeSite:
    """`host` with br-ex and, on it, `outside`.

    `inside` is plugged where edge 7 is, others by `add_inside`.
    """

    def __init__(self, directory: Path, ovs: Ovs, stack: ExitStack) -> None:
        self.directory, self.ovs, self._stack = directory, ovs, stack
        self.host = AgentHost(directory, ovs)
        stack.callback(self.host.close)
        ovs.vsctl("add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev")
        self.outside = stack.enter_context(GuestNamespace(directory, format_mac(OUTSIDE_MAC), tap="tapx"))
        ovs.vsctl("add-port", BRIDGE, "tapx", "tag=0")
        self._prepare_outside()
        self.inside = self.add_inside(7)
        self.servers: list[subprocess.Popen[str]] = []

    def _prepare_outside(self) -> None:
        run = self.outside.run
        for address in (f"{NEAR4}/24", f"{NEAR6}/64"):
            run(f"ip address add {address} dev eth0")
        for address in (FAR4, FAR6):
            run(f"ip address add {address} dev lo")
        run("ip link set eth0 up")
        run("ip route add 10.0.1.0/24 via 203.0.113.2")
        run("ip -6 route add fd00:11::/64 via 2001:db8::2")

    def add_inside(self, number: int) -> Inside:
        inside = Inside(self.directory, number)
        self._stack.enter_context(inside.netns)
        inside.prepare()
        return inside

    def start(self, endpoint: str, **options: float) -> None:
        self.host.start(endpoint, flags=["--bridge-mappings", f"{PHYSNET}:{BRIDGE}"], **options)

    def join(self, *insides: Inside) -> None:
        """Let frames pass on br-int between each inside and its edge."""
        for inside in insides:
            tap, leg = inside.netns.tap, f"cli{inside.number:08x}"
            self.ovs.vsctl("--may-exist", "add-port", "br-int", tap)
            ports = [self.ovs.vsctl("get", "interface", name, "ofport").strip() for name in (tap, leg)]
            for one, other in (ports, ports[::-1]):
                self.ovs.ofctl("add-flow", "br-int", f"in_port={one},actions=output:{other}")

    def nsenter(self, command: str, number: int = 7) -> str:
        """Run a command line in an edge."""
        return sh(f"nsenter --net={self.host.state_dir}/edges/e{number} {command}")

    def serve(self, where: GuestNamespace, address: str, port: int = 8000) -> None:
        """Serve TCP: each client is told its address, and hears what it says."""
        argv = [sys.executable, "-c", SERVE, "6" if ":" in address else "4", address, str(port)]
        server = where.start(*argv)
        self._stack.callback(_end, server)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"

    def talk(self, where: GuestNamespace, source: str, address: str, port: int = 8000, size: int = 10) -> str:
        """Say something to a server; return under which address it was heard, fail if nothing is."""
        argv = f"{sys.executable} -c '{TALK}' {source} {address} {port} {size}"
        peer, said = where.run(argv).split()
        assert int(said) == size + 1
        return peer

    def connect(self, where: GuestNamespace, source: str, address: str, port: int = 8000) -> Talk:
        """Open a connection that stays."""
        argv = [sys.executable, "-c", TALK, source, address, str(port), "0"]
        process = subprocess.Popen(
            ["ip", "netns", "exec", where.name, *argv],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._stack.callback(_end, process)
        return Talk(process)


class Talk:
    """A connection that is open."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self.peer = process.stdout.readline().strip()

    def works(self) -> bool:
        """Whether something said is heard and answered."""
        return self._says() and self._hears(ANSWER_S)

    def is_cut(self) -> bool:
        """Whether nothing said is answered any more; then it is over."""
        if self._says() and self._hears(SILENCE_S):
            return False
        self._process.kill()
        return True

    def _says(self) -> bool:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("hello\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def _hears(self, within_s: float) -> bool:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], within_s)
        return bool(ready) and self._process.stdout.readline().strip() == "6"


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def pings(where: GuestNamespace, source: str, address: str, *options: str) -> bool:
    """Whether one ping is answered."""
    words = where.run(f"ping -n -c 1 -W 1 -I {source} {' '.join(options)} {address}", check=False)
    return " 0% packet loss" in words


async def reaches(where: GuestNamespace, source: str, address: str, *options: str) -> None:
    """Wait until a ping is answered."""
    await eventually(lambda: pings(where, source, address, *options), f"{source} reaches {address}")


@contextmanager
def edge_site(directory: Path) -> Iterator[EdgeSite]:
    with network_namespace(), Ovs(dummy=False) as ovs, ExitStack() as stack:
        yield EdgeSite(directory, ovs, stack)


async def settled(site: EdgeSite, peer: SyncPeer, *edges: pb.Edge, **options: float) -> PeerSession:
    """Start the agent and bring it to these edges, with inside joined to edge 7."""
    site.start(peer.endpoint, **options)
    session = await peer.session()
    session.welcome(1, TARGET)
    ack = await session.snapshot(10, pb.PlanDelta(revision=10, edges=edges))
    assert not ack.errors, ack
    await asyncio.to_thread(site.join, site.inside)
    return session
