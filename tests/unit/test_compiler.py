"""The compiler: its page is true, its declarations bind, and what it says of a port is what is meant."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from cloison.names import PortName
from controller.compiler import compile_host, port_flows
from controller.compiler.cookies import Cookie, CookieKind, unpack
from controller.compiler.describe import example_host, pipeline_page
from controller.compiler.pipeline import (
    ADDRESSING,
    ADMISSION,
    CLAIMED,
    COMMIT,
    FORWARD,
    OUTPUT,
    TABLES,
    TAG,
    TRACK,
    TRACKED,
)
from controller.compiler.registers import NETWORK, TO_PORT
from controller.compiler.view import HostView
from controller.flows import CheckPacketLarger, Conjunction, Ct, Output, SetField, field, match

PAGE = Path(__file__).parents[2] / "docs" / "pipeline.md"


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == pipeline_page(), "run `make docs`"


def test_every_table_drops_what_it_does_not_know() -> None:
    flows = compile_host(HostView({}, {})).values()
    misses = {f.table for f in flows if f.priority == 0 and not f.match and not f.actions and f.goto is None}
    assert misses == {t.number for t in TABLES}


def test_an_empty_bridge_passes_nothing() -> None:
    """Nothing leaves table 1: without a port or a network no frame gets any further."""
    flows = compile_host(HostView({}, {})).values()
    assert {f.goto for f in flows if f.table == ADMISSION.number} <= {None, CLAIMED.number}
    assert all(f.goto is None and not f.actions for f in flows if f.table == CLAIMED.number)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ADMISSION.flow(1, match(eth_dst=1), cookie=0),
        lambda: ADMISSION.flow(1, match(in_port=1), goto=OUTPUT, cookie=0),
        lambda: ADMISSION.flow(1, match(in_port=1), TO_PORT.load(1), goto=FORWARD, cookie=0),
        lambda: ADDRESSING.flow(1, match(reg1=1), goto=FORWARD, cookie=0),
        lambda: FORWARD.flow(1, match(reg0=1), SetField(field("eth_src"), 1), goto=OUTPUT, cookie=0),
        lambda: OUTPUT.flow(1, match(), Output(1), cookie=0),
        lambda: OUTPUT.flow(1, match(), meter=1, cookie=0),
        lambda: FORWARD.flow(1, match(), TRACK.track(TRACKED), cookie=0),
        lambda: TRACK.flow(1, match(eth_type=0x800), Ct(zone=7, table=8), cookie=0),
        lambda: TRACK.flow(1, match(eth_type=0x800), TRACK.track(FORWARD), cookie=0),
        lambda: COMMIT.flow(1, match(), Conjunction(1, 1, 2), cookie=0),
        lambda: TAG.flow(1, match(), CheckPacketLarger(100, field("reg3"), 3), cookie=0),
        lambda: FORWARD.commit(),
        lambda: NETWORK.load(1 << 32),
    ],
)
def test_a_table_cannot_do_what_it_did_not_declare(make: object) -> None:
    with pytest.raises(ValueError, match=r"declare|bits"):
        make()  # type: ignore[operator]


def test_cookies_name_tenant_and_object() -> None:
    flows = compile_host(example_host()).values()
    seen = {unpack(f.cookie) for f in flows}
    assert seen == {
        Cookie(CookieKind.STATIC, 0, 0),
        Cookie(CookieKind.NETWORK, 1, 5001),
        Cookie(CookieKind.PORT, 1, 77),
        Cookie(CookieKind.POLICY, 1, 1),
    }
    assert unpack(0) is None


def test_two_objects_that_claim_one_key_are_refused() -> None:
    host = example_host()
    (name, port), *_ = host.ports.items()
    twin = replace(port, port_number=78)
    with pytest.raises(ValueError, match="have one key"):
        compile_host(HostView(host.networks, {name: port, PortName("acme", "web", "twin"): twin}))


def test_what_a_port_may_claim_is_only_its_own() -> None:
    """Each flow that admits a port's frame names the in_port, no tag, its MAC, and one address of its own.

    The exception is the question for an address, to everyone and from nobody.
    """
    (port,) = example_host().ports.values()
    own = {int(a) for a in (*port.addresses4, *port.addresses6)}
    admitted = [f for f in port_flows(port) if f.table == ADMISSION.number and f.goto is not None]
    assert admitted
    for flow in admitted:
        terms = {t.field.name: t for t in flow.match}
        assert all(t.mask == t.field.all_ones for t in flow.match)
        assert terms["in_port"].value == port.ofport
        assert terms["vlan_vid"].value == 0
        assert terms["eth_src"].value == port.mac
        assert terms.get("arp_sha", terms["eth_src"]).value == port.mac
        claimed = [terms[f].value for f in ("ipv4_src", "arp_spa", "ipv6_src") if f in terms]
        assert len(claimed) == 1
        asks = {"ipv4_dst": 0xFFFFFFFF, "ip_proto": 17, "udp_src": 68, "udp_dst": 67}
        if claimed == [0]:
            assert asks.items() <= {name: term.value for name, term in terms.items()}.items()
        else:
            assert claimed[0] in own
            assert not asks.keys() & terms.keys()
    assert {ip_address("fe80::5054:ff:fe00:5")} <= set(port.addresses6)
