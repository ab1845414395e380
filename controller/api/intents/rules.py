"""The rules of a security group: from what was asked for to what is stored. Pure.

Three steps: `parse` looks at a rule by itself and makes it definite, `check_remotes` at the groups it names,
`settle` gives ids and numbers, and finds those that say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from cloison.addresses import IpNetwork
from cloison.codec_parts import enum_names
from cloison.errors import InvalidIntent
from cloison.model import RULE_NUMBER_MAX, Direction, EtherType, SecurityGroupRule
from cloison.names import ID_EXPECTED, ID_PATTERN, AddressGroupName, SecurityGroupName
from cloison.protocols import (
    EXPECTED,
    ICMP,
    ICMPV6,
    UNSHOWN_PORTS,
    WITH_PORTS,
    protocol_name,
    protocol_number,
)
from cloison.v1 import security_group_pb2
from controller.api import validate
from controller.store.state import State

RULES_MAX = 256
DESCRIPTION_CHARS_MAX = 255
PORT_MAX, ICMP_MAX = 65535, 255
_SHOWN_MAX = 8
_Message = security_group_pb2.SecurityGroupRule
_FAMILY = {ICMP: EtherType.IPV4, ICMPV6: EtherType.IPV6}
_OTHER_ICMP = {ICMP: ICMPV6, ICMPV6: ICMP}
_OF_VERSION = {4: EtherType.IPV4, 6: EtherType.IPV6}

T = TypeVar("T")
Wanted = tuple[str, SecurityGroupRule]
"""Where a rule is in the request, and the rule: its number is 0, its id may be empty."""


def parse_all(
    check: validate.Checker, messages: Sequence[_Message], field: str, group: SecurityGroupName
) -> list[Wanted]:
    """Check each rule by itself; field is where the list is in the request."""
    if not check.that(
        len(messages) <= RULES_MAX, field, f"{len(messages)} rules", f"at most {RULES_MAX} rules in a group"
    ):
        return []
    places = [f"{field}[{i}]" for i in range(len(messages))]
    found = [
        (place, parse(check, message, place, group)) for place, message in zip(places, messages, strict=True)
    ]
    return [(place, rule) for place, rule in found if rule is not None]


def parse(
    check: validate.Checker, message: _Message, field: str, group: SecurityGroupName
) -> SecurityGroupRule | None:
    """Return the rule that a message means, None if it is not well-formed."""
    protocol = _taken(check, message.protocol, f"{field}.protocol", _protocol)
    prefix = _taken(check, message.remote_prefix, f"{field}.remote_prefix", validate.prefix)
    direction = _enum(check, _Message.Direction, message.direction, f"{field}.direction", zero=False)
    ether_type = _enum(check, _Message.EtherType, message.ether_type, f"{field}.ether_type", zero=True)
    validate.check_line(check, message.description, f"{field}.description", DESCRIPTION_CHARS_MAX)
    check.that(
        not message.id or bool(ID_PATTERN.fullmatch(message.id)), f"{field}.id", message.id, ID_EXPECTED
    )
    _check_one_remote(check, message, field)
    if direction is None or ether_type is None or (message.protocol and protocol is None):
        return None
    ports = _ports(check, message, protocol, field)
    icmp = _icmp(check, message, protocol, field)
    return SecurityGroupRule(
        id=message.id,
        number=0,
        direction=Direction(direction),
        ether_type=_family(check, EtherType(ether_type), protocol, prefix, field),
        protocol=protocol,
        port_min=ports[0],
        port_max=ports[1],
        icmp_type=icmp[0],
        icmp_code=icmp[1],
        remote_prefix=prefix,
        remote_group=_own(
            check, message.remote_group, f"{field}.remote_group", SecurityGroupName.parse, group
        ),
        remote_address_group=_own(
            check,
            message.remote_address_group,
            f"{field}.remote_address_group",
            AddressGroupName.parse,
            group,
        ),
        description=message.description,
    )


def _taken(check: validate.Checker, text: str, field: str, parse: Callable[[str, str], T]) -> T | None:
    """Return a text parsed; None if it is empty or wrong."""
    return check.take(lambda: parse(text, field)) if text else None


def _protocol(text: str, field: str) -> int:
    try:
        return protocol_number(text)
    except ValueError as error:
        raise InvalidIntent.of(field, text, EXPECTED) from error


def _enum(check: validate.Checker, enum: Any, number: int, field: str, *, zero: bool) -> str | None:
    """Return the name of an enum's value, None if it has none (or is unspecified, and may not be)."""
    names = enum_names(enum, zero=zero)
    if number in names:
        return names[number]
    shown = [name for value, name in names.items() if value]
    check.wrong(field, number, " or ".join(shown))
    return None


