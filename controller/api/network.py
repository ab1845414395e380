"""Networks over gRPC: the standard methods of NetworkService. intents/network.py says what they store."""

from __future__ import annotations

from typing import Any

from google.protobuf.empty_pb2 import Empty

from cloison.model import Network
from cloison.names import NetworkName
from cloison.v1 import network_pb2, network_pb2_grpc
from controller.api.intents import network as intents
from controller.api.standard import Api, Kind, Standard

KIND: Kind[Network] = Kind(
    plural="networks",
    parse=NetworkName.parse,
    table=lambda state: state.networks,
    under=lambda state, name: state.networks_of(name),
    collection=("tenants",),
    list_response=network_pb2.ListNetworksResponse,
    create=intents.create,
    update=intents.update,
    delete=intents.delete,
)


class NetworkService(network_pb2_grpc.NetworkServiceServicer):
    """See network.proto."""

    def __init__(self, api: Api) -> None:
        self._standard = Standard(api, KIND)

    async def CreateNetwork(
        self, request: network_pb2.CreateNetworkRequest, context: Any
    ) -> network_pb2.Network:
        """Create, or return what the same request created before."""
        return await self._standard.create(request)  # type: ignore[no-any-return]

    async def GetNetwork(self, request: network_pb2.GetNetworkRequest, context: Any) -> network_pb2.Network:
        """Return one."""
        return self._standard.get(request)  # type: ignore[no-any-return]

    async def ListNetworks(
        self, request: network_pb2.ListNetworksRequest, context: Any
    ) -> network_pb2.ListNetworksResponse:
        """Return one page."""
        return self._standard.list(request)  # type: ignore[no-any-return]

    async def UpdateNetwork(
        self, request: network_pb2.UpdateNetworkRequest, context: Any
    ) -> network_pb2.Network:
        """Change the fields that the mask names."""
        return await self._standard.update(request)  # type: ignore[no-any-return]

    async def DeleteNetwork(self, request: network_pb2.DeleteNetworkRequest, context: Any) -> Empty:
        """Remove one that nothing depends on."""
        await self._standard.delete(request, context)
        return Empty()
