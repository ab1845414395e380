"""The physical network of a lab beside its underlay, and what is outside: where tenants' routers go out to.

A Linux bridge stands for the operator's switch. Each host has a port of it in its bridge `br-ex`, which its
agent is told of; the node `outside` has one for untagged frames, and an Open vSwitch of its own where there
are VLANs (which needs nothing of the kernel). Behind its addresses on the segments are the far ones, to which
one must be routed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from pathlib import Path

from mininet.link import Link

from topologies.daemon import Daemon
from topologies.host import Host
from topologies.nodes import LabNode, NodeError, PlainIntf
from topologies.state import LabState
from topologies.switch import Switch

PHYSICAL_NETWORK, BRIDGE = "physnet1", "br-ex"
SEGMENT_NODE, OUTSIDE_NODE = "segment", "outside"
HTTP_PORT, IPERF_PORT = 80, 5201
FLAT = 0
_BRIDGE, _UPLINK, _FLAT_LINK, _TRUNK = "segment0", "phy0", "eth0", "eth1"
_BLOB = "blob"


@dataclass(frozen=True)
class OutsideSpec:
    """What there is outside.

    `segments`: addresses of the node `outside` with prefix length, by VLAN (0: untagged); they are the
    gateways of the external networks. `far`: its addresses behind them. `hosts`: those with a bridge, all if
    empty. `mtu` in bytes. `blob_bytes`: length of what the HTTP server has as /blob.
    """

    segments: Mapping[int, tuple[str, ...]]
    far: tuple[str, ...] = ("198.51.100.1", "2001:db8:1::1")
    hosts: tuple[str, ...] = ()
    mtu: int = 1500
    blob_bytes: int = 100 << 20


DEFAULT = OutsideSpec({FLAT: ("203.0.113.1/24", "2001:db8::1/64")})


class Outside:
    """The nodes `segment` and `node`, and the servers: HTTP on port 80 of all addresses, iperf3 on 5201."""

    def __init__(self, spec: OutsideSpec, mark: str, run_dir: Path, state: LabState) -> None:
        """Makes the nodes."""
        self.spec = spec
        self.segment, self.node = LabNode(SEGMENT_NODE, mark), LabNode(OUTSIDE_NODE, mark)
        self._run_dir, self._state = run_dir, state
        self._switch: Switch | None = None
        self.http: Daemon | None = None
        self.iperf: Daemon | None = None

    @property
    def daemons(self) -> list[Daemon]:
        """Its servers, and last what they need."""
        switch = [self._switch.vswitchd, self._switch.ovsdb] if self._switch else []
        return [daemon for daemon in (self.http, self.iperf) if daemon] + switch

    @property
    def agent_flags(self) -> list[str]:
        """What an agent of a host with the bridge is told."""
        return ["--bridge-mappings", f"{PHYSICAL_NETWORK}:{BRIDGE}"]

    def serves(self, host: str) -> bool:
        """Whether a host has the bridge."""
        return not self.spec.hosts or host in self.spec.hosts

    def far(self, version: int) -> str:
        """The first address behind the segments, of IP version 4 or 6. Raises LookupError without one."""
        for address in self.spec.far:
            if ip_interface(address).version == version:
                return address
        raise LookupError(f"nothing outside has an IPv{version} address")

    def near(self, version: int, vlan: int = FLAT) -> str:
        """The address of `outside` on a segment. Raises LookupError without one."""
        for address in self.spec.segments[vlan]:
            if ip_interface(address).version == version:
                return str(ip_interface(address).ip)
        raise LookupError(f"segment {vlan} has no IPv{version} address outside")

    def url(self, version: int, path: str = _BLOB) -> str:
        """Where the HTTP server has something, at the far address."""
        far = self.far(version)
        return f"http://{f'[{far}]' if version == 6 else far}/{path}"

    def build(self) -> None:
        """Lay the segment and give the node outside its addresses; starts its switch if there are VLANs."""
        self.segment.sysctl(net__ipv6__conf__all__disable_ipv6=1, net__ipv6__conf__default__disable_ipv6=1)
        self.segment.ip([f"link add {_BRIDGE} type bridge forward_delay 0", f"link set {_BRIDGE} up"])
        self.node.sysctl(
            net__ipv4__conf__all__rp_filter=0,
            net__ipv4__conf__default__rp_filter=0,
            # Each segment hears of the addresses on it, and of no others.
            net__ipv4__conf__all__arp_ignore=1,
            net__ipv4__conf__all__arp_announce=2,
            net__ipv6__conf__all__accept_dad=0,
            net__ipv6__conf__default__accept_dad=0,
        )
        self.node.ip(["link set lo up", *(f"address add {a} dev lo" for a in self.spec.far)])
        self._attach(self.node, _FLAT_LINK)
        _as_they_are(self.node, _FLAT_LINK)
        self._address(FLAT, _FLAT_LINK)
        if set(self.spec.segments) - {FLAT}:
            self._build_vlans()

    def join(self, host: Host) -> None:
        """Wire a host to the segment and make its bridge; its switch runs. Raises NodeError."""
        self._attach(host.node, _UPLINK)
        make = ["--may-exist", "add-br", BRIDGE, "--", "set", "Bridge", BRIDGE, "datapath_type=netdev"]
        host.switch.vsctl(*make, "--", "--may-exist", "add-port", BRIDGE, _UPLINK)

    def cut(self, host: Host, is_cut: bool = True) -> None:
        """Pull a host's plug, or put it back. Raises NodeError."""
        self.segment.ip([f"link set {_port(host.name)} {'down' if is_cut else 'up'}"])

    def route(self, prefixes: Iterable[str], via: str) -> None:
        """Let the node outside reach prefixes through an address on a segment. Raises NodeError."""
        self.node.ip(f"route replace {prefix} via {via}" for prefix in prefixes)

    def serve(self) -> None:
        """Start the servers. Raises DaemonError."""
        www = self._run_dir / OUTSIDE_NODE / "www"
        www.mkdir(parents=True, exist_ok=True)
        with (www / _BLOB).open("wb") as blob:
            blob.truncate(self.spec.blob_bytes)
        served = [
            sys.executable,
            "-m",
            "http.server",
            "--directory",
            str(www),
            "--bind",
            "::",
            str(HTTP_PORT),
        ]
        self.http = self._daemon("http", served, HTTP_PORT)
        self.iperf = self._daemon("iperf3", ["iperf3", "-s", "-p", str(IPERF_PORT)], IPERF_PORT)
        for daemon in (self.http, self.iperf):
            daemon.start()

    def _daemon(self, name: str, argv: list[str], port: int) -> Daemon:
        def ready() -> bool:
            return bool(self.node.run(["ss", "-Hltn", "sport", "=", f":{port}"]).stdout.strip())

        return Daemon(name, self.node, argv, self._run_dir, self._state, {"PYTHONUNBUFFERED": "1"}, ready)

    def _attach(self, node: LabNode, name: str) -> None:
        port = _port(node.name if name != _TRUNK else "vlans")
        Link(self.segment, node, intfName1=port, intfName2=name, intf=PlainIntf)
        mtu = self.spec.mtu
        self.segment.ip([f"link set {port} mtu {mtu} master {_BRIDGE} up"])
        node.ip([f"link set {name} mtu {mtu} up"])

    def _build_vlans(self) -> None:
        """One internal port for each VLAN, on a bridge whose only other port is the trunk."""
        self._attach(self.node, _TRUNK)
        self._switch = Switch(self.node, self._run_dir, self._state)
        self._switch.start()
        make = ["add-br", BRIDGE, "--", "set", "Bridge", BRIDGE, "datapath_type=netdev"]
        self._switch.vsctl(*make, "--", "add-port", BRIDGE, _TRUNK)
        for vlan in sorted(set(self.spec.segments) - {FLAT}):
            name = f"vlan{vlan}"
            self._switch.vsctl(
                *("add-port", BRIDGE, name, f"tag={vlan}", "--", "set", "Interface", name, "type=internal")
            )
            self.node.ip([f"link set {name} mtu {self.spec.mtu} up"])
            self._address(vlan, name)

    def _address(self, vlan: int, name: str) -> None:
        for given in self.spec.segments.get(vlan, ()):
            address: IPv4Interface | IPv6Interface = ip_interface(given)
            nodad = " nodad" if address.version == 6 else ""
            self.node.ip([f"address add {address} dev {name}{nodad}"])


def _port(name: str) -> str:
    return f"to-{name}"


def _as_they_are(node: LabNode, name: str) -> None:
    """Switches of hosts take frames as they are: checksums and segments are finished here.

    Raises NodeError.
    """
    done = node.run(["ethtool", "-K", name, "tx", "off", "tso", "off", "gso", "off", "gro", "off"])
    if done.returncode:
        raise NodeError(f"{node.name}: {name}: {done.stderr}")
