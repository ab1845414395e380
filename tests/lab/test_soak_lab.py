"""The soak, as `make soak` runs it, for a short while: changes and faults at once, and all comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.spine import site
from tests.soak.run import soak
from topologies import outside

SEED, DURATION_S = 1, 20


@pytest.mark.timeout(240)
def test_whatever_breaks_meanwhile_nothing_leaks_and_all_comes_back(run_dir: Path) -> None:
    with site(run_dir, outside=outside.DEFAULT) as cloud:
        outcome = soak(cloud, seed=SEED, duration_s=DURATION_S)
    assert outcome.complaints == []
    assert outcome.admitted
    assert outcome.kept_apart
    assert outcome.faults
