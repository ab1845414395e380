"""A guest's side of the local services, made and read with scapy: the second opinion on every byte.

guest = Guest(port(addresses=("10.0.0.5",)))
offer, = guest.sends(IP(...) / UDP(...) / BOOTP(...) / DHCP(...))
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import NoPayload, Packet

from agent.services.dispatcher import Dispatcher, base_routes, last_routes
from agent.services.seams import ServicePort, ServicePorts, ServiceSubnet
from cloison.addresses import Mac, format_mac, link_local, wire_mac
from cloison.model import Ipv6Mode, Vni

MAC = Mac(0xFA163E000005)
NUMBER, VNI = 0x01020304, Vni(0x0ABCDE)
SERVICE_MAC = "0a:f3:00:00:00:01"
DNS4, METADATA4 = "169.254.169.253", "169.254.169.254"
DNS6, METADATA6, LINK_LOCAL6 = "fd00:ec2::253", "fd00:ec2::254", "fe80::a9fe:a9fd"


def subnet(prefix: str, mode: Ipv6Mode = Ipv6Mode.UNSPECIFIED, **options: object) -> ServiceSubnet:
    return ServiceSubnet(prefix=ip_network(prefix), ipv6_mode=mode, **options)  # type: ignore[arg-type]


def port(*addresses: str, subnets: tuple[ServiceSubnet, ...] | None = None, **options: object) -> ServicePort:
    found = tuple(ip_address(text) for text in addresses or ("10.0.0.5", "fd01::5"))
    known = (subnet("10.0.0.0/24"), subnet("fd01::/64", Ipv6Mode.STATEFUL)) if subnets is None else subnets
    base = ServicePort(
        number=NUMBER, vni=VNI, mac=MAC, addresses=found, tenant="acme", network="blue", port="vm1", mtu=1450,
        subnets=known, hostname="vm1", domain="blue.acme.cloison.internal",
    )  # fmt: skip
    return replace(base, **options)  # type: ignore[arg-type]


class Guest:
    """Sends through a dispatcher as the switch would, and checks the form of what comes back."""

    def __init__(self, served: ServicePort) -> None:
        self.port = served
        self.mac = format_mac(served.mac)
        given4 = [a for a in served.addresses if a.version == 4]
        # Under which the switch is sent what is for it.
        self.answer_mac = format_mac(wire_mac(given4[0])) if given4 else self.mac
        self.link_local = str(link_local(served.mac))
        self.dispatcher = Dispatcher(ServicePorts([served]), [*base_routes(), *last_routes()])

    def frame(self, packet: Packet, eth_src: str | None = None) -> bytes:
        """What the agent gets of a packet."""
        to_agent = format_mac(0x0AF3 << 32 | self.port.number)
        return bytes(Ether(dst=to_agent, src=eth_src or self.mac) / packet)

    def sends(self, packet: Packet) -> list[Packet]:
        """The answers to a packet, from the IP or ARP header on."""
        return [self._read(answer) for answer in self.dispatcher.handle(self.frame(packet))]

    def _read(self, answer: bytes) -> Packet:
        frame = Ether(answer)
        assert frame.dst == self.answer_mac
        assert frame.src == format_mac(0x0AF300 << 24 | self.port.vni)
        assert_sums(frame)
        return frame.payload


def assert_sums(frame: Packet) -> None:
    """Every checksum and length is what scapy would write."""
    fresh = Ether(bytes(frame))
    layer: Packet = fresh
    while not isinstance(layer, NoPayload):
        for name in ("chksum", "cksum", "len", "plen"):
            if name in layer.fields and isinstance(layer, (IP, IPv6, UDP, ICMP)) | (name == "cksum"):
                del layer.fields[name]
        layer = layer.payload
    expected = Ether(bytes(fresh))
    if isinstance(expected.payload, IP) and UDP in expected and expected[UDP].chksum == 0xFFFF:
        expected[UDP].chksum = 0  # "no sum": BusyBox's DHCP client takes no other over IPv4
    assert bytes(expected) == bytes(frame)
