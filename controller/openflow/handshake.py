"""os-ken's part: its OFPHandler, started by us, without its listener.

OFPHandler as it comes listens on port 6633 and 6653 of all addresses, asks for the ports (whose parser we
need not trust) and is never told that a peer may not be who it says. One instance serves all servers of the
process.
"""

from __future__ import annotations

import threading
from typing import Any

from os_ken.base.app_manager import AppManager
from os_ken.controller import ofp_event
from os_ken.controller.handler import CONFIG_DISPATCHER, set_ev_handler
from os_ken.controller.ofp_handler import OFPHandler
from os_ken.ofproto import ofproto_parser, ofproto_v1_4, ofproto_v1_4_parser

# A Hello is the same in all versions, and nothing else of another version is ever read (framing.py).
for _version in range(1, 256):
    ofproto_parser.register_msg_parser(_version)(ofproto_v1_4_parser.msg_parser)


class Handshake(OFPHandler):  # type: ignore[misc]  # os_ken is untyped
    """Hello, features and echo. Its handlers run in the session's thread; it has no queue and no thread of
    its own.
    """

    OFP_VERSIONS = [ofproto_v1_4.OFP_VERSION]

    def start(self) -> None:
        """Do not listen, and start no event loop: no event is ever queued here."""

    @set_ev_handler(ofp_event.EventOFPSwitchFeatures, CONFIG_DISPATCHER)  # type: ignore[untyped-decorator]
    def switch_features_handler(self, ev: Any) -> None:
        """The datapath id is known; whether the session is admitted is decided elsewhere."""
        session = ev.msg.datapath
        if session.id is None:
            session.id = ev.msg.datapath_id
            session.features_received()


_lock = threading.Lock()
_users = 0


def acquire() -> None:
    """Start os-ken's application, if this is the first user of it in the process."""
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            AppManager.get_instance().instantiate(Handshake)


def release() -> None:
    """Stop it with its last user."""
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            AppManager.get_instance().uninstantiate(ofp_event.NAME)
