"""A workload: a namespace that stands for a virtual machine, wired to a host's br-int.

Owns the guest's side and the plugging, as an IaaS does it: the interface is on the bridge with its iface-id
only when the guest is ready. Must never touch flows or tunnels.
"""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Any

from mininet.link import Link

from topologies import capture
from topologies.nodes import LabNode, PlainIntf
from topologies.switch import BRIDGE, Switch
from topologies.wait import looks

GUEST_INTERFACE = "eth0"
Address = IPv4Interface | IPv6Interface
SERVICES = {4: "169.254.169.252/30", 6: "fd00:ec2::/64"}
"""Where the services of every host are, resolver and metadata: on the link, as a lease says."""
_START_S, _PATIENCE_S = 0.2, 30.0
_RTT = re.compile(r"time=([0-9.]+) ms")
_COUNTS = re.compile(r"(\d+) packets transmitted, (\d+) received")


@dataclass(frozen=True)
class Plug:
    """How a workload is attached: what an IaaS knows of a port when it starts a virtual machine."""

    name: str
    host: str
    iface_id: str
    mac: str
    addresses: tuple[Address, ...]
    mtu: int
    gateways: tuple[str, ...] = ()

    @property
    def tap(self) -> str:
        """The interface on the host: `tap` and 11 characters, as OpenStack has it, here of a digest."""
        return "tap" + hashlib.sha256(self.iface_id.encode()).hexdigest()[:11]


@dataclass(frozen=True)
class PingResult:
    """What `ping` counted."""

    sent: int
    received: int
    rtts_ms: tuple[float, ...]
    output: str

    @property
    def ok(self) -> bool:
        """All answered."""
        return self.sent > 0 and self.sent == self.received


class Workload(LabNode):
    """A guest: eth0 with the port's MAC and addresses."""

    def __init__(self, name: str, mark: str, plug: Plug, **params: Any) -> None:
        """Makes the namespace; `attach` makes the interface."""
        self.plug = plug
        super().__init__(name, mark, **params)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The guest's addresses with their prefix lengths."""
        return self.plug.addresses

    def address(self, version: int) -> str:
        """The guest's first address of IP version 4 or 6. Raises LookupError without one."""
        for address in self.plug.addresses:
            if address.version == version:
                return str(address.ip)
        raise LookupError(f"{self.name} has no IPv{version} address")

    def ping(
        self,
        target: str,
        count: int = 1,
        interval_s: float = 0.2,
        timeout_s: float = 1.0,
        pattern: str = "",
        size_bytes: int = 56,
    ) -> PingResult:
        """`ping` an address; `timeout_s` is the wait for the last answer, `pattern` fills the payload (hex).

        An unreachable target is a result, not an error.
        """
        argv = [
            "ping",
            "-n",
            "-c",
            str(count),
            "-i",
            f"{interval_s:g}",
            "-W",
            f"{_PATIENCE_S:g}",
            "-s",
            str(size_bytes),
            *(["-p", pattern] if pattern else []),
            target,
        ]
        process = self.popen(argv, stdin=subprocess.DEVNULL, text=True)
        for _ in looks(_START_S + (count - 1) * interval_s + timeout_s):
            if process.poll() is not None:
                break
        else:
            process.send_signal(signal.SIGINT)  # it says what it has counted
        out, err = process.communicate(timeout=_PATIENCE_S)
        counts = _COUNTS.search(out)
        sent, received = (int(counts[1]), int(counts[2])) if counts else (0, 0)
        return PingResult(sent, received, tuple(float(t) for t in _RTT.findall(out)), out + err)

    def capture(self, expression: str = "", outgoing: bool = False) -> capture.Capture:
        """Capture on eth0 what arrives (and, with `outgoing`, what leaves); a context manager."""
        return capture.Capture(self.pid, GUEST_INTERFACE, expression, outgoing)

    def send(self, frames: Iterable[bytes], interval_s: float = 0.0) -> int:
        """Send frames from eth0 as they are; how many."""
        return capture.send(self.pid, GUEST_INTERFACE, frames, interval_s)

    def flush_neighbours(self) -> None:
        """Forget every ARP and ND entry: nothing is probed later, the next packet resolves anew."""
        self.ip([f"neigh flush dev {GUEST_INTERFACE}"])

    def prepare(self, dad: bool) -> None:
        """Bring up the guest's side. `dad`: detect duplicates of IPv6 addresses as RFC 4862 asks."""
        self.sysctl(
            net__ipv6__conf__default__accept_dad=int(dad),
            net__ipv6__conf__eth0__accept_dad=int(dad),
            net__ipv6__conf__eth0__disable_ipv6=0,
        )
        # The userspace datapath takes frames as they are: a checksum left to the hardware is a wrong one.
        self.run(
            ["ethtool", "-K", GUEST_INTERFACE, "tx", "off", "tso", "off", "gso", "off", "gro", "off"],
            check=True,
        )
        self.ip(_guest_commands(self.plug, dad))

    def attach(self, host: LabNode, switch: Switch, dad: bool) -> None:
        """Wire the guest to the host, ready it, and only then put the host's end on br-int with its iface-id.

        Raises NodeError.
        """
        plug = self.plug
        Link(
            host,
            self,
            intfName1=plug.tap,
            intfName2=GUEST_INTERFACE,
            addr1=_tap_mac(plug),
            addr2=plug.mac,
            intf=PlainIntf,
        )
        self.prepare(dad)
        host.ip([f"link set {plug.tap} mtu {plug.mtu} up"])
        switch.vsctl(
            "add-port",
            BRIDGE,
            plug.tap,
            "--",
            "set",
            "Interface",
            plug.tap,
            f"external_ids:iface-id={plug.iface_id}",
            f'external_ids:attached-mac="{plug.mac}"',
        )

    def detach(self, host: LabNode, switch: Switch) -> None:
        """Take the host's end off br-int and remove the wire. Raises NodeError."""
        switch.vsctl("--if-exists", "del-port", BRIDGE, self.plug.tap)
        host.run(["ip", "link", "del", self.plug.tap])


def _guest_commands(plug: Plug, dad: bool) -> list[str]:
    nodad = "" if dad else " nodad"
    commands = [
        "link set lo up",
        f"link set {GUEST_INTERFACE} addrgenmode eui64",
        f"link set {GUEST_INTERFACE} mtu {plug.mtu} up",
    ]
    for address in plug.addresses:
        commands.append(
            f"address add {address} dev {GUEST_INTERFACE}" + (nodad if address.version == 6 else "")
        )
    for version in sorted({address.version for address in plug.addresses}):
        commands.append(f"route add {SERVICES[version]} dev {GUEST_INTERFACE}")
    for gateway in plug.gateways:
        # A batch takes no -6; the family is the gateway's.
        commands.append(f"route add default via {gateway} dev {GUEST_INTERFACE}")
    return commands


def _tap_mac(plug: Plug) -> str:
    """A local MAC for the host's end: any, if only it is not the guest's."""
    digest = hashlib.sha256(plug.tap.encode()).hexdigest()
    return "fe:" + ":".join(digest[i : i + 2] for i in range(0, 10, 2))


def interfaces(addresses: Sequence[str]) -> tuple[Address, ...]:
    """Parse addresses with prefix lengths ("10.0.0.11/24"). Raises ValueError for anything else."""
    for address in addresses:
        if "/" not in address:
            raise ValueError(f"address {address!r} has no prefix length: write {address}/24 or the like")
    return tuple(ip_interface(a) for a in addresses)
