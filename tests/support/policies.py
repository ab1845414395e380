"""Random security groups, and what the compiler is given of them."""

from __future__ import annotations

from ipaddress import ip_network
from random import Random

from cloison.addresses import IpNetwork
from cloison.model import AddressGroup, Direction, EtherType, Meta, SecurityGroup, SecurityGroupRule
from cloison.names import AddressGroupName, SecurityGroupName
from controller.compiler.view import PolicyView
from controller.verify.policy import PROFILE_FIRST, PolicyIntent, RuleIntent

PREFIXES: list[IpNetwork] = [
    ip_network(n)
    for n in (
        "0.0.0.0/0",
        "::/0",
        "10.0.0.0/25",
        "10.0.0.128/25",
        "10.0.0.4/30",
        "10.0.0.5/32",
        "192.168.7.0/28",
    )
]
PREFIXES += [ip_network(n) for n in ("2001:db8::/64", "2001:db8::4/126", "fe80::/10", "fd00:1::/120")]
PROFILES_MAX = 100
GROUPS = 4


def random_policy(rng: Random, tenant: str, number: int) -> PolicyIntent:
    """A few groups with a few rules each, one that lets much through, and profiles of them."""
    names = [SecurityGroupName(tenant, f"g{n}") for n in range(rng.randint(1, GROUPS))]
    address_groups = {
        AddressGroupName(tenant, f"a{n}"): tuple(rng.sample(PREFIXES, rng.randint(0, 4))) for n in range(2)
    }
    groups = {
        name: tuple(
            random_rule(rng, names, list(address_groups), tenant) for _ in range(rng.choice((0, 1, 2, 3, 5)))
        )
        for name in names
    }
    groups[names[0]] = (
        RuleIntent(direction=Direction.EGRESS),
        RuleIntent(direction=Direction.INGRESS, remote_group=names[0]),
        *groups[names[0]],
    )
    # A profile may be left of a group that is gone, until its ports are released.
    known = [*names, SecurityGroupName(tenant, "gone")] if rng.random() < 0.1 else names
    sets = {
        tuple(sorted(rng.sample(known, rng.randint(1, min(3, len(known)))))) for _ in range(rng.randint(1, 4))
    }
    sets.add((names[0],))
    first = PROFILE_FIRST + number * PROFILES_MAX
    profiles = {first + n: groups_of for n, groups_of in enumerate(sorted(sets))}
    return PolicyIntent(number=number, profiles=profiles, groups=groups, address_groups=address_groups)


def random_rule(
    rng: Random, groups: list[SecurityGroupName], address_groups: list[AddressGroupName], tenant: str
) -> RuleIntent:
    """Any rule that the API takes, and some that name a group that is gone."""
    direction = rng.choice(list(Direction))
    ether_type = rng.choice(list(EtherType))
    remote: dict[str, object] = {}
    kind = rng.choice(("none", "prefix", "group", "group", "address group"))
    if kind == "prefix":
        remote = {"remote_prefix": rng.choice(PREFIXES)}
    elif kind == "group":
        gone = SecurityGroupName(tenant, "gone")
        remote = {"remote_group": rng.choice([*groups * 3, gone])}
    elif kind == "address group":
        remote = {"remote_address_group": rng.choice([*address_groups * 3, AddressGroupName(tenant, "gone")])}
    return RuleIntent(direction=direction, ether_type=ether_type, **remote, **random_traffic(rng))  # type: ignore[arg-type]


def random_traffic(rng: Random) -> dict[str, int]:
    """Protocol and ports of a rule."""
    kind = rng.choice(("any", "protocol", "ports", "ports", "range", "icmp"))
    if kind == "any":
        return {}
    if kind == "protocol":
        return {"protocol": rng.choice((1, 6, 17, 47, 58))}
    if kind == "icmp":
        code = {"icmp_code": rng.choice((0, 4))} if rng.random() < 0.3 else {}
        return {"protocol": rng.choice((1, 58)), "icmp_type": rng.choice((0, 3, 8, 128)), **code}
    low = rng.choice((0, 22, 53, 80, 443))
    high = low if kind == "ports" else rng.choice((low, low + 1, 1000, 8080, 65535))
    return {"protocol": rng.choice((6, 6, 17)), "port_min": low, "port_max": max(low, high)}


def policy_view(policy: PolicyIntent) -> PolicyView:
    """What the compiler is given of a policy."""
    groups = {
        name: SecurityGroup(
            name=name, meta=_META, number=policy.number << 8 | n,
            rules=tuple(_rule(rule, number) for number, rule in enumerate(rules, 1)),
        )
        for n, (name, rules) in enumerate(policy.groups.items())
    }  # fmt: skip
    address_groups = {
        name: AddressGroup(name=name, meta=_META, prefixes=prefixes)
        for name, prefixes in policy.address_groups.items()
    }
    return PolicyView(
        tenant_number=policy.number,
        profiles=policy.profiles,
        groups=groups,
        address_groups=address_groups,
    )


def _rule(rule: RuleIntent, number: int) -> SecurityGroupRule:
    fields = {name: getattr(rule, name) for name in RuleIntent.__dataclass_fields__}
    return SecurityGroupRule(**{**fields, "id": f"r{number}"}, number=number)


_META = Meta(uid="u")
