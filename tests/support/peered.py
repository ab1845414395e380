"""Peerings in random worlds: what two tenants' routers let pass between each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network
from random import Random
from typing import Any

from cloison.addresses import IpNetwork
from cloison.model import Direction
from cloison.names import NetworkName, PeeringName
from controller.verify.intent import CrossingIntent, NetworkIntent, RouteIntent
from controller.verify.policy import PolicyIntent, RuleIntent
from tests.support.policies import PROFILE_FIRST, PROFILES_MAX, random_traffic

# Their profiles are the last of their tenant's.
_NUMBERS_FROM = 60


@dataclass(frozen=True)
class _Side:
    """A router: of which tenant, and its subnets with their networks."""

    tenant: str
    mac: int
    connected: tuple[tuple[IpNetwork, NetworkName], ...]


class Peerings:
    """Joins routers of networks that there are."""

    def __init__(self, rng: Random, maker: Any) -> None:
        self.rng, self.maker = rng, maker
        self._count = 0

    def make(self, one: str, other: str) -> None:
        """Join a router of each of two tenants, if there are any and there is room."""
        ours, theirs = self._sides(one), self._sides(other)
        if not ours or not theirs:
            return
        a, b = self.rng.choice(ours), self.rng.choice(theirs)
        of_a, of_b = self._prefixes(a), self._prefixes(b)
        if not of_a or not of_b or self._at_odds(a, of_b) or self._at_odds(b, of_a):
            return
        self._count += 1
        services = (self._services(), self._services())
        numbers = tuple(_first(side.tenant) + _NUMBERS_FROM + self._count for side in (a, b))
        self._accept(a, numbers[0], *services)
        self._accept(b, numbers[1], *reversed(services))
        self._admit(a, of_b)
        self._admit(b, of_a)
        self._route(a, of_a, b, of_b, numbers[0], numbers[1])
        self._route(b, of_b, a, of_a, numbers[1], numbers[0])

    def _sides(self, tenant: str) -> list[_Side]:
        found = {}
        for name, network in sorted(self.maker.networks.items()):
            for router in network.routers if name.tenant == tenant else ():
                own = [r for r in router.routes if r.via is None and r.crossing is None]
                found[router.mac] = _Side(tenant, router.mac, tuple((r.prefix, r.network) for r in own))
        return list(found.values())

    def _prefixes(self, side: _Side) -> list[tuple[IpNetwork, NetworkName]]:
        """All or a part of some of its subnets."""
        chosen = self.rng.sample(side.connected, self.rng.randint(1, len(side.connected)))
        return [(self._part(prefix), name) for prefix, name in chosen]

    def _part(self, prefix: IpNetwork) -> IpNetwork:
        shorter = self.rng.choice((0, 0, 0, 1, prefix.max_prefixlen - prefix.prefixlen - 3))
        return next(iter(prefix.subnets(prefixlen_diff=max(shorter, 0))))

    def _at_odds(self, side: _Side, others: list[tuple[IpNetwork, NetworkName]]) -> bool:
        routes = [
            route
            for network in self.maker.networks.values()
            if network.name.tenant == side.tenant
            for router in network.routers
            if router.mac == side.mac
            for route in router.routes
        ]
        return any(
            (_overlap(prefix, route.prefix) if route.via is None else _inside(route.prefix, prefix))
            for prefix, _ in others
            for route in routes
        )

    def _services(self) -> list[dict[str, int]]:
        if self.rng.random() < 0.6:
            return [{}]
        return [random_traffic(self.rng) for _ in range(self.rng.choice((0, 1, 1, 2)))]

    def _accept(
        self, side: _Side, number: int, may_open: list[dict[str, int]], may_take: list[dict[str, int]]
    ) -> None:
        policy: PolicyIntent = self.maker.policies[side.tenant]
        name = PeeringName(side.tenant, f"p{self._count}")
        rules = [RuleIntent(direction=Direction.EGRESS, **traffic) for traffic in may_open]  # type: ignore[arg-type]
        rules += [RuleIntent(direction=Direction.INGRESS, **traffic) for traffic in may_take]  # type: ignore[arg-type]
        self.maker.policies[side.tenant] = replace(
            policy,
            profiles={**policy.profiles, number: (name,)},
            groups={**policy.groups, name: tuple(rules)},
        )

    def _admit(self, side: _Side, others: list[tuple[IpNetwork, NetworkName]]) -> None:
        """Mostly a group of the tenant's lets the other side in, as far as the peering does."""
        policy: PolicyIntent = self.maker.policies[side.tenant]
        group = next(iter(policy.groups))
        rules = [RuleIntent(direction=Direction.INGRESS, remote_prefix=prefix) for prefix, _ in others]
        if self.rng.random() < 0.8:
            groups = {**policy.groups, group: (*policy.groups[group], *rules)}
            self.maker.policies[side.tenant] = replace(policy, groups=groups)

    def _route(
        self,
        side: _Side,
        sources: list[tuple[IpNetwork, NetworkName]],
        other: _Side,
        prefixes: list[tuple[IpNetwork, NetworkName]],
        theirs: int,
        ours: int,
    ) -> None:
        networks: dict[NetworkName, NetworkIntent] = self.maker.networks
        for name in dict.fromkeys(network for _, network in side.connected):
            here = [source for source, network in sources if network == name]
            routes = [
                RouteIntent(prefix, into, crossing=CrossingIntent(source, theirs, ours, f"{side.tenant}-p"))
                for source in here
                for prefix, into in prefixes
                if source.version == prefix.version
            ]
            routers = [
                replace(router, routes=(*router.routes, *routes)) if router.mac == side.mac else router
                for router in networks[name].routers
            ]
            networks[name] = replace(networks[name], routers=tuple(routers))


def _first(tenant: str) -> int:
    return PROFILE_FIRST + int(tenant[1:]) * PROFILES_MAX


def _overlap(a: IpNetwork, b: IpNetwork) -> bool:
    return _inside(a, b) or _inside(b, a)


def _inside(a: IpNetwork, b: IpNetwork) -> bool:
    if isinstance(a, IPv4Network) and isinstance(b, IPv4Network):
        return a.subnet_of(b)
    return isinstance(a, IPv6Network) and isinstance(b, IPv6Network) and a.subnet_of(b)
