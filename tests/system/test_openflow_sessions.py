"""Who gets in, what hostile and broken peers can do, and what is left of it: sessions against evil, with
real TLS.
"""

import asyncio
import os
import resource
import signal
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import pytest

from cloison.errors import Unavailable
from cloison.identity import Identity
from controller.cli.pki import init_ca, issue
from controller.flows import Flow, match
from controller.flows.delta import FlowDelta
from controller.openflow import wire
from controller.openflow.server import Limits, SwitchServer
from tests.support.openflow_peer import (
    ECHO_REPLY,
    ECHO_REQUEST,
    FEATURES_REPLY,
    FEATURES_REQUEST,
    HEADER,
    HELLO,
    Peer,
    message,
)
from tests.support.openflow_site import DEADLINE_S, Pki, Site
from tests.support.ovs import Ovs

pytestmark = pytest.mark.system

FLOW = Flow(table=0, priority=1, match=match(in_port=1), goto=10, cookie=5)
DPID = 0xD1
ECHO_INTERVAL_S = 0.5


def hosts_own_datapath(host_id: str | None, dpid: int) -> bool:
    return {"h1": DPID, "h2": DPID}.get(host_id or "") == dpid


@pytest.fixture
async def site(pki: Pki) -> AsyncIterator[Site]:
    async with Site(pki.controller, authorize=hosts_own_datapath, limits=Limits()) as site:
        yield site


@pytest.fixture
async def hasty(pki: Pki) -> AsyncIterator[Site]:
    """For peers that exceed a limit; others might, too, on a machine that stands still for a moment."""
    limits = Limits(echo_interval_s=ECHO_INTERVAL_S, write_stall_s=2.0, answer_s=1.0)
    async with Site(pki.controller, authorize=hosts_own_datapath, limits=limits) as site:
        yield site


@pytest.fixture
async def plain() -> AsyncIterator[Site]:
    """Without TLS: what a peer can do that need not show a certificate."""
    async with Site(None, authorize=lambda host_id, dpid: True, limits=Limits()) as site:
        yield site


async def poll(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  # it happens in threads
            await asyncio.sleep(0.02)


async def answer(peer: Peer, fragments: int = wire.FRAGMENTS_NX_MATCH) -> None:
    """Be a switch that is there, and agrees with everything, until the connection ends."""
    try:
        while True:
            kind, xid, body = await peer.receive()
            if kind == ECHO_REQUEST:
                await peer.send(ECHO_REPLY, body, xid)
            elif kind == wire.BARRIER_REQUEST:
                await peer.send(wire.BARRIER_REPLY, b"", xid)
            elif kind == wire.GET_CONFIG_REQUEST:
                await peer.send(wire.GET_CONFIG_REPLY, wire.CONFIG.pack(fragments, 0), xid)
            elif kind == wire.BUNDLE_CONTROL:
                bundle, what, flags = wire.BUNDLE_BODY.unpack(body)
                await peer.send(kind, wire.BUNDLE_BODY.pack(bundle, what + 1, flags), xid)
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError, TimeoutError):
        pass


async def joined(site: Site, tls: ssl.SSLContext | None, dpid: int = DPID) -> Peer:
    peer = await Peer.connect(site.server.address, tls)
    await peer.claim(dpid)
    return peer


# Who gets in


async def test_the_host_of_the_certificate_is_the_switch(site: Site, pki: Pki) -> None:
    peer = await joined(site, pki.context("host/h1"))
    answering = asyncio.create_task(answer(peer))
    switch = await site.switch()
    assert (switch.host_id, switch.dpid) == ("h1", DPID)
    await switch.apply(FlowDelta(add=(FLOW,)))
    peer.close()
    assert await asyncio.wait_for(site.down.get(), DEADLINE_S) == DPID
    await answering


