"""The probe, as `make probe` runs it: whatever a hostile guest sends comes to nobody it is not for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.spine import site
from tests.probe.run import furnish, probe


@pytest.mark.timeout(240)
def test_nothing_leaks_and_nothing_legitimate_is_lost(run_dir: Path) -> None:
    with site(run_dir) as cloud:
        furnish(cloud)
        outcomes = probe(cloud)
    assert {name: o.where for name, o in outcomes.items() if o.leaked} == {}
    assert {name: o.wrongly_blocked for name, o in outcomes.items() if o.wrongly_blocked} == {}
