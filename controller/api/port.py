"""Ports over gRPC: the standard methods of PortService. intents/port.py says what they store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from google.protobuf.empty_pb2 import Empty

from cloison.errors import Precondition, Unavailable
from cloison.model import Port
from cloison.names import PortName
from cloison.v1 import port_pb2, port_pb2_grpc
from controller.api.auth import current_caller
from controller.api.intents import port as intents
from controller.api.intents.common import Stamp, found
from controller.api.planning.several import Birth
from controller.api.standard import Api, Kind, Standard
from controller.api.statistics import StatisticsSource, seen_by_tenant
from controller.reconcile.views import live_binding
from controller.store.state import State
from controller.store.txn import Txn

KIND: Kind[Port] = Kind(
    plural="ports",
    parse=PortName.parse,
    table=lambda state: state.ports,
    under=lambda state, name: state.ports_of(name),
    collection=("tenants", "networks"),
    list_response=port_pb2.ListPortsResponse,
    create=intents.create,
    update=intents.update,
    delete=intents.delete,
)


def _bound(birth: Birth) -> Callable[[State, Any, Stamp], tuple[Txn, Port]]:
    """Create a port in one transaction with its binding: it takes half as long to be realized."""

    def create(state: State, request: port_pb2.CreatePortRequest, stamp: Stamp) -> tuple[Txn, Port]:
        txn, port = intents.create(state, request, stamp)
        binding = birth(state, port) if txn else None
        if binding is not None:
            txn.create(binding)
        return txn, port

    return create


class PortService(port_pb2_grpc.PortServiceServicer):
    """See port.proto."""

    def __init__(
        self, api: Api, statistics: StatisticsSource | None = None, birth: Birth | None = None
    ) -> None:
        """statistics None: there are no switches to ask. birth: what is plugged already, None: nothing is."""
        self._api, self._statistics = api, statistics
        self._standard = Standard(api, KIND if birth is None else replace(KIND, create=_bound(birth)))

    async def CreatePort(self, request: port_pb2.CreatePortRequest, context: Any) -> port_pb2.Port:
        """Create, or return what the same request created before."""
        return await self._standard.create(request)  # type: ignore[no-any-return]

    async def GetPort(self, request: port_pb2.GetPortRequest, context: Any) -> port_pb2.Port:
        """Return one."""
        return self._standard.get(request)  # type: ignore[no-any-return]

    async def ListPorts(self, request: port_pb2.ListPortsRequest, context: Any) -> port_pb2.ListPortsResponse:
        """Return one page."""
        return self._standard.list(request)  # type: ignore[no-any-return]

    async def UpdatePort(self, request: port_pb2.UpdatePortRequest, context: Any) -> port_pb2.Port:
        """Change the fields that the mask names."""
        return await self._standard.update(request)  # type: ignore[no-any-return]

    async def GetPortStatistics(
        self, request: port_pb2.GetPortStatisticsRequest, context: Any
    ) -> port_pb2.PortStatistics:
        """Return the counters of the switch that the port is plugged on."""
        state = self._api.store.state
        port = found(state.ports, PortName.parse(request.name))
        binding = live_binding(state, port)
        if binding is None:
            raise Precondition(
                "NOT_PLUGGED",
                str(port.name),
                f"{port.name} is plugged nowhere, so no switch counts its frames",
            )
        if self._statistics is None:
            raise Unavailable("this controller has no switches to ask")
        counted = await self._statistics.port_statistics(port, binding.host)
        counted.name, counted.host = str(port.name), str(binding.host)
        return counted if current_caller().tenant is None else seen_by_tenant(counted)

    async def DeletePort(self, request: port_pb2.DeletePortRequest, context: Any) -> Empty:
        """Remove one that nothing depends on."""
        await self._standard.delete(request, context)
        return Empty()
