"""The names of the ports of a network, for the local resolver: a part of the host's plan. Pure data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from cloison.v1 import host_sync_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """The names of one network.

    tenant and network are ids. hosts: from a host's name (relative to the domain) to its packed addresses.
    No host has a name where the domain is empty.
    """

    tenant: str
    network: str
    domain: str
    hosts: Mapping[str, Sequence[bytes]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Resource name of the network."""
        return f"tenants/{self.tenant}/networks/{self.network}"

    def apply(self, delta: pb.ZoneDelta) -> Zone:
        """Return the zone after a delta: removals come first, and what is empty in it stays as it was."""
        hosts = dict(self.hosts)
        for name in delta.removed:
            hosts.pop(name, None)
        for host in delta.upserted:
            hosts[host.name] = tuple(host.addresses)
        zone = replace(self, domain=delta.domain or self.domain, hosts=MappingProxyType(hosts))
        parts = delta.network.split("/")
        return replace(zone, tenant=parts[1], network=parts[3]) if len(parts) == 4 else zone


EMPTY_ZONE = Zone(tenant="", network="", domain="")
