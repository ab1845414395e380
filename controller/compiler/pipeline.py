"""The pipeline as data: each table with what it matches, reads, writes, and where it may go next.

A flow is made by `Table.flow`, which refuses what the table did not declare: an undeclared goto, match
field, register or kind of action is a bug of the compiler, found by its first unit test. docs/pipeline.md is
checked against this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as attribute

from controller.compiler.registers import (
    ABROAD,
    ABROAD_AS,
    ABROAD_TO,
    CLAIMED_HIGH,
    CLAIMED_IP,
    CLAIMED_LOW,
    FROM_PORT,
    FROM_PROFILE,
    INITIATOR,
    NETWORK,
    ORIGIN,
    OVERSIZE,
    RESPONDER,
    TENANT,
    TO_PORT,
    TO_PROFILE,
    Register,
)
from controller.flows import (
    Action,
    CheckPacketLarger,
    Conjunction,
    Ct,
    DecTtl,
    Field,
    Flow,
    Load,
    Match,
    Move,
    Output,
    OutputField,
    Resubmit,
    SetField,
    field,
)


@dataclass(frozen=True, slots=True)
class Table:
    """Declaration of one flow table. A miss always drops.

    drop_reason: what is said of that, a stable upper-snake word of the API (port.proto, DropCount).
    zone: the 16 bits that choose the zone of its ct actions; None: it has none. sends: the kinds of output
    it may use. meters: its flows may name a meter. conjoins: its flows may be dimensions of a conjunction.
    ages: its flows may make the TTL one less.
    copies: its flows may resubmit to the tables in next.
    """

    number: int
    name: str
    purpose: str
    drop_reason: str
    matches: frozenset[str] = frozenset()
    reads: tuple[Register, ...] = ()
    writes: tuple[Register, ...] = ()
    rewrites: frozenset[str] = frozenset()
    next: tuple[int, ...] = ()
    zone: Field | None = None
    sends: tuple[type[Action], ...] = ()
    meters: bool = False
    conjoins: bool = False
    ages: bool = False
    copies: bool = False
    # What follows from the declaration, for each flow that is made.
    _readable: frozenset[str] = attribute(init=False, repr=False, compare=False)
    _writable: frozenset[Field] = attribute(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Derive what every flow is held against."""
        object.__setattr__(self, "_readable", self.matches | {r.field.name for r in self.reads})
        object.__setattr__(self, "_writable", frozenset(r.field for r in self.writes))

    def flow(
        self,
        priority: int,
        match: Match,
        *actions: Action,
        goto: Table | None = None,
        meter: int | None = None,
        cookie: int,
    ) -> Flow:
        """Make a flow of this table.

        Raises ValueError when the flow does what the table has not declared.
        """
        self._check_match(match)
        for action in actions:
            if not self._allows(action):
                raise ValueError(f"{self.name} did not declare {action}")
        if goto is not None and goto.number not in self.next:
            raise ValueError(f"{self.name} did not declare that it goes to {goto.name}")
        if meter is not None and not self.meters:
            raise ValueError(f"{self.name} did not declare that it meters")
        return Flow(
            table=self.number,
            priority=priority,
            match=match,
            actions=actions,
            goto=goto.number if goto else None,
            cookie=cookie,
            meter=meter,
        )

    def track(self, goto: Table) -> Ct:
        """Return the action that looks the packet up in the table's zone and goes on to goto."""
        return Ct(zone=self._zone(), table=goto.number)

    def commit(self) -> Ct:
        """Return the action that remembers the packet's connection in the table's zone."""
        return Ct(commit=True, zone=self._zone())

    def _zone(self) -> tuple[Field, int, int]:
        if self.zone is None:
            raise ValueError(f"{self.name} did not declare a zone")
        return self.zone, 0, 16

    def _check_match(self, match: Match) -> None:
        for term in match:
            if term.field.name not in self._readable:
                raise ValueError(f"{self.name} did not declare that it matches {term.field.name}")

    def _allows(self, action: Action) -> bool:
        match action:
            case Output():
                return Output in self.sends
            case OutputField():
                return OutputField in self.sends and action.field in {r.field for r in self.reads}
            case Load() | Move() | SetField():
                target = action.dst if isinstance(action, Move) else action.field
                return target in self._writable or target.name in self.rewrites
            case CheckPacketLarger():
                return (action.field, action.bit) in {(r.field, r.start) for r in self.writes}
            case Ct():
                zone_declared = self.zone is not None and action.zone == (self.zone, 0, 16)
                return zone_declared and (action.table is None or action.table in self.next)
            case Conjunction():
                return self.conjoins
            case DecTtl():
                return self.ages
            case Resubmit():
                return self.copies and action.table in self.next


_IP_TYPE = frozenset({"eth_type"})
_SOLICITED = frozenset({"ip_proto", "icmpv6_type", "ipv6_nd_target"})
_CONNECTION = frozenset({"ip_frag", "ct_state", "ct_nw_proto", "ct_tp_src", "ct_tp_dst"})

