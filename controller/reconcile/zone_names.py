"""The names of one network, for resolvers: which port has which name, and the addresses that makes. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from cloison.model import Port, Vni
from cloison.names import PortName
from controller.store.state import State

# Packed, 4 or 16 bytes each.
Addresses = tuple[bytes, ...]


class ZoneNames:
    """Names below one domain. Several ports may have one name; it has the addresses of them all."""

    def __init__(self, vni: Vni, domain: str) -> None:
        self.vni, self.domain = vni, domain
        self.addresses: dict[str, Addresses] = {}
        self._of_port: dict[PortName, tuple[str, Addresses]] = {}
        self._ports: dict[str, tuple[PortName, ...]] = {}

    def follow(self, state: State, ports: Iterable[PortName]) -> set[str]:
        """Give ports the names and addresses they have now; return the names about which that is news."""
        touched = set()
        for name in ports:
            port = state.ports.get(name)
            before, after = self._of_port.pop(name, None), _of(port) if port is not None else None
            if after is not None:
                self._of_port[name] = after
            if before == after:
                continue
            if before is not None:
                self._ports[before[0]] = tuple([port for port in self._ports[before[0]] if port != name])
                touched.add(before[0])
            if after is not None:
                self._ports[after[0]] = (*self._ports.get(after[0], ()), name)
                touched.add(after[0])
        for host_name in touched:
            self._settle(host_name)
        return touched

    def _settle(self, host_name: str) -> None:
        owners = sorted(self._ports[host_name])
        if owners:
            found = (address for port in owners for address in self._of_port[port][1])
            self.addresses[host_name] = tuple(dict.fromkeys(found))
        else:
            del self._ports[host_name]
            self.addresses.pop(host_name, None)


def host_name(port: Port) -> str:
    """Return the name of a port's guest, without the domain."""
    return port.dns_name or port.name.port


def _of(port: Port) -> tuple[str, Addresses]:
    return host_name(port), tuple(ip.address.packed for ip in port.fixed_ips)
