"""DHCP for the one guest of a port (RFC 2131, 2132). Pure: what is answered follows from the plan alone.

There is no pool and no lease to keep: a port's address is decided when the port is made, so every host gives
the same answer, before and after a migration, with or without a controller.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from agent.services.answers import udp
from agent.services.formats import dpkt
from agent.services.options import (
    LEASE_S,
    REBIND_S,
    RENEW_S,
    boot_file,
    domain_wire,
    is_ipxe,
    next_server4,
    options4,
    split4,
)
from agent.services.seams import Packet, ServicePort, ServiceSubnet
from cloison.service_link import DNS4, METADATA4

CLIENT_PORT, SERVER_PORT = 68, 67
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
MESSAGE_BYTES_MAX = 1500
"""Read of a request; more is never needed, and reading takes time that grows with the square."""
MESSAGE_BYTES_MIN = 300
"""RFC 1542, section 2.1: no shorter message is sent, for there are clients that drop it."""
SERVERS_MAX = 8
"""Of a kind, in one answer."""
ROUTES_MAX = 100
"""Of a subnet, in one answer: what fits the smallest MTU."""
OPTION_BYTES_MAX = 255

MASK, ROUTER, DNS, HOSTNAME, DOMAIN, MTU, BROADCAST, NTP = 1, 3, 6, 12, 15, 26, 28, 42
REQUESTED, LEASE, TYPE, SERVER, PARAMETERS, MESSAGE, RENEW, REBIND = 50, 51, 53, 54, 55, 56, 58, 59
VENDOR, CLIENT_ID, TFTP_SERVER, BOOT_FILE, USER_CLASS, RAPID_COMMIT = 60, 61, 66, 67, 77, 80
ARCHITECTURE, SEARCH, ROUTES, IPXE_OPTIONS, ROUTES_MICROSOFT = 93, 119, 121, 175, 249

_BROADCAST_FLAG = 0x8000
_EVERYBODY, _NOBODY = IPv4Address("255.255.255.255"), IPv4Address(0)
_SERVICES = (IPv4Network(f"{DNS4}/32"), IPv4Network(f"{METADATA4}/32"))
_HTTP_CLIENT = b"HTTPClient"
_FILE_BYTES_MAX = 127


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request, read."""

    kind: int
    xid: int
    broadcast: bool
    current: IPv4Address
    options: dict[int, bytes]

    def address(self, code: int) -> IPv4Address | None:
        """Return the address an option holds, None without it; raises ValueError if it is none."""
        value = self.options.get(code)
        return None if value is None else IPv4Address(value)


class Dhcp4:
    """Gives a guest the address of its port, and all it must know besides."""

    def handle(self, port: ServicePort, packet: Packet) -> Iterator[bytes]:
        """Yield the answer to one message of a client, if it gets one."""
        subnet, address = _own(port)
        if subnet is None or address is None:
            return
        asked = _read(port, packet.data)
        if asked is None:
            return
        try:
            kind = _verdict(asked, address)
        except ValueError:
            return
        if kind is not None:
            yield _answer(port, subnet, address, asked, kind)


def _own(port: ServicePort) -> tuple[ServiceSubnet | None, IPv4Address | None]:
    """Return the first address that is given by DHCP, with its subnet."""
    for address in port.addresses:
        subnet = port.subnet_of(address)
        if isinstance(address, IPv4Address) and subnet is not None and subnet.dhcp:
            return subnet, address
    return None, None


def _read(port: ServicePort, data: bytes) -> _Asked | None:
    """Return the request of this port's guest; of anybody else, or of a relay, None."""
    try:
        message = dpkt.dhcp.DHCP(data[:MESSAGE_BYTES_MAX])
    except (dpkt.dpkt.Error, IndexError):
        return None
    options = options4(message.opts)
    kind = options.get(TYPE, b"")
    if (message.op, message.hrd, message.hln, message.magic) != (1, 1, 6, dpkt.dhcp.DHCP_MAGIC):
        return None
    if message.chaddr != port.mac.to_bytes(6, "big") or message.giaddr or len(kind) != 1:
        return None
    broadcast = bool(message.flags & _BROADCAST_FLAG)
    return _Asked(kind[0], message.xid, broadcast, IPv4Address(message.ciaddr), options)


def _verdict(asked: _Asked, address: IPv4Address) -> int | None:
    """Return the kind of the answer, None for silence (RFC 2131, section 4.3)."""
    if asked.kind == DISCOVER:
        return ACK if RAPID_COMMIT in asked.options else OFFER
    if asked.kind == INFORM:
        return ACK if asked.current == address else None
    if asked.kind != REQUEST:
        return None
    if asked.address(SERVER) not in (None, DNS4):
        return None
    wanted = asked.address(REQUESTED) or asked.current
    if wanted == _NOBODY:
        return None
    return ACK if wanted == address else NAK


