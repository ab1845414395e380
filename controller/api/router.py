"""Routers over gRPC; intents/router.py says what each method stores."""

from __future__ import annotations

from typing import Any

from google.protobuf.empty_pb2 import Empty

from cloison.model import Router
from cloison.names import RouterName
from cloison.v1 import router_pb2, router_pb2_grpc
from controller.api.intents import router as intents
from controller.api.standard import Api, Kind, Standard

KIND: Kind[Router] = Kind(
    plural="routers",
    parse=RouterName.parse,
    table=lambda state: state.routers,
    under=lambda state, name: state.routers_of(name),
    collection=("tenants",),
    list_response=router_pb2.ListRoutersResponse,
    create=intents.create,
    update=intents.update,
    delete=intents.delete,
)


class RouterService(router_pb2_grpc.RouterServiceServicer):
    """See router.proto."""

    def __init__(self, api: Api) -> None:
        self._standard = Standard(api, KIND)

    async def CreateRouter(self, request: router_pb2.CreateRouterRequest, context: Any) -> router_pb2.Router:
        """Create, or return what the same request created before."""
        return await self._standard.create(request)  # type: ignore[no-any-return]

    async def GetRouter(self, request: router_pb2.GetRouterRequest, context: Any) -> router_pb2.Router:
        """Return one."""
        return self._standard.get(request)  # type: ignore[no-any-return]

    async def ListRouters(
        self, request: router_pb2.ListRoutersRequest, context: Any
    ) -> router_pb2.ListRoutersResponse:
        """Return one page."""
        return self._standard.list(request)  # type: ignore[no-any-return]

    async def UpdateRouter(self, request: router_pb2.UpdateRouterRequest, context: Any) -> router_pb2.Router:
        """Change the fields that the mask names."""
        return await self._standard.update(request)  # type: ignore[no-any-return]

    async def DeleteRouter(self, request: router_pb2.DeleteRouterRequest, context: Any) -> Empty:
        """Remove one: its networks are apart at once."""
        await self._standard.delete(request, context)
        return Empty()
