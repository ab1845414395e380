"""What an intent says, indexed by all that the proof asks for.

`World` changes by `apply`, in time proportional to the change. It owns no judgement: what an intent means is
said in semantics.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import replace

from cloison.addresses import IpAddress, host_mac
from cloison.names import HostName, NetworkName, PortName
from controller.turns import Work, at_once
from controller.verify.intent import (
    HostIntent,
    Intent,
    IntentDelta,
    NetworkIntent,
    PortIntent,
    RouteIntent,
)
from controller.verify.policy import PolicyIntent


class Members:
    """The plugged ports of one network, by everything they are addressed by."""

    __slots__ = ("by_answer_mac", "by_frame_mac", "by_host", "by_ipv4", "by_ipv6", "by_mac", "ports")

    def __init__(self) -> None:
        self.ports: dict[PortName, PortIntent] = {}
        self.by_host: dict[HostName, dict[PortName, PortIntent]] = {}
        self.by_ipv4: dict[int, PortIntent] = {}
        self.by_ipv6: dict[int, PortIntent] = {}
        self.by_mac: dict[int, PortIntent] = {}
        self.by_frame_mac: dict[int, PortIntent] = {}
        self.by_answer_mac: dict[int, PortIntent] = {}

    def add(self, port: PortIntent) -> None:
        """Put in a port that has a host."""
        assert port.host is not None, port
        self.ports[port.name] = port
        self.by_host.setdefault(port.host, {})[port.name] = port
        for index, keys in self._keys(port):
            for key in keys:
                index[key] = port

    def remove(self, port: PortIntent) -> None:
        """Take out a port, as it was put in."""
        assert port.host is not None, port
        del self.ports[port.name]
        here = self.by_host[port.host]
        del here[port.name]
        if not here:
            del self.by_host[port.host]
        for index, keys in self._keys(port):
            for key in keys:
                if index.get(key) is port:
                    del index[key]

    def _keys(self, port: PortIntent) -> Iterator[tuple[dict[int, PortIntent], tuple[int, ...]]]:
        yield self.by_ipv4, port.addresses4
        yield self.by_ipv6, port.addresses6
        yield self.by_mac, (port.mac,) if port.by_mac else ()
        yield self.by_answer_mac, tuple(port.answer_macs)
        yield self.by_frame_mac, tuple(port.frame_macs)


_NO_POLICY = PolicyIntent(number=0)

Claim = tuple[str, Hashable, Hashable]
"""Something that only one object may have: what it is, within what, its value."""


class World:
    """An intent with its indexes. Reads like Intent."""

    def __init__(self, intent: Intent | None = None) -> None:
        self.hosts: dict[HostName, HostIntent] = {}
        self.networks: dict[NetworkName, NetworkIntent] = {}
        self.ports: dict[PortName, PortIntent] = {}
        self.policies: dict[str, PolicyIntent] = {}
        # Another number whenever profiles or tenants are other ones.
        self.policy_version = 0
        self.tenant_by_number: dict[int, str] = {}
        self.tenant_by_profile: dict[int, str] = {}
        self.by_ofport: dict[tuple[HostName, int], PortIntent] = {}
        self.by_tunnel: dict[tuple[HostName, int], NetworkIntent] = {}
        self.by_vni: dict[int, NetworkIntent] = {}
        self.by_vtep: dict[IpAddress, HostName] = {}
        self.members: dict[NetworkName, Members] = {}
        self.by_number: dict[int, PortIntent] = {}
        # Plugged ports with a way out of their own, by the network that it leads into.
        self.leaving: dict[NetworkName, dict[PortName, PortIntent]] = {}
        # The networks whose routers lead into one.
        self.routing_to: dict[NetworkName, set[NetworkName]] = {}
        # Ports where they stand by: by host and number, and by host and network.
        self.standing: dict[tuple[HostName, int], PortIntent] = {}
        self.standing_in: dict[tuple[HostName, NetworkName], dict[int, PortIntent]] = {}
        # How many ports and devices of each network a host has.
        self.on_host: dict[HostName, Counter[NetworkName]] = {}
        # How many ports of each tenant, by tenant and host: where its policy counts.
        self._hosts_of: dict[str, Counter[HostName]] = {}
        self.claims: Counter[Claim] = Counter()
        self.clashes: set[Claim] = set()
        if intent is not None:
            self.apply(IntentDelta.whole(intent))

    def members_of(self, name: NetworkName) -> Members:
        """Return the plugged ports of a network."""
        found = self.members.get(name)
        if found is None:
            found = self.members[name] = Members()
        return found

    def numbered(self, host: HostName, number: int) -> PortIntent | None:
        """Return the port of a number as it is on a host, None if it is not plugged there."""
        port = self.by_number.get(number)
        return port if port is not None and port.host == host else self.standing.get((host, number))

    def senders_on(self, host: HostName, network: NetworkName) -> Iterator[PortIntent]:
        """Yield the ports of a network that are plugged on a host, those that stand by there included."""
        yield from self.ports_on(host, network).values()
        yield from self.standing_in.get((host, network), {}).values()

    def ports_on(self, host: HostName, network: NetworkName) -> Mapping[PortName, PortIntent]:
        """Return the ports of a network that are plugged on a host."""
        return self.members_of(network).by_host.get(host, {})

    def senders_into(self, host: HostName, name: NetworkName) -> Iterator[NetworkName]:
        """Yield the networks with ports on a host that can send into a network: itself, and by routers."""
        for source in {name, *self.routing_to.get(name, ())}:
            if self.ports_on(host, source):
                yield source

    def carriers(self, name: NetworkName) -> set[HostName]:
        """Return the hosts from which a network can be sent into."""
        sources = {name, *self.routing_to.get(name, ())}
        return set().union(*(self.members_of(source).by_host for source in sources))

    def next_hops(self, route: RouteIntent) -> tuple[PortIntent | None, ...]:
        """Return the plugged ports that have the next hops' addresses, if their MACs lead to them.

        None for each that nobody has, or whose MAC does not.
        """
        if route.via is None:
            return ()
        members, hops = self.members_of(route.network), (route.via, *route.others)
        found = ((members.by_ipv4 if h.version == 4 else members.by_ipv6).get(int(h)) for h in hops)
        return tuple(port if port is not None and port.by_mac else None for port in found)

    def joined(self, a: HostName, b: HostName, network: NetworkIntent) -> bool:
        """Tell whether a network can carry frames from a to b: each has a VTEP and the network's device."""
        if a == b:
            return True
        if not self.sends_to_overlay(a, network):
            return False
        ends = (self.hosts.get(a), self.hosts.get(b))
        return all(h is not None and h.vtep is not None and network.tunnels.get(h.name) for h in ends)

    def host_macs(self, network: NetworkIntent) -> dict[int, HostName]:
        """Return the MACs of the hosts to which what is for all is copied; none if it has no multicast."""
        if not network.multicast:
            return {}
        found = {}
        for name in self.members_of(network.name).by_host:
            host = self.hosts.get(name)
            if host is not None and host.vtep is not None:
                found[int(host_mac(host.vtep))] = name
        return found

    def sends_to_overlay(self, host: HostName, network: NetworkIntent) -> bool:
        """Tell whether a host can send frames of a network to others: it has the device and knows its MTU."""
        here = self.hosts.get(host)
        return here is not None and here.mtu > 0 and bool(network.tunnels.get(host))

    def uses(self, host: HostName, ofport: int) -> bool:
        """Tell whether a port or device has an OpenFlow port."""
        return (host, ofport) in self.by_ofport or (host, ofport) in self.by_tunnel

    def service_of(self, host: HostName) -> int | None:
        """Return the OpenFlow port of a host's local services."""
        found = self.hosts.get(host)
        return found.service_ofport if found is not None else None

    def tenant_number(self, tenant: str) -> int:
        """Return the number of a tenant, 0 of one without."""
        policy = self.policies.get(tenant)
        return policy.number if policy is not None else 0

    def policy_of(self, tenant: str) -> PolicyIntent:
        """Return the policy of a tenant; nothing is allowed in one that has none."""
        return self.policies.get(tenant, _NO_POLICY)

    def tenants_on(self, host: HostName) -> set[str]:
        """Return the tenants whose ports a host has: what is in a device's network alone meets no policy."""
        return {n.tenant for n in self.on_host.get(host, ()) if self.has_tenant(host, n.tenant)}

    def has_tenant(self, host: HostName, tenant: str) -> bool:
        """Tell whether a host has ports of a tenant, those that stand by included."""
        return host in self._hosts_of.get(tenant, ())

    def hosts_of(self, tenant: str) -> Collection[HostName]:
        """Return the hosts that have ports of a tenant, those that stand by included."""
        return self._hosts_of.get(tenant, {}).keys()

    def ofports_of(self, host: HostName) -> frozenset[int]:
        """Return the OpenFlow ports that a host's ports, devices and services have."""
        service = self.service_of(host)
        found: set[int] = set() if service is None else {service}
        for name in self.on_host.get(host, ()):
            found.update(port.ofport for port in self.senders_on(host, name))
            network = self.networks.get(name)
            if network is not None and host in network.tunnels:
                found.add(network.tunnels[host])
        return frozenset(found)

    def apply(self, delta: IntentDelta) -> None:
        """Become what delta says. Objects may come in any order."""
        at_once(self.applying(delta))

    def applying(self, delta: IntentDelta) -> Work[None]:
        """As apply, in pieces; nobody may look before the end."""
        for port_name in delta.ports:
            old_port = self.ports.pop(port_name, None)
            if old_port is not None:
                self._drop_port(old_port)
                yield
        for tenant, policy in delta.policies.items():
            self._set_policy(tenant, policy)
        for network_name, network in delta.networks.items():
            self._set_network(network_name, network)
        for host_name, host in delta.hosts.items():
            self._set_host(host_name, host)
        for port in delta.ports.values():
            if port is not None:
                self._add_port(port)
                yield

    def _set_policy(self, tenant: str, new: PolicyIntent | None) -> None:
        old = self.policies.pop(tenant, None)
        self.policy_version += 1
        if old is not None:
            self._release(("tenant number", None, old.number))
            if self.tenant_by_number.get(old.number) == tenant:
                del self.tenant_by_number[old.number]
            for profile in old.profiles:
                self._release(("profile", None, profile))
                if self.tenant_by_profile.get(profile) == tenant:
                    del self.tenant_by_profile[profile]
        if new is not None:
            self.policies[tenant] = new
            self._claim(("tenant number", None, new.number))
            self.tenant_by_number[new.number] = tenant
            for profile in new.profiles:
                self._claim(("profile", None, profile))
                self.tenant_by_profile[profile] = tenant

    def _set_host(self, name: HostName, new: HostIntent | None) -> None:
        old = self.hosts.pop(name, None)
        if old is not None and old.service_ofport is not None:
            self._release(("OpenFlow port", name, old.service_ofport))
        if new is not None and new.service_ofport is not None:
            self._claim(("OpenFlow port", name, new.service_ofport))
        if old is not None and old.vtep is not None:
            self._release(("VTEP", None, old.vtep))
            self._release(("host MAC", None, int(host_mac(old.vtep))))
            if self.by_vtep.get(old.vtep) == name:
                del self.by_vtep[old.vtep]
        if new is not None:
            self.hosts[name] = new
            if new.vtep is not None:
                self._claim(("VTEP", None, new.vtep))
                self._claim(("host MAC", None, int(host_mac(new.vtep))))
                self.by_vtep[new.vtep] = name

    def _set_network(self, name: NetworkName, new: NetworkIntent | None) -> None:
        old = self.networks.pop(name, None)
        if old is not None:
            self._release(("VNI", None, old.vni))
            if self.by_vni.get(old.vni) is old:
                del self.by_vni[old.vni]
            for reached in old.reaches:
                self.routing_to[reached].discard(name)
            for host, ofport in old.tunnels.items():
                self._release(("OpenFlow port", host, ofport))
                self._leave(host, name)
                if self.by_tunnel.get((host, ofport)) is old:
                    del self.by_tunnel[host, ofport]
        if new is not None:
            self.networks[name] = new
            self._claim(("VNI", None, new.vni))
            self.by_vni[new.vni] = new
            for reached in new.reaches:
                self.routing_to.setdefault(reached, set()).add(name)
            for host, ofport in new.tunnels.items():
                self._claim(("OpenFlow port", host, ofport))
                self._enter(host, name)
                self.by_tunnel[host, ofport] = new

    def _add_port(self, port: PortIntent) -> None:
        self.ports[port.name] = port
        for place in _places(port):
            self._stand(place)
        if port.host is None:
            return
        for claim in _port_claims(port):
            self._claim(claim)
        self.by_ofport[port.host, port.ofport] = port
        self.by_number[port.number] = port
        self._settle(port.host, port.name.parent)
        self.members_of(port.name.parent).add(port)
        for way in port.exits:
            self.leaving.setdefault(way.route.network, {})[port.name] = port

    def _stand(self, port: PortIntent) -> None:
        assert port.host is not None, port
        self._claim(("OpenFlow port", port.host, port.ofport))
        self.by_ofport[port.host, port.ofport] = port
        self.standing[port.host, port.number] = port
        self.standing_in.setdefault((port.host, port.name.parent), {})[port.number] = port
        self._settle(port.host, port.name.parent)

    def _stand_no_more(self, port: PortIntent) -> None:
        assert port.host is not None, port
        self._release(("OpenFlow port", port.host, port.ofport))
        if self.by_ofport.get((port.host, port.ofport)) == port:
            del self.by_ofport[port.host, port.ofport]
        self.standing.pop((port.host, port.number), None)
        spot = port.host, port.name.parent
        here = self.standing_in.get(spot, {})
        here.pop(port.number, None)
        if not here:
            self.standing_in.pop(spot, None)
        self._depart(port.host, port.name.parent)

    def _drop_port(self, port: PortIntent) -> None:
        for place in _places(port):
            self._stand_no_more(place)
        if port.host is None:
            return
        for claim in _port_claims(port):
            self._release(claim)
        if self.by_ofport.get((port.host, port.ofport)) is port:
            del self.by_ofport[port.host, port.ofport]
        if self.by_number.get(port.number) is port:
            del self.by_number[port.number]
        self._depart(port.host, port.name.parent)
        self.members_of(port.name.parent).remove(port)
        for way in port.exits:
            self.leaving.get(way.route.network, {}).pop(port.name, None)

    def _settle(self, host: HostName, network: NetworkName) -> None:
        """Count a port."""
        self._enter(host, network)
        self._hosts_of.setdefault(network.tenant, Counter())[host] += 1

    def _depart(self, host: HostName, network: NetworkName) -> None:
        self._leave(host, network)
        hosts = self._hosts_of[network.tenant]
        hosts[host] -= 1
        if not hosts[host]:
            del hosts[host]
        if not hosts:
            del self._hosts_of[network.tenant]

    def _enter(self, host: HostName, network: NetworkName) -> None:
        """Count a port or a device."""
        self.on_host.setdefault(host, Counter())[network] += 1

    def _leave(self, host: HostName, network: NetworkName) -> None:
        here = self.on_host[host]
        here[network] -= 1
        if not here[network]:
            del here[network]

    def _claim(self, claim: Claim) -> None:
        self.claims[claim] += 1
        if self.claims[claim] > 1:
            self.clashes.add(claim)

    def _release(self, claim: Claim) -> None:
        self.claims[claim] -= 1
        if self.claims[claim] <= 1:
            self.clashes.discard(claim)
        if not self.claims[claim]:
            del self.claims[claim]


def _places(port: PortIntent) -> Iterator[PortIntent]:
    """Yield the port as it is where it stands by."""
    for host, ofport in port.standby:
        yield replace(port, host=host, ofport=ofport, claimed=(), standby=(), stands_by=True, exits=())


def _port_claims(port: PortIntent) -> Iterator[Claim]:
    """What no other plugged port may have."""
    network = port.name.parent
    yield "OpenFlow port", port.host, port.ofport
    yield "port number", None, port.number
    yield "MAC", network, port.mac
    # One wire MAC may stand for two addresses of one port: they end at the same place.
    for mac in port.frame_macs - {port.mac}:
        yield "wire MAC", network, mac
