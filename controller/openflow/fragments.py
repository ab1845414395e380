"""How a bridge shows fragments to its flows: what every session sets first and does not go on without.

As it starts, Open vSwitch shows no layer 4 in any fragment: a fragmented neighbour advertisement would look
like a fragmented ping. OFPC_FRAG_NX_MATCH shows it in first fragments (ovs-fields(7), ip_frag; ovs-ofctl(8),
set-frags). The switch forgets it when it is restarted, as it forgets its flows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cloison.errors import CloisonError
from controller.openflow import wire
from controller.openflow.decode import Malformed, decode_error
from controller.openflow.exchange import control_message
from controller.openflow.framing import Message
from controller.openflow.refusal import flow_error


class SwitchUnfit(CloisonError):
    """The switch cannot do what the flows rely on: no session with it goes on."""


class FragmentsExchange:
    """Sets the mode (7.3.2), and reads it back: Open vSwitch reports no error for a mode it cannot do."""

    brief = True
    xids = 3
    _WANTED = wire.CONFIG.pack(wire.FRAGMENTS_NX_MATCH, 0)

    def __init__(self, *, allowed_s: float = 10.0) -> None:
        self.allowed_s = allowed_s
        self.done = False
        self._failure: Exception | None = None

    def start(self, xid: int) -> Iterator[bytes]:
        """The setting, a barrier, the question."""
        yield (
            control_message(wire.SET_CONFIG, xid, self._WANTED)
            + control_message(wire.BARRIER_REQUEST, xid + 1)
            + control_message(wire.GET_CONFIG_REQUEST, xid + 2)
        )

    def receive(self, message: Message) -> Iterable[bytes]:
        """The answer, or an error; a barrier reply says nothing by itself."""
        if message.type == wire.ERROR:
            self._failure = SwitchUnfit(
                f"it answers with {flow_error(None, decode_error(message.body)).text}"
            )
            self.done = True
        elif message.type == wire.GET_CONFIG_REPLY:
            if len(message.body) != wire.CONFIG.size:
                raise Malformed(f"a configuration of {len(message.body)} bytes")
            flags, _ = wire.CONFIG.unpack(message.body)
            if flags & wire.FRAGMENTS_MASK != wire.FRAGMENTS_NX_MATCH:
                self._failure = SwitchUnfit(f"it handles fragments by mode {flags & wire.FRAGMENTS_MASK}")
            self.done = True
        return ()

    def failure(self) -> Exception | None:
        """Why this switch is not to be used."""
        return self._failure
