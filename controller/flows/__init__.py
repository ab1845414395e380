"""Flows as values: fields, matches, actions. Pure; no bytes, no session, no knowledge of the pipeline.

Compiler, verifier and the OpenFlow encoder all speak this language and share nothing else.
"""

from controller.flows.actions import Action, Load, Move, Output, OutputField, SetField
from controller.flows.fields import FIELDS, Field, field
from controller.flows.flow import Flow, FlowKey, Match, MatchTerm, match

__all__ = [
    "FIELDS",
    "Action",
    "Field",
    "Flow",
    "FlowKey",
    "Load",
    "Match",
    "MatchTerm",
    "Move",
    "Output",
    "OutputField",
    "SetField",
    "field",
    "match",
]
