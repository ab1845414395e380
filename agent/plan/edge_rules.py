"""What the namespace of an edge lets through and translates, as text for nft. Pure.

One transaction, the same for an active edge and for one that stands by (whose outside is down). Chains stay
where they are and their rules are replaced, so that no packet meets a table without rules, and connections go
on.

A connection that is established is judged again with every packet, by the addresses that connection tracking
knows it under: what is withdrawn ends with the transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from agent.plan.edge import FAMILIES, Edge, Floating, within
from cloison.addresses import IpAddress, IpNetwork

TABLE = "cloison"
FIRST_PORT, LAST_PORT = 1024, 65535
"""Of those under which translated connections go out: all of an address' are one router's."""
_NAMES = {4: "ip", 6: "ip6"}
_LINK_LOCAL = {4: (), 6: (IPv6Network("fe80::/10"), IPv6Network("::/128"))}
_NEVER: dict[int, IpNetwork] = {4: IPv4Network("0.0.0.0/32"), 6: IPv6Network("::/128")}
"""Stands in a list that would be empty: no packet that is routed has it."""
_CHAINS = """\
  chain source {{ type filter hook prerouting priority -300; policy accept; }}
  chain inward {{ type nat hook prerouting priority -100; policy accept; }}
  chain input {{ type filter hook input priority 0; policy drop; }}
  chain forward {{ type filter hook forward priority 0; policy drop; }}
  chain fresh {{ }}
  chain output {{ type filter hook output priority 0; policy accept; }}
  chain outward {{ type nat hook postrouting priority 100; policy accept; }}
