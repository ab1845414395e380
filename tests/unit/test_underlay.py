"""The underlay graph: addresses, equal-cost routes, names the kernel takes."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from topologies.underlay import INTERFACE_NAME_MAX, Underlay, leaf_spine, two_hosts


def owner(underlay: Underlay, address: IPv4Address) -> str:
    return next(i.node for n in underlay.nodes() for i in underlay.interfaces(n) if i.address == address)


def walk(underlay: Underlay, source: str, target: str) -> set[str]:
    """All nodes on any path the routes give; fails on a loop."""
    table = {n: {r.destination: r.next_hops for r in underlay.routes(n)} for n in underlay.nodes()}
    seen, edge = set(), {source}
    for _ in underlay.nodes():
        seen |= edge
        edge = {owner(underlay, h) for n in edge - {target} for h in table[n][underlay.loopback(target)]}
        if not edge - {target}:
            return seen | edge
    raise AssertionError(f"routes from {source} to {target} loop")


@pytest.mark.slow
@pytest.mark.parametrize("underlay", [two_hosts(), leaf_spine(2, 4, 2), leaf_spine(0, 1, 3)])
def test_every_node_has_a_route_to_every_other_that_arrives(underlay: Underlay) -> None:
    for source in underlay.nodes():
        for target in underlay.nodes():
            if source != target:
                assert target in walk(underlay, source, target)


def test_paths_between_leaves_use_every_spine_and_no_host() -> None:
    underlay = leaf_spine(3, 2, 2)
    assert walk(underlay, "h1", "h4") == {"h1", "leaf1", "spine1", "spine2", "spine3", "leaf2", "h4"}


def test_neighbours_at_one_leaf_do_not_go_over_a_spine() -> None:
    assert walk(leaf_spine(2, 2, 2), "h1", "h2") == {"h1", "leaf1", "h2"}


def test_addresses_are_unique_and_ends_of_a_link_share_a_31() -> None:
    underlay = leaf_spine(2, 4, 2)
    ends = [i for n in underlay.nodes() for i in underlay.interfaces(n)]
    addresses = [i.address for i in ends] + [underlay.loopback(n) for n in underlay.nodes()]
    assert len(set(addresses)) == len(addresses)
    for wire in underlay.wires():
        assert int(wire.a.address) ^ int(wire.b.address) == 1
        assert (wire.a.node, wire.a.peer) == (wire.b.peer, wire.b.node)


def test_interface_names_fit_and_are_unique_on_a_node() -> None:
    underlay = leaf_spine(16, 64, 1)
    for node in underlay.nodes():
        names = [i.name for i in underlay.interfaces(node)]
        assert len(set(names)) == len(names)
        assert all(len(name) <= INTERFACE_NAME_MAX for name in names)


def test_vteps_are_the_loopbacks_of_hosts_only() -> None:
    underlay = leaf_spine(1, 2, 1)
    assert underlay.vteps == {"h1": IPv4Address("100.64.64.1"), "h2": IPv4Address("100.64.64.2")}


def test_mtu_is_on_every_wire() -> None:
    assert {w.mtu for w in leaf_spine(1, 2, 1, mtu=9000).wires()} == {9000}


@pytest.mark.parametrize("counts", [(0, 2, 1), (1, 0, 1), (1, 1, 0), (-1, 1, 1)])
def test_counts_that_make_no_network_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"leaves|spine"):
        leaf_spine(*counts)
