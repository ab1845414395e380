"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.api import Api, serving
from tests.support.outside import check_whole, make_outside
from tests.support.plans import references


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """An API server of its own, empty. In a short directory: socket paths are limited to 107 bytes."""
    with TemporaryDirectory(prefix="cl-") as directory:
        async with serving(Path(directory)) as served:
            yield served


@pytest.fixture
async def outside(api: Api) -> AsyncIterator[Api]:
    """See make_outside; afterwards nothing is left of what was taken away."""
    await make_outside(api)
    yield api
    check_whole(api.store.state, references(api.store.etcd))
