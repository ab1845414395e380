"""A compute host of a lab: its namespace, its switch, its agent. Holds them together, does nothing itself."""

from __future__ import annotations

from dataclasses import dataclass

from topologies.daemon import Daemon
from topologies.nodes import ComputeHost
from topologies.switch import Switch


@dataclass
class Host:
    """A compute host with its daemons, each of which can be ended and started alone."""

    name: str
    vtep: str
    node: ComputeHost
    switch: Switch
    agent: Daemon | None = None

    @property
    def ovsdb(self) -> Daemon:
        """Its ovsdb-server."""
        return self.switch.ovsdb

    @property
    def vswitchd(self) -> Daemon:
        """Its ovs-vswitchd."""
        return self.switch.vswitchd
