"""The physical network of a lab as a graph: who is wired to whom, which addresses, which static routes.

PURE: no I/O. A node is a `host`, `leaf`, `spine` or `controller`; an edge is a point-to-point link with a
/31 (RFC 3021). Every node has a /32 loopback, which is the VTEP address of a host. It must never know about
tenants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from types import MappingProxyType
from typing import Literal

import networkx as nx

Kind = Literal["host", "leaf", "spine", "controller"]

MTU_DEFAULT = 1500
LOOPBACKS: Mapping[Kind, IPv4Network] = MappingProxyType(
    {
        "controller": IPv4Network("100.64.0.0/24"),
        "host": IPv4Network("100.64.64.0/18"),
        "leaf": IPv4Network("100.64.128.0/24"),
        "spine": IPv4Network("100.64.129.0/24"),
    }
)
"""By kind, so that a person can tell an address in a capture: host h7 is 100.64.64.7."""
LINKS = IPv4Network("100.65.0.0/16")
CONTROLLER = "ctl"
INTERFACE_NAME_MAX = 15
"""IFNAMSIZ is 16 with the final NUL (linux/if.h)."""


@dataclass(frozen=True)
class Interface:
    """One end of a link: the interface of `node` that faces `peer`."""

    node: str
    peer: str
    name: str
    address: IPv4Address


@dataclass(frozen=True)
class Wire:
    """A point-to-point link and its two ends; the lower address is at end `a`."""

    a: Interface
    b: Interface
    mtu: int


@dataclass(frozen=True)
class Route:
    """A static route of `node` to the loopback of another node; several next hops when equal."""

    node: str
    destination: IPv4Address
    next_hops: tuple[IPv4Address, ...]


@dataclass(frozen=True)
class Underlay:
    """An addressed physical network.

    `graph` holds `kind` and `loopback` on nodes, `wire` on edges.
    """

    graph: nx.Graph[str]
    mtu: int = MTU_DEFAULT

    def nodes(self, *kinds: Kind) -> tuple[str, ...]:
        """Names of all nodes, or of those of the kinds given, in the order of their making."""
        return tuple(n for n, d in self.graph.nodes(data=True) if not kinds or d["kind"] in kinds)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of the compute hosts."""
        return self.nodes("host")

    def kind(self, node: str) -> Kind:
        """What `node` is. Raises KeyError for an unknown node."""
        kind: Kind = self.graph.nodes[node]["kind"]
        return kind

    def loopback(self, node: str) -> IPv4Address:
        """The node's own address: the VTEP address of a host, the service address of the controller."""
        address: IPv4Address = self.graph.nodes[node]["loopback"]
        return address

    @property
    def vteps(self) -> Mapping[str, IPv4Address]:
        """Host name to VTEP address."""
        return MappingProxyType({h: self.loopback(h) for h in self.hosts})

    def wires(self) -> Iterator[Wire]:
        """Every link once."""
        for _, _, data in self.graph.edges(data=True):
            yield data["wire"]

    def interfaces(self, node: str) -> tuple[Interface, ...]:
        """The link ends at `node`."""
        wires = (self.graph.edges[node, peer]["wire"] for peer in self.graph.neighbors(node))
        return tuple(w.a if w.a.node == node else w.b for w in wires)

    def routes(self, node: str) -> Iterator[Route]:
        """Routes of `node` to every other loopback along all shortest paths.

        A host never carries traffic of others: paths through a host or the controller do not exist.
        """
        for target in self.graph.nodes:
            if target != node:
                yield Route(node, self.loopback(target), self._next_hops(node, target))

    def _next_hops(self, node: str, target: str) -> tuple[IPv4Address, ...]:
        transit = set(self.nodes("leaf", "spine")) | {node, target}
        distance = nx.single_source_shortest_path_length(self.graph.subgraph(transit), target)
        hops = []
        for peer in self.graph.neighbors(node):
            if peer in transit and distance.get(peer) == distance[node] - 1:
                wire: Wire = self.graph.edges[node, peer]["wire"]
                hops.append(wire.b.address if wire.a.node == node else wire.a.address)
        return tuple(hops)


class Builder:
    """Collects nodes and links, hands out addresses in order, and gives a frozen `Underlay`."""

    def __init__(self, mtu: int = MTU_DEFAULT) -> None:
        """`mtu` in bytes, of every link."""
        self._graph: nx.Graph[str] = nx.Graph()
        self._mtu = mtu

    def node(self, name: str, kind: Kind) -> Builder:
        """Add a node with the next loopback address of its kind."""
        number = 1 + sum(1 for _, d in self._graph.nodes(data=True) if d["kind"] == kind)
        self._graph.add_node(name, kind=kind, loopback=LOOPBACKS[kind][number])
        return self

    def link(self, a: str, b: str) -> Builder:
        """Wire two nodes with the next /31. Raises ValueError for a name too long for an interface."""
        index = 2 * self._graph.number_of_edges()
        ends = (_end(a, b, LINKS[index]), _end(b, a, LINKS[index + 1]))
        self._graph.add_edge(a, b, wire=Wire(*ends, mtu=self._mtu))
        return self

    def build(self) -> Underlay:
        """The finished network. Raises ValueError when a part of it cannot be reached."""
        if not nx.is_connected(self._graph):
            raise ValueError("the underlay is in several parts: every node needs a path to every other")
        return Underlay(nx.freeze(self._graph), self._mtu)


def _end(node: str, peer: str, address: IPv4Address) -> Interface:
    name = f"to-{peer}"
    if len(name) > INTERFACE_NAME_MAX:
        raise ValueError(
            f"node name {peer!r} is too long: {name!r} must fit in {INTERFACE_NAME_MAX} characters"
        )
    return Interface(node, peer, name, address)


def two_hosts(mtu: int = MTU_DEFAULT) -> Underlay:
    """h1 and h2 behind one router, the controller beside them."""
    return leaf_spine(spines=0, leaves=1, hosts_per_leaf=2, mtu=mtu)


def leaf_spine(spines: int, leaves: int, hosts_per_leaf: int, mtu: int = MTU_DEFAULT) -> Underlay:
    """Every leaf wired to every spine, `hosts_per_leaf` hosts at each leaf, the controller at the first leaf.

    Hosts are numbered along the leaves: h1 .. hN. Raises ValueError for counts that make no network.
    """
    if leaves < 1 or hosts_per_leaf < 1 or spines < 0:
        raise ValueError("leaves and hosts_per_leaf must be 1 or more, spines 0 or more")
    if leaves > 1 and spines < 1:
        raise ValueError("several leaves need at least one spine between them")
    build = Builder(mtu)
    for s in range(1, spines + 1):
        build.node(f"spine{s}", "spine")
    for leaf in range(1, leaves + 1):
        build.node(f"leaf{leaf}", "leaf")
        for s in range(1, spines + 1):
            build.link(f"leaf{leaf}", f"spine{s}")
    build.node(CONTROLLER, "controller").link(CONTROLLER, "leaf1")
    for h in range(leaves * hosts_per_leaf):
        build.node(f"h{h + 1}", "host").link(f"h{h + 1}", f"leaf{h // hosts_per_leaf + 1}")
    return build.build()
