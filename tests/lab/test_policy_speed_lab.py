"""What policy costs: TCP through it, and past it, in one run. The numbers are printed (pytest -s)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.clients import iperf_server, throughput_bps
from tests.lab.spine import Site, site

ROUNDS, SECONDS = 3, 3
LOOSE_RATIO = 0.5
"""Not the goal, which is 0.8: on a machine that does other things too a test must not fail for that."""


@pytest.fixture(scope="module")
def cloud(module_run_dir: Path) -> Iterator[Site]:
    """Beside p1 and p2, which have policy: o1 and o2 on the same hosts, which have none."""
    with site(module_run_dir) as cloud:
        for n in (1, 2):
            port = cloud.create_port(
                "tenants/red/networks/web",
                f"o{n}",
                f"h{n}",
                addresses=[f"10.0.0.6{n}", f"fd00:10::6{n}"],
                no_port_security=True,
            )
            cloud.adopt(port, cloud.lab.plug_port(port))
        cloud.wait_active()
        yield cloud


@pytest.mark.timeout(180)
@pytest.mark.parametrize("version", [4, 6])
def test_policy_leaves_most_of_the_throughput(cloud: Site, version: int) -> None:
    best = {"o": 0.0, "p": 0.0}
    for _ in range(ROUNDS):
        for kind in best:
            source, target = cloud.guests[f"red/{kind}1"], cloud.guests[f"red/{kind}2"]
            with iperf_server(target):
                best[kind] = max(best[kind], throughput_bps(source, target, SECONDS, version))
    ratio = best["p"] / best["o"]
    with_, without = (best[kind] / 1e6 for kind in ("p", "o"))
    print(f"\nIPv{version}: {with_:.0f} Mbit/s with policy, {without:.0f} without, ratio {ratio:.2f}")
    assert ratio > LOOSE_RATIO