async def test_what_a_switch_says_before_it_is_admitted_ends_nothing(site: Site, pki: Pki) -> None:
    """A port that is plugged just then, or a packet: it speaks as soon as the versions have met."""
    peer = await Peer.connect(site.server.address, pki.context("host/h1"))
    await peer.send(HELLO, struct.pack(">HHI", 1, 8, 1 << 5))
    xid, _ = await peer.until(FEATURES_REQUEST)
    unasked = b"".join(message(kind, bytes(72)) for kind in sorted(wire.UNASKED))
    features = message(FEATURES_REPLY, struct.pack(">QIBB2xII", DPID, 0, 254, 0, 0, 0), xid)
    peer.writer.write(unasked + features + unasked)
    answering = asyncio.create_task(answer(peer))
    switch = await site.switch()
    await switch.apply(FlowDelta(add=(FLOW,)))
    assert site.server.counters["malformed"] == 0
    assert site.server.counters[f"ignored_type_{wire.PORT_STATUS}"] == 2
    peer.close()
    await answering


def expired(pki: Pki) -> ssl.SSLContext:
    context = pki.context(None)
    past = datetime.now(UTC) - timedelta(days=30)
    issued = issue(pki.directory, Identity.parse("host/h3"), days=1, now=past, force=True)
    context.load_cert_chain(issued.cert, issued.key)
    return context


def stranger(pki: Pki, directory: Path) -> ssl.SSLContext:
    """The right name, of another CA."""
    init_ca(directory)
    context = pki.context(None)
    issued = issue(directory, Identity.parse("host/h1"))
    context.load_cert_chain(issued.cert, issued.key)
    return context


@pytest.mark.parametrize(
    "who", ["nobody", "other CA", "expired", "controller", "operator", "tenant", "plain"]
)
async def test_who_is_no_host_hears_nothing(who: str, site: Site, pki: Pki, tmp_path: Path) -> None:
    contexts: dict[str, Callable[[], ssl.SSLContext | None]] = {
        "nobody": lambda: pki.context(None),
        "other CA": lambda: stranger(pki, tmp_path / "other"),
        "expired": lambda: expired(pki),
        "controller": lambda: pki.context("controller/c9"),
        "operator": lambda: pki.context("operator/alice"),
        "tenant": lambda: pki.context("tenant/acme/admin"),
        "plain": lambda: None,
    }
    try:
        peer = await Peer.connect(site.server.address, contexts[who]())
    except (ssl.SSLError, ConnectionError):
        return
    await peer.until_closed()
    assert peer.heard == []
    assert site.up.empty()


async def test_a_host_may_not_be_another_datapath(site: Site, pki: Pki) -> None:
    peer = await joined(site, pki.context("host/h1"), dpid=0xBAD)
    await peer.until_closed()
    assert set(peer.heard) == {HELLO, FEATURES_REQUEST}
    assert site.up.empty()
    assert site.server.counters["refused_dpid"] == 1


async def test_a_datapath_in_use_is_refused_to_another_host_but_not_to_its_own(site: Site, pki: Pki) -> None:
    first = await joined(site, pki.context("host/h1"))
    answering = asyncio.create_task(answer(first))
    switch = await site.switch()
    thief = await joined(site, pki.context("host/h2"))
    await thief.until_closed()
    assert set(thief.heard) == {HELLO, FEATURES_REQUEST}
    await switch.apply(FlowDelta(add=(FLOW,)))
    again = await joined(site, pki.context("host/h1"))
    answering_again = asyncio.create_task(answer(again))
    successor = await site.switch()
    assert await site.down.get() == DPID
    await answering  # the first was closed
    with pytest.raises(Unavailable):
        await switch.apply(FlowDelta(add=(FLOW,)))
    await successor.apply(FlowDelta(add=(FLOW,)))
    assert site.down.empty()
    again.close()
    await answering_again


async def test_plain_text_needs_to_be_asked_for() -> None:
    with pytest.raises(ValueError, match="insecure"):
        SwitchServer(("127.0.0.1", 0), None, hosts_own_datapath, lambda dpid, switch: None, lambda dpid: None)


def hello(version: int, *versions: int) -> bytes:
    """A Hello of a switch whose highest version is `version`; `versions`: what it says it has, if it does."""
    bitmap = struct.pack(">HHI", 1, 8, sum(1 << n for n in versions)) if versions else b""
    return HEADER.pack(version, HELLO, HEADER.size + len(bitmap), 1) + bitmap


