"""Open vSwitch's own answer: ofproto/trace on a dummy datapath says what verify/switch.py says.

TRACES=5000 in the environment traces that many packets.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from random import Random

import pytest

from cloison.addresses import parse_mac
from controller.flows.text import flows_text
from controller.verify.intent import World
from controller.verify.packet import Packet
from controller.verify.switch import Switch
from tests.support.ovs import Ovs, OvsError
from tests.support.worlds import Packets, compile_intent, random_intent

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

TRACES = int(os.environ.get("TRACES", "300"))
PER_INTENT = 50
PORTS = 199


@pytest.fixture(scope="module")
def ovs() -> Iterator[Ovs]:
    with Ovs() as running:
        running.add_bridge("br-int", dpid=1, ports=PORTS)
        running.ofctl("set-frags", "br-int", "nx-match")
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
            wanted = [(s.ofport, s.packet.eth_dst) for s in switch.run(packet, in_port).sent]
            assert traced(ovs, packet, in_port) == wanted, f"{in_port} {packet}"
            sent += bool(wanted)
    assert sent


def traced(ovs: Ovs, packet: Packet, in_port: int) -> list[tuple[int, int]]:
    """(OpenFlow port, destination MAC) of what Open vSwitch would send: one copy at most."""
    text = ovs.appctl("ofproto/trace", "br-int", f"in_port={in_port},{packet}")
    if "bad syntax" in text or "error" in text.lower():
        raise OvsError(text)
    ports = [
        int(port) for port in re.findall(r"-> output port is (\d+)\n(?!\s*>> skipping output to input)", text)
    ]
    final = re.search(r"^Final flow:.*dl_dst=([0-9a-f:]{17})", text, re.MULTILINE)
    mac = parse_mac(final[1]) if final else packet.eth_dst
    return [(port, mac) for port in ports]
