"""The bridge as values: what it should be (BridgeSpec), what it is (BridgeView). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cloison.model import OFPORT_MAX, Vni


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of the host's private key, its certificate, and the authority that signs controllers."""

    key: str
    cert: str
    ca: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the controller said about an interface: 'bound', or 'refused' with a reason."""

    iface_id: str
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class InterfaceView:
    """A workload's interface on the bridge; ofport 0 until Open vSwitch has given a number.

    device: it is a device of the kernel, which the host's own IP stack would hear too.
    """

    name: str
    iface_id: str
    ofport: int
    error: str
    device: bool = True

    @property
    def usable(self) -> bool:
        """Tell whether it can be reported: it has an id, a number, and no error."""
        return bool(self.iface_id) and 0 < self.ofport <= OFPORT_MAX and not self.error


@dataclass(frozen=True, slots=True)
class TunnelView:
    """The port of a VXLAN device; ifindex is the device it was made for."""

    vni: Vni
    ofport: int
    error: str
    ifindex: int

    @property
    def usable(self) -> bool:
        """Tell whether it can be reported."""
        return 0 < self.ofport <= OFPORT_MAX and not self.error


@dataclass(frozen=True, slots=True)
class ServiceView:
    """The port of the local services; ifindex is the device it was made for."""

    ofport: int
    error: str
    ifindex: int


@dataclass(frozen=True, slots=True)
class EdgePort:
    """A port of an edge as it should be: in which bridge, of which device.

    iface_id: of the one on the integration bridge. tag: its VLAN on another bridge, 0 for untagged frames
    only.
    """

    edge: int
    bridge: str
    ifindex: int
    iface_id: str = ""
    tag: int | None = None


@dataclass(frozen=True, slots=True)
class EdgePortView:
    """A port of an edge as it is; ofport 0 until Open vSwitch has given a number."""

    bridge: str
    ofport: int
    error: str
    tag: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class BridgeView:
    """What the database says. datapath_id is 0 until ovs-vswitchd has made the bridge.

    settings is whatever else we write there, only to be compared with what it was. bridges: all there are,
    with the types of their datapaths. edge_ports: those on whatever bridge, by the names of their devices.
    """

    connected: bool = False
    exists: bool = False
    datapath_id: int = 0
    datapath_type: str = ""
    interfaces: Mapping[str, InterfaceView] = field(default_factory=dict)
    tunnels: Mapping[Vni, TunnelView] = field(default_factory=dict)
    settings: str = ""
    service: ServiceView | None = None
    bridges: Mapping[str, str] = field(default_factory=dict)
    edge_ports: Mapping[str, EdgePortView] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BridgeSpec:
    """What the bridge should be.

    datapath_type None keeps that of an existing bridge. target None, and tunnels None, leave controllers and
    tunnel ports alone: nothing is known about them yet. tunnels maps each VNI to the ifindex of its device;
    service is that of the local services' device, None while it is not there; verdicts are by interface name.
    edges are the ports of edges, on whatever bridge, by the names of their devices; None leaves them alone.
    """

    name: str
    datapath_type: str | None
    new_datapath_type: str
    tls: TlsFiles | None = None
    target: str | None = None
    tunnels: Mapping[Vni, int] | None = None
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    service: int | None = None
    edges: Mapping[str, EdgePort] | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that was put right.

    Kind is 'bridge', 'controller', 'tunnel', 'service', 'edge' or 'verdict'.
    """

    kind: str
    detail: str
    vni: Vni | None = None
    edge: int | None = None
