"""Topology files: what is shipped is right, what is wrong is named."""

from __future__ import annotations

import pytest

from topologies.spec import SpecError, load, of_hosts, parse, shipped

GOOD = """
name: x
underlay: {kind: leaf-spine, spines: 1, leaves: 2, hosts_per_leaf: 1}
tenants:
  - id: acme
    networks:
      - id: web
        subnets: [{id: v4, cidr: 10.0.0.0/24, gateway: 10.0.0.1}]
        ports: [{id: p1, host: h2, mac: "52:54:00:00:00:AA", addresses: [10.0.0.5]}]
"""


def test_a_good_file_is_read() -> None:
    spec = parse(GOOD)
    ((tenant, network, port),) = spec.ports()
    assert (tenant, network, port.host, port.addresses) == ("acme", "web", "h2", ("10.0.0.5",))
    assert port.mac == "52:54:00:00:00:aa"
    assert spec.underlay.build().hosts == ("h1", "h2")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "kind: leaf-spine",
            "kind: ring",
            "underlay.kind: 'ring' is no underlay: use two-hosts or leaf-spine",
        ),
        ("spines: 1", "spines: 0", "underlay.spines: 0 must be 1 or more to connect 2 leaves"),
        ("spines: 1", "spines: many", "underlay.spines: 'many' must be a whole number"),
        ("spines: 1", "spine: 1", "underlay.spine: 1 is in an unknown field"),
        ("leaves: 2", "leaves: 1000", "underlay.leaves: 1000 must be 1 to 64"),
        ("spines: 1", "mtu: 100", "underlay.mtu: 100 must be 1350 to 65535"),
        ("id: acme", "id: Acme", "tenants[0].id: 'Acme' is not a name"),
        ("id: acme", "ident: acme", "field 'id' is missing in tenants[0]"),
        ("10.0.0.0/24", "10.0.0.9/24", "subnets[0].cidr: '10.0.0.9/24' is no subnet"),
        ("gateway: 10.0.0.1", "gateway: 10.9.0.1", "gateway: '10.9.0.1' is outside the subnet 10.0.0.0/24"),
        ("host: h2", "host: h3", "host: 'h3' is not in this underlay; hosts are h1, h2"),
        ('"52:54:00:00:00:AA"', "5254", "ports[0].mac: 5254 must be a text"),
        ('"52:54:00:00:00:AA"', '"52-54"', "ports[0].mac: '52-54' is no MAC address"),
        ("[10.0.0.5]", "[10.0.0.500]", "'10.0.0.500', which is no IP address"),
        ("name: x", "- x", "not YAML"),
        (GOOD, "just words", "is not a mapping of fields"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, says: str) -> None:
    assert old in GOOD
    with pytest.raises(SpecError) as caught:
        parse(GOOD.replace(old, new), "file.yaml")
    assert str(caught.value).startswith("file.yaml: ")
    assert says in str(caught.value)


def test_ids_are_unique_among_siblings() -> None:
    twice = "name: x\nunderlay: {kind: two-hosts}\ntenants: [{id: a}, {id: a}]"
    with pytest.raises(SpecError, match=r"tenants: .* has a twice"):
        parse(twice)


def test_what_is_shipped_is_right() -> None:
    assert {"two-hosts", "leaf-spine-8", "overlap"} <= set(shipped())
    for name in shipped():
        assert load(name).name == name


def test_the_overlapping_tenants_differ_in_nothing_but_their_names() -> None:
    red, blue = load("overlap").tenants
    assert red.networks == blue.networks
    assert red.id != blue.id
    (network,) = red.networks
    assert len({p.host for p in network.ports}) == 3


def test_a_missing_file_names_what_is_shipped() -> None:
    with pytest.raises(SpecError, match="overlap"):
        load("no-such-file.yaml")


def test_a_number_of_hosts_makes_a_lab() -> None:
    assert of_hosts(3).underlay.build().hosts == ("h1", "h2", "h3")
    with pytest.raises(SpecError, match="0 is too few"):
        of_hosts(0)
