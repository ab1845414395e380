"""How many flows one Open vSwitch takes in an atomic bundle, ended by a barrier.

By our encoder and session, by `ovs-ofctl --bundle`, and by os-ken's message objects (without bundle). All in
plain text, into an empty table, counted in the switch afterwards. What the flows are is decided beforehand.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from os_ken.ofproto import ofproto_v1_4, ofproto_v1_4_parser

from cloison.addresses import format_mac
from controller.flows import Flow, Output, match
from controller.flows.delta import FlowDelta
from controller.flows.text import flow_text
from controller.openflow.session import Limits
from tests.bench.catalogue import Rows
from tests.bench.stats import median
from tests.support.openflow_site import Site
from tests.support.ovs import Ovs

BRIDGE = "br0"
OSKEN_FLOWS = 10_000
TCP, IPV4 = 6, 0x0800
HEADER = struct.Struct(">BBHI")
VERSION, HELLO, ECHO_REQUEST, ECHO_REPLY, BARRIER_REQUEST, BARRIER_REPLY = 5, 0, 2, 3, 20, 21
PATIENT = Limits(echo_interval_s=60.0)


def made(number: int) -> Flow:
    """One of four shapes in turn: classify, check the source, admit a connection, deliver."""
    kind, n = number % 4, number // 4
    tenant, mac, address = 1 + n % 4_000, 0x0A0000000000 | n, 0x0A000000 | n
    if kind == 0:
        return Flow(table=0, priority=100, match=match(in_port=1 + n), goto=10)
    if kind == 1:
        where = match(metadata=tenant, eth_type=IPV4, eth_src=mac, ipv4_src=address)
        return Flow(table=10, priority=90, match=where, goto=20)
    if kind == 2:
        port = 1 + n % 60_000
        where = match(metadata=tenant, eth_type=IPV4, ip_proto=TCP, ipv4_dst=address, tcp_dst=port)
        return Flow(table=20, priority=1_000, match=where, goto=30)
    return Flow(
        table=30, priority=50, match=match(metadata=tenant, eth_dst=mac), actions=(Output(1 + n % 64),)
    )


def measure(rows: Rows, directory: Path, count: int, rounds: int) -> None:
    """Fill the rows of this module: `count` flows, medians of `rounds`."""
    flows = [made(number) for number in range(count)]
    with Ovs() as ovs:
        ovs.add_bridge(BRIDGE, dpid=1)
        rates = asyncio.run(_alternate(ovs, flows, directory, rounds))
    ours, ofctl, osken = (median(rates[name]) for name in ("ours", "ovs-ofctl", "os-ken"))
    note = f"{count:,} flows; os-ken {min(count, OSKEN_FLOWS):,}, without bundle"
    rows.fill(
        "flow-mods in a bundle, by ovs-ofctl --bundle", ours=ours, peer=ofctl, samples=dict(rates), note=note
    )
    rows.fill("flow-mods in a bundle, by os-ken's objects", ours=ours, peer=osken)


async def _alternate(ovs: Ovs, flows: Sequence[Flow], directory: Path, rounds: int) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {"ours": [], "ovs-ofctl": [], "os-ken": []}
    script = directory / "flows"
    script.write_text("".join(f"{flow_text(flow)}\n" for flow in flows), encoding="utf-8")
    messages = [_osken(flow) for flow in flows[:OSKEN_FLOWS]]
    address = f"{ovs.run_dir}/{BRIDGE}.mgmt"
    for _ in range(rounds):
        # A session anew each time: an old one would be told what the others do.
        async with Site(None, authorize=lambda host, dpid: True, limits=PATIENT) as site:
            ovs.connect(BRIDGE, site.target.replace("ssl:", "tcp:"))
            switch = await site.switch()
            spent = await _timed(switch.apply(FlowDelta(add=tuple(flows))))
            rates["ours"].append(len(flows) / spent)
            _counted(ovs, len(flows))
            ovs.vsctl("del-controller", BRIDGE)
        start = time.perf_counter()
        await asyncio.to_thread(ovs.ofctl, "add-flows", BRIDGE, "--bundle", str(script))
        rates["ovs-ofctl"].append(len(flows) / (time.perf_counter() - start))
        _counted(ovs, len(flows))
        rates["os-ken"].append(len(messages) / await asyncio.to_thread(_send_osken, address, messages))
        _counted(ovs, len(messages))
    return rates


async def _timed(work: Any) -> float:
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


def _counted(ovs: Ovs, expected: int) -> None:
    """The switch has them all; then the table is emptied."""
    said = ovs.ofctl("dump-aggregate", BRIDGE)
    found = int(said.partition("flow_count=")[2].split()[0])
    assert found == expected, f"{found} flows in the switch, {expected} were sent"
    ovs.ofctl("del-flows", BRIDGE)


class _Datapath:
    """What os-ken's messages ask of a datapath."""

    ofproto = ofproto_v1_4
    ofproto_parser = ofproto_v1_4_parser

    @staticmethod
    def set_xid(message: Any) -> None:
        message.set_xid(1)


def _osken(flow: Flow) -> Callable[[], bytes]:
    """How a program on os-ken makes this flow's message; building and serializing are both in the clock."""
    parser, datapath = ofproto_v1_4_parser, _Datapath()
    terms = {term.field.name: _osken_value(term.field.name, term.value) for term in flow.match}
    out = [action.port for action in flow.actions if isinstance(action, Output)]

    def build() -> bytes:
        steps: list[Any] = []
        if out:
            actions = [parser.OFPActionOutput(port) for port in out]
            steps.append(parser.OFPInstructionActions(ofproto_v1_4.OFPIT_APPLY_ACTIONS, actions))
        if flow.goto is not None:
            steps.append(parser.OFPInstructionGotoTable(flow.goto))
        where = parser.OFPMatch(**terms)
        message = parser.OFPFlowMod(
            datapath, table_id=flow.table, priority=flow.priority, match=where, instructions=steps
        )
        message.set_xid(1)
        message.serialize()
        return bytes(message.buf)

    return build


def _osken_value(name: str, value: int) -> int | str:
    """As os-ken wants it: addresses as text."""
    if name.startswith("eth_") and name != "eth_type":
        return format_mac(value)
    return str(IPv4Address(value)) if name.startswith("ipv4_") else value


def _send_osken(path: str, messages: Sequence[Callable[[], bytes]]) -> float:
    """Build, send, and wait for the barrier; in s."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(
            HEADER.pack(VERSION, HELLO, HEADER.size + 8, 1) + struct.pack(">HHI", 1, 8, 1 << VERSION)
        )
        reader = connection.makefile("rb")
        start = time.perf_counter()
        for build in messages:
            connection.sendall(build())
        connection.sendall(HEADER.pack(VERSION, BARRIER_REQUEST, HEADER.size, 7))
        while True:
            _, kind, length, xid = HEADER.unpack(reader.read(HEADER.size))
            body = reader.read(length - HEADER.size)
            if kind == ECHO_REQUEST:
                connection.sendall(HEADER.pack(VERSION, ECHO_REPLY, length, xid) + body)
            elif kind == BARRIER_REPLY:
                return time.perf_counter() - start
            assert kind in (HELLO, ECHO_REQUEST), f"message {kind} of the switch: {body.hex()}"
