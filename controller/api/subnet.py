"""Subnets over gRPC: the standard methods of SubnetService. intents/subnet.py says what they store."""

from __future__ import annotations

from typing import Any

from google.protobuf.empty_pb2 import Empty

from cloison.model import Subnet
from cloison.names import SubnetName
from cloison.v1 import subnet_pb2, subnet_pb2_grpc
from controller.api.intents import subnet as intents
from controller.api.standard import Api, Kind, Standard

KIND: Kind[Subnet] = Kind(
    plural="subnets",
    parse=SubnetName.parse,
    table=lambda state: state.subnets,
    under=lambda state, name: state.subnets_of(name),
    collection=("tenants", "networks"),
    list_response=subnet_pb2.ListSubnetsResponse,
    create=intents.create,
    update=intents.update,
    delete=intents.delete,
)


class SubnetService(subnet_pb2_grpc.SubnetServiceServicer):
    """See subnet.proto."""

    def __init__(self, api: Api) -> None:
        self._standard = Standard(api, KIND)

    async def CreateSubnet(self, request: subnet_pb2.CreateSubnetRequest, context: Any) -> subnet_pb2.Subnet:
        """Create, or return what the same request created before."""
        return await self._standard.create(request)  # type: ignore[no-any-return]

    async def GetSubnet(self, request: subnet_pb2.GetSubnetRequest, context: Any) -> subnet_pb2.Subnet:
        """Return one."""
        return self._standard.get(request)  # type: ignore[no-any-return]

    async def ListSubnets(
        self, request: subnet_pb2.ListSubnetsRequest, context: Any
    ) -> subnet_pb2.ListSubnetsResponse:
        """Return one page."""
        return self._standard.list(request)  # type: ignore[no-any-return]

    async def UpdateSubnet(self, request: subnet_pb2.UpdateSubnetRequest, context: Any) -> subnet_pb2.Subnet:
        """Change the fields that the mask names."""
        return await self._standard.update(request)  # type: ignore[no-any-return]

    async def DeleteSubnet(self, request: subnet_pb2.DeleteSubnetRequest, context: Any) -> Empty:
        """Remove one that nothing depends on."""
        await self._standard.delete(request, context)
        return Empty()
