"""Open vSwitch's own verdict on compiled policy: ofproto/trace equals the reference of the meaning.

The connection's state and original tuple are given to the trace, as the tracker would.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.compiler import PolicyView, policy_flows, static_flows
from controller.compiler.pipeline import COMMIT, DIRECTION, EGRESS, INGRESS
from controller.flows.text import flows_text
from tests.support.effort import examples
from tests.support.ovs import Ovs
from tests.support.policy_cases import connections, policies
from tests.support.policy_reference import Connection, allowed

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

OUT = 2


@pytest.fixture(scope="module")
def ovs() -> Iterator[Ovs]:
    with Ovs() as running:
        running.add_bridge("br-int", dpid=1, ports=OUT)
        running.ofctl("set-frags", "br-int", "nx-match")
        yield running


@settings(
    max_examples=examples(160),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(policy=policies(), tried=st.lists(st.tuples(connections(), st.booleans()), min_size=8, max_size=16))
def test_the_switch_admits_what_is_meant(
    ovs: Ovs, policy: PolicyView, tried: list[tuple[Connection, bool]]
) -> None:
    carry(ovs, policy)
    for connection, reply in tried:
        assert passes(ovs, connection, reply=reply) == allowed(policy, connection), (connection, reply)


def carry(ovs: Ovs, policy: PolicyView) -> None:
    """Make a bridge of the tables that judge: what COMMIT gets is sent."""
    judging = {t.number for t in (DIRECTION, EGRESS, INGRESS)}
    flows = [*(f for f in static_flows() if f.table in judging), *policy_flows(policy)]
    frame = f"table=0,actions=goto_table:{DIRECTION.number}\ntable={COMMIT.number},actions=output:{OUT}\n"
    ovs.ofctl("del-flows", "br-int")
    ovs.ofctl("add-flows", "br-int", "-", "--bundle", stdin=flows_text(flows) + frame)


def passes(ovs: Ovs, connection: Connection, *, reply: bool) -> bool:
    """Tell whether Open vSwitch would send a packet of the connection."""
    text = ovs.appctl("ofproto/trace", "br-int", shown(connection, reply=reply))
    verdict = text.strip().splitlines()[-1]
    assert verdict.startswith("Datapath actions: "), text
    return verdict != "Datapath actions: drop"


def shown(connection: Connection, *, reply: bool) -> str:
    """A packet of a connection, with what the tracker says of it, as ovs-ofctl writes it."""
    four = isinstance(connection.source, IPv4Address)
    sender, receiver = connection.initiator, connection.responder
    if reply:
        sender, receiver = receiver, sender
    said = {
        "in_port": 1,
        "reg4": sender,
        "reg5": receiver,
        "reg8": 1,
        "ct_state": "trk|est|rpl" if reply else "trk|new",
        "ct_nw_src" if four else "ct_ipv6_src": connection.source,
        "ct_nw_dst" if four else "ct_ipv6_dst": connection.destination,
        "ct_nw_proto": connection.protocol,
        "ct_tp_src": 0 if connection.fragment else connection.port_src,
        "ct_tp_dst": 0 if connection.fragment else connection.port_dst,
        "nw_frag": "later" if connection.fragment else "no",
    }
    return ("ip," if four else "ipv6,") + ",".join(f"{name}={value}" for name, value in said.items())


def test_a_port_with_its_protocol_is_matched_exactly(ovs: Ovs) -> None:
    """Without ct_nw_proto Open vSwitch takes the flow and leaves the port out of it."""
    flow = "table=0,ip,ct_state=+trk-inv,ct_nw_proto=6,ct_tp_dst=22,actions=output:2\n"
    ovs.ofctl("del-flows", "br-int")
    ovs.ofctl("add-flows", "br-int", "-", stdin=flow)
    one = Connection(16, 17, IPv4Address("10.0.0.6"), IPv4Address("10.0.0.7"), 6, 5000, 22)
    assert passes(ovs, one, reply=False)
    assert not passes(ovs, one._replace(port_dst=23), reply=False)
    assert not passes(ovs, one._replace(protocol=17), reply=False)
    six = one._replace(source=IPv6Address("2001:db8::6"), destination=IPv6Address("2001:db8::7"))
    assert not passes(ovs, six, reply=False)
