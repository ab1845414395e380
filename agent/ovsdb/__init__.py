"""Open vSwitch of this host: its database and its control socket. The only importer of ovs.

Owns the integration bridge, the tunnel ports on it (named vx…), and the ports of edges, there and on the
bridges of physical networks (named cli…, clo…); of all other interfaces it writes nothing but what became of
them.
"""

from agent.ovsdb.bridge import OvsBridge
from agent.ovsdb.view import (
    BridgeSpec,
    BridgeView,
    Change,
    EdgePort,
    EdgePortView,
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
    "EdgePort",
    "EdgePortView",
    "InterfaceView",
    "OvsBridge",
    "ServiceView",
    "TlsFiles",
    "TunnelView",
    "Verdict",
]