def _ports(
    check: validate.Checker, message: _Message, protocol: int | None, field: str
) -> tuple[int | None, int | None]:
    low, high = message.port_min, message.port_max
    if not (low or high):
        return None, None
    if protocol not in WITH_PORTS:
        check.wrong(f"{field}.port_min" if low else f"{field}.port_max", low or high, _no_ports(protocol))
    elif check.that(low <= PORT_MAX, f"{field}.port_min", low, f"a port, at most {PORT_MAX}"):
        check.that(
            low <= high <= PORT_MAX,
            f"{field}.port_max",
            high,
            f"the last port of the range, {low} to {PORT_MAX}; for one port alone the same as port_min",
        )
    return low, high


def _no_ports(protocol: int | None) -> str:
    if protocol is None:
        return "0, since no protocol is given: only tcp and udp have ports here"
    if protocol in UNSHOWN_PORTS:
        return (
            f"0, since protocol is {protocol_name(protocol)}: the connection tracker does not show its "
            "ports; a rule without ports, for all of the protocol, may be made"
        )
    return f"0, since protocol is {protocol_name(protocol)}: only tcp and udp have ports here"


def _icmp(
    check: validate.Checker, message: _Message, protocol: int | None, field: str
) -> tuple[int | None, int | None]:
    kind = message.icmp_type if message.HasField("icmp_type") else None
    code = message.icmp_code if message.HasField("icmp_code") else None
    for name, value in (("icmp_type", kind), ("icmp_code", code)):
        if value is None:
            continue
        if check.that(
            protocol in _FAMILY, f"{field}.{name}", value, "nothing, unless protocol is icmp or icmpv6"
        ):
            check.that(value <= ICMP_MAX, f"{field}.{name}", value, f"a number from 0 to {ICMP_MAX}")
    check.that(
        code is None or kind is not None,
        f"{field}.icmp_code",
        code,
        "nothing, unless icmp_type is given too: a code means something only within its type",
    )
    return kind, code


def _family(
    check: validate.Checker,
    asked: EtherType,
    protocol: int | None,
    prefix: IpNetwork | None,
    field: str,
) -> EtherType:
    """Return the family that a rule is of: that which was asked for, or which something in it is of."""
    family = asked
    if protocol is not None and (of_protocol := _FAMILY.get(protocol)) is not None:
        check.that(
            family in (EtherType.ANY, of_protocol),
            f"{field}.protocol",
            protocol_name(protocol),
            f"{protocol_name(_OTHER_ICMP[protocol])}, since ether_type is {asked}",
        )
        family = of_protocol if family is EtherType.ANY else family
    if prefix is not None:
        of_prefix = _OF_VERSION[prefix.version]
        check.that(
            family in (EtherType.ANY, of_prefix),
            f"{field}.remote_prefix",
            prefix,
            f"a range of {family}, as the rule is; or none, for anyone",
        )
        family = of_prefix if family is EtherType.ANY else family
    return family


def _check_one_remote(check: validate.Checker, message: _Message, field: str) -> None:
    remotes = ("remote_prefix", "remote_group", "remote_address_group")
    given = [name for name in remotes if getattr(message, name)]
    check.that(
        len(given) <= 1,
        f"{field}.{given[-1] if given else ''}",
        " and ".join(given),
        f"one of {', '.join(remotes)}",
    )


G = TypeVar("G", SecurityGroupName, AddressGroupName)


def _own(
    check: validate.Checker, text: str, field: str, parse: Callable[[str, str], G], group: SecurityGroupName
) -> G | None:
    """Return the name of a group of the same tenant. Whether another tenant has it is not looked at."""
    found = _taken(check, text, field, parse)
    if found is None or check.that(
        found.tenant == group.tenant,
        field,
        text,
        f"a group of {group.parent}: those of others can't be named",
    ):
        return found
    return None


# -- held against the state -----------------------------------------------------------------------


