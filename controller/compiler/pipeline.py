"""The pipeline as data: each table with what it matches, reads, writes, and where it may go next.

A flow is made by `Table.flow`, which refuses what the table did not declare: an undeclared goto, match
field or register is a bug of the compiler, found by its first unit test. docs/pipeline.md is checked
against this module.
"""

from __future__ import annotations

from dataclasses import dataclass

from controller.compiler.registers import FROM_PORT, NETWORK, ORIGIN, TO_PORT, Register
from controller.flows import Action, Flow, Load, Match, Move, OutputField, SetField


@dataclass(frozen=True, slots=True)
class Table:
    """Declaration of one flow table. A miss always drops."""

    number: int
    name: str
    purpose: str
    matches: frozenset[str]
    reads: tuple[Register, ...] = ()
    writes: tuple[Register, ...] = ()
    rewrites: frozenset[str] = frozenset()
    next: tuple[int, ...] = ()
    outputs: bool = False

    def flow(
        self,
        priority: int,
        match: Match,
        *actions: Action,
        goto: Table | None = None,
        cookie: int,
    ) -> Flow:
        """Make a flow of this table.

        Raises ValueError when the flow does what the table has not declared.
        """
        self._check_match(match)
        for action in actions:
            self._check_action(action)
        if goto is not None and goto.number not in self.next:
            raise ValueError(f"{self.name} did not declare that it goes to {goto.name}")
        number = goto.number if goto else None
        return Flow(
            table=self.number, priority=priority, match=match, actions=actions, goto=number, cookie=cookie
        )

    def _check_match(self, match: Match) -> None:
        readable = {r.field.name for r in self.reads}
        for term in match:
            if term.field.name not in self.matches and term.field.name not in readable:
                raise ValueError(f"{self.name} did not declare that it matches {term.field.name}")

    def _check_action(self, action: Action) -> None:
        if isinstance(action, OutputField):
            allowed = self.outputs and action.field.name in {r.field.name for r in self.reads}
        elif isinstance(action, Load | Move | SetField):
            target = action.dst if isinstance(action, Move) else action.field
            allowed = target.name in self.rewrites or target.name in {r.field.name for r in self.writes}
        else:
            allowed = False
        if not allowed:
            raise ValueError(f"{self.name} did not declare {action}")


_ETHERNET = frozenset({"eth_type", "vlan_vid", "eth_src"})

ADMISSION = Table(
    number=0,
    name="ADMISSION",
    purpose="Who sent it. A local port is believed only if every source address it claims is its own.",
    matches=_ETHERNET | {"in_port", "arp_sha", "arp_spa", "ipv4_src", "ipv6_src"},
    writes=(NETWORK, FROM_PORT, ORIGIN),
    next=(5, 10, 20),
)
ND_GUARD = Table(
    number=5,
    name="ND_GUARD",
    purpose="IPv6 from a local port: neighbour discovery may speak only for its own addresses.",
    matches=frozenset(
        {"eth_type", "ip_proto", "ip_ttl", "ip_frag", "icmpv6_type", "icmpv6_code"}
        | {"ipv6_nd_target", "ipv6_nd_sll", "ipv6_nd_tll"}
    ),
    reads=(FROM_PORT,),
    next=(10,),
)
ADDRESSING = Table(
    number=10,
    name="ADDRESSING",
    purpose="Whom it is meant for: the destination address becomes the wire MAC.",
    matches=frozenset(
        {"eth_type", "eth_dst", "arp_op", "arp_tpa", "ipv4_dst", "ipv6_dst"}
        | {"ip_proto", "icmpv6_type", "ipv6_nd_target"}
    ),
    reads=(NETWORK,),
    rewrites=frozenset({"eth_dst"}),
    next=(20,),
)
FORWARD = Table(
    number=20,
    name="FORWARD",
    purpose="Where it goes: a local port, under its real MAC, or else the network's VXLAN device.",
    matches=frozenset({"eth_dst", "eth_type", "ip_proto", "icmpv6_type", "ipv6_dst", "ipv6_nd_target"}),
    reads=(NETWORK, ORIGIN),
    writes=(TO_PORT,),
    rewrites=frozenset({"eth_dst"}),
    next=(30,),
)
OUTPUT = Table(
    number=30,
    name="OUTPUT",
    purpose="Sends it to the port that FORWARD chose.",
    matches=frozenset(),
    reads=(TO_PORT,),
    outputs=True,
)

TABLES: tuple[Table, ...] = (ADMISSION, ND_GUARD, ADDRESSING, FORWARD, OUTPUT)
TABLE_NAMES: dict[int, str] = {t.number: t.name for t in TABLES}