@pytest.mark.parametrize("said", [hello(6, 1, 4, 5, 6), hello(6), hello(9, 5, 9), hello(5), hello(1, 1, 5)])
async def test_a_switch_with_other_versions_besides_is_asked_in_ours(said: bytes, plain: Site) -> None:
    peer = await Peer.connect(plain.server.address)
    peer.writer.write(said)
    kinds = [(await peer.receive())[0] for _ in range(2)]
    assert kinds == [HELLO, FEATURES_REQUEST]
    peer.close()


@pytest.mark.parametrize("said", [hello(1), hello(4, 1, 4), hello(4), hello(6, 4, 6)])
async def test_a_switch_without_our_version_is_told_so(said: bytes, plain: Site) -> None:
    peer = await Peer.connect(plain.server.address)
    peer.writer.write(said)
    kinds = [(await peer.receive())[0] for _ in range(2)]
    assert kinds == [HELLO, wire.ERROR]
    await peer.until_closed()
    assert plain.up.empty()


# Hostile peers

ZERO_LENGTH_ELEMENT = message(HELLO, struct.pack(">HHI", 0, 0, 0))


@pytest.mark.parametrize(
    "evil",
    [
        ZERO_LENGTH_ELEMENT,
        struct.pack(">BBHI", 5, 0, 0, 0),
        message(HELLO, struct.pack(">HH8x", 1, 12)),
        message(wire.MULTIPART_REPLY, bytes(8)),
        message(10, bytes(1000)),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["element of no length", "message of no length", "unaligned element", "reply", "packet-in", "HTTP"],
)
async def test_evil_bytes_cost_nothing(evil: bytes, plain: Site) -> None:
    """With os-ken alone, the 16 bytes of the first pin a core for ever."""
    peer = await Peer.connect(plain.server.address)
    used = time_used()
    peer.writer.write(evil)
    await peer.until_closed()
    await asyncio.sleep(0.3)  # what a loop without end would burn
    assert time_used() - used < 0.2
    assert plain.server.counters["malformed"] == 1
    assert plain.up.empty()


def time_used() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def test_a_damaged_answer_ends_the_session_and_only_this(plain: Site) -> None:
    bad, good = await joined(plain, None, 1), await joined(plain, None, 2)
    answering = asyncio.create_task(answer(good))
    switches = {s.dpid: s for s in (await plain.switch(), await plain.switch())}
    reading = asyncio.create_task(switches[1].read_flows())
    answering_bad = asyncio.create_task(garble_reads(bad))
    with pytest.raises(Unavailable):
        await reading
    assert await asyncio.wait_for(plain.down.get(), DEADLINE_S) == 1
    await switches[2].apply(FlowDelta(add=(FLOW,)))
    good.close()
    await asyncio.gather(answering, answering_bad)


async def garble_reads(peer: Peer) -> None:
    try:
        while True:
            kind, xid, body = await peer.receive()
            if kind == wire.BARRIER_REQUEST:
                await peer.send(wire.BARRIER_REPLY, b"", xid)
            elif kind == wire.MULTIPART_REQUEST and body[:2] == b"\x00\x01":
                await peer.send(wire.MULTIPART_REPLY, struct.pack(">HH4x", 1, 0) + bytes(64), xid)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass


async def test_a_flood_of_packet_ins_delays_no_other_switch(plain: Site) -> None:
    noisy, quiet = await joined(plain, None, 1), await joined(plain, None, 2)
    answering = [asyncio.create_task(answer(peer)) for peer in (noisy, quiet)]
    switches = {s.dpid: s for s in (await plain.switch(), await plain.switch())}
    loop = asyncio.get_running_loop()

    async def flood() -> None:
        while True:
            noisy.writer.write(message(10, bytes(120)) * 200)
            await noisy.writer.drain()
            await asyncio.sleep(0)

    flooding = asyncio.create_task(flood())
    await poll(lambda: plain.server.counters["ignored_type_10"] > 10_000)
    took_s = []
    for _ in range(20):
        began = loop.time()
        await switches[2].apply(FlowDelta(add=(FLOW,)))
        took_s.append(loop.time() - began)
    # (One of them may meet a moment in which the machine stands still.)
    assert median(took_s) < 1.0
    flooding.cancel()
    for peer in (noisy, quiet):
        peer.close()
    await asyncio.gather(*answering)


async def test_idle_connections_keep_no_switch_out(site: Site, pki: Pki) -> None:
    threads = threading.active_count()
    idle = [await asyncio.open_connection(*site.server.address) for _ in range(300)]
    assert threading.active_count() <= threads + 2 * Limits().pending_per_source_max
    began = asyncio.get_running_loop().time()
    peer = await joined(site, pki.context("host/h1"))
    answering = asyncio.create_task(answer(peer))
    await site.switch()
    # Before the deadline of anybody's handshake.
    assert asyncio.get_running_loop().time() - began < Limits().handshake_s
    # Nobody had to close them: the deadline of the handshake does.
    await asyncio.gather(*(asyncio.wait_for(reader.read(), DEADLINE_S) for reader, _ in idle))
    for _, writer in idle:
        writer.close()
    peer.close()
    await answering


async def test_200_reconnects_leak_nothing(site: Site, pki: Pki) -> None:
    tls = pki.context("host/h1")

    async def come_and_go() -> None:
        peer = await joined(site, tls)
        await site.switch()
        peer.close()

    await come_and_go()
    await poll(lambda: site.down.qsize() == 1)
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(200):
        await come_and_go()
    await poll(lambda: site.down.qsize() == 201)
    await poll(lambda: threading.active_count() <= threads)
    await poll(lambda: len(os.listdir("/proc/self/fd")) <= files)


# Broken peers


async def test_a_silent_switch_is_given_up(hasty: Site, pki: Pki) -> None:
    """A TCP connection of which only one half is left: nothing comes, no reset either."""
    peer = await joined(hasty, pki.context("host/h1"))
    await hasty.switch()
    assert await asyncio.wait_for(hasty.down.get(), DEADLINE_S) == DPID
    peer.close()


@pytest.mark.parametrize("fragments", [None, 0, 1, 2])
async def test_a_switch_that_cannot_show_fragments_gets_no_flow(
    fragments: int | None, site: Site, pki: Pki
) -> None:
    """None: it says that it knows no such setting."""
    peer = await joined(site, pki.context("host/h1"))
    if fragments is None:
        switch = await site.switch()
        xid, _ = await peer.until(wire.SET_CONFIG)
        assert wire.MULTIPART_REQUEST not in peer.heard
        await peer.send(wire.ERROR, struct.pack(">HH", 10, 0), xid)
        answering = asyncio.create_task(peer.until_closed())
    else:
        answering = asyncio.create_task(answer(peer, fragments))
        switch = await site.switch()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(switch.apply(FlowDelta(add=(FLOW,))), DEADLINE_S)
    assert await asyncio.wait_for(site.down.get(), DEADLINE_S) == DPID
    await answering
    assert wire.BUNDLE_CONTROL not in peer.heard
    assert wire.BUNDLE_ADD_MESSAGE not in peer.heard


@pytest.mark.parametrize("silent_at", [wire.BUNDLE_CLOSE_REQUEST, wire.BUNDLE_COMMIT_REQUEST])
async def test_a_lost_answer_is_no_hang(silent_at: int, hasty: Site, pki: Pki) -> None:
    peer = await joined(hasty, pki.context("host/h1"))

    async def lose_an_answer() -> None:
        lost = False
        while True:
            kind, xid, body = await peer.receive()
            lost |= kind == wire.BUNDLE_CONTROL and wire.BUNDLE_BODY.unpack(body)[1] == silent_at
            if kind == ECHO_REQUEST:
                await peer.send(ECHO_REPLY, body, xid)
            elif kind == wire.BARRIER_REQUEST and not lost:
                await peer.send(wire.BARRIER_REPLY, b"", xid)
            elif kind == wire.GET_CONFIG_REQUEST:
                await peer.send(wire.GET_CONFIG_REPLY, wire.CONFIG.pack(wire.FRAGMENTS_NX_MATCH, 0), xid)
            elif kind == wire.BUNDLE_CONTROL and not lost:
                bundle, what, flags = wire.BUNDLE_BODY.unpack(body)
                await peer.send(kind, wire.BUNDLE_BODY.pack(bundle, what + 1, flags), xid)

    losing = asyncio.create_task(lose_an_answer())
    switch = await hasty.switch()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(switch.apply(FlowDelta(add=(FLOW,))), DEADLINE_S)
    assert await asyncio.wait_for(hasty.down.get(), DEADLINE_S) == DPID
    await asyncio.gather(losing, return_exceptions=True)
    peer.close()


async def test_who_has_answered_is_not_asked_whether_it_is_there(hasty: Site, pki: Pki) -> None:
    peer = await joined(hasty, pki.context("host/h1"))
    clock, answered_at, after = asyncio.get_running_loop().time, 0.0, list[float]()

    async def note() -> None:
        nonlocal answered_at
        while True:
            kind, xid, body = await peer.receive()
            if kind == ECHO_REQUEST:
                after.append(clock() - answered_at)
                await peer.send(ECHO_REPLY, body, xid)
            elif kind == wire.BARRIER_REQUEST:
                answered_at = clock()
                await peer.send(wire.BARRIER_REPLY, b"", xid)
            elif kind == wire.GET_CONFIG_REQUEST:
                await peer.send(wire.GET_CONFIG_REPLY, wire.CONFIG.pack(wire.FRAGMENTS_NX_MATCH, 0), xid)

    noting = asyncio.create_task(note())
    switch = await hasty.switch()
    until = clock() + 4 * ECHO_INTERVAL_S
    while clock() < until:
        await switch.ping()
    await poll(lambda: bool(after))
    # One may cross an answer that comes late; of those that come every interval there would be four.
    assert sum(gap < ECHO_INTERVAL_S for gap in after) <= 1
    peer.close()
    await asyncio.gather(noting, return_exceptions=True)


async def test_a_frozen_switch_is_late_alone(pki: Pki, hasty: Site) -> None:
    def start() -> Ovs:
        host = pki.issue("host/h1")
        ovs = Ovs().__enter__()
        ovs.set_ssl(host.key, host.cert, host.ca)
        ovs.add_bridge("br-int", DPID)
        ovs.connect("br-int", hasty.target)
        return ovs

    ovs = await asyncio.to_thread(start)
    try:
        switch = await hasty.switch()
        os.kill(ovs.switch_pid, signal.SIGSTOP)
        flows = tuple(Flow(table=0, priority=1, match=match(eth_src=n), goto=10) for n in range(100_000))
        with pytest.raises(Unavailable):
            await asyncio.wait_for(switch.apply(FlowDelta(add=flows)), DEADLINE_S)
        os.kill(ovs.switch_pid, signal.SIGCONT)
        again = await hasty.switch()
        # A bundle that was not committed has changed nothing.
        assert not (await again.read_flows()).flows
        await again.apply(FlowDelta(add=(FLOW,)))
    finally:
        os.kill(ovs.switch_pid, signal.SIGCONT)
        await asyncio.to_thread(ovs.close)


async def test_stop_ends_everything(pki: Pki) -> None:
    threads = threading.active_count()
    async with Site(pki.controller, authorize=hosts_own_datapath) as site:
        idle = await asyncio.open_connection(*site.server.address)
        peer = await joined(site, pki.context("host/h1"))
        switch = await site.switch()
        pending = asyncio.ensure_future(settled(switch.read_flows()))
        xid, _ = await peer.until(wire.GET_CONFIG_REQUEST)
        await peer.send(wire.GET_CONFIG_REPLY, wire.CONFIG.pack(wire.FRAGMENTS_NX_MATCH, 0), xid)
        await peer.until(wire.MULTIPART_REQUEST)  # which is never answered
    assert isinstance(await pending, Unavailable)
    assert site.down.qsize() == 1
    await poll(lambda: threading.active_count() <= threads + 2)  # asyncio.to_thread keeps some
    peer.close()
    idle[1].close()


async def settled(call: Awaitable[object]) -> object:
    try:
        return await call
    except Unavailable as error:
        return error


def test_header_is_the_header_of_the_wire() -> None:
    assert HEADER.format == wire.HEADER.format
