"""Hosts over gRPC: the standard methods of HostService. intents/host.py says what they store."""

from __future__ import annotations

from typing import Any

from google.protobuf.empty_pb2 import Empty

from cloison.model import Host
from cloison.names import HostName
from cloison.v1 import host_pb2, host_pb2_grpc
from controller.api.intents import host as intents
from controller.api.standard import Api, Kind, Standard
from controller.reconcile.tracker import Tracker


class HostService(host_pb2_grpc.HostServiceServicer):
    """See host.proto."""

    def __init__(self, api: Api, tracker: Tracker) -> None:
        self._tracker = tracker
        self._standard = Standard(api, self._kind())

    def _kind(self) -> Kind[Host]:
        return Kind(
            plural="hosts",
            parse=HostName.parse,
            table=lambda state: state.hosts,
            under=lambda state, name: state.hosts.values(),
            collection=(),
            list_response=host_pb2.ListHostsResponse,
            create=intents.create,
            update=intents.update,
            delete=lambda state, request: intents.delete(state, request, self._connected(request)),
        )

    def _connected(self, request: host_pb2.DeleteHostRequest) -> bool:
        return self._tracker.host_status(HostName.parse(request.name)).agent_connected

    async def CreateHost(self, request: host_pb2.CreateHostRequest, context: Any) -> host_pb2.Host:
        """Create, or return what the same request created before."""
        return await self._standard.create(request)  # type: ignore[no-any-return]

    async def GetHost(self, request: host_pb2.GetHostRequest, context: Any) -> host_pb2.Host:
        """Return one."""
        return self._standard.get(request)  # type: ignore[no-any-return]

    async def ListHosts(self, request: host_pb2.ListHostsRequest, context: Any) -> host_pb2.ListHostsResponse:
        """Return one page."""
        return self._standard.list(request)  # type: ignore[no-any-return]

    async def UpdateHost(self, request: host_pb2.UpdateHostRequest, context: Any) -> host_pb2.Host:
        """Change the fields that the mask names."""
        return await self._standard.update(request)  # type: ignore[no-any-return]

    async def DeleteHost(self, request: host_pb2.DeleteHostRequest, context: Any) -> Empty:
        """Remove one that no port is scheduled to and whose agent is away."""
        await self._standard.delete(request, context)
        return Empty()
