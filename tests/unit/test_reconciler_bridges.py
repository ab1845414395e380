"""Bridges that come, go and name their ports otherwise at any moment: nothing is refused, nothing is left."""

from __future__ import annotations

import pytest

from tests.support.meddling import assert_ends_where_a_start_does


@pytest.mark.parametrize("seed", range(16))
async def test_whenever_bridges_change_it_ends_where_a_start_does(seed: int) -> None:
    await assert_ends_where_a_start_does(seed, lambda reconciler: True)