ADMISSION = Table(
    number=0,
    name="ADMISSION",
    purpose="Who sent it. A local port is believed only if every source address it claims is its own.",
    drop_reason="SPOOFED",
    matches=_IP_TYPE
    | {"in_port", "vlan_vid", "eth_src", "arp_sha", "arp_spa", "arp_tpa"}
    | {"ip_ttl", "icmpv6_type", "icmpv6_code", "ipv6_nd_target"}
    | {"ipv4_src", "ipv4_dst", "ipv6_src", "ip_proto", "udp_src", "udp_dst"},
    writes=(NETWORK, FROM_PORT, ORIGIN, TENANT, FROM_PROFILE, CLAIMED_IP, CLAIMED_LOW, CLAIMED_HIGH),
    rewrites=frozenset({"eth_src"}),
    next=(1, 5, 6, 20, 31),
)
CLAIMED = Table(
    number=1,
    name="CLAIMED",
    purpose="The same of IPv4 and ARP at once: what they claim stands in one place. All else is refused.",
    drop_reason="SPOOFED",
    matches=frozenset({"in_port", "eth_src"}),
    reads=(CLAIMED_IP, CLAIMED_LOW, CLAIMED_HIGH),
    writes=(NETWORK, FROM_PORT, ORIGIN, TENANT, FROM_PROFILE),
    next=(6,),
)
ND_GUARD = Table(
    number=5,
    name="ND_GUARD",
    purpose="IPv6 from a local port: neighbour discovery may speak only for its own addresses.",
    drop_reason="FORGED_NEIGHBOUR_DISCOVERY",
    matches=_IP_TYPE
    | _SOLICITED
    | {"ip_ttl", "ip_frag", "icmpv6_code", "ipv6_src", "ipv6_nd_sll", "ipv6_nd_tll"},
    reads=(FROM_PORT,),
    next=(6, 31),
)
SERVICES = Table(
    number=6,
    name="SERVICES",
    purpose="What is for the services of this host; and what only they may say.",
    drop_reason="SERVER_IMPERSONATION",
    matches=_IP_TYPE
    | _SOLICITED
    | {"ip_frag", "udp_src", "udp_dst", "arp_op", "arp_tpa", "ipv4_dst", "ipv6_dst"},
    reads=(FROM_PROFILE,),
    next=(7, 10, 31),
)
TRACK = Table(
    number=7,
    name="TRACK",
    purpose="Looks the packet up among the connections of the port that sent it.",
    drop_reason="INVALID_CONNECTION",
    matches=_IP_TYPE,
    zone=field("nxm_in_port"),
    next=(8,),
)
OPENING = Table(
    number=8,
    name="OPENING",
    purpose="How many connections one port may open.",
    drop_reason="INVALID_CONNECTION",
    matches=frozenset({"ct_state"}),
    reads=(FROM_PORT,),
    meters=True,
    next=(9,),
)
TRACKED = Table(
    number=9,
    name="TRACKED",
    purpose="Remembers a new connection at the port that sent it; what belongs to none is dropped.",
    drop_reason="INVALID_CONNECTION",
    matches=_IP_TYPE | {"ct_state"},
    reads=(FROM_PROFILE,),
    zone=field("nxm_in_port"),
    next=(10,),
)
ADDRESSING = Table(
    number=10,
    name="ADDRESSING",
    purpose="Whom it is meant for: the destination address becomes the wire MAC.",
    drop_reason="NOBODY_THERE",
    matches=_IP_TYPE | _SOLICITED | {"eth_dst", "arp_op", "arp_tpa", "ipv4_dst", "ipv6_dst"},
    reads=(NETWORK, FROM_PROFILE),
    rewrites=frozenset({"eth_dst"}),
    next=(12, 15, 20, 31),
)
ROUTE = Table(
    number=12,
    name="ROUTE",
    purpose="To a router: into which network, and to whom. The longest prefix decides.",
    drop_reason="NO_ROUTE",
    matches=_IP_TYPE
    | {"eth_dst", "ip_ttl", "ip_proto", "icmpv6_type", "ipv4_dst", "ipv6_dst", "ipv6_src"}
    | {"ct_state", "ip_frag", "tcp_src", "tcp_dst", "udp_src", "udp_dst", "ipv4_src"},
    reads=(NETWORK, FROM_PORT),
    writes=(NETWORK, TO_PROFILE, ABROAD, ABROAD_AS, ABROAD_TO),
    rewrites=frozenset({"eth_dst"}),
    ages=True,
    zone=field("nxm_in_port"),
    next=(20, 23, 31),
)
SPREADING = Table(
    number=15,
    name="SPREADING",
    purpose="How much one port may send to all of a network with multicast.",
    drop_reason="NOBODY_THERE",
    reads=(FROM_PORT,),
    meters=True,
    next=(20,),
)
FORWARD = Table(
    number=20,
    name="FORWARD",
    purpose="Where it goes: a local port, under its real MAC, or else the network's VXLAN device; or to all.",
    drop_reason="NOBODY_THERE",
    matches=_IP_TYPE | _SOLICITED | {"eth_dst", "ipv4_dst", "ipv6_dst"},
    reads=(NETWORK, ORIGIN),
    writes=(TO_PORT, TO_PROFILE),
    rewrites=frozenset({"eth_dst"}),
    next=(22, 27),
    copies=True,
)
DELIVER = Table(
    number=22,
    name="DELIVER",
    purpose="To a local port: what is subject to policy is looked up among that port's connections.",
    drop_reason="NOT_ADMITTED_BY_POLICY",
    matches=_IP_TYPE | {"ip_proto", "icmpv6_type", "ip_frag", "ipv6_dst"},
    reads=(ORIGIN, FROM_PROFILE, TO_PROFILE),
    zone=TO_PORT.field,
    next=(23, 28, 30),
)
DIRECTION = Table(
    number=23,
    name="DIRECTION",
    purpose="Who opened the connection: a reply is judged by what its connection was when it began.",
    drop_reason="INVALID_CONNECTION",
    matches=frozenset({"ct_state"}),
    reads=(FROM_PROFILE, TO_PROFILE),
    writes=(INITIATOR, RESPONDER),
    next=(24, 28),
)
EGRESS = Table(
    number=24,
    name="EGRESS",
    purpose="May the initiator open this connection? By the rules of its groups, to the responder.",
    drop_reason="NOT_ADMITTED_BY_POLICY",
    matches=_IP_TYPE | _CONNECTION | {"ct_nw_dst", "ct_ipv6_dst", "conj_id"},
    reads=(TENANT, INITIATOR, RESPONDER),
    conjoins=True,
    next=(25,),
)
INGRESS = Table(
    number=25,
    name="INGRESS",
    purpose="May this connection be opened to the responder? By the rules of its groups, from the initiator.",
    drop_reason="NOT_ADMITTED_BY_POLICY",
    matches=_IP_TYPE | _CONNECTION | {"ct_nw_src", "ct_ipv6_src", "conj_id"},
    reads=(TENANT, INITIATOR, RESPONDER),
    conjoins=True,
    next=(26,),
)
COMMIT = Table(
    number=26,
    name="COMMIT",
    purpose="Remembers a new connection at the port it is for; what its tenant lets out crosses to another.",
    drop_reason="INVALID_CONNECTION",
    matches=_IP_TYPE | {"ct_state"},
    reads=(ABROAD, ABROAD_AS, ABROAD_TO),
    writes=(FROM_PROFILE, TENANT, ABROAD),
    zone=TO_PORT.field,
    next=(20, 28),
    copies=True,
)
EXIT = Table(
    number=27,
    name="EXIT",
    purpose="To another host: does it fit into the overlay?",
    drop_reason="NO_OVERLAY",
    matches=_IP_TYPE | {"ip_proto", "icmpv6_type"},
    writes=(OVERSIZE,),
    next=(29, 30),
)
SOURCE = Table(
    number=28,
    name="SOURCE",
    purpose="What a guest sees as source MAC of an IP packet: the wire MAC of its source address.",
    drop_reason="NOT_SENT",
    matches=_IP_TYPE,
    rewrites=frozenset({"eth_src"}),
    next=(30,),
)
TAG = Table(
    number=29,
    name="TAG",
    purpose="Says the sender's policy profile in the source MAC. What does not fit gets an answer instead.",
    drop_reason="NOT_SENT",
    matches=frozenset({"eth_dst"}),
    reads=(OVERSIZE, FROM_PROFILE),
    rewrites=frozenset({"eth_src"}),
    next=(30, 31),
)
OUTPUT = Table(
    number=30,
    name="OUTPUT",
    purpose="Sends it to the port that FORWARD chose.",
    drop_reason="NOT_SENT",
    reads=(TO_PORT,),
    sends=(OutputField,),
)
METER = Table(
    number=31,
    name="METER",
    purpose="How much of the host's services one port may use.",
    drop_reason="NO_SERVICES",
    reads=(FROM_PORT,),
    meters=True,
    next=(32,),
)
SERVICE = Table(
    number=32,
    name="SERVICE",
    purpose="To the services of this host, with the number of the port that asks.",
    drop_reason="NO_SERVICES",
    reads=(FROM_PORT,),
    rewrites=frozenset({"eth_dst"}),
    sends=(Output,),
)

TABLES: tuple[Table, ...] = (
    ADMISSION,
    CLAIMED,
    ND_GUARD,
    SERVICES,
    TRACK,
    OPENING,
    TRACKED,
    ADDRESSING,
    ROUTE,
    SPREADING,
    FORWARD,
    DELIVER,
    DIRECTION,
    EGRESS,
    INGRESS,
    COMMIT,
    EXIT,
    SOURCE,
    TAG,
    OUTPUT,
    METER,
    SERVICE,
)
TABLE_NAMES: dict[int, str] = {t.number: t.name for t in TABLES}
