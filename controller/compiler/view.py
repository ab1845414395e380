"""What the compiler is given: for one host, the networks present and the ports plugged. Frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from cloison.addresses import IpAddress, IpNetwork, link_local
from cloison.model import Vni
from cloison.names import PortName
from controller.compiler.cookies import Cookie, CookieKind


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkView:
    """A network as one host sees it. tunnel_ofport is None until its VXLAN device is on the bridge."""

    tenant_number: int
    vni: Vni
    subnets: tuple[IpNetwork, ...]
    tunnel_ofport: int | None

    @property
    def cookie(self) -> int:
        """Cookie of the network's flows."""
        return Cookie(CookieKind.NETWORK, self.tenant_number, self.vni).pack()

    @property
    def subnets4(self) -> tuple[IPv4Network, ...]:
        """Its IPv4 subnets."""
        return tuple(s for s in self.subnets if isinstance(s, IPv4Network))

    @property
    def subnets6(self) -> tuple[IPv6Network, ...]:
        """Its IPv6 subnets."""
        return tuple(s for s in self.subnets if isinstance(s, IPv6Network))


@dataclass(frozen=True, slots=True, kw_only=True)
class PortView:
    """A port plugged on the host, enabled, its ofport confirmed."""

    tenant_number: int
    port_number: int
    vni: Vni
    ofport: int
    mac: int
    addresses: tuple[IpAddress, ...]

    @property
    def cookie(self) -> int:
        """Cookie of the port's flows."""
        return Cookie(CookieKind.PORT, self.tenant_number, self.port_number).pack()

    @property
    def addresses4(self) -> tuple[IPv4Address, ...]:
        """Its IPv4 addresses."""
        return tuple(a for a in self.addresses if isinstance(a, IPv4Address))

    @property
    def addresses6(self) -> tuple[IPv6Address, ...]:
        """Its IPv6 addresses, the EUI-64 link-local one among them if it has any."""
        given = tuple(a for a in self.addresses if isinstance(a, IPv6Address))
        own = link_local(self.mac)
        return (*given, own) if given and own not in given else given


@dataclass(frozen=True, slots=True)
class HostView:
    """Everything one host carries."""

    networks: Mapping[Vni, NetworkView]
    ports: Mapping[PortName, PortView]
