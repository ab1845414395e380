"""Floating IPs over gRPC; intents/floating_ip.py says what each method stores."""

from __future__ import annotations

from typing import Any

from google.protobuf.empty_pb2 import Empty

from cloison.model import FloatingIp
from cloison.names import FloatingIpName
from cloison.v1 import floating_ip_pb2 as pb
from cloison.v1 import floating_ip_pb2_grpc
from controller.api.intents import floating_ip as intents
from controller.api.standard import Api, Kind, Standard

KIND: Kind[FloatingIp] = Kind(
    plural="floating_ips",
    parse=FloatingIpName.parse,
    table=lambda state: state.floating_ips,
    under=lambda state, name: state.floating_ips_of(name),
    collection=("tenants",),
    list_response=pb.ListFloatingIpsResponse,
    create=intents.create,
    update=intents.update,
    delete=intents.delete,
)


class FloatingIpService(floating_ip_pb2_grpc.FloatingIpServiceServicer):
    """See floating_ip.proto."""

    def __init__(self, api: Api) -> None:
        self._standard = Standard(api, KIND)

    async def CreateFloatingIp(self, request: pb.CreateFloatingIpRequest, context: Any) -> pb.FloatingIp:
        """Create, or return what the same request created before."""
        return await self._standard.create(request)  # type: ignore[no-any-return]

    async def GetFloatingIp(self, request: pb.GetFloatingIpRequest, context: Any) -> pb.FloatingIp:
        """Return one."""
        return self._standard.get(request)  # type: ignore[no-any-return]

    async def ListFloatingIps(
        self, request: pb.ListFloatingIpsRequest, context: Any
    ) -> pb.ListFloatingIpsResponse:
        """Return one page."""
        return self._standard.list(request)  # type: ignore[no-any-return]

    async def UpdateFloatingIp(self, request: pb.UpdateFloatingIpRequest, context: Any) -> pb.FloatingIp:
        """Change the fields that the mask names; to another port it comes at once."""
        return await self._standard.update(request)  # type: ignore[no-any-return]

    async def DeleteFloatingIp(self, request: pb.DeleteFloatingIpRequest, context: Any) -> Empty:
        """Remove one; its address is free when every host has confirmed."""
        await self._standard.delete(request, context)
        return Empty()
