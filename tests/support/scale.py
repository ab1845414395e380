"""A large state for measuring: many tenants with one address plan, ports spread over all hosts.

Each tenant has the same security groups: default, web (reached from anywhere), db (from web alone) and ops
(from one range), and four profiles of them.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network

from cloison.model import Direction
from cloison.names import HostName, NetworkName, PortName, SecurityGroupName
from controller.verify.intent import HostIntent, Intent, NetworkIntent, PortIntent
from controller.verify.policy import PROFILE_FIRST, PolicyIntent, RuleIntent

PROFILES = 4
OVERLAY_MTU = 1450


def policy(tenant: str, number: int) -> PolicyIntent:
    """Four groups and four profiles."""
    default, web, db, ops = (SecurityGroupName(tenant, name) for name in ("default", "web", "db", "ops"))
    into = Direction.INGRESS
    groups = {
        default: (RuleIntent(direction=Direction.EGRESS), RuleIntent(direction=into, remote_group=default)),
        web: tuple(RuleIntent(direction=into, protocol=6, port_min=p, port_max=p) for p in (80, 443)),
        db: (RuleIntent(direction=into, protocol=6, port_min=5432, port_max=5439, remote_group=web),),
        ops: (
            RuleIntent(direction=into, protocol=1, icmp_type=8),
            RuleIntent(
                direction=into, protocol=6, port_min=22, port_max=22, remote_prefix=IPv4Network("10.0.0.0/8")
            ),
        ),
    }
    first = PROFILE_FIRST + number * PROFILES
    sets = ((default,), (default, web), (db, default), (default, ops))
    profiles = {first + n: groups_of for n, groups_of in enumerate(sets)}
    return PolicyIntent(number=number, profiles=profiles, groups=groups)


def large_intent(*, ports: int, tenants: int, hosts: int, ipv6: bool = True) -> Intent:
    """Each tenant has one dual-stack network; port i of tenant t runs on host (7 t + i) mod hosts."""
    names = [HostName(f"h{n}") for n in range(hosts)]
    net4, net6 = IPv4Network("10.0.0.0/16"), IPv6Network("2001:db8::/64")
    subnets = (net4, net6) if ipv6 else (net4,)
    next_ofport = dict.fromkeys(names, 0)

    def ofport(host: HostName) -> int:
        next_ofport[host] += 1
        return next_ofport[host]

    services = {host: ofport(host) for host in names}
    networks, made, policies = {}, {}, {}
    for t in range(tenants):
        policies[f"t{t + 1}"] = policy(f"t{t + 1}", t + 1)
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
                profile=PROFILE_FIRST + (t + 1) * PROFILES + i % PROFILES,
            )
        tunnels = {host: ofport(host) for host in sorted(present)}
        networks[network] = NetworkIntent(name=network, vni=5000 + t, subnets=subnets, tunnels=tunnels)
    vteps = {
        h: HostIntent(name=h, vtep=IPv4Address(0xAC100000 + n), service_ofport=services[h], mtu=OVERLAY_MTU)
        for n, h in enumerate(names, 1)
    }
    return Intent(hosts=vteps, networks=networks, ports=made, policies=policies)
