"""Routers over gRPC; intents/router.py says what each method stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.empty_pb2 import Empty

from cloison.codec import etag_of
from cloison.model import Router
from cloison.names import RouterName
from cloison.v1 import router_pb2, router_pb2_grpc
from controller.api.auth import current_caller
from controller.api.intents import edges
from controller.api.intents import router as intents
from controller.api.intents.common import Stamp
from controller.api.standard import Api, Kind, Standard
from controller.store.state import State
from controller.store.txn import Txn

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
        self._api = api
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
        stamp = self._api.stamp(current_caller())
        if not request.validate_only:
            await self._shed(lambda state: intents.update(state, request, stamp), request.router)
        return await self._standard.update(request)  # type: ignore[no-any-return]

    async def DeleteRouter(self, request: router_pb2.DeleteRouterRequest, context: Any) -> Empty:
        """Remove one: its networks are apart at once."""
        if not request.validate_only:
            await self._shed(lambda state: intents.delete(state, request), request)
        await self._standard.delete(request, context)
        return Empty()

    async def _shed(self, build: Callable[[State], tuple[Txn, Router]], named: Any) -> None:
        """Take a router's edges of single hosts away first, where it loses too many for one transaction.

        named: what has its name and etag in the request. Raises what the change itself would raise.
        """
        store, name = self._api.store, RouterName.parse(named.name)
        router = store.state.routers.get(name)
        if router is None or router.gateway is None:
            return
        txn, after = build(store.state)
        # (What is deleted is returned as it was.)
        keeps = after.gateway is not None and after is not router
        there = [edge for edge in store.state.edges_of(name) if edge.host is not None]
        if keeps or not there or txn.fits(store.limits):
            return
        stamp = self._api.stamp(current_caller())
        # Then nobody wants them, and nobody makes them again: while floating IPs do, the change is refused.
        revision, changed = await store.transact(lambda state: _ended(state, name, stamp))
        for edge in there:
            await store.transact(lambda state, edge=edge: (edges.drop_edge_txn(state, edge), None))  # type: ignore[misc]
        if named.etag and changed:
            named.etag = etag_of(revision)


def _ended(state: State, name: RouterName, stamp: Stamp) -> tuple[Txn, bool]:
    txn = edges.shed_txn(state, name, stamp)
    return txn, bool(txn)
