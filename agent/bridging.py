"""What the bridge of this host should be, as it follows from the plan, the kernel's devices and the rest.

A part of the loop's round (reconcile.py). It is worked out again only where something it follows from has
changed. What comes out is the same object otherwise, so that nobody has to compare it port by port.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.ovsdb.view import BridgeSpec, BridgeView, EdgePort, Verdict
from agent.plan import (
    SERVICE_AGENT_LINK,
    Actual,
    Fault,
    HostPlan,
    Link,
    NetworkPlan,
    inside_link,
    link_name,
    outside_link,
)
from agent.seams import HostSettings
from cloison.model import Vni
from cloison.service_link import SERVICE_LINK


class Bridging:
    """Remembers what it was asked last, and what it said."""

    def __init__(self, settings: HostSettings) -> None:
        self._settings = settings
        self._networks: Mapping[Vni, NetworkPlan] = {}
        self._odd: frozenset[Vni] = frozenset()
        # The networks of the plan, and those of them that there can be a device of.
        self._named: frozenset[Vni] = frozenset()
        self._carried: frozenset[Vni] = frozenset()
        self._tunnels: dict[Vni, int] = {}
        self._tunnels_for: tuple[frozenset[Vni], Mapping[Vni, Link], int] | None = None
        # What it followed from last, and what followed.
        self._guarded: tuple[tuple[object, ...], frozenset[str]] | None = None
        self._spec: BridgeSpec | None = None

    def guarded(
        self, plan: HostPlan | None, view: BridgeView, *, with_services: bool, with_edges: bool
    ) -> frozenset[str]:
        """Return what stands on the bridge, or is about to, and is not for the host's own ears."""
        service = with_services or view.service is not None
        self._take_networks(plan)
        edges = plan.edges if plan is not None and with_edges else {}
        seen = (view.interfaces, view.tunnels, service, self._carried, edges)
        if self._guarded is None or seen != self._guarded[0]:
            guarded = frozenset(name for name, found in view.interfaces.items() if found.device)
            guarded |= {link_name(vni) for vni in self._carried | view.tunnels.keys()}
            guarded |= {SERVICE_LINK, SERVICE_AGENT_LINK} if service else frozenset()
            guarded |= {link(number) for number in edges for link in (inside_link, outside_link)}
            self._guarded = seen, guarded
        return self._guarded[1]

    def spec(
        self,
        plan: HostPlan | None,
        actual: Actual,
        target: str | None,
        verdicts: Mapping[str, Verdict],
        service: int | None,
        edges: Mapping[str, EdgePort] | None,
    ) -> BridgeSpec:
        """Return what the bridge should be; service: index of the local services' device."""
        tunnels = None if plan is None else self._tunnels_of(plan, actual)
        known = self._spec
        wanted = (target, tunnels, verdicts, service, edges)
        if known is None or wanted != (
            known.target, known.tunnels, known.verdicts, known.service, known.edges
        ):  # fmt: skip
            settings = self._settings
            self._spec = known = BridgeSpec(
                name=settings.bridge,
                datapath_type=settings.datapath_type,
                new_datapath_type=settings.new_datapath_type,
                tls=settings.tls,
                target=target,
                tunnels=tunnels,
                verdicts=verdicts,
                service=service,
                edges=edges,
            )
        return known

    def _take_networks(self, plan: HostPlan | None) -> None:
        networks = {} if plan is None else plan.networks
        odd = frozenset[Vni]() if plan is None else plan.odd
        if networks is self._networks:
            return
        if networks.keys() != self._networks.keys() or odd is not self._odd:
            self._named = frozenset(networks)
            self._carried = self._named - {vni for vni in odd if networks[vni].fault}
        self._networks, self._odd = networks, odd

    def _tunnels_of(self, plan: HostPlan, actual: Actual) -> dict[Vni, int]:
        self._take_networks(plan)
        links, before = actual.links, self._tunnels_for
        if (
            before is None
            or before[0] is not self._named
            or before[1] is not links
            or before[2] != actual.links_changed
        ):
            self._tunnels = {vni: links[vni].ifindex for vni in self._named if vni in links}
            self._tunnels_for = (self._named, links, actual.links_changed)
        return self._tunnels


def port_faults(view: BridgeView) -> list[Fault]:
    """Return what the switch says is wrong with ports of ours."""
    faults = [
        Fault("TUNNEL_PORT_FAILED", f"{link_name(tunnel.vni)}: {tunnel.error}")
        for tunnel in view.tunnels.values()
        if tunnel.error
    ]
    if view.service is not None and view.service.error:
        faults.append(Fault("SERVICES_FAILED", f"{SERVICE_LINK}: {view.service.error}"))
    faults += [
        Fault("EDGE_PORT_FAILED", f"{name}: {port.error}")
        for name, port in view.edge_ports.items()
        if port.error
    ]
    return faults
