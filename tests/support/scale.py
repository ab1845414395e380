"""A large state for measuring: many tenants with one address plan, ports spread over all hosts."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network

from cloison.names import HostName, NetworkName, PortName
from controller.verify.intent import HostIntent, Intent, NetworkIntent, PortIntent


def large_intent(*, ports: int, tenants: int, hosts: int, ipv6: bool = True) -> Intent:
    """Each tenant has one dual-stack network; port i of tenant t runs on host (7 t + i) mod hosts."""
    names = [HostName(f"h{n}") for n in range(hosts)]
    net4, net6 = IPv4Network("10.0.0.0/16"), IPv6Network("2001:db8::/64")
    subnets = (net4, net6) if ipv6 else (net4,)
    next_ofport = dict.fromkeys(names, 0)

    def ofport(host: HostName) -> int:
        next_ofport[host] += 1
        return next_ofport[host]

    networks, made = {}, {}
    for t in range(tenants):
        network = NetworkName(f"t{t + 1}", "n")
        present = set()
        for i in range(ports // tenants):
            host = names[(7 * t + i) % hosts]
            present.add(host)
            name = PortName(*network, f"p{i}")
            made[name] = PortIntent(
                name=name,
                number=t * ports + i + 1,
                mac=0x020000000000 | (i + 1),
                addresses=tuple(s.network_address + 256 + i for s in subnets),
                host=host,
                ofport=ofport(host),
            )
        tunnels = {host: ofport(host) for host in sorted(present)}
        networks[network] = NetworkIntent(name=network, vni=5000 + t, subnets=subnets, tunnels=tunnels)
    vteps = {h: HostIntent(name=h, vtep=IPv4Address(0xAC100000 + n)) for n, h in enumerate(names, 1)}
    return Intent(hosts=vteps, networks=networks, ports=made)
