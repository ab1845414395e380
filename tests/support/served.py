"""Guests of a real agent on a real Open vSwitch; the flows a controller would write are put in by hand."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network

from cloison.model import Vni
from cloison.names import PortName
from cloison.service_link import SERVICE_LINK
from cloison.v1 import host_sync_pb2 as pb
from controller.compiler import HostUnitView, HostView, NetworkView, PortView, compile_host
from controller.compiler.view import METERS_OF_CONNECTIONS
from controller.flows.text import flows_text
from tests.support.agent_host import AgentHost, eventually
from tests.support.sync_peer import PeerSession, SyncPeer

VNI, MTU = 0x1000, 1450
STATEFUL, SLAAC = 1, 3


def service_port(
    last: int = 5, ipv6_mode: int = STATEFUL, address6: str | None = None, number: int | None = None
) -> pb.ServicePort:
    """Port vm<last>: 10.0.0.<last>, fd01::<last>, MAC fa:16:3e:00:00:<last>."""
    own6 = address6 or f"fd01::{last:x}"
    return pb.ServicePort(
        number=0x01020300 + last if number is None else number, vni=VNI, mac=0xFA163E000000 + last,
        port=f"tenants/acme/networks/blue/ports/vm{last}", mtu=MTU, hostname=f"vm{last}",
        domain="blue.acme.cloison.internal",
        addresses=[
            pb.ServiceAddress(address=ip_address(f"10.0.0.{last}").packed, prefix_length=24),
            pb.ServiceAddress(
                address=ip_address(own6).packed, prefix_length=64, ipv6_mode=ipv6_mode,
                ntp_servers=[ip_address("fd01::123").packed],
            ),
        ],
    )  # fmt: skip


async def serve(
    host: AgentHost, peer: SyncPeer, plugged: Mapping[str, pb.ServicePort], audit_interval_s: float = 2
) -> PeerSession:
    """Bring the agent to a plan with these ports, by interface; plug them in, and put in the host's flows."""
    host.start(peer.endpoint, audit_interval_s=audit_interval_s)
    session = await peer.session()
    session.welcome()
    plan = pb.PlanDelta(revision=10, service_ports=plugged.values())
    plan.networks.add(vni=VNI, mtu=MTU)
    ack = await session.snapshot(10, plan)
    assert not ack.errors, ack
    services = await _number(host, SERVICE_LINK)
    tunnel = await session.until(lambda: session.tunnel_ports.get(VNI), "the tunnel port")
    ports = {await _plug(host, name): port for name, port in plugged.items()}
    for ofport in ports:
        for number in (ofport, METERS_OF_CONNECTIONS + ofport):
            meter = f"meter={number},pktps,burst,bands=type=drop,rate=100,burst_size=100"
            host.ovs.ofctl("add-meter", "br-int", meter)
    flows = compile_host(_view(ports, services, tunnel)).values()
    host.ovs.ofctl("add-flows", "br-int", "-", "--bundle", stdin=flows_text(flows))
    return session


async def _plug(host: AgentHost, name: str) -> int:
    host.ovs.vsctl("add-port", "br-int", name)
    return await _number(host, name)


async def _number(host: AgentHost, name: str) -> int:
    """OpenFlow port of an interface, as soon as it has one."""
    await eventually(lambda: host.interface(name, "ofport").isdecimal(), f"the number of {name}")
    return int(host.interface(name, "ofport"))


def _view(ports: Mapping[int, pb.ServicePort], services: int, tunnel: int) -> HostView:
    """One network, with these ports on this host, in no security group."""
    given = [address for port in ports.values() for address in port.addresses]
    subnets = dict.fromkeys(ip_network((a.address, a.prefix_length), strict=False) for a in given)
    network = NetworkView(tenant_number=1, vni=Vni(VNI), subnets=tuple(subnets), tunnel_ofport=tunnel)
    guests = {
        PortName.parse(port.port): PortView(
            tenant_number=1,
            port_number=port.number,
            vni=Vni(VNI),
            ofport=ofport,
            mac=port.mac,
            addresses=tuple(ip_address(address.address) for address in port.addresses),
        )
        for ofport, port in ports.items()
    }
    return HostView({Vni(VNI): network}, guests, HostUnitView(service_ofport=services, mtu=MTU))
