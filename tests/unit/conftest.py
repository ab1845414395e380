"""Fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.api import Api, serving


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """An API server of its own, empty. In a short directory: socket paths are limited to 107 bytes."""
    with TemporaryDirectory(prefix="cl-") as directory:
        async with serving(Path(directory)) as served:
            yield served
