"""What a switch says no to, tied back to the flow that caused it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from os_ken.ofproto import ofproto_v1_4

from cloison.errors import CloisonError
from controller.flows import Flow, FlowKey
from controller.flows.delta import ForeignFlow
from controller.flows.meters import Meter
from controller.flows.text import flow_text, match_text
from controller.openflow import wire
from controller.openflow.decode import SwitchError

_SHOWN_MAX = 3

FlowChange = Flow | FlowKey | ForeignFlow
Change = FlowChange | Meter


class FlowError(NamedTuple):
    """One error of a switch. change: the flow it is about (its cookie names the object), None for the bundle
    itself.
    """

    change: Change | None
    type: int
    code: int
    text: str


class SwitchRefused(CloisonError):
    """The switch did not accept a delta, and changed nothing. A retry gives the same answer: the compiler
    must act.
    """

    def __init__(self, errors: Sequence[FlowError]) -> None:
        self.errors = tuple(errors)
        shown = [f"{e.text}: {change_text(e.change)}" for e in self.errors[:_SHOWN_MAX]]
        more = [f"and {len(self.errors) - _SHOWN_MAX} more"] if len(self.errors) > _SHOWN_MAX else []
        super().__init__("the switch refused: " + "; ".join(shown + more))


def change_text(change: Change | None) -> str:
    """What an error is about, as people write flows."""
    match change:
        case Flow():
            return flow_text(change)
        case FlowKey(table, priority, match):
            return f"deletion of table={table},priority={priority},{match_text(match)}"
        case ForeignFlow(table, priority, cookie):
            return f"deletion of a foreign flow: cookie={cookie:#x},table={table},priority={priority}"
        case Meter():
            return f"meter={change.id},pktps,burst,rate={change.packets_per_s},burst_size={change.burst}"
        case None:
            return "the bundle"


def flow_error(change: Change | None, error: SwitchError) -> FlowError:
    """Put an error of the wire into words (7.5.4)."""
    if error.type == ofproto_v1_4.OFPET_EXPERIMENTER:
        text = f"error {error.code} of vendor {int.from_bytes(error.data[:4]):#x}"
    else:
        kind = ofproto_v1_4.ofp_error_type_to_str(error.type)
        text = f"{kind} {ofproto_v1_4.ofp_error_code_to_str(error.type, error.code)}"
    return FlowError(change, error.type, error.code, text)


BUNDLE_LOST = FlowError(None, wire.ERROR_BUNDLE_FAILED, 0, "the bundle was neither committed nor refused")
