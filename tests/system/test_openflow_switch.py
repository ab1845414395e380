"""Switches as the controller sees them: one suite for real Open vSwitch bridges over TLS and for the fake."""

import asyncio
import gc
import itertools
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol

import pytest
from hypothesis import HealthCheck, given, settings

from cloison.errors import Unavailable
from controller.flows import (
    CheckPacketLarger,
    Conjunction,
    Ct,
    Flow,
    FlowKey,
    Load,
    Match,
    Output,
    OutputField,
    Resubmit,
    SetField,
    ct_state,
    field,
    match,
)
from controller.flows.delta import FlowDelta, ForeignFlow, InstalledFlows, flow_delta
from controller.flows.meters import Meter, MeterDelta, meter_delta
from controller.flows.text import flow_text, match_text
from controller.openflow.fake import FakeSwitch
from controller.openflow.refusal import SwitchRefused
from controller.openflow.session_switch import SessionSwitch
from controller.openflow.statistics import MeterCounters, PortCounters
from controller.openflow.switch import Drift, Switch
from tests.support.flow_strategies import METERS, flow_lists
from tests.support.openflow_site import DEADLINE_S, Pki, Site
from tests.support.ovs import Ovs

pytestmark = pytest.mark.system

DRIFT_DEADLINE_S = 1.0
_dpids = itertools.count(1)


class Backdoor(Protocol):
    """What others do to the switch."""

    async def add(self, flow: Flow) -> None: ...
    async def add_foreign(self) -> None: ...
    async def delete(self, key: FlowKey) -> None: ...
    async def count_packets(self) -> None: ...
    async def disconnect(self) -> None: ...


class FakeBackdoor:
    def __init__(self, switch: FakeSwitch) -> None:
        self._switch = switch

    async def add(self, flow: Flow) -> None:
        self._switch.tamper(add=(flow,))

    async def add_foreign(self) -> None:
        self._switch.tamper_foreign(ForeignFlow(9, 5, 0, b"\x00\x01\x00\x04\x00\x00\x00\x00"))

    async def delete(self, key: FlowKey) -> None:
        self._switch.tamper(delete=(key,))

    async def count_packets(self) -> None:
        self._switch.tamper(count=1)
        self._switch.port_counters[1] = PortCounters(1, 0, 14, 0, 0, 0, 0, 0)

    async def disconnect(self) -> None:
        self._switch.disconnect()


