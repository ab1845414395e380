"""The suite that every Store passes, real or fake. Subclasses give a fixture `backend`."""

from __future__ import annotations

import pytest

from cloison.model import Host
from controller.store.store import Store
from tests.support.store_changes import Changes
from tests.support.store_faults import Faults
from tests.support.store_races import Races
from tests.support.store_world import H1, Backend, creating, meta, network, subnet, tenant


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
class StoreSuite(Changes, Races, Faults):
    """Say what a store promises."""

    @pytest.fixture
    async def store(self, backend: Backend) -> Store:
        return await backend.new_store()

    @pytest.fixture
    async def base(self, store: Store) -> Store:
        for stored in (tenant(), network(), subnet(), Host(name=H1, meta=meta())):
            await store.transact(creating(stored))
        return store
