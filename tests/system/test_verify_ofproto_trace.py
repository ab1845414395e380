"""Open vSwitch's own answer: ofproto/trace on a dummy datapath says what verify/switch.py says.

Told what connection tracking is to find (--ct-next), and of which connection the packet is. How long a packet
is the trace does not know: it follows both ways, so the model is asked both ways too.

TRACES=5000 in the environment traces that many packets.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest

from cloison.addresses import parse_mac
from controller.compiler.view import METERS_OF_CONNECTIONS, METERS_OF_SPREADING
from controller.flows import CT_STATE, CheckPacketLarger
from controller.flows.text import flows_text, value_text
from controller.verify.packet import CT_FIELDS, INVALID, Packet, present_fields
from controller.verify.switch import Switch
from controller.verify.world import World
from tests.support.ovs import Ovs, OvsError
from tests.support.worlds import Packets, compile_intent, random_intent

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

TRACES = int(os.environ.get("TRACES", "300"))
PER_INTENT = 50
PORTS = 199
# In the sender's zone, once more there for what crosses to another tenant, and in the receiver's.
LOOKUPS_MAX = 3


@pytest.fixture(scope="module")
def ovs() -> Iterator[Ovs]:
    with Ovs() as running:
        running.add_bridge("br-int", dpid=1, ports=PORTS)
        running.ofctl("set-frags", "br-int", "nx-match")
        for number in range(1, PORTS + 1):
            for meter in (number, METERS_OF_CONNECTIONS + number, METERS_OF_SPREADING + number):
                running.ofctl("add-meter", "br-int", f"meter={meter},pktps,bands=type=drop,rate=100")
        yield running


def test_trace_says_what_the_switch_model_says(ovs: Ovs) -> None:
    rng = Random(11)
    sent = 0
    for _ in range(TRACES // PER_INTENT):
        intent = random_intent(rng)
        world = World(intent)
        if not world.by_ofport:
            continue
        states = compile_intent(intent)
        host = rng.choice(sorted(h for h, _ in world.by_ofport))
        flows = list(states[host].flows)
        ovs.ofctl("del-flows", "br-int")
        ovs.ofctl("add-flows", "br-int", "-", "--bundle", stdin=flows_text(flows))
        switch, packets = Switch(flows), Packets(rng, world)
        entries = sorted(world.ofports_of(host))
        for _ in range(PER_INTENT):
            in_port = rng.choice(entries)
            packet = packets.make(host, in_port if (host, in_port) in world.by_ofport else 0)
            if packet.ct_state & CT_STATE["rel"]:
                # A trace takes a tuple only with one of the states new, established, reply (lib/flow.h).
                packet = replace(packet, ct_state=packet.ct_state | CT_STATE["est"])
            if packet.ct_state & INVALID:
                # To Open vSwitch an invalid packet has no tuple.
                packet = replace(packet, **dict.fromkeys(CT_FIELDS[1:], 0))
            runs = [switch.run(replace(packet, oversize=size), in_port) for size in (1, 0)]
            measured = any(isinstance(a, CheckPacketLarger) for f in runs[0].flows for a in f.actions)
            wanted = [(s.ofport, s.packet.eth_dst) for r in runs[: 1 + measured] for s in r.sent]
            got = traced(ovs, packet, in_port)
            if measured:
                assert {port for port, _ in got} == {port for port, _ in wanted}, f"{in_port} {packet}"
            else:
                assert got == wanted, f"{in_port} {packet} {packet.connection_text()}"
            sent += bool(wanted)
    assert sent


def traced(ovs: Ovs, packet: Packet, in_port: int) -> list[tuple[int, int]]:
    """(OpenFlow port, destination MAC) of what Open vSwitch would send: one copy at most."""
    text = ovs.appctl(
        "ofproto/trace", "br-int", f"in_port={in_port},{packet}{_tuple(packet)}", *_found(packet)
    )
    if "bad syntax" in text or "error" in text.lower():
        raise OvsError(text)
    ports = [
        int(port)
        for port in re.findall(
            r"(?:-> output port is |^\s+output:)(\d+)\n(?!\s*>> skipping output to input)", text, re.MULTILINE
        )
    ]
    # Of the last run, after connection tracking; "unchanged" is what that run began with.
    last = re.findall(r"^(?:Flow|Final flow):.*dl_dst=([0-9a-f:]{17})", text, re.MULTILINE)
    mac = parse_mac(last[-1]) if last else packet.eth_dst
    return [(port, mac) for port in ports]


def _tuple(packet: Packet) -> str:
    """The connection as fields of the flow to be traced: each look-up finds it again."""
    if not packet.ct_state:
        return ""
    there = present_fields(packet)
    named = [f"ct_state={_flags(packet)}"]
    if not packet.ct_state & INVALID:
        named += [f"{n}={value_text(n, getattr(packet, n))}" for n in CT_FIELDS[1:] if n in there]
    return "," + ",".join(named)


def _flags(packet: Packet) -> str:
    return "|".join(name for name, bit in CT_STATE.items() if packet.ct_state & bit)


def _found(packet: Packet) -> list[str]:
    """What connection tracking says each time it is asked; the first it is not told of it takes for new."""
    return ["--ct-next", _flags(packet).replace("|", ",")] * LOOKUPS_MAX if packet.ct_state else []
