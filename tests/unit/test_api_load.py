"""Many calls at one moment: each is answered, whatever this process is busy with."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from cloison.v1 import tenant_pb2
from tests.support.api import serving

CALLS = 3000


@pytest.mark.slow
async def test_calls_that_wait_are_answered(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        await api.tenants.CreateTenant(tenant_pb2.CreateTenantRequest(tenant_id="acme"))
        asyncio.get_running_loop().call_later(0.01, time.sleep, 1.0)
        calls = [
            api.tenants.GetTenant(tenant_pb2.GetTenantRequest(name="tenants/acme")) for _ in range(CALLS)
        ]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert {answer.name if isinstance(answer, tenant_pb2.Tenant) else str(answer) for answer in answers} == {
        "tenants/acme"
    }
