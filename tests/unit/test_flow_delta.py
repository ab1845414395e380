"""The delta leads from what a switch holds to what it should hold, and touches nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from controller.flows import Flow, FlowKey, match
from controller.flows.delta import FlowDelta, ForeignFlow, InstalledFlow, InstalledFlows, flow_delta

TABLES = st.dictionaries(
    st.integers(0, 8).map(lambda n: FlowKey(n % 3, n, match(in_port=n))), st.integers(0, 2), max_size=9
)


def flows(table: dict[FlowKey, int]) -> dict[FlowKey, Flow]:
    return {
        key: Flow(table=key.table, priority=key.priority, match=key.match, cookie=cookie)
        for key, cookie in table.items()
    }


@given(TABLES, TABLES)
def test_applied_to_actual_it_gives_desired(wanted: dict[FlowKey, int], there: dict[FlowKey, int]) -> None:
    desired, actual = flows(wanted), flows(there)
    delta = flow_delta(desired, actual)
    result = {key: flow for key, flow in actual.items() if key not in delta.delete}
    result |= {flow.key: flow for flow in (*delta.add, *delta.modify)}
    assert result == desired
    # Only what differs is touched, and an addition is no change of what is there.
    assert all(actual.get(flow.key) != flow for flow in (*delta.add, *delta.modify))
    assert not {flow.key for flow in delta.add} & actual.keys()
    assert {flow.key for flow in delta.modify} <= actual.keys()
    assert bool(delta) == (desired != actual)


@given(TABLES, TABLES)
def test_what_was_read_gives_the_same_delta(wanted: dict[FlowKey, int], there: dict[FlowKey, int]) -> None:
    installed = InstalledFlows({key: InstalledFlow(flow, 5, 50) for key, flow in flows(there).items()})
    assert flow_delta(flows(wanted), installed) == flow_delta(flows(wanted), flows(there))


def test_foreign_flows_are_purged() -> None:
    foreign = ForeignFlow(1, 2, 3, b"")
    assert flow_delta({}, InstalledFlows({}, (foreign,))) == FlowDelta(purge=(foreign,))
