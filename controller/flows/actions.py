"""The actions the pipeline uses, as values. Order matters in a flow; goto is not one of them (flow.py)."""

from __future__ import annotations

from dataclasses import dataclass

from controller.flows.fields import Field


@dataclass(frozen=True, slots=True)
class Output:
    """Send to an OpenFlow port. NORMAL, FLOOD and their like cannot be expressed: ports are 1 to 0xfeff."""

    port: int


@dataclass(frozen=True, slots=True)
class OutputField:
    """Send to the port whose number stands in bits [start, start + bits) of a field (NXAST_OUTPUT_REG)."""

    field: Field
    start: int
    bits: int
    max_len: int = 0xFFFF


@dataclass(frozen=True, slots=True)
class SetField:
    """Write a whole field (OFPAT_SET_FIELD)."""

    field: Field
    value: int


@dataclass(frozen=True, slots=True)
class Load:
    """Write value into bits [start, start + bits) of a field (NXAST_REG_LOAD); at most 64 bits."""

    field: Field
    start: int
    bits: int
    value: int


@dataclass(frozen=True, slots=True)
class Move:
    """Copy bits [src_start, +bits) of src into bits [dst_start, +bits) of dst (NXAST_REG_MOVE)."""

    src: Field
    src_start: int
    dst: Field
    dst_start: int
    bits: int


@dataclass(frozen=True, slots=True)
class Ct:
    """Look the packet up in a zone of the connection tracker (NXAST_CT); the flow must match ip or ipv6.

    zone is a number, or 16 bits of a field as (field, start, 16). With a table, the packet goes on there with
    its ct_* fields set, as a second life: the rest of this flow happens without them. commit remembers the
    connection; in a zone that is full it does nothing.
    """

    commit: bool = False
    zone: int | tuple[Field, int, int] = 0
    table: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError on what Open vSwitch refuses or reads otherwise."""
        if isinstance(self.zone, tuple):
            field, start, bits = self.zone
            if bits != 16 or start + bits > field.width:
                raise ValueError(f"a zone is 16 bits of a field, not [{start}, +{bits}) of {field.name}")
        elif not 0 <= self.zone <= 0xFFFF:
            raise ValueError(f"a zone has 16 bits, got {self.zone}")
        if self.table is not None and not 0 <= self.table < 0xFF:
            raise ValueError(f"a table is 0 to 254, got {self.table}")


@dataclass(frozen=True, slots=True)
class Conjunction:
    """One dimension of a conjunctive match (NXAST_CONJUNCTION): clause number, counted from 1, of so many.

    Stands in a flow with others of its kind only, without goto. When a packet matches one flow of each clause
    of an id, all of one priority, it is looked up once more with conj_id set to that id.
    """

    id: int
    clause: int
    clauses: int

    def __post_init__(self) -> None:
        """Raise ValueError on what Open vSwitch refuses (ovs-actions(7): 2 to 64 clauses)."""
        if not (0 <= self.id <= 0xFFFFFFFF and 2 <= self.clauses <= 64 and 1 <= self.clause <= self.clauses):
            raise ValueError(f"no conjunction: {self}")


@dataclass(frozen=True, slots=True)
class CheckPacketLarger:
    """Set one bit of a register: is the packet, Ethernet header included, longer than so many bytes
    (NXAST_CHECK_PKT_LARGER)?
    """

    length_bytes: int
    field: Field
    bit: int

    def __post_init__(self) -> None:
        """Raise ValueError if it does not fit its 16 bits or the field."""
        if not (0 <= self.length_bytes <= 0xFFFF and 0 <= self.bit < self.field.width):
            raise ValueError(f"no check of a packet's length: {self}")


@dataclass(frozen=True, slots=True)
class DecTtl:
    """Make the TTL or hop limit one less (OFPAT_DEC_NW_TTL); the flow must match ip or ipv6.

    Of a packet whose TTL is 0 or 1 nothing else happens any more, and controllers that asked for it are told:
    a flow of higher priority must have seen to it.
    """


@dataclass(frozen=True, slots=True)
class Resubmit:
    """Carry out what a table says of the packet as it is now, then go on here (NXAST_RESUBMIT_TABLE).

    What the flows found there write stays written for what comes after, but not what happens beyond a ct
    action or a check of the length: that is of a copy.
    """

    table: int

    def __post_init__(self) -> None:
        """Raise ValueError if there is no such table."""
        if not 0 <= self.table < 0xFF:
            raise ValueError(f"a table is 0 to 254, got {self.table}")


Action = (
    Output | OutputField | SetField | Load | Move | Ct | Conjunction | CheckPacketLarger | DecTtl | Resubmit
)
