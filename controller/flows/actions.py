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


Action = Output | OutputField | SetField | Load | Move
