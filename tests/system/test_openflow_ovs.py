"""Switches as the controller sees them: what only a real Open vSwitch can show."""

import asyncio
import gc
import signal
import time

import pytest
from hypothesis import HealthCheck, given, settings

from controller.flows import Ct, Flow, FlowKey, Load, field, match
from controller.flows.delta import FlowDelta, InstalledFlows, flow_delta
from controller.flows.meters import Meter, MeterDelta
from controller.flows.text import flow_text
from controller.openflow.bundle import MESSAGES_PER_CHUNK
from controller.openflow.refusal import SwitchRefused
from controller.openflow.session_switch import SessionSwitch
from controller.openflow.switch import Change
from tests.support.flow_strategies import METERS, flow_lists
from tests.support.openflow_site import DEADLINE_S, Pki, Site
from tests.support.openflow_switches import FLOWS, flows_of
from tests.support.ovs import Ovs

pytestmark = pytest.mark.system


async def test_every_shape_comes_back_equal_and_is_recognised(real: SessionSwitch) -> None:
    """Any flow of the universe is echoed as an equal Flow, and byte by byte as it was sent: no decoding
    needed.
    """
    loop = asyncio.get_running_loop()

    await real.apply_meters(MeterDelta(add=tuple(Meter(number, 100, 100) for number in METERS)))

    async def check(wanted: list[Flow]) -> None:
        await real.apply(FlowDelta(add=tuple(wanted)))
        known = set(real._session.known.flows)
        installed = await real.read_flows()
        assert flows_of(installed) == {flow.key: flow for flow in wanted}
        assert set(real._session.known.flows) == known
        await real.apply(FlowDelta(delete=tuple(installed.flows)))
        assert await real.read_flows() == InstalledFlows({})

    @settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(flow_lists(40))
    def examples(wanted: list[Flow]) -> None:
        asyncio.run_coroutine_threadsafe(check(wanted), loop).result(DEADLINE_S)

    await asyncio.to_thread(examples)


async def test_text_means_the_same_to_ovs_ofctl(real: SessionSwitch, ovs: Ovs, bridge: str) -> None:
    loop = asyncio.get_running_loop()
    await real.apply_meters(MeterDelta(add=tuple(Meter(number, 100, 100) for number in METERS)))

    async def check() -> dict[FlowKey, Flow]:
        installed = await real.read_flows()
        await real.apply(FlowDelta(delete=tuple(installed.flows), purge=installed.foreign))
        return flows_of(installed)

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(flow_lists(40))
    def examples(wanted: list[Flow]) -> None:
        wanted = [flow for flow in wanted if has_words(flow)]
        text = "".join(flow_text(flow) + "\n" for flow in wanted)
        ovs.ofctl("add-flows", bridge, "-", stdin=text)
        read = asyncio.run_coroutine_threadsafe(check(), loop).result(DEADLINE_S)
        assert read == {flow.key: flow for flow in wanted}

    await asyncio.to_thread(examples)


def has_words(flow: Flow) -> bool:
    """ovs-ofctl has words for five ways to match fragments, and takes no numbers. Of an IPv6 mask that is no
    prefix it takes leading digits for a prefix length.
    """
    return all(
        (term.value, term.mask) in {(0, 0xFF), (1, 0xFF), (3, 0xFF), (1, 1), (0, 2)}
        if term.field.name == "ip_frag"
        else term.field.width < 128 or is_prefix(term.mask, term.field.width)
        for term in flow.match
    )


def is_prefix(mask: int, width: int) -> bool:
    zeros = (1 << width) - 1 ^ mask
    return not zeros & (zeros + 1)


async def test_a_flushed_zone_has_forgotten(real: SessionSwitch, ovs: Ovs, bridge: str) -> None:
    """Connections of two zones; one zone is flushed."""
    flows = tuple(
        Flow(table=0, priority=zone, match=match(eth_type=0x800, ipv4_dst=zone), actions=(Ct(True, zone),))
        for zone in (7, 8)
    )
    await real.apply(FlowDelta(add=flows))

    def connections() -> str:
        return ovs.appctl("dpctl/dump-conntrack", "dummy@ovs-dummy")

    for zone in (7, 8):
        packet = (
            "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800),"
            f"ipv4(src=10.0.0.1,dst=0.0.0.{zone},proto=17,tos=0,ttl=64,frag=no),udp(src=5,dst=6)"
        )
        await asyncio.to_thread(ovs.appctl, "netdev-dummy/receive", f"{bridge}-p1", packet)
    async with asyncio.timeout(DEADLINE_S):
        while not {"zone=7", "zone=8"} <= set(words(await asyncio.to_thread(connections))):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await real.flush_zones((7, 9))
    after = words(await asyncio.to_thread(connections))
    assert "zone=7" not in after
    assert "zone=8" in after


def words(text: str) -> list[str]:
    return text.replace("\n", ",").split(",")


async def test_an_error_of_the_commit_leaves_nothing(real: SessionSwitch, ovs: Ovs, bridge: str) -> None:
    """A full table is refused by the commit, not when a flow is put into the bundle."""
    table = ["--", "--id=@t", "create", "flow_table", "flow_limit=2", "overflow_policy=refuse"]
    await asyncio.to_thread(ovs.vsctl, *table, "--", "set", "bridge", bridge, "flow_tables:9=@t")
    many = tuple(Flow(table=9, priority=n, match=(), cookie=n) for n in range(3))
    with pytest.raises(SwitchRefused) as refused:
        await real.apply(FlowDelta(add=(*FLOWS, *many)))
    assert [error.change for error in refused.value.errors] == [many[2]]
    assert "TABLE_FULL" in refused.value.errors[0].text
    assert await real.read_flows() == InstalledFlows({})
    await real.apply(FlowDelta(add=(*FLOWS, *many[:2])))