class OvsBackdoor:
    """Does it with ovs-ofctl and ovs-appctl, in a thread: the loop must go on."""

    def __init__(self, ovs: Ovs, bridge: str) -> None:
        self._ovs, self._bridge = ovs, bridge

    async def add(self, flow: Flow) -> None:
        await asyncio.to_thread(self._ovs.ofctl, "add-flow", self._bridge, flow_text(flow))

    async def add_foreign(self) -> None:
        text = "table=9,priority=5,idle_timeout=100,mpls,mpls_label=7,actions=normal"
        await asyncio.to_thread(self._ovs.ofctl, "add-flow", self._bridge, text)

    async def delete(self, key: FlowKey) -> None:
        text = f"table={key.table},priority={key.priority},{match_text(key.match)}"
        await asyncio.to_thread(self._ovs.ofctl, "del-flows", self._bridge, "--strict", text)

    async def count_packets(self) -> None:
        packet = "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x1234)"
        await asyncio.to_thread(self._ovs.appctl, "netdev-dummy/receive", f"{self._bridge}-p1", packet)

    async def disconnect(self) -> None:
        await asyncio.to_thread(self._ovs.connect, self._bridge)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.make(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def ovs(pki: Pki) -> Iterator[Ovs]:
    host = pki.issue("host/h1")
    with Ovs() as ovs:
        ovs.set_ssl(host.key, host.cert, host.ca)
        yield ovs


@pytest.fixture
async def site(pki: Pki) -> AsyncIterator[Site]:
    async with Site(pki.controller) as site:
        yield site


@pytest.fixture
def bridge(ovs: Ovs) -> Iterator[str]:
    dpid = next(_dpids)
    ovs.add_bridge(f"br{dpid}", dpid, ports=1)
    yield f"br{dpid}"
    ovs.vsctl("del-br", f"br{dpid}")


@pytest.fixture
async def real(site: Site, ovs: Ovs, bridge: str) -> SessionSwitch:
    await asyncio.to_thread(ovs.connect, bridge, site.target)
    return await site.switch()


@pytest.fixture(params=["fake", "ovs"])
async def both(
    request: pytest.FixtureRequest, pki: Pki, ovs: Ovs, bridge: str
) -> AsyncIterator[tuple[Switch, Backdoor]]:
    if request.param == "fake":
        fake = FakeSwitch(1, "h1")
        yield fake, FakeBackdoor(fake)
    else:
        async with Site(pki.controller) as site:
            await asyncio.to_thread(ovs.connect, bridge, site.target)
            yield await site.switch(), OvsBackdoor(ovs, bridge)


ADMIT = Flow(
    table=0,
    priority=100,
    match=match(in_port=1, eth_type=0x800, vlan_vid=0, ipv4_src=0x0A000001, eth_src=0x02AABBCCDDEE),
    actions=(Load(field("reg0"), 0, 24, 5001),),
    goto=10,
    cookie=0x11,
)
FORWARD = Flow(
    table=20,
    priority=50,
    match=match(reg0=(5001, 0xFFFFFF), eth_dst=0x0AF00A000002),
    actions=(SetField(field("eth_dst"), 0x02AABBCCDDEE), Load(field("reg1"), 0, 16, 1)),
    goto=30,
    cookie=0x22,
)
IN_PORT = (field("nxm_in_port"), 0, 16)
FROM_ONE = match(ct_state=ct_state("+trk-inv"), eth_type=0x800, ct_nw_src=1)
OUTPUT = Flow(table=30, priority=10, match=(), actions=(OutputField(field("reg1"), 0, 16),), cookie=1)
FLOWS = (ADMIT, FORWARD, OUTPUT)
ALL = Flow(table=0, priority=1, match=(), cookie=7)


def without(name: str, terms: Match) -> Match:
    """What match() would refuse to make."""
    return tuple(term for term in terms if term.field.name != name)


def flows_of(installed: InstalledFlows) -> dict[FlowKey, Flow]:
    return {key: entry.flow for key, entry in installed.flows.items()}


async def until(condition: Callable[[InstalledFlows], bool], switch: Switch) -> InstalledFlows:
    async with asyncio.timeout(DEADLINE_S):
        while not condition(installed := await switch.read_flows()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return installed


async def drift_of(watch: AsyncIterator[Drift]) -> Drift:
    return await asyncio.wait_for(anext(watch), DRIFT_DEADLINE_S)


# One suite for both


async def test_what_was_applied_is_read(both: tuple[Switch, Backdoor]) -> None:
    switch, _ = both
    assert await switch.read_flows() == InstalledFlows({})
    await switch.apply(FlowDelta(add=FLOWS))
    assert flows_of(await switch.read_flows()) == {flow.key: flow for flow in FLOWS}


async def test_delta_of_what_was_read_leads_to_what_is_desired(both: tuple[Switch, Backdoor]) -> None:
    switch, backdoor = both
    await backdoor.add_foreign()
    await switch.apply(FlowDelta(add=(ADMIT, FORWARD)))
    changed = Flow(table=20, priority=50, match=FORWARD.match, actions=(), cookie=0x23)
    desired = {flow.key: flow for flow in (changed, OUTPUT)}
    await switch.apply(flow_delta(desired, await switch.read_flows()))
    installed = await switch.read_flows()
    assert flows_of(installed) == desired
    assert not installed.foreign
    assert not flow_delta(desired, installed)


async def test_a_changed_flow_keeps_its_counters_and_gets_its_cookie(both: tuple[Switch, Backdoor]) -> None:
    switch, backdoor = both
    await switch.apply(FlowDelta(add=(ALL,)))
    await backdoor.count_packets()
    before = await until(lambda installed: installed.flows[ALL.key].packets > 0, switch)
    changed = Flow(table=0, priority=1, match=(), actions=(Output(1),), goto=10, cookie=8)
    await switch.apply(FlowDelta(modify=(changed,)))
    after = (await switch.read_flows()).flows[ALL.key]
    assert after.flow == changed
    assert after.packets >= before.flows[ALL.key].packets


async def test_one_bad_flow_spoils_all_and_is_named(both: tuple[Switch, Backdoor]) -> None:
    switch, _ = both
    await switch.apply(FlowDelta(add=(ADMIT, OUTPUT)))
    no_prerequisite = Flow(table=3, priority=1, match=match(ipv4_src=1), cookie=0xBAD)
    backwards = Flow(table=3, priority=2, match=(), goto=1, cookie=0xBAD2)
    with pytest.raises(SwitchRefused) as refused:
        delta = FlowDelta(add=(FORWARD, no_prerequisite, ALL), modify=(backwards,), delete=(OUTPUT.key,))
        await switch.apply(delta)
    assert {error.change for error in refused.value.errors} == {no_prerequisite, backwards}
    assert all("OFPET_BAD" in error.text for error in refused.value.errors)
    assert "cookie=0xbad" in str(refused.value)
    assert flows_of(await switch.read_flows()) == {flow.key: flow for flow in (ADMIT, OUTPUT)}
    await switch.apply(FlowDelta(add=(FORWARD,)))
    assert flows_of(await switch.read_flows()) == {flow.key: flow for flow in FLOWS}


async def test_drift_is_seen_and_own_changes_are_not(both: tuple[Switch, Backdoor]) -> None:
    switch, backdoor = both
    watch = switch.watch_drift()
    await switch.apply(FlowDelta(add=FLOWS))
    await switch.apply(
        FlowDelta(modify=(Flow(table=30, priority=10, match=(), cookie=2),), delete=(ADMIT.key,))
    )
    await backdoor.delete(FORWARD.key)
    assert await drift_of(watch) == Drift(frozenset({FORWARD.key}), True)
    await backdoor.add(ALL)
    assert await drift_of(watch) == Drift(frozenset({ALL.key}), True)
    await backdoor.add(Flow(table=0, priority=1, match=(), actions=(Output(1),), cookie=7))
    assert await drift_of(watch) == Drift(frozenset({ALL.key}), True)
    await backdoor.add_foreign()
    assert not (await drift_of(watch)).complete
    assert len((await switch.read_flows()).foreign) == 1


async def test_what_is_expected_does_not_change_what_is_read(both: tuple[Switch, Backdoor]) -> None:
    switch, backdoor = both
    for flow in (ADMIT, FORWARD):
        await backdoor.add(flow)
    other = Flow(table=20, priority=50, match=FORWARD.match, actions=(), cookie=0x23)
    installed = await switch.read_flows(expected=(ADMIT, other, OUTPUT))
    assert flows_of(installed) == {flow.key: flow for flow in (ADMIT, FORWARD)}


async def test_reading_a_part(both: tuple[Switch, Backdoor]) -> None:
    switch, _ = both
    await switch.apply(FlowDelta(add=FLOWS))
    assert flows_of(await switch.read_flows(table=20)) == {FORWARD.key: FORWARD}
    assert flows_of(await switch.read_flows(cookie=0x10, cookie_mask=0xF0)) == {ADMIT.key: ADMIT}
    assert len((await switch.read_flows()).flows) == len(FLOWS)


TRACKED = match(ct_state=ct_state("+trk-inv"), eth_type=0x800, ct_nw_proto=6, ct_tp_dst=(80, 0xFFF0))
POLICY = (
    Flow(table=8, priority=1, match=match(eth_type=0x800), actions=(Ct(zone=IN_PORT, table=9),)),
    Flow(table=9, priority=2, match=match(ct_state=ct_state("+new"), eth_type=0x800), actions=(Ct(True, 5),)),
    Flow(table=24, priority=100, match=TRACKED, actions=(Conjunction(7, 1, 2), Conjunction(8, 2, 3))),
    Flow(table=24, priority=100, match=match(conj_id=7, reg8=4), goto=25),
    Flow(table=27, priority=1, match=match(), actions=(CheckPacketLarger(1464, field("reg3"), 3),), goto=29),
    Flow(table=20, priority=1, match=match(), actions=(Resubmit(22), Resubmit(27)), goto=30),
)


async def test_connection_tracking_conjunctions_and_lengths(both: tuple[Switch, Backdoor]) -> None:
    switch, backdoor = both
    await switch.apply(FlowDelta(add=POLICY[:3]))
    for flow in POLICY[3:]:
        await backdoor.add(flow)
    assert flows_of(await switch.read_flows()) == {flow.key: flow for flow in POLICY}


@pytest.mark.parametrize(
    "bad",
    [
        Flow(table=1, priority=1, match=(), actions=(Ct(table=2),)),
        Flow(table=1, priority=1, match=match(eth_type=0x806), actions=(Ct(table=2),)),
        Flow(
            table=1,
            priority=1,
            match=match(eth_type=0x800, ct_state=ct_state("+inv+trk")),
            actions=(Ct(commit=True),),
        ),
        Flow(table=1, priority=1, match=(), actions=(Conjunction(1, 1, 2), Output(1))),
        Flow(table=1, priority=1, match=(), actions=(Conjunction(1, 1, 2),), goto=3),
        Flow(table=1, priority=1, match=(), actions=(Output(1),), meter=99),
        Flow(table=1, priority=1, match=without("ct_state", TRACKED)),
        Flow(table=1, priority=1, match=without("eth_type", FROM_ONE)),
    ],
    ids=lambda flow: flow_text(flow),
)
async def test_what_the_switch_would_not_do_is_refused(both: tuple[Switch, Backdoor], bad: Flow) -> None:
    switch, _ = both
    with pytest.raises(SwitchRefused) as refused:
        await switch.apply(FlowDelta(add=(ADMIT, bad)))
    assert [error.change for error in refused.value.errors] == [bad]
    assert not (await switch.read_flows()).flows


async def test_meters_come_before_their_flows_and_take_them_along(both: tuple[Switch, Backdoor]) -> None:
    switch, _ = both
    watch = switch.watch_drift()
    wanted = {number: Meter(number, 100, 50) for number in (3, 4)}
    assert await switch.read_meters() == {}
    await switch.apply_meters(meter_delta(wanted, await switch.read_meters()))
    metered = Flow(table=31, priority=1, match=match(reg1=3), goto=32, meter=3)
    await switch.apply(FlowDelta(add=(metered,)))
    assert await switch.read_meters() == wanted
    wanted = {3: Meter(3, 200, 1), 5: Meter(5, 1, 1)}
    await switch.apply_meters(meter_delta(wanted, await switch.read_meters()))
    assert await switch.read_meters() == wanted
    assert not meter_delta(wanted, await switch.read_meters())
    assert flows_of(await switch.read_flows()) == {metered.key: metered}
    await switch.apply_meters(MeterDelta(delete=(3, 77)))
    assert not (await switch.read_flows()).flows
    assert await drift_of(watch) == Drift(frozenset({metered.key}), True)


async def test_counters_of_meters_are_read(both: tuple[Switch, Backdoor]) -> None:
    switch, _ = both
    await switch.apply_meters(MeterDelta(add=(Meter(3, 100, 50), Meter(4, 100, 50))))
    assert await switch.read_meter_counters() == {3: MeterCounters(0, 0), 4: MeterCounters(0, 0)}


async def test_a_refused_meter_is_named(both: tuple[Switch, Backdoor]) -> None:
    switch, _ = both
    there, missing, good = Meter(1, 100, 100), Meter(2, 100, 100), Meter(3, 100, 100)
    await switch.apply_meters(MeterDelta(add=(there,)))
    with pytest.raises(SwitchRefused) as refused:
        await switch.apply_meters(MeterDelta(add=(Meter(1, 5, 5), good), modify=(missing,)))
    assert [error.change for error in refused.value.errors] == [Meter(1, 5, 5), missing]
    assert await switch.read_meters() == {1: there, 3: good}


async def test_port_counters_are_read(both: tuple[Switch, Backdoor]) -> None:
    switch, backdoor = both
    await switch.apply(FlowDelta(add=(ALL,)))
    await backdoor.count_packets()
    async with asyncio.timeout(DEADLINE_S):
        while not (await switch.read_port_counters())[1].received_packets:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    counters = (await switch.read_port_counters())[1]
    assert counters.received_packets == 1
    assert counters.received_bytes is not None
    assert counters.received_bytes >= 14
    assert counters.sent_packets == 0


async def test_a_lost_switch_is_unavailable(both: tuple[Switch, Backdoor]) -> None:
    switch, backdoor = both
    await backdoor.disconnect()
    watch = switch.watch_drift()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(anext(watch), DEADLINE_S)
    with pytest.raises(Unavailable):
        await switch.read_flows()
    with pytest.raises(Unavailable):
        await switch.apply(FlowDelta(add=FLOWS))


# Open vSwitch only


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
    flows = many_flows(30_000)
    gc.freeze()  # what other tests left behind is not to be collected on this one's time
    loop = asyncio.get_running_loop()
    longest_s = 0.0

    async def tick() -> None:
        nonlocal longest_s
        while True:
            began = loop.time()
            await asyncio.sleep(0.001)
            longest_s = max(longest_s, loop.time() - began)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.01)
    began = loop.time()
    await real.apply(FlowDelta(add=flows))
    assert len((await real.read_flows()).flows) == len(flows)
    took_s = loop.time() - began
    ticking.cancel()
    gc.unfreeze()
    assert longest_s < max(0.25, took_s / 3)
