"""Guests at a real Open vSwitch with the agent's services behind its service port, in the caller's namespace.

The flows are the least that the services need: what a guest sends at them goes out with its port number, what
comes back is told apart by VNI. Needs root, and tests.support.netns around it.

    async with Site(settings) as site:
        guest = site.add_guest(1, tenant="t1", address4="10.0.0.5", address6="fd00:1::5")
        site.serve(zones)
        print(await guest.run("dig +short web.net1.t1.cloison.internal @169.254.169.253"))
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from agent.plan import EMPTY_PLAN, SERVICE_AGENT_LINK, ServiceLink
from agent.services.runtime import Services, ServiceSettings
from cloison.addresses import format_mac
from cloison.service_link import SERVICE_LINK
from cloison.v1 import host_sync_pb2 as pb
from tests.support.netns import sh
from tests.support.ovs import Ovs

BRIDGE = "br-serve"
SERVICES4, SERVICES6 = ("169.254.169.253", "169.254.169.254"), ("fd00:ec2::253", "fd00:ec2::254")
SERVICE_MAC = "0a:f3:00:00:00:01"
COMMAND_S, READY_S = 30.0, 10.0


class CommandFailed(AssertionError):
    """A command of a guest failed."""


@dataclass(frozen=True)
class Guest:
    """A network namespace with one interface at the switch."""

    netns: str
    record: pb.ServicePort

    async def run(self, command: str, *, check: bool = True, stdin: bytes = b"") -> str:
        """Run a command line in the guest; return what it printed."""
        process = await asyncio.create_subprocess_shell(
            f"ip netns exec {self.netns} {command}",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(COMMAND_S):
                output, _ = await process.communicate(stdin)
        finally:
            if process.returncode is None:
                process.kill()
        text = output.decode(errors="replace")
        if check and process.returncode:
            raise CommandFailed(f"{command}: {process.returncode}: {text}")
        return text


class Site:
    """One host: a switch, the services, their guests."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._ovs = Ovs(dummy=False)
        self._settings = settings
        self.guests: list[Guest] = []
        self.zones: list[pb.ZoneDelta] = []

    async def __aenter__(self) -> Self:
        self._ovs.__enter__()
        try:
            self._ovs.add_bridge(BRIDGE, 1, datapath_type="netdev")
            self.link = _service_link()
            self._ovs.vsctl("add-port", BRIDGE, SERVICE_LINK)
            await self.start_services()
        except BaseException:
            self._ovs.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop_services()
        self._ovs.close()
        sh(f"ip link del {SERVICE_LINK}")
        for guest in self.guests:
            sh(f"ip netns del {guest.netns}")

    async def start_services(self) -> None:
        """Start what the agent has of services, with what is known of guests and names."""
        self.services = Services(self._settings, lambda: None)
        self.services.attach(self.link)
        self._running = asyncio.create_task(self.services.run())
        self.serve()

    async def stop_services(self) -> None:
        """End them, as the end of the agent does."""
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    def add_guest(
        self, number: int, *, tenant: str, network: str = "net1", address4: str, address6: str
    ) -> Guest:
        """Add a guest of a network with VNI 0x100 + number, its instance i-NUMBER, its project p-TENANT."""
        record = pb.ServicePort(
            number=number, vni=0x100 + number, mac=0x525400000000 + number, mtu=1400,
            port=f"tenants/{tenant}/networks/{network}/ports/port{number}",
            device_id=f"i-{number}", project_id=f"p-{tenant}",
        )  # fmt: skip
        for text, length in ((address4, 24), (address6, 64)):
            packed = ipaddress.ip_address(text).packed
            record.addresses.add(address=packed, prefix_length=length)
        guest = Guest(f"guest{number}-{os.getpid()}", record)
        self._plug(guest, address4, address6)
        self.guests.append(guest)
        self.serve()
        return guest

    def _plug(self, guest: Guest, address4: str, address6: str) -> None:
        device, number = f"tap{guest.record.number}", guest.record.number
        sh(f"ip netns add {guest.netns}")
        sh(f"ip link add {device} type veth peer name eth0 netns {guest.netns}")
        sh(f"ip link set {device} up")
        inside = f"ip -n {guest.netns}"
        # The switch of the netdev datapath does not finish checksums.
        sh(f"ip netns exec {guest.netns} ethtool -K eth0 tx off")
        sh(f"ip netns exec {guest.netns} sysctl -qw net.ipv6.conf.eth0.accept_dad=0")
        sh(f"{inside} link set eth0 address {format_mac(guest.record.mac)} mtu 1400 up")
        sh(f"{inside} addr add {address4}/24 dev eth0; {inside} addr add {address6}/64 dev eth0 nodad")
        for address in (*SERVICES4, *SERVICES6):
            sh(f"{inside} route add {address} dev eth0")
        self._ovs.vsctl("add-port", BRIDGE, device)
        ports = {name: self._ofport(name) for name in (device, SERVICE_LINK)}
        to_agent = f"set_field:0a:f3:00:00:{number >> 8:02x}:{number & 0xFF:02x}->eth_dst"
        from_agent = format_mac(0x0AF300 << 24 | guest.record.vni)
        self._ovs.ofctl(
            "add-flow", BRIDGE, f"in_port={ports[device]},actions={to_agent},output:{ports[SERVICE_LINK]}"
        )
        self._ovs.ofctl(
            "add-flow", BRIDGE,
            f"in_port={ports[SERVICE_LINK]},dl_src={from_agent},"
            f"actions=set_field:{SERVICE_MAC}->eth_src,set_field:{format_mac(guest.record.mac)}->eth_dst,"
            f"output:{ports[device]}",
        )  # fmt: skip

    def _ofport(self, name: str) -> int:
        return int(
            self._ovs.vsctl(
                "wait-until", "interface", name, "ofport>0", "--", "get", "interface", name, "ofport"
            )
        )

    def serve(self, *zones: pb.ZoneDelta) -> None:
        """Give the services a whole plan, with these zones if any are given."""
        self.zones = list(zones) or self.zones
        delta = pb.PlanDelta(
            revision=1, service_ports=[guest.record for guest in self.guests], zones=self.zones
        )
        self.services.serve(EMPTY_PLAN.apply(delta))

    def withdraw(self, guest: Guest) -> None:
        """Serve a guest no more."""
        delta = pb.PlanDelta(
            revision=2,
            service_ports=[known.record for known in self.guests if known is not guest],
            zones=self.zones,
        )
        self.services.serve(EMPTY_PLAN.apply(delta))