def _answer(
    port: ServicePort, subnet: ServiceSubnet, address: IPv4Address, asked: _Asked, kind: int
) -> bytes:
    message = dpkt.dhcp.DHCP(
        op=2, hln=6, xid=asked.xid, flags=_BROADCAST_FLAG if asked.broadcast else 0,
        chaddr=port.mac.to_bytes(6, "big").ljust(16, b"\0"),
    )  # fmt: skip
    options: list[tuple[int, bytes]] = [(TYPE, bytes([kind])), (SERVER, DNS4.packed)]
    identity = asked.options.get(CLIENT_ID, b"")
    if 0 < len(identity) <= OPTION_BYTES_MAX:
        options.append((CLIENT_ID, identity))  # RFC 6842
    if kind == NAK:
        options.append((MESSAGE, b"the address of this port is another one"))
    else:
        message.ciaddr = int(asked.current) if asked.kind in (REQUEST, INFORM) else 0
        if asked.kind != INFORM:
            message.yiaddr = int(address)
            options += _lease(asked)
        options += _settings(port, subnet, asked)
        file, booting = _boot(port, asked)
        message.siaddr = int(next_server4(port.boot) or 0)
        message.file = file.ljust(128, b"\0")
        options += booting
    message.opts = list(split4(options))
    data = bytes(message).ljust(MESSAGE_BYTES_MIN, b"\0")
    return udp(port, DNS4, SERVER_PORT, _receiver(asked, address, kind), CLIENT_PORT, data)


def _receiver(asked: _Asked, address: IPv4Address, kind: int) -> IPv4Address:
    """RFC 2131, section 4.1."""
    if kind != NAK and asked.current != _NOBODY and asked.kind in (REQUEST, INFORM):
        return asked.current
    return _EVERYBODY if asked.broadcast or kind == NAK else address


def _lease(asked: _Asked) -> Iterator[tuple[int, bytes]]:
    for code, value_s in ((LEASE, LEASE_S), (RENEW, RENEW_S), (REBIND, REBIND_S)):
        yield code, value_s.to_bytes(4, "big")
    if asked.kind == DISCOVER and RAPID_COMMIT in asked.options:
        yield RAPID_COMMIT, b""  # RFC 4039


def _settings(port: ServicePort, subnet: ServiceSubnet, asked: _Asked) -> Iterator[tuple[int, bytes]]:
    """Yield what is told whether it was asked for or not: clients that do not know an option skip it."""
    prefix, gateway = subnet.prefix, subnet.gateway
    yield MASK, prefix.netmask.packed
    yield BROADCAST, prefix.broadcast_address.packed
    if isinstance(gateway, IPv4Address):
        yield ROUTER, gateway.packed
    yield DNS, _packed(subnet.dns_servers) or DNS4.packed
    ntp = _packed(subnet.ntp_servers)
    if ntp:
        yield NTP, ntp
    yield MTU, port.mtu.to_bytes(2, "big")
    if port.hostname:
        yield HOSTNAME, port.hostname.encode("ascii")
    if port.domain:
        yield DOMAIN, port.domain.encode("ascii")
        yield SEARCH, domain_wire(port.domain)
    routes = _routes(subnet)
    yield ROUTES, routes
    if ROUTES_MICROSOFT in asked.options.get(PARAMETERS, b""):
        yield ROUTES_MICROSOFT, routes


def _packed(servers: tuple[object, ...]) -> bytes:
    found = [server.packed for server in servers if isinstance(server, IPv4Address)]
    return b"".join(found[:SERVERS_MAX])


def _routes(subnet: ServiceSubnet) -> bytes:
    """RFC 3442: who reads this option ignores the router's, so the default route is in it too."""
    routes: list[tuple[IPv4Network, IPv4Address]] = [(service, _NOBODY) for service in _SERVICES]
    for route in subnet.routes[:ROUTES_MAX]:
        if isinstance(route.destination, IPv4Network) and isinstance(route.next_hop, IPv4Address):
            routes.append((route.destination, route.next_hop))
    if isinstance(subnet.gateway, IPv4Address):
        routes.append((IPv4Network("0.0.0.0/0"), subnet.gateway))
    packed = b""
    for destination, next_hop in routes:
        significant = destination.network_address.packed[: (destination.prefixlen + 7) // 8]
        packed += bytes([destination.prefixlen]) + significant + next_hop.packed
    return packed


def _boot(port: ServicePort, asked: _Asked) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Return the field `file` and the options for a client that starts from the network."""
    options = asked.options
    value = options.get(ARCHITECTURE, b"")
    architecture = int.from_bytes(value[:2], "big") if len(value) >= 2 else None
    ipxe = IPXE_OPTIONS in options or is_ipxe(options.get(USER_CLASS, b""))
    file = boot_file(port.boot, architecture, ipxe=ipxe).encode("ascii")
    told: list[tuple[int, bytes]] = []
    if port.boot.next_server:
        told.append((TFTP_SERVER, port.boot.next_server.encode("ascii")))
    if file:
        told.append((BOOT_FILE, file))
    if file and options.get(VENDOR, b"").startswith(_HTTP_CLIENT):
        told.append((VENDOR, _HTTP_CLIENT))  # UEFI 2.10, section 24.7.3
    return file if len(file) <= _FILE_BYTES_MAX else b"", told
