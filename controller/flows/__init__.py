"""Flows as values: fields, matches, actions. Pure; no bytes, no session, no knowledge of the pipeline.

Compiler, verifier and the OpenFlow encoder all speak this language and share nothing else.
"""

from controller.flows.actions import (
    Action,
    CheckPacketLarger,
    Conjunction,
    Ct,
    DecTtl,
    Load,
    Move,
    Output,
    OutputField,
    Resubmit,
    SetField,
)
from controller.flows.conntrack import CT_STATE, ct_state
from controller.flows.fields import FIELDS, Field, field
from controller.flows.flow import Flow, FlowKey, Match, MatchTerm, match

__all__ = [
    "CT_STATE",
    "FIELDS",
    "Action",
    "CheckPacketLarger",
    "Conjunction",
    "Ct",
    "DecTtl",
    "Field",
    "Flow",
    "FlowKey",
    "Load",
    "Match",
    "MatchTerm",
    "Move",
    "Output",
    "OutputField",
    "Resubmit",
    "SetField",
    "ct_state",
    "field",
    "match",
]
