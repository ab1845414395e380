"""Damaged states: the harmful ones are caught, the others are not. MUTANTS=10000 makes that many."""

from __future__ import annotations

import os

import pytest

from tests.mutants import run_shared
from tests.support.effort import examples
from tests.support.mutations import MUTATIONS

MUTANTS = int(os.environ.get("MUTANTS", examples(400)))


@pytest.mark.timeout(120 + 2 * MUTANTS)
def test_harm_is_caught_and_nothing_else() -> None:
    # (In a process of its own: the order of sets is the same there in each run.)
    scores = run_shared(MUTANTS, seed=3, processes=1)
    assert len(MUTATIONS) >= 25
    assert {kind: s for kind, s in scores.items() if s.missed or s.false_alarms} == {}
    assert sum(s.caught for s in scores.values()) > MUTANTS / 4
    # What the judge does not find by itself it would not miss in the proof either: some 2 in 100 are so.
    assert sum(s.overlooked for s in scores.values()) <= 2 + MUTANTS / 40
    assert sum(s.made - s.harmful for s in scores.values()) > MUTANTS / 10