def check_remotes(
    check: validate.Checker, state: State, group: SecurityGroupName, wanted: Iterable[Wanted]
) -> None:
    """Check that the groups which rules name are there; a group may name itself."""
    for field, rule in wanted:
        named, addresses = rule.remote_group, rule.remote_address_group
        if named is not None and named != group and named not in state.security_groups:
            known = sorted(g.name.group for g in state.groups_of(group.parent))
            check.wrong(f"{field}.remote_group", named, f"a security group that exists{_shown(known)}")
        if addresses is not None and addresses not in state.address_groups:
            known = sorted(g.name.group for g in state.address_groups_of(group.parent))
            check.wrong(
                f"{field}.remote_address_group", addresses, f"an address group that exists{_shown(known)}"
            )


def _shown(known: list[str]) -> str:
    return f"; the tenant has {', '.join(known[:_SHOWN_MAX])}" if known else "; the tenant has none yet"


# -- ids and numbers ------------------------------------------------------------------------------


def meaning(rule: SecurityGroupRule) -> SecurityGroupRule:
    """Return a rule without what makes no difference to packets: equal ones admit the same."""
    prefix = rule.remote_prefix
    # From anywhere in a family is from anyone of that family.
    anyone = prefix is not None and prefix.prefixlen == 0
    return replace(rule, id="", number=0, description="", remote_prefix=None if anyone else prefix)


def settle(
    check: validate.Checker, old: Sequence[SecurityGroupRule], wanted: Sequence[Wanted]
) -> tuple[SecurityGroupRule, ...]:
    """Return the wanted rules with ids and numbers, in the order of their numbers.

    A rule that is in old, by its id or else by its meaning, keeps both: a number is what its flows have.
    """
    by_id = {rule.id: rule for rule in old}
    by_meaning = {meaning(rule): rule for rule in old}
    taken = {rule.number for rule in old}
    ids = {rule.id for _, rule in wanted}
    settled: list[SecurityGroupRule] = []
    for _, rule in wanted:
        known = by_id.get(rule.id) if rule.id else by_meaning.get(meaning(rule))
        # The id it had may have been given to another rule of the request.
        if known is not None and not rule.id and known.id in ids:
            known = None
        number = known.number if known is not None else _free_number(taken)
        taken.add(number)
        identity = rule.id or (known.id if known is not None else _free_id(number, ids))
        ids.add(identity)
        settled.append(replace(rule, id=identity, number=number))
    _check_distinct(check, wanted)
    return tuple(sorted(settled, key=lambda rule: rule.number))


def _free_number(taken: set[int]) -> int:
    """Return a number after all that were ever taken, as long as there is one."""
    last = max(taken, default=0)
    if last < RULE_NUMBER_MAX:
        return last + 1
    return next(number for number in range(1, RULE_NUMBER_MAX + 1) if number not in taken)


def _free_id(number: int, ids: set[str]) -> str:
    made = made_id(number)
    while made in ids:
        made += "-x"
    return made


def made_id(number: int) -> str:
    """Return the id of a rule that was given none."""
    return f"rule-{number}"


def _check_distinct(check: validate.Checker, wanted: Sequence[Wanted]) -> None:
    ids: dict[str, str] = {}
    meanings: dict[SecurityGroupRule, str] = {}
    for field, rule in wanted:
        if rule.id:
            first = ids.setdefault(rule.id, field)
            check.that(first == field, f"{field}.id", rule.id, f"each id once: {first} has it")
        first = meanings.setdefault(meaning(rule), field)
        check.that(first == field, field, describe(rule), f"each rule once: {first} says the same")


def describe(rule: SecurityGroupRule) -> str:
    """Return a rule on one line, for people."""
    words = [rule.direction.lower()]
    if rule.ether_type is not EtherType.ANY:
        words.append(rule.ether_type)
    words.append(protocol_name(rule.protocol) if rule.protocol is not None else "any protocol")
    if rule.port_min is not None:
        words.append(
            f"port {rule.port_min}"
            if rule.port_min == rule.port_max
            else f"ports {rule.port_min}-{rule.port_max}"
        )
    if rule.icmp_type is not None:
        words.append(f"type {rule.icmp_type}")
    if rule.icmp_code is not None:
        words.append(f"code {rule.icmp_code}")
    remote = rule.remote_prefix or rule.remote_group or rule.remote_address_group
    if remote is not None:
        words.append(f"{'from' if rule.direction is Direction.INGRESS else 'to'} {remote}")
    return " ".join(words)
