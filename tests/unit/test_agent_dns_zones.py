"""What a name means to whom: the pure part of the resolver."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.services.dns_zones import SERVER_NAME, Zones, address_of, text_of
from cloison.model import Vni

ONE, TWO, OTHER = Vni(1), Vni(2), Vni(3)
A, B, SIX = (ip_address(text).packed for text in ("10.0.0.5", "10.0.0.6", "fd00:1::5"))


@dataclass(frozen=True)
class Names:
    tenant: str
    domain: str
    hosts: dict[str, tuple[bytes, ...]] = field(default_factory=dict)


def zones(**more: Names) -> Zones:
    made = Zones()
    known = {
        ONE: Names("t1", "net1.t1.cloison.internal", {"web": (A, SIX), "db": (B,)}),
        TWO: Names("t1", "corp.example", {"web": (B,), "a.deep.one": (A,)}),
        OTHER: Names("t2", "net1.t2.cloison.internal", {"web": (A,)}),
    }
    made.replace(known | {Vni(int(key.strip("v"))): zone for key, zone in more.items()})
    return made


def test_a_host_of_any_network_of_the_tenant_is_found() -> None:
    node = zones().find("t1", ONE, "web.corp.example")
    assert node is not None
    assert node.addresses == (B,)
    node = zones().find("t1", TWO, "web.net1.t1.cloison.internal")
    assert node is not None
    assert node.addresses == (A, SIX)


def test_a_short_name_is_looked_for_in_its_own_network_alone() -> None:
    """A guest's search list holds its own network's domain: it is completed with that and nothing else."""
    node = zones().find("t1", TWO, "db.corp.example")
    assert node is not None
    assert not node.exists
    assert zones().find("t1", TWO, "db") is None, "nobody's business here"


def test_names_of_another_tenant_do_not_exist() -> None:
    for name in (
        "web.net1.t2.cloison.internal",
        "net1.t2.cloison.internal",
        "t2.cloison.internal",
        "no.cloison.internal",
    ):
        node = zones().find("t1", ONE, name)
        assert node is not None
        assert not node.exists, name
    assert zones().find("t2", OTHER, "web.corp.example") is None, "a domain chosen by t1 says nothing to t2"
    assert zones().find("t3", Vni(9), "corp.example") is None


@pytest.mark.parametrize(
    "name", ["cloison.internal", "t1.cloison.internal", "deep.one.corp.example", "one.corp.example"]
)
def test_a_name_above_others_exists_and_has_nothing(name: str) -> None:
    node = zones().find("t1", ONE, name)
    assert node is not None
    assert node.exists
    assert node.addresses == ()


@pytest.mark.parametrize("name", ["example", "xcorp.example", "www.debian.org", ""])
def test_other_names_are_for_others_to_know(name: str) -> None:
    assert zones().find("t1", ONE, name) is None


def test_an_address_means_the_name_in_the_asking_network_first() -> None:
    reverse = "5.0.0.10.in-addr.arpa"
    by_network = {
        vni: zones().find(tenant, vni, reverse) for tenant, vni in (("t1", ONE), ("t1", TWO), ("t2", OTHER))
    }
    assert [node and node.names for node in by_network.values()] == [
        ("web.net1.t1.cloison.internal",),
        ("a.deep.one.corp.example",),
        ("web.net1.t2.cloison.internal",),
    ]
    six = zones().find("t1", TWO, ip_address(SIX).reverse_pointer)
    assert six is not None
    assert six.names == ("web.net1.t1.cloison.internal",)


def test_an_address_of_several_networks_is_the_one_that_can_be_reached() -> None:
    """Of two that are not the asking one, that which is routed with it, in whatever order they came."""
    reverse = "8.0.0.10.in-addr.arpa"
    here = ip_address("10.0.0.8").packed
    three, four = Names("t1", "three.example", {"c": (here,)}), Names("t1", "four.example", {"d": (here,)})
    for order in ({"v7": three, "v8": four}, {"v8": four, "v7": three}):
        known = zones(**order)
        found = [known.find("t1", ONE, reverse, near) for near in ({Vni(8)}, {Vni(7)}, set())]
        assert [node and node.names for node in found] == [
            ("d.four.example",), ("c.three.example",), ("c.three.example",)
        ]  # fmt: skip


def test_private_addresses_are_never_asked_about_elsewhere() -> None:
    known = zones()
    for text in ("10.9.9.9", "172.31.0.1", "192.168.1.1", "100.64.0.1", "169.254.9.9", "fd00::1", "fe80::1"):
        node = known.find("t1", ONE, ip_address(text).reverse_pointer)
        assert node is not None
        assert not node.exists, text
    for text in ("172.32.0.1", "100.128.0.1", "8.8.8.8", "2001:db8::1"):
        assert known.find("t1", ONE, ip_address(text).reverse_pointer) is None, text
    partial = known.find("t1", ONE, "0.10.in-addr.arpa")
    assert partial is not None
    assert partial.exists, "something may be below it"


def test_the_services_have_names() -> None:
    node = zones().find("t3", Vni(9), SERVER_NAME)
    assert node is not None
    assert ip_address("169.254.169.253").packed in node.addresses
    back = zones().find("t3", Vni(9), "254.169.254.169.in-addr.arpa")
    assert back is not None
    assert back.names == ("metadata.cloison.internal",)


def test_a_change_is_followed_there_and_back() -> None:
    known = zones()
    known.replace({ONE: Names("t1", "net1.t1.cloison.internal", {"db": (A,)})})
    web = known.find("t1", ONE, "web.net1.t1.cloison.internal")
    assert web is not None
    assert not web.exists
    back = known.find("t1", ONE, "5.0.0.10.in-addr.arpa")
    assert back is not None
    assert back.names == ("db.net1.t1.cloison.internal",)
    assert known.find("t1", ONE, "web.corp.example") is None
    known.replace({ONE: Names("t2", "net1.t1.cloison.internal", {"db": (A,)})})
    assert known.find("t2", ONE, "db.net1.t1.cloison.internal") is not None
    gone = known.find("t1", ONE, "db.net1.t1.cloison.internal")
    assert gone is not None
    assert not gone.exists
    known.replace({ONE: Names("t2", "renamed.example", {"db": (A,)})})
    back = known.find("t2", ONE, "5.0.0.10.in-addr.arpa")
    assert back is not None
    assert back.names == ("db.renamed.example",)


def test_a_record_that_makes_no_sense_stops_no_other() -> None:
    bad = {
        "": (A,),
        "x" * 64: (A,),
        "two words": (A,),
        "tab\t": (A,),
        "é": (A,),
        "short": (b"\1\2",),
        "web": (B,),
        "WEB2": (B,),
    }
    known = zones(v7=Names("t7", "Corp.Example.", bad), v8=Names("t7", "bad domain", {"web": (A,)}))
    for host, addresses in (("web", (B,)), ("web2", (B,))):
        node = known.find("t7", Vni(7), f"{host}.corp.example")
        assert node is not None
        assert node.addresses == addresses
    none = known.find("t7", Vni(7), "5.0.0.10.in-addr.arpa")
    assert none is not None
    assert none.names == ()


def test_labels_that_are_no_host_names_equal_none() -> None:
    assert text_of([b"WEB", b"Corp", b"example"]) == "web.corp.example"
    assert text_of([b"web.corp", b"example"]) != "web.corp.example"
    assert text_of([b"\xff", b"example"]) == "\\ff.example"


@pytest.mark.parametrize(
    "name",
    [
        "1.2.3.in-addr.arpa",
        "01.2.3.4.in-addr.arpa",
        "256.2.3.4.in-addr.arpa",
        "x.2.3.4.in-addr.arpa",
        "_.1.ip6.arpa",
        ".".join(["_"] * 32) + ".ip6.arpa",
        ".".join(["g"] * 32) + ".ip6.arpa",
    ],
)
def test_what_is_no_whole_reverse_name(name: str) -> None:
    assert address_of(name) is None


HOSTS = st.dictionaries(
    st.sampled_from(["web", "Web", "db", "a.b", "two words", "x" * 64]),
    st.lists(st.sampled_from([A, B, SIX, b"bad"]), max_size=2).map(tuple),
)
WORLDS = st.dictionaries(
    st.sampled_from([ONE, TWO]),
    st.builds(
        Names,
        st.sampled_from(["t1", "t2"]),
        st.sampled_from(["one.example", "One.Example", "no name"]),
        HOSTS,
    ),
)


def told(known: Zones) -> list[object]:
    names = ["web.one.example", "db.one.example", "b.one.example", "a.b.one.example", "one.example"]
    names += ["5.0.0.10.in-addr.arpa", "6.0.0.10.in-addr.arpa"]
    return [known.find(tenant, ONE, name) for tenant in ("t1", "t2") for name in names]


@given(st.lists(WORLDS, min_size=1, max_size=5))
def test_what_is_told_does_not_depend_on_the_path(worlds: list[dict[Vni, Names]]) -> None:
    """Only what differs is taken over; hosts that are not named again are the same objects as before."""
    walked, before = Zones(), dict[Vni, Names]()
    for world in worlds:
        shared = {
            vni: Names(
                zone.tenant, zone.domain, {n: _same(before.get(vni), n, a) for n, a in zone.hosts.items()}
            )
            for vni, zone in world.items()
        }
        walked.replace(shared)
        before = shared
    fresh = Zones()
    fresh.replace(worlds[-1])
    assert told(walked) == told(fresh)


def _same(before: Names | None, name: str, addresses: tuple[bytes, ...]) -> tuple[bytes, ...]:
    known = None if before is None else before.hosts.get(name)
    return known if known is not None and known == addresses else addresses
