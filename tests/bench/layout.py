"""Who lives where in the measured cloud, the same for both sides. Pure.

A tenant has 50 ports on two networks of 25, one group that holds them all, and five rules; ports go round
robin over the hosts, so that every host holds every tenant. With many hosts a tenant is on some of them only
(`spread`), the next tenant on the next ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

NETWORKS = 2
PORTS_PER_NETWORK = 25
PORTS_PER_TENANT = NETWORKS * PORTS_PER_NETWORK
TCP_OPEN = (22, 80, 443)
FIRST_ADDRESS = 10
FIRST_RULE = 1024
TENANT_STRIDE = 7
"""New ports go to tenants 0, 7, 14, ...: no two in a row touch the same tenant."""


@dataclass(frozen=True, slots=True)
class Guest:
    """One port. `host`: index of where it is plugged; `rule`: TCP port that a rule of its own opens, or 0."""

    tenant: int
    network: int
    number: int
    host: int
    rule: int = 0

    @property
    def id(self) -> str:
        """Unique in the whole cloud; also the name of its interface, and its iface-id."""
        return f"t{self.tenant}n{self.network}p{self.number}"

    @property
    def mac(self) -> str:
        """Unicast, locally administered."""
        return f"0a:00:{self.tenant >> 8:02x}:{self.tenant & 255:02x}:{self.network:02x}:{self.number:02x}"

    @property
    def address(self) -> str:
        """IPv4, of the /24 of its network."""
        return f"10.{self.tenant & 255}.{self.network}.{FIRST_ADDRESS + self.number}"

    @property
    def tenant_range(self) -> str:
        """The /16 of its tenant."""
        return f"10.{self.tenant & 255}.0.0/16"


class Layout:
    """Hands out guests: first the background, then new ones."""

    def __init__(self, ports: int, hosts: int, spread: int = 0) -> None:
        """`ports` in the background, on `hosts` hosts; a tenant on `spread` of them, on all if that is 0."""
        self.hosts, self.spread = hosts, spread or hosts
        self.tenants = -(-ports // PORTS_PER_TENANT)
        self.background = [self._background(n) for n in range(ports)]
        self._made = 0
        self._numbers = Counter(
            {(t, n): PORTS_PER_NETWORK for t in range(self.tenants) for n in range(NETWORKS)}
        )

    def _background(self, index: int) -> Guest:
        tenant, rest = divmod(index, PORTS_PER_TENANT)
        network, number = divmod(rest, PORTS_PER_NETWORK)
        return Guest(tenant, network, number, self._host(tenant, index))

    def _host(self, tenant: int, index: int) -> int:
        return (tenant * self.spread + index % self.spread) % self.hosts

    def new(self, count: int, first_hosts: bool = False) -> list[Guest]:
        """`count` guests that nobody had before, each with a rule of its own.

        `first_hosts`: of those tenants only that are on the first `spread` hosts.
        """
        there = [t for t in range(self.tenants) if not first_hosts or self._host(t, 0) == 0]
        return [self._new(there) for _ in range(count)]

    def at(self, tenant: int, network: int, host: int, rule: int = 0) -> Guest:
        """A guest at a place."""
        return Guest(tenant, network, self._number(tenant, network), host, rule)

    def _number(self, tenant: int, network: int) -> int:
        number = self._numbers[tenant, network]
        self._numbers[tenant, network] += 1
        assert FIRST_ADDRESS + number < 255, "the networks are full"
        return number

    def _new(self, tenants: Sequence[int]) -> Guest:
        k, self._made = self._made, self._made + 1
        tenant = tenants[k * TENANT_STRIDE % len(tenants)]
        return self.at(tenant, k % NETWORKS, self._host(tenant, k), FIRST_RULE + k)