def _service_link() -> ServiceLink:
    """Make the pair of devices between the switch and the services, as the agent does."""
    sh(f"ip link add {SERVICE_LINK} type veth peer name {SERVICE_AGENT_LINK}")
    for name in (SERVICE_LINK, SERVICE_AGENT_LINK):
        sh(f"sysctl -qw net.ipv6.conf.{name}.disable_ipv6=1")
        sh(f"ethtool -K {name} tx off gso off")
        sh(f"ip link set {name} mtu 9216 up")
    return ServiceLink(socket.if_nametoindex(SERVICE_LINK), socket.if_nametoindex(SERVICE_AGENT_LINK))


def zone(vni: int, tenant: str, domain: str, network: str = "net1", **hosts: list[str]) -> pb.ZoneDelta:
    """Return a zone: hosts by name."""
    made = pb.ZoneDelta(vni=vni, network=f"tenants/{tenant}/networks/{network}", domain=domain)
    for name, addresses in hosts.items():
        made.upserted.add(name=name, addresses=[ipaddress.ip_address(text).packed for text in addresses])
    return made


async def until(condition: Callable[[], Awaitable[bool]], what: str, deadline_s: float = READY_S) -> None:
    """Wait until an async condition holds."""
    deadline = time.monotonic() + deadline_s
    while not await condition():
        assert time.monotonic() < deadline, f"not within {deadline_s} s: {what}"
        await asyncio.sleep(0.05)
