"""Address groups over gRPC; intents/address_group.py says what each method stores."""

from __future__ import annotations

from typing import Any

from google.protobuf.empty_pb2 import Empty

from cloison.model import AddressGroup
from cloison.names import AddressGroupName
from cloison.v1 import address_group_pb2, address_group_pb2_grpc
from controller.api.intents import address_group as intents
from controller.api.standard import Api, Kind, Standard

KIND: Kind[AddressGroup] = Kind(
    plural="address_groups",
    parse=AddressGroupName.parse,
    table=lambda state: state.address_groups,
    under=lambda state, name: state.address_groups_of(name),
    collection=("tenants",),
    list_response=address_group_pb2.ListAddressGroupsResponse,
    create=intents.create,
    update=intents.update,
    delete=intents.delete,
)


class AddressGroupService(address_group_pb2_grpc.AddressGroupServiceServicer):
    """See address_group.proto."""

    def __init__(self, api: Api) -> None:
        self._standard = Standard(api, KIND)

    async def CreateAddressGroup(
        self, request: address_group_pb2.CreateAddressGroupRequest, context: Any
    ) -> address_group_pb2.AddressGroup:
        """Create, or return what the same request created before."""
        return await self._standard.create(request)  # type: ignore[no-any-return]

    async def GetAddressGroup(
        self, request: address_group_pb2.GetAddressGroupRequest, context: Any
    ) -> address_group_pb2.AddressGroup:
        """Return one."""
        return self._standard.get(request)  # type: ignore[no-any-return]

    async def ListAddressGroups(
        self, request: address_group_pb2.ListAddressGroupsRequest, context: Any
    ) -> address_group_pb2.ListAddressGroupsResponse:
        """Return one page."""
        return self._standard.list(request)  # type: ignore[no-any-return]

    async def UpdateAddressGroup(
        self, request: address_group_pb2.UpdateAddressGroupRequest, context: Any
    ) -> address_group_pb2.AddressGroup:
        """Change the fields that the mask names."""
        return await self._standard.update(request)  # type: ignore[no-any-return]

    async def DeleteAddressGroup(
        self, request: address_group_pb2.DeleteAddressGroupRequest, context: Any
    ) -> Empty:
        """Remove one that nothing depends on."""
        await self._standard.delete(request, context)
        return Empty()