"""
SHAPE = sha256(_CHAINS.encode()).hexdigest()[:16]
"""Which chains there are. Rules of another shape (of another version) are not exchanged in their chains."""


def ruleset(edge: Edge) -> str:
    """Return the transaction that makes the rules of a namespace those of this edge."""
    tables = [_chains("arp", "  chain output {{ type filter hook output priority 0; policy accept; }}\n")]
    tables += [_chains(_NAMES[version], _CHAINS) for version in FAMILIES]
    rules = [_rules("arp", {"output": _arp(edge)})]
    rules += [_rules(_NAMES[version], _Family(edge, version).chains()) for version in FAMILIES]
    return "".join((*tables, *rules))


def _chains(family: str, chains: str) -> str:
    return f"table {family} {TABLE} {{\n{chains.format()}}}\nflush table {family} {TABLE}\n"


def _rules(family: str, chains: dict[str, list[str]]) -> str:
    parts = []
    for name, rules in chains.items():
        lines = "".join(f"    {rule}\n" for rule in rules)
        parts.append(f"  chain {name} {{\n{lines}  }}\n")
    return f"table {family} {TABLE} {{\n{''.join(parts)}}}\n"


def _arp(edge: Edge) -> list[str]:
    own = [address for address in edge.answered if address.version == 4]
    outside = f'oifname "outside" arp saddr ip != {_set(own) if own else "0.0.0.0"} drop'
    inner = [at.ip for at in edge.inside if at.version == 4]
    # Nor is anything announced inside: it would be taken for a move of the port (live migration).
    return [outside, *(f'oifname "inside" arp saddr ip {ip} arp daddr ip {ip} drop' for ip in inner)]


def _set(things: Iterable[object]) -> str:
    return "{ " + ", ".join(str(thing) for thing in things) + " }"


def _networks(networks: Iterable[IpNetwork], version: int) -> list[IpNetwork]:
    """Return those of a family, none within another, and at least one."""
    found = [network for network in networks if network.version == version]
    return list(collapse_addresses(found)) if found else [_NEVER[version]]  # type: ignore[type-var]


class _Family:
    """The rules of one family."""

    def __init__(self, edge: Edge, version: int) -> None:
        self._name = _NAMES[version]
        self._version = version
        self._own = self._of(edge.outside_addresses)
        self._inner = self._of(at.ip for at in edge.inside)
        self._inside = _networks(edge.inside_prefixes, version)
        self._routed = _networks(edge.routed_prefixes, version)
        self._is_routed = any(prefix.version == version for prefix in edge.routed_prefixes)
        links = [at.network for at in edge.inside if at.version == version]
        near = [*edge.inside_prefixes, *links, *_LINK_LOCAL[version]]
        self._near = _networks(near, version)
        self._snat = next(iter(self._of(edge.snat)), None)
        self._floating = [pair for pair in edge.floating if pair.address.version == version]
        # Under which of several floating addresses a guest goes out: the lowest, as long as there is it.
        outward: dict[IpAddress, Floating] = {}
        for pair in sorted(self._floating, key=lambda pair: int(pair.address)):
            outward.setdefault(pair.fixed, pair)
        self._outward = list(outward.values())

    def _of(self, addresses: Iterable[IpAddress]) -> list[IpAddress]:
        return [address for address in addresses if address.version == self._version]

    def chains(self) -> dict[str, list[str]]:
        """Return the rules by chain."""
        return {
            "source": self._source_rules(),
            "inward": self._inward_rules(),
            "input": self._input_rules(),
            "forward": self._forward_rules(),
            "fresh": self._fresh_rules(),
            "output": self._output_rules(),
            "outward": self._outward_rules(),
        }

    def _source_rules(self) -> list[str]:
        """What comes from which side: before connection tracking hears of it."""
        name = self._name
        return [
            f'iifname "inside" {name} saddr != {_set(self._near)} drop',
            f'iifname "outside" {name} saddr {_set(self._inside)} drop',
        ]

    def _inward_rules(self) -> list[str]:
        if not self._floating:
            return []
        pairs = _set(f"{pair.address} : {pair.fixed}" for pair in self._floating)
        return [f"dnat to {self._name} daddr map {pairs}"]

    def _input_rules(self) -> list[str]:
        """The edge itself: it is asked whether it is there, and who has an address; nothing else."""
        name, icmp = self._name, "icmp" if self._version == 4 else "icmpv6"
        rules = []
        if self._version == 6:
            # Neighbour discovery is only valid with 255 (RFC 4861, section 7.1).
            rules += [
                "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept",
                "icmpv6 type mld-listener-query ip6 saddr fe80::/10 accept",
            ]
        rules += ["ct state invalid drop", "ct state established,related accept"]
        if self._own:
            rules.append(f"{name} daddr {_set(self._own)} {icmp} type echo-request accept")
        if self._inner:
            inner = _set(self._inner)
            rules.append(f'iifname "inside" {name} daddr {inner} {icmp} type echo-request accept')
        return rules

    def _forward_rules(self) -> list[str]:
        """Connections that go on: as long as the addresses they go under are theirs."""
        name, inside = self._name, _set(self._inside)
        nobody = _NEVER[self._version].network_address
        none = [f"{nobody} . {nobody}"]
        pairs = _set([f"{pair.address} . {pair.fixed}" for pair in self._floating] or none)
        back = _set([f"{pair.fixed} . {pair.address}" for pair in self._floating] or none)
        own = "" if self._snat is None else f"ct reply {name} daddr != {self._snat} "
        plain = "".join(f"ct original {name} {way} != {_set(self._routed)} " for way in ("saddr", "daddr"))
        return [
            # Back out of the side it came from goes only what was taken for somebody inside.
            'iifname "outside" oifname "outside" drop',
            "ct state invalid drop",
            "ct state new goto fresh",
            f"ct status dnat ct original {name} daddr . ct reply {name} saddr != {pairs} drop",
            f"ct status snat ct original {name} saddr {inside} {own}"
            f"ct original {name} saddr . ct reply {name} daddr != {back} drop",
            # (Of one from outside, connection tracking may have changed the port: no two are the same.)
            f"ct status & (snat | dnat) == snat ct original {name} saddr != {inside} drop",
            f"ct status & (snat | dnat) == 0 {plain if self._is_routed else ''}drop",
            "ct state established,related accept",
        ]

    def _fresh_rules(self) -> list[str]:
        """Connections that begin.

        From inside what has an address outside, from outside what is meant for one.
        """
        name = self._name
        fixed = _set(dict.fromkeys(pair.fixed for pair in self._floating)) if self._floating else ""
        sender = _set(self._inside) if self._snat is not None else fixed
        inward, outward = 'iifname "outside" oifname "inside"', 'iifname "inside" oifname "outside"'
        rules = []
        if fixed:
            rules.append(f"{inward} ct status dnat {name} daddr {fixed} accept")
            hairpin = 'iifname "inside" oifname "inside" ct status dnat'
            rules.append(f"{hairpin} {name} daddr {fixed} {name} saddr {sender} accept")
        if sender:
            rules.append(f"{outward} {name} saddr {sender} accept")
        if self._is_routed:
            routed = _set(self._routed)
            rules.append(f"{outward} {name} saddr {routed} accept")
            rules.append(f"{inward} ct status & dnat == 0 {name} daddr {routed} accept")
        return rules

    def _output_rules(self) -> list[str]:
        """What the edge says itself (answers, errors) goes out under its addresses outside, or not at all."""
        named = [*self._own, *(pair.address for pair in self._floating)]
        allowed = [*named, *(["fe80::/10", "::"] if self._version == 6 else [])]
        rules = [f'oifname "outside" {self._name} saddr != {_set(allowed or [_NEVER[self._version]])} drop']
        if self._version == 6:
            rules.append('oifname "inside" icmpv6 type nd-neighbor-advert ip6 daddr ff02::/16 drop')
        return rules

    def _outward_rules(self) -> list[str]:
        name, rules = self._name, []
        ways = ['oifname "outside"', 'oifname "inside" ct status dnat']
        if self._outward:
            pairs = _set(f"{pair.fixed} : {pair.address}" for pair in self._outward)
            rules += [f"{way} snat to {name} saddr map {pairs}" for way in ways]
        if self._is_routed:
            rules.append(f'oifname "outside" {name} saddr {_set(self._routed)} return')
        if self._snat is not None:
            inside = _set(self._inside)
            bracketed = f"[{self._snat}]" if self._version == 6 else str(self._snat)
            ports = f"{bracketed}:{FIRST_PORT}-{LAST_PORT}"
            for way in ways:
                rules.append(f"{way} {name} saddr {inside} meta l4proto {{ tcp, udp }} snat to {ports}")
                rules.append(f"{way} {name} saddr {inside} snat to {self._snat}")
        return rules


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection as connection tracking has it.

    Who began it with whom, and from whom to whom answers go.
    """

    source: IpAddress
    target: IpAddress
    answerer: IpAddress
    answered: IpAddress


class Standing:
    """Which connections may go on, the same as the rules of `forward` say; the others are to be forgotten.

    The rules keep their packets out at once. But a guest that goes on sending would keep the connection
    alive, and with it the address that is no longer its own.
    """

    def __init__(self, edge: Edge) -> None:
        self._inside, self._routed, self._snat = edge.inside_prefixes, edge.routed_prefixes, edge.snat
        self._pairs = frozenset((pair.address, pair.fixed) for pair in edge.floating)
        self._own = frozenset((*(at.ip for at in edge.inside), *edge.answered))

    def holds(self, connection: Connection) -> bool:
        """Tell whether a connection may go on."""
        source, target = connection.source, connection.target
        is_ours = within(source, self._inside)
        if connection.answerer != target and (target, connection.answerer) not in self._pairs:
            return False
        if connection.answered != source:
            own = connection.answered in self._snat or (connection.answered, source) in self._pairs
            return is_ours and own
        if connection.answerer != target or target in self._own:
            return True
        forwarded = is_ours or within(target, self._inside)
        return not forwarded or within(source, self._routed) or within(target, self._routed)
