"""The probe by routers and out: whatever a hostile guest sends there comes to nobody it is not for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.spine import site
from tests.probe.furnish_exits import furnish_exits
from tests.probe.run import probe_exits
from topologies.outside import DEFAULT


@pytest.mark.timeout(240)
def test_by_the_router_nothing_leaks_and_nothing_legitimate_is_lost(run_dir: Path) -> None:
    with site(run_dir, outside=DEFAULT) as cloud:
        outcomes = probe_exits(cloud, furnish_exits(cloud))
    assert {name: o.where for name, o in outcomes.items() if o.leaked} == {}
    assert {name: o.wrongly_blocked for name, o in outcomes.items() if o.wrongly_blocked} == {}
