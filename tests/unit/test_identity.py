"""Identities: one text for each, and nothing else gets through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloison.errors import InvalidIntent
from cloison.identity import Identity, Role

ids = st.from_regex(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
identities = st.builds(Identity, st.sampled_from(Role), ids)

KNOWN = [
    ("cloison://controller/c1", Role.CONTROLLER, "c1", "controller.c1"),
    ("cloison://etcd/e1", Role.ETCD, "e1", "etcd.e1"),
    ("cloison://host/h1", Role.HOST, "h1", "host.h1"),
    ("cloison://operator/alice", Role.OPERATOR, "alice", "operator.alice"),
    ("cloison://tenant/acme/admin", Role.TENANT_ADMIN, "acme", "tenant.acme.admin"),
    ("cloison://tenant/acme/viewer", Role.TENANT_VIEWER, "acme", "tenant.acme.viewer"),
]


@pytest.mark.parametrize(("uri", "role", "name", "dns_name"), KNOWN)
def test_known_forms(uri: str, role: Role, name: str, dns_name: str) -> None:
    identity = Identity.parse(uri)
    assert identity == Identity(role, name)
    assert identity.uri == uri
    assert identity.dns_name == dns_name
    assert str(identity) == uri.removeprefix("cloison://")


@given(identities)
def test_format_and_parse_are_inverse(identity: Identity) -> None:
    assert Identity.parse(identity.uri) == identity
    assert Identity.parse(identity.path) == identity
    assert Identity.from_uris([identity.uri]) == identity


@given(identities, identities)
def test_different_identities_have_different_names(one: Identity, other: Identity) -> None:
    assert (one == other) == (one.uri == other.uri) == (one.dns_name == other.dns_name)


@given(st.text() | st.text("/:.acdehilmnorstv-%?#\n ", max_size=40).map(lambda t: "cloison://" + t))
def test_whatever_parses_is_the_canonical_text(text: str) -> None:
    try:
        identity = Identity.parse(text)
    except InvalidIntent:
        return
    assert text in (identity.uri, identity.path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "host/",
        "/host/h1",
        "host/h1/",
        "host//h1",
        "host/h1/admin",
        "host/H1",
        "Host/h1",
        "host/h1\n",
        "host/h%31",
        "host/1h",
        "host/" + "h" * 64,
        "host/h1?x",
        "host/h1#x",
        "tenant/acme",
        "tenant/acme/owner",
        "tenant//admin",
        "tenant-admin/acme",
        "admin/acme",
        "CLOISON://host/h1",
        "cloison:host/h1",
        "cloison://cloison://host/h1",
        "https://host/h1",
        "host/" * 1000,
    ],
)
def test_other_texts_are_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(InvalidIntent, match="controller/NAME"):
        Identity.parse(text)


@pytest.mark.parametrize("name", ["", "H1", "-h", "h-", "a.b", "a/b", "h" * 64])
def test_no_identity_has_a_bad_name(name: str) -> None:
    with pytest.raises(InvalidIntent):
        Identity(Role.HOST, name)


def test_from_uris_passes_over_other_schemes() -> None:
    uris = ["spiffe://example.org/x", "cloison://host/h1", "https://example.org"]
    assert Identity.from_uris(uris) == Identity(Role.HOST, "h1")


@pytest.mark.parametrize(
    "uris",
    [
        [],
        ["https://example.org"],
        ["cloison://host/h1", "cloison://host/h2"],
        ["cloison://host/h1", "cloison://host/h1"],
        ["cloison://host/h1", "CLOISON://operator/root"],
        ["CLOISON://host/h1"],
        ["cloison:host/h1"],
        ["cloison://host/h1", "cloison:anything"],
        ["host/h1"],
        ["cloison://host/H1"],
    ],
)
def test_a_certificate_names_exactly_one_identity(uris: list[str]) -> None:
    with pytest.raises(InvalidIntent) as caught:
        Identity.from_uris(uris)
    assert caught.value.violations


def test_only_servers_serve() -> None:
    assert {role for role in Role if role.is_server} == {Role.CONTROLLER, Role.ETCD}
