"""The wire forms of networks, ports, hosts and their like: models <-> messages. Pure. See codec.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from sys import intern

from cloison.addresses import IpAddress, IpNetwork, format_mac, parse_mac
from cloison.codec_parts import (
    enum_names,
    labels_of,
    meta_to_proto,
    parse_address,
    parse_number,
    parse_range,
    parse_text,
)
from cloison.codec_policy import group_name
from cloison.errors import InvalidIntent
from cloison.model import (
    MTU_LIMIT_MAX,
    NO_DHCP_OPTIONS,
    OFPORT_MAX,
    PORT_NUMBER_MAX,
    PROFILE_MAX,
    PROFILE_NONE,
    PROFILE_OPEN,
    TENANT_NUMBER_MAX,
    VNI_MAX,
    VNI_MIN,
    AddressPair,
    AllocationPool,
    DhcpOptions,
    FixedIp,
    Host,
    Ipv6Mode,
    Meta,
    Network,
    Port,
    PortBinding,
    Revision,
    Route,
    Subnet,
    Tenant,
    Vni,
)
from cloison.names import HostName, NetworkName, PortName, SubnetName, TenantName
from cloison.v1 import (
    host_pb2,
    network_pb2,
    port_binding_pb2,
    port_pb2,
    subnet_pb2,
    tenant_pb2,
)

# Names that very many ports share are parsed once and are one object: time and memory at 100,000 ports.
_subnet_name: Callable[[str, str], SubnetName] = lru_cache(maxsize=1 << 16)(SubnetName.parse)
host_name: Callable[[str, str], HostName] = lru_cache(maxsize=1 << 14)(HostName.parse)


def tenant_to_proto(tenant: Tenant) -> tenant_pb2.Tenant:
    """Return the message of a tenant, without revision, etag and status."""
    message = tenant_pb2.Tenant(number=tenant.number)
    meta_to_proto(tenant.name, tenant.meta, message)
    return message


def tenant_from_proto(message: tenant_pb2.Tenant, meta: Meta) -> Tenant:
    """Return the tenant of a complete message; raises InvalidIntent."""
    return Tenant(
        name=TenantName.parse(message.name),
        meta=meta,
        number=parse_number(message.number, "number", 1, TENANT_NUMBER_MAX),
    )


def network_to_proto(network: Network) -> network_pb2.Network:
    """Return the message of a network, without revision, etag and status."""
    message = network_pb2.Network(
        vni=network.vni,
        mtu_limit=network.mtu_limit,
        dns_domain=network.dns_domain,
        multicast=network.multicast,
    )
    meta_to_proto(network.name, network.meta, message)
    return message


def network_from_proto(message: network_pb2.Network, meta: Meta) -> Network:
    """Return the network of a complete message; raises InvalidIntent."""
    return Network(
        name=NetworkName.parse(message.name),
        meta=meta,
        vni=Vni(parse_number(message.vni, "vni", VNI_MIN, VNI_MAX)),
        mtu_limit=parse_number(message.mtu_limit, "mtu_limit", 0, MTU_LIMIT_MAX),
        dns_domain=message.dns_domain,
        multicast=message.multicast,
    )


def subnet_to_proto(subnet: Subnet) -> subnet_pb2.Subnet:
    """Return the message of a subnet, without revision, etag and status."""
    message = subnet_pb2.Subnet(
        cidr=str(subnet.cidr),
        no_gateway=subnet.gateway_ip is None,
        no_dhcp=not subnet.dhcp,
        dns_servers=[str(server) for server in subnet.dns_servers],
        ntp_servers=[str(server) for server in subnet.ntp_servers],
        ipv6_mode=subnet.ipv6_mode.value,
    )
    for route in subnet.routes:
        message.routes.add(destination=str(route.destination), next_hop=str(route.next_hop))
    if subnet.gateway_ip is not None:
        message.gateway_ip = str(subnet.gateway_ip)
    for pool in subnet.allocation_pools:
        message.allocation_pools.add(start=str(pool.start), end=str(pool.end))
    meta_to_proto(subnet.name, subnet.meta, message)
    return message


def subnet_from_proto(message: subnet_pb2.Subnet, meta: Meta) -> Subnet:
    """Return the subnet of a complete message; raises InvalidIntent."""
    cidr = parse_range(message.cidr, "cidr")

    def same_family(text: str, field: str) -> IpAddress:
        address = parse_address(text, field)
        if address.version != cidr.version:
            raise InvalidIntent.of(field, text, f"an IPv{cidr.version} address, as {cidr} is")
        return address

    return Subnet(
        name=SubnetName.parse(message.name),
        meta=meta,
        cidr=cidr,
        gateway_ip=None if message.no_gateway else same_family(message.gateway_ip, "gateway_ip"),
        allocation_pools=tuple(
            AllocationPool(
                same_family(pool.start, f"allocation_pools[{i}].start"),
                same_family(pool.end, f"allocation_pools[{i}].end"),
            )
            for i, pool in enumerate(message.allocation_pools)
        ),
        dhcp=not message.no_dhcp,
        dns_servers=_same_family_all(message.dns_servers, "dns_servers", same_family),
        routes=tuple(
            Route(
                _range_like(cidr, route.destination, f"routes[{i}].destination"),
                same_family(route.next_hop, f"routes[{i}].next_hop"),
            )
            for i, route in enumerate(message.routes)
        ),
        ntp_servers=_same_family_all(message.ntp_servers, "ntp_servers", same_family),
        ipv6_mode=_ipv6_mode(cidr, message.ipv6_mode),
    )


def _same_family_all(
    texts: Iterable[str], field: str, parse: Callable[[str, str], IpAddress]
) -> tuple[IpAddress, ...]:
    return tuple(parse(text, f"{field}[{i}]") for i, text in enumerate(texts))


def _range_like(cidr: IpNetwork, text: str, field: str) -> IpNetwork:
    found = parse_range(text, field)
    if found.version != cidr.version:
        raise InvalidIntent.of(field, text, f"an IPv{cidr.version} range, as {cidr} is")
    return found


def _ipv6_mode(cidr: IpNetwork, number: int) -> Ipv6Mode:
    names = enum_names(subnet_pb2.Ipv6Mode, zero=True)
    if number not in names or (number and cidr.version == 4):
        expected = "IPV6_MODE_UNSPECIFIED" if cidr.version == 4 else "one of " + ", ".join(names.values())
        raise InvalidIntent.of("ipv6_mode", names.get(number, number), expected)
    return Ipv6Mode(names[number])


def port_to_proto(port: Port) -> port_pb2.Port:
    """Return the message of a port, without revision, etag and status."""
    message = port_pb2.Port(
        number=port.number,
        mac_address=format_mac(port.mac),
        requested_hosts=[str(host) for host in port.requested_hosts],
        disabled=port.disabled,
        iface_id=port.iface_id,
        security_groups=[str(group) for group in port.security_groups],
        no_security_groups=port.profile == PROFILE_NONE,
        no_port_security=port.profile == PROFILE_OPEN,
        profile=port.profile,
        dns_name=port.dns_name,
        device_id=port.device_id,
        project_id=port.project_id,
    )
    for pair in port.allowed_address_pairs:
        mac = "" if pair.mac is None else format_mac(pair.mac)
        message.allowed_address_pairs.add(prefix=str(pair.prefix), mac_address=mac)
    if port.dhcp_options != NO_DHCP_OPTIONS:
        options = port.dhcp_options
        message.dhcp_options.CopyFrom(
            port_pb2.DhcpOptions(
                next_server=options.next_server,
                boot_file_bios=options.boot_file_bios,
                boot_file_uefi=options.boot_file_uefi,
                boot_file_ipxe=options.boot_file_ipxe,
            )
        )
    for fixed_ip in port.fixed_ips:
        message.fixed_ips.add(subnet=str(fixed_ip.subnet), ip_address=str(fixed_ip.address))
    meta_to_proto(port.name, port.meta, message)
    return message


def port_from_proto(message: port_pb2.Port, meta: Meta) -> Port:
    """Return the port of a complete message; raises InvalidIntent."""
    name = PortName.parse(message.name)
    if not message.iface_id:
        raise InvalidIntent.of("iface_id", "", "what external_ids:iface-id of the interface holds")
    return Port(
        name=PortName(intern(name.tenant), intern(name.network), name.port),
        meta=meta,
        number=parse_number(message.number, "number", 1, PORT_NUMBER_MAX),
        mac=parse_text(parse_mac, message.mac_address, "mac_address", "a MAC such as 52:54:00:12:34:56"),
        fixed_ips=tuple(
            FixedIp(
                _subnet_name(fixed_ip.subnet, f"fixed_ips[{i}].subnet"),
                parse_address(fixed_ip.ip_address, f"fixed_ips[{i}].ip_address"),
            )
            for i, fixed_ip in enumerate(message.fixed_ips)
        ),
        requested_hosts=tuple(host_name(host, "requested_hosts") for host in message.requested_hosts),
        disabled=message.disabled,
        # Nearly always the uid: then both are one string.
        iface_id=meta.uid if message.iface_id == meta.uid else message.iface_id,
        security_groups=tuple(group_name(group, "security_groups") for group in message.security_groups),
        profile=parse_number(message.profile, "profile", PROFILE_OPEN, PROFILE_MAX),
        allowed_address_pairs=tuple(
            _pair(pair, f"allowed_address_pairs[{i}]") for i, pair in enumerate(message.allowed_address_pairs)
        ),
        dns_name=message.dns_name,
        device_id=meta.uid if message.device_id == meta.uid else message.device_id,
        project_id=intern(message.project_id),
        dhcp_options=_dhcp_options(message),
    )


def _pair(message: port_pb2.AddressPair, field: str) -> AddressPair:
    mac = None
    if message.mac_address:
        mac = parse_text(
            parse_mac, message.mac_address, f"{field}.mac_address", "a MAC such as 52:54:00:12:34:56"
        )
    return AddressPair(parse_range(message.prefix, f"{field}.prefix"), mac)


def _dhcp_options(message: port_pb2.Port) -> DhcpOptions:
    if not message.HasField("dhcp_options"):
        return NO_DHCP_OPTIONS
    options = message.dhcp_options
    return DhcpOptions(
        next_server=options.next_server,
        boot_file_bios=options.boot_file_bios,
        boot_file_uefi=options.boot_file_uefi,
        boot_file_ipxe=options.boot_file_ipxe,
    )


def host_to_proto(host: Host) -> host_pb2.Host:
    """Return the message of a host, without revision, etag and status."""
    message = host_pb2.Host(
        vtep_address="" if host.vtep is None else str(host.vtep),
        datapath_id=f"{host.datapath_id:016x}" if host.datapath_id else "",
        underlay_mtu=host.underlay_mtu,
        agent_version=host.agent_version,
        datapath_type=host.datapath_type,
        agent_labels=dict(host.agent_labels),
        physical_networks=host.physical_networks,
    )
    meta_to_proto(host.name, host.meta, message)
    return message


def _datapath_id(text: str) -> int:
    number = int(text, 16)
    if f"{number:016x}" != text:
        raise ValueError("not 16 hexadecimal digits")
    return number


def host_from_proto(message: host_pb2.Host, meta: Meta) -> Host:
    """Return the host of a complete message; raises InvalidIntent."""
    datapath_id = 0
    if message.datapath_id:
        datapath_id = parse_text(
            _datapath_id, message.datapath_id, "datapath_id", "16 hexadecimal digits in lower case"
        )
    return Host(
        name=HostName.parse(message.name),
        meta=meta,
        vtep=parse_address(message.vtep_address, "vtep_address") if message.vtep_address else None,
        datapath_id=datapath_id,
        underlay_mtu=message.underlay_mtu,
        agent_version=message.agent_version,
        datapath_type=message.datapath_type,
        agent_labels=labels_of(message.agent_labels),
        physical_networks=tuple(message.physical_networks),
    )


def binding_to_proto(binding: PortBinding) -> port_binding_pb2.PortBinding:
    """Return the message of a binding, without revision, etag and status."""
    return port_binding_pb2.PortBinding(
        name=binding.port.binding,
        port=str(binding.port),
        port_uid=binding.port_uid,
        host=str(binding.host),
        interface=binding.interface,
        ofport=binding.ofport,
        claimed_addresses=map(str, binding.claimed),
        rank=binding.rank,
    )


def binding_from_proto(message: port_binding_pb2.PortBinding, revision: int) -> PortBinding:
    """Return the binding of a complete message; raises InvalidIntent."""
    return PortBinding(
        port=PortName.parse(message.port, "port"),
        port_uid=message.port_uid,
        host=host_name(message.host, "host"),
        interface=message.interface,
        ofport=parse_number(message.ofport, "ofport", 1, OFPORT_MAX),
        claimed=tuple(parse_address(text, "claimed_addresses") for text in message.claimed_addresses),
        rank=message.rank,
        revision=Revision(revision),
    )
