"""Sets of connections: differences are exact, and words say what there is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloison.protocols import ICMP, TCP, UDP
from controller.api.planning.connections import WHOLE, Connections, difference, union

SMALL = 12
intervals = st.lists(
    st.tuples(st.integers(0, SMALL), st.integers(0, SMALL)).map(lambda pair: (min(pair), max(pair))),
    max_size=4,
).map(union)
sets = st.builds(
    Connections,
    st.dictionaries(st.sampled_from([TCP, UDP, 47]), intervals, max_size=3),
    st.booleans(),
)


def members(of: tuple[tuple[int, int], ...]) -> set[int]:
    return {number for low, high in of for number in range(low, high + 1)}


@settings(deadline=None)
@given(intervals, intervals)
def test_a_difference_is_what_the_one_has_and_the_other_has_not(ours, theirs):
    left = difference(ours, theirs)
    assert members(left) == members(ours) - members(theirs)
    assert all(low <= high for low, high in left)


@pytest.mark.slow
@settings(deadline=None)
@given(sets, sets)
def test_sets_without_sets(ours, theirs):
    left = ours.without(theirs)
    for protocol in (TCP, UDP, 47, 200):
        assert members(left.of(protocol)) == members(ours.of(protocol)) - members(theirs.of(protocol))
    assert not ours.without(ours)
    assert bool(left.words()) == bool(left)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Connections(others=True), ("any protocol",)),
        (Connections({TCP: WHOLE}, others=True), ("any protocol",)),
        (Connections({TCP: ((22, 22), (80, 443))}), ("tcp port 22", "tcp ports 80-443")),
        (Connections({TCP: (), UDP: ()}, others=True), ("any protocol but tcp, udp",)),
        (Connections({ICMP: ((8 << 8, (8 << 8) + 255),)}), ("icmp type 8",)),
        (Connections({ICMP: ((3 << 8 | 4, 3 << 8 | 4),)}), ("icmp type 3 code 4",)),
        (Connections({ICMP: ((3 << 8 | 4, 5 << 8 | 1),)}), (
            "icmp type 3 codes 4-255", "icmp type 4", "icmp type 5 codes 0-1",
        )),
        (Connections({200: WHOLE}), ("protocol 200",)),
        (Connections(), ()),
    ],
)  # fmt: skip
def test_words(found, words):
    assert found.words() == words
