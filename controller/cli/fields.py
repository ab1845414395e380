"""The options of create and update commands, and the fields of messages that they set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from cloison.protocols import parse_service
from cloison.v1 import subnet_pb2
from controller.cli.names import tenant_of

# Sets a field of the message from the option's value; parent is the full name of the message's parent.
Apply = Callable[[Any, Any, str], None]


@dataclass(frozen=True)
class Field:
    """An option of create and update, and the field of the message that it sets."""

    flags: tuple[str, ...]
    field: str
    help: str
    apply: Apply
    multiple: bool = False
    is_flag: bool = False
    on_update: bool = True
    required: bool = False
    # What click makes of the text; None: text (or a truth, of a flag).
    type: Any = None
    # Noun of what it names, for the shell's completion; by default that of its flag.
    names: str = ""

    @property
    def parameter(self) -> str:
        """The name under which click passes the value."""
        return "opt_" + self.flags[0].split("/")[0].lstrip("-").replace("-", "_")


def _plain(field: str) -> Apply:
    def apply(message: Any, value: Any, parent: str) -> None:
        setattr(message, field, value)

    return apply


def _pools(message: Any, values: Sequence[str], parent: str) -> None:
    for value in values:
        start, dash, end = value.partition("-")
        if not dash:
            raise click.BadParameter(
                f"{value!r} is not FIRST-LAST, such as 10.0.0.10-10.0.0.99", param_hint="--pool"
            )
        message.allocation_pools.add(start=start.strip(), end=end.strip())


def _addresses(message: Any, values: Sequence[str], parent: str) -> None:
    for value in values:
        message.fixed_ips.add(ip_address=value)


def _subnets(message: Any, values: Sequence[str], parent: str) -> None:
    for value in values:
        message.fixed_ips.add(subnet=value if "/" in value else f"{parent}/subnets/{value}")


def _hosts(message: Any, values: Sequence[str], parent: str) -> None:
    message.requested_hosts.extend(v if v.startswith("hosts/") else f"hosts/{v}" for v in values)


def _append(field: str) -> Apply:
    def apply(message: Any, values: Sequence[str], parent: str) -> None:
        getattr(message, field).extend(values)

    return apply


def _routes(message: Any, values: Sequence[str], parent: str) -> None:
    for value in values:
        destination, comma, next_hop = value.partition(",")
        if not comma:
            raise click.BadParameter(
                f"{value!r} is not RANGE,NEXTHOP, such as 192.0.2.0/24,10.0.0.7", param_hint="--route"
            )
        message.routes.add(destination=destination.strip(), next_hop=next_hop.strip())


def _mode(message: Any, value: str, parent: str) -> None:
    message.ipv6_mode = subnet_pb2.Ipv6Mode.Value(value.upper())


def _groups(message: Any, values: Sequence[str], parent: str) -> None:
    tenant = tenant_of(parent)
    message.security_groups.extend(v if "/" in v else f"{tenant}/securityGroups/{v}" for v in values)


def _pairs(message: Any, values: Sequence[str], parent: str) -> None:
    for value in values:
        prefix, _, mac = value.partition(",")
        message.allowed_address_pairs.add(prefix=prefix.strip(), mac_address=mac.strip())


def _dhcp_option(name: str) -> Apply:
    def apply(message: Any, value: str, parent: str) -> None:
        setattr(message.dhcp_options, name, value)

    return apply


def _interfaces(message: Any, values: Sequence[str], parent: str) -> None:
    for value in values:
        subnet, _, address = value.partition(",")
        network, slash, short = subnet.strip().partition("/")
        if not slash:
            raise click.BadParameter(
                f"{value!r} is not NETWORK/SUBNET or NETWORK/SUBNET,ADDRESS, such as web/v4",
                param_hint="--interface",
            )
        name = f"{parent}/networks/{network}/subnets/{short}"
        full = subnet.strip() if "/" in short else name
        message.interfaces.add(subnet=full, ip_address=address.strip())


def _router_routes(message: Any, values: Sequence[str], parent: str) -> None:
    for value in values:
        destination, *hops = (part.strip() for part in value.split(","))
        if not hops:
            raise click.BadParameter(
                f"{value!r} is not RANGE,NEXTHOP, such as 192.0.2.0/24,10.0.0.7", param_hint="--route"
            )
        message.routes.add(destination=destination, next_hops=hops)


def _own_router(message: Any, value: str, parent: str) -> None:
    message.router = value if "/" in value else f"{parent}/routers/{value}"


def _services(message: Any, values: Sequence[str], parent: str) -> None:
    for value in values:
        try:
            protocol, low, high = parse_service(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is not {error}", param_hint="--service") from error
        message.services.add(protocol=protocol, port_min=low, port_max=high)


DISPLAY_NAME = Field(("--display-name",), "display_name", "A name for people.", _plain("display_name"))

SUBNET_FIELDS = (
    Field(
        ("--cidr",),
        "cidr",
        "The range: 10.0.0.0/24, 2001:db8::/64.",
        _plain("cidr"),
        on_update=False,
        required=True,
    ),
    Field(("--gateway",), "gateway_ip", "The gateway's address.  [default: the first]", _plain("gateway_ip")),
    Field(("--no-gateway",), "no_gateway", "Have no gateway.", _plain("no_gateway"), is_flag=True),
    Field(
        ("--pool",), "allocation_pools", "FIRST-LAST of what is given out; repeatable.", _pools, multiple=True
    ),
    Field(("--no-dhcp/--dhcp",), "no_dhcp", "Answer no DHCP.", _plain("no_dhcp"), is_flag=True),
    Field(
        ("--dns",),
        "dns_servers",
        "A name server that guests are told; repeatable.  [default: their own host's]",
        _append("dns_servers"),
        multiple=True,
    ),
    Field(("--route",), "routes", "RANGE,NEXTHOP that guests are told; repeatable.", _routes, multiple=True),
    Field(
        ("--ntp",),
        "ntp_servers",
        "A time server that guests are told; repeatable.",
        _append("ntp_servers"),
        multiple=True,
    ),
    Field(
        ("--ipv6-mode",),
        "ipv6_mode",
        "How guests get an IPv6 address.  [default: stateful]",
        _mode,
        on_update=False,
        type=click.Choice(["stateful", "stateless", "slaac"], case_sensitive=False),
    ),
)
NETWORK_FIELDS = (
    Field(
        ("--multicast/--no-multicast",),
        "multicast",
        "Let multicast and broadcast through.",
        _plain("multicast"),
        is_flag=True,
    ),
    Field(
        ("--mtu",),
        "mtu_limit",
        "Tell guests no larger MTU, in bytes.  [default: what the underlay carries]",
        _plain("mtu_limit"),
        type=int,
    ),
    Field(
        ("--dns-domain",),
        "dns_domain",
        "Domain of the names of its ports.  [default: NETWORK.TENANT.cloison.internal]",
        _plain("dns_domain"),
    ),
)
ADDRESS_GROUP_FIELDS = (
    Field(("--prefix",), "prefixes", "A range; repeatable.", _append("prefixes"), multiple=True),
)
ROUTER_FIELDS = (
    Field(("--mac",), "mac_address", "Its MAC.  [default: 0a:f3:00:00:00:02]", _plain("mac_address")),
    Field(
        ("--interface",),
        "interfaces",
        "NETWORK/SUBNET or NETWORK/SUBNET,ADDRESS; repeatable.  [default: the gateway's address]",
        _interfaces,
        multiple=True,
    ),
    Field(("--route",), "routes", "RANGE,NEXTHOP[,NEXTHOP]; repeatable.", _router_routes, multiple=True),
)
PEERING_FIELDS = (
    Field(("--router",), "router", "The own router.", _own_router, on_update=False, required=True),
    Field(
        ("--peer-router",),
        "peer_router",
        "tenants/TENANT/routers/ROUTER of the other side.",
        _plain("peer_router"),
        on_update=False,
        required=True,
    ),
    Field(
        ("--prefix",), "prefixes", "A range of the own side; repeatable.", _append("prefixes"), multiple=True
    ),
    Field(
        ("--peer-prefix",),
        "peer_prefixes",
        "A range that the other side may list from; repeatable.",
        _append("peer_prefixes"),
        multiple=True,
    ),
    Field(
        ("--service",),
        "services",
        "What the other side may open: tcp:443, udp:5000-5010, icmp, any; repeatable.  [default: nothing]",
        _services,
        multiple=True,
    ),
)
PORT_FIELDS = (
    Field(("--mac",), "mac_address", "The MAC.  [default: one is chosen]", _plain("mac_address")),
    Field(
        ("--ip",), "fixed_ips", "An address; repeatable.  [default: one a family]", _addresses, multiple=True
    ),
    Field(("--subnet",), "fixed_ips", "Any address of this subnet; repeatable.", _subnets, multiple=True),
    Field(("--host",), "requested_hosts", "Where it may be plugged; repeatable.", _hosts, multiple=True),
    Field(
        ("--disabled/--enabled",), "disabled", "Neither sends nor receives.", _plain("disabled"), is_flag=True
    ),
    Field(
        ("--iface-id",),
        "iface_id",
        "What external_ids:iface-id holds.  [default: the uid]",
        _plain("iface_id"),
        on_update=False,
    ),
    Field(
        ("--security-group",),
        "security_groups",
        "A group it is in; repeatable.  [default: default]",
        _groups,
        multiple=True,
    ),
    Field(
        ("--no-security-group",),
        "no_security_groups",
        "In no group: nothing in, nothing out.",
        _plain("no_security_groups"),
        is_flag=True,
    ),
    Field(
        ("--no-port-security/--port-security",),
        "no_port_security",
        "Check nothing it sends, apply no group.",
        _plain("no_port_security"),
        is_flag=True,
    ),
    Field(
        ("--address-pair",),
        "allowed_address_pairs",
        "PREFIX or PREFIX,MAC it may send from besides; repeatable.",
        _pairs,
        multiple=True,
    ),
    Field(
        ("--dns-name",), "dns_name", "Its name in the network's domain.  [default: NAME]", _plain("dns_name")
    ),
    Field(("--device-id",), "device_id", "The instance, to the metadata service.", _plain("device_id")),
    Field(("--project-id",), "project_id", "Its owner, to the metadata service.", _plain("project_id")),
    *(
        Field((f"--{name.replace('_', '-')}",), "dhcp_options", help, _dhcp_option(name))
        for name, help in (
            ("next_server", "TFTP server to boot from."),
            ("boot_file_bios", "Boot file for a BIOS."),
            ("boot_file_uefi", "Boot file for UEFI."),
            ("boot_file_ipxe", "Boot file or URL for iPXE."),
        )
    ),
)
