"""What a router's way out is made of: the names and addresses of its transit network. Pure.

A router that has a gateway joins one more network, which nobody but the controllers changes. In it lie ports
that lead out: `gw`, plugged on the gateway hosts, and `gw-HOST`, each on one host alone. All of it is in the
router's tenant and is made, plugged, proved and told to hosts like anything else.
"""

from __future__ import annotations

from hashlib import sha256
from ipaddress import ip_address, ip_network

from cloison.addresses import IpAddress, IpNetwork
from cloison.errors import Precondition
from cloison.names import HostName, NetworkName, PortName, RouterName, SubnetName
from controller.store.state import State

PREFIX = "cl-"
_GATEWAY_PORT = "gw"
_ID_CHARS_MAX = 63
_ID_CHARS_KEPT = 44
# Carrier space (RFC 6598), which no tenant's own network uses, and a unique local prefix (RFC 4193).
RANGES: tuple[tuple[str, IpNetwork], ...] = (
    ("v4", ip_network("100.127.0.0/16")),
    ("v6", ip_network("fd00:c101:50::/64")),
)
GATEWAY_ADDRESSES: tuple[IpAddress, ...] = (ip_address("100.127.0.2"), ip_address("fd00:c101:50::2"))


def network_of(router: RouterName) -> NetworkName:
    """Return the name of a router's transit network."""
    return NetworkName(router.tenant, _fitted(PREFIX, router.router))


def subnets_of(router: RouterName) -> tuple[SubnetName, ...]:
    """Return the names of the subnets of a router's transit network, as in RANGES."""
    return tuple(SubnetName(*network_of(router), name) for name, _ in RANGES)


def port_of(router: RouterName, host: HostName | None) -> PortName:
    """Return the name of the port that leads out on a host; None: on the gateway hosts."""
    name = _GATEWAY_PORT if host is None else _fitted(f"{_GATEWAY_PORT}-", host.host)
    return PortName(*network_of(router), name)


def is_transit(network: NetworkName) -> bool:
    """Tell whether a network is, or would be, a transit network."""
    return network.network.startswith(PREFIX)


def refuse(state: State, network: NetworkName, name: object) -> None:
    """Raise Precondition, naming the router, if what is named is part of a way out."""
    if not is_transit(network):
        return
    routers = sorted(str(router.name) for router in state.routers_on(network))
    owner = routers[0] if routers else "a router"
    raise Precondition(
        "SYSTEM",
        str(name),
        f"{name} is part of the way out of {owner}: it comes and goes with that router's gateway, "
        "and can't be made, changed or deleted by itself",
        routers,
    )


def _fitted(prefix: str, name: str) -> str:
    """Return an id of a prefix and another id; a long one is cut and told apart by a digest."""
    if len(prefix) + len(name) <= _ID_CHARS_MAX:
        return prefix + name
    return f"{prefix}{name[:_ID_CHARS_KEPT]}-{sha256(name.encode()).hexdigest()[:12]}"
