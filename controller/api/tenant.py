"""Tenants over gRPC: the standard methods of TenantService. intents/tenant.py says what they store."""

from __future__ import annotations

from typing import Any

from google.protobuf.empty_pb2 import Empty

from cloison.model import Tenant
from cloison.names import TenantName
from cloison.v1 import tenant_pb2, tenant_pb2_grpc
from controller.api.intents import tenant as intents
from controller.api.standard import Api, Kind, Standard

KIND: Kind[Tenant] = Kind(
    plural="tenants",
    parse=TenantName.parse,
    table=lambda state: state.tenants,
    under=lambda state, name: state.tenants.values(),
    collection=(),
    list_response=tenant_pb2.ListTenantsResponse,
    create=intents.create,
    update=intents.update,
    delete=intents.delete,
)


class TenantService(tenant_pb2_grpc.TenantServiceServicer):
    """See tenant.proto."""

    def __init__(self, api: Api) -> None:
        self._standard = Standard(api, KIND)

    async def CreateTenant(self, request: tenant_pb2.CreateTenantRequest, context: Any) -> tenant_pb2.Tenant:
        """Create, or return what the same request created before."""
        return await self._standard.create(request)  # type: ignore[no-any-return]

    async def GetTenant(self, request: tenant_pb2.GetTenantRequest, context: Any) -> tenant_pb2.Tenant:
        """Return one."""
        return self._standard.get(request)  # type: ignore[no-any-return]

    async def ListTenants(
        self, request: tenant_pb2.ListTenantsRequest, context: Any
    ) -> tenant_pb2.ListTenantsResponse:
        """Return one page."""
        return self._standard.list(request)  # type: ignore[no-any-return]

    async def UpdateTenant(self, request: tenant_pb2.UpdateTenantRequest, context: Any) -> tenant_pb2.Tenant:
        """Change the fields that the mask names."""
        return await self._standard.update(request)  # type: ignore[no-any-return]

    async def DeleteTenant(self, request: tenant_pb2.DeleteTenantRequest, context: Any) -> Empty:
        """Remove one that nothing depends on."""
        await self._standard.delete(request, context)
        return Empty()
