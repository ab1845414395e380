"""Peerings over gRPC; intents/peering.py says what each method stores."""

from __future__ import annotations

from typing import Any

from google.protobuf.empty_pb2 import Empty

from cloison.model import Peering
from cloison.names import PeeringName
from cloison.v1 import peering_pb2, peering_pb2_grpc
from controller.api.intents import peering as intents
from controller.api.standard import Api, Kind, Standard

KIND: Kind[Peering] = Kind(
    plural="peerings",
    parse=PeeringName.parse,
    table=lambda state: state.peerings,
    under=lambda state, name: state.peerings_of(name),
    collection=("tenants",),
    list_response=peering_pb2.ListPeeringsResponse,
    create=intents.create,
    update=intents.update,
    delete=intents.delete,
)


class PeeringService(peering_pb2_grpc.PeeringServiceServicer):
    """See peering.proto."""

    def __init__(self, api: Api) -> None:
        self._standard = Standard(api, KIND)

    async def CreatePeering(
        self, request: peering_pb2.CreatePeeringRequest, context: Any
    ) -> peering_pb2.Peering:
        """Create, or return what the same request created before."""
        return await self._standard.create(request)  # type: ignore[no-any-return]

    async def GetPeering(self, request: peering_pb2.GetPeeringRequest, context: Any) -> peering_pb2.Peering:
        """Return one."""
        return self._standard.get(request)  # type: ignore[no-any-return]

    async def ListPeerings(
        self, request: peering_pb2.ListPeeringsRequest, context: Any
    ) -> peering_pb2.ListPeeringsResponse:
        """Return one page."""
        return self._standard.list(request)  # type: ignore[no-any-return]

    async def UpdatePeering(
        self, request: peering_pb2.UpdatePeeringRequest, context: Any
    ) -> peering_pb2.Peering:
        """Change the fields that the mask names."""
        return await self._standard.update(request)  # type: ignore[no-any-return]

    async def DeletePeering(self, request: peering_pb2.DeletePeeringRequest, context: Any) -> Empty:
        """Withdraw: what it let pass stops at once."""
        await self._standard.delete(request, context)
        return Empty()
