"""Port bindings over gRPC: where ports are plugged, as agents report it. Read-only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cloison.errors import NotFound
from cloison.model import PortBinding
from cloison.names import PortName
from cloison.v1 import port_binding_pb2, port_binding_pb2_grpc
from controller.api import validate
from controller.api.parents import Parent
from controller.api.standard import Api, page_of
from controller.api.views import effective
from controller.store.state import State


class _Row:
    """A binding under the name of its port, for turning pages."""

    def __init__(self, name: PortName, binding: PortBinding) -> None:
        self.name, self.binding = name, binding


class PortBindingService(port_binding_pb2_grpc.PortBindingServiceServicer):
    """See port_binding.proto."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def GetPortBinding(
        self, request: port_binding_pb2.GetPortBindingRequest, context: Any
    ) -> port_binding_pb2.PortBinding:
        """Return where a port is plugged; NOT_FOUND while it is plugged nowhere."""
        binding = effective(self._api.store.state, PortName.parse_binding(request.name))
        if binding is None:
            raise NotFound(request.name)
        return self._api.views.binding(binding)

    async def ListPortBindings(
        self, request: port_binding_pb2.ListPortBindingsRequest, context: Any
    ) -> port_binding_pb2.ListPortBindingsResponse:
        """Return one page of the bindings of a network's ports (or of several networks')."""
        state = self._api.store.state
        size = validate.page_size(request.page_size)
        parent = Parent.parse(request.parent, ("tenants", "networks"), None)
        scope = f"port_bindings|{parent}|"
        after = self._api.tokens.open(scope, request.page_token)
        ports = parent.members(state, state.ports, lambda state, name: state.ports_of(name))
        page = page_of(self._rows(state, (port.name for port in ports)), after, size)
        response = port_binding_pb2.ListPortBindingsResponse(
            port_bindings=[self._api.views.binding(row.binding) for row in page[:size]]
        )
        if len(page) > size:
            response.next_page_token = self._api.tokens.make(scope, "/".join(page[size - 1].name))
        return response

    def _rows(self, state: State, ports: Iterable[PortName]) -> Iterable[_Row]:
        for port in ports:
            binding = effective(state, port)
            if binding is not None:
                yield _Row(port, binding)
