"""Open vSwitch of this host: its database and its control socket. The only importer of ovs.

Owns the integration bridge and the tunnel ports on it (named vx…); of all other interfaces it writes
nothing but what became of them.
"""

from agent.ovsdb.bridge import OvsBridge
from agent.ovsdb.view import (
    BridgeSpec,
    BridgeView,
    Change,
    InterfaceView,
    ServiceView,
    TlsFiles,
    TunnelView,
    Verdict,
)

__all__ = [
    "BridgeSpec",
    "BridgeView",
    "Change",
    "InterfaceView",
    "OvsBridge",
    "ServiceView",
    "TlsFiles",
    "TunnelView",
    "Verdict",
]