async def test_changes_of_every_size_at_one_moment_come_in_their_order(real: SessionSwitch) -> None:
    """Small ones are begun by who asks, large ones by the session's thread; neither gets in between."""
    large = many_flows(3 * MESSAGES_PER_CHUNK)
    turns = [Flow(table=50, priority=n % 7, match=match(reg0=n % 5), cookie=n, goto=51) for n in range(200)]
    changes = [FlowDelta(add=(flow,)) for flow in turns]
    changes.insert(100, FlowDelta(add=large))
    await asyncio.gather(*(real.apply(change) for change in changes), real.ping(), real.read_ports())
    last = {flow.key: flow for flow in (*turns, *large)}
    assert flows_of(await real.read_flows()) == last
    for flow in turns[:20]:  # the session is idle now
        assert await real.carry_out(Change(FlowDelta(delete=(flow.key,)), zones=(7,))) == ()
    kept = last.keys() - {flow.key for flow in turns[:20]}
    assert (await real.read_flows()).flows.keys() == kept


async def test_a_restarted_controller_finds_everything_as_it_was(pki: Pki, ovs: Ovs, bridge: str) -> None:
    async with Site(pki.controller) as first:
        await asyncio.to_thread(ovs.connect, bridge, first.target)
        await (await first.switch()).apply(FlowDelta(add=FLOWS))
        before = await asyncio.to_thread(ovs.ofctl, "dump-flows", bridge)
        address = first.server.address
    assert first.down.qsize() == 1
    async with Site(pki.controller, address) as second:
        switch = await second.switch()
        assert not flow_delta({flow.key: flow for flow in FLOWS}, await switch.read_flows())
        after = await asyncio.to_thread(ovs.ofctl, "dump-flows", bridge)
        assert ages(after) >= ages(before)  # older, hence never removed and added again


def ages(dump: str) -> list[float]:
    return [float(part.split("=")[1].rstrip("s,")) for part in dump.split() if part.startswith("duration=")]


async def test_a_crashed_switch_comes_back_empty(site: Site, pki: Pki) -> None:
    def start() -> Ovs:
        host = pki.issue("host/h1")
        ovs = Ovs().__enter__()
        ovs.set_ssl(host.key, host.cert, host.ca)
        ovs.add_bridge("br-int", 0xC0FFEE)
        ovs.connect("br-int", site.target)
        return ovs

    ovs = await asyncio.to_thread(start)
    try:
        switch = await site.switch()
        await switch.apply(FlowDelta(add=FLOWS))
        await asyncio.to_thread(ovs.stop_switch, signal.SIGKILL)
        assert await asyncio.wait_for(site.down.get(), DEADLINE_S) == 0xC0FFEE
        await asyncio.to_thread(ovs.start_switch)
        again = await site.switch()
        assert (await again.read_flows()).flows == {}
        assert "nx-match" in await asyncio.to_thread(ovs.ofctl, "get-frags", "br-int")
        desired = {flow.key: flow for flow in FLOWS}
        delta = flow_delta(desired, await again.read_flows())
        assert set(delta.add) == set(FLOWS)
        await again.apply(delta)
        assert flows_of(await again.read_flows()) == desired
    finally:
        await asyncio.to_thread(ovs.close)


def many_flows(count: int) -> tuple[Flow, ...]:
    actions = [(Load(field("reg0"), 0, 32, n),) for n in range(count)]
    return tuple(
        Flow(table=0, priority=9, match=match(in_port=1, eth_src=n), actions=actions[n]) for n in range(count)
    )


async def test_the_bridge_shows_first_fragments_before_it_gets_a_flow(
    real: SessionSwitch, ovs: Ovs, bridge: str
) -> None:
    assert not (await real.read_flows()).flows
    assert "nx-match" in await asyncio.to_thread(ovs.ofctl, "get-frags", bridge)


async def test_a_wiped_table_is_drift_of_everything(real: SessionSwitch, ovs: Ovs, bridge: str) -> None:
    flows = many_flows(15_000)
    await real.apply(FlowDelta(add=flows))
    watch = real.watch_drift()
    await asyncio.to_thread(ovs.ofctl, "del-flows", bridge)
    noticed: set[FlowKey] = set()
    async with asyncio.timeout(DEADLINE_S):
        async for drift in watch:
            noticed |= drift.keys
            if not drift.complete or len(noticed) == len(flows):
                break
    assert noticed <= {flow.key for flow in flows}
    delta = flow_delta({flow.key: flow for flow in flows}, await real.read_flows())
    assert set(delta.add) == set(flows)
    await real.apply(delta)
    assert len((await real.read_flows()).flows) == len(flows)


async def test_the_loop_goes_on_while_a_large_table_is_written_and_read(real: SessionSwitch) -> None:
    """By the time of our processor: what others do with theirs is no matter of the session's."""
    flows = many_flows(30_000)
    gc.freeze()  # what other tests left behind is not to be collected on this one's time
    longest_s = 0.0

    async def tick() -> None:
        nonlocal longest_s
        while True:
            began_s = time.process_time()
            await asyncio.sleep(0.001)
            longest_s = max(longest_s, time.process_time() - began_s)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.01)
    began_s = time.process_time()
    await real.apply(FlowDelta(add=flows))
    assert len((await real.read_flows()).flows) == len(flows)
    took_s = time.process_time() - began_s
    ticking.cancel()
    gc.unfreeze()
    assert longest_s < max(0.25, took_s / 3)
