"""External networks over gRPC; intents/external_network.py says what each method stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.empty_pb2 import Empty

from cloison.model import ExternalNetwork, Reservation
from cloison.names import ExternalNetworkName, RouterName, TenantName
from cloison.v1 import external_network_pb2 as pb
from cloison.v1 import external_network_pb2_grpc
from controller.api import validate
from controller.api.auth import current_caller
from controller.api.intents import common, edges
from controller.api.intents import external_network as intents
from controller.api.standard import Api, Kind, Standard
from controller.store import ids
from controller.store.state import State
from controller.store.txn import Txn


def _visible(state: State) -> Mapping[ExternalNetworkName, ExternalNetwork]:
    """Return those that the caller may see: a tenant's people what is shared with it."""
    tenant = current_caller().tenant
    if tenant is None:
        return state.external_networks
    found = state.external_networks_of(TenantName(tenant))
    return {network.name: network for network in found}


KIND: Kind[ExternalNetwork] = Kind(
    plural="external_networks",
    parse=ExternalNetworkName.parse,
    table=_visible,
    under=lambda state, name: (),
    collection=(),
    list_response=pb.ListExternalNetworksResponse,
    create=intents.create,
    update=intents.update,
    delete=intents.delete,
    of_tenants=False,
)


class ExternalNetworkService(external_network_pb2_grpc.ExternalNetworkServiceServicer):
    """See external_network.proto."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._standard = Standard(api, KIND)

    async def CreateExternalNetwork(
        self, request: pb.CreateExternalNetworkRequest, context: Any
    ) -> pb.ExternalNetwork:
        """Create, or return what the same request created before."""
        return await self._standard.create(request)  # type: ignore[no-any-return]

    async def GetExternalNetwork(
        self, request: pb.GetExternalNetworkRequest, context: Any
    ) -> pb.ExternalNetwork:
        """Return one; to tenants none but those shared with them exist."""
        return self._standard.get(request)  # type: ignore[no-any-return]

    async def ListExternalNetworks(
        self, request: pb.ListExternalNetworksRequest, context: Any
    ) -> pb.ListExternalNetworksResponse:
        """Return one page."""
        return self._standard.list(request)  # type: ignore[no-any-return]

    async def ListExternalAddresses(
        self, request: pb.ListExternalAddressesRequest, context: Any
    ) -> pb.ListExternalAddressesResponse:
        """Return one page of the addresses that are not free, in the order of their numbers."""
        state, size = self._api.store.state, validate.page_size(request.page_size)
        name = ExternalNetworkName.parse(request.name)
        common.found(state.external_networks, name)
        scope = f"external_addresses|{name}"
        token = self._api.tokens.open(scope, request.page_token)
        after = tuple(map(int, token.split("/"))) if token else ()
        found = [key for version in (4, 6) for key in _numbers(state, name, version) if key > after]
        answer = pb.ListExternalAddressesResponse()
        for version, number in found[:size]:
            reservation = state.reservations[ids.join(ids.external_scope(name, version), number)]
            answer.addresses.append(_shown(reservation))
        if len(found) > size:
            answer.next_page_token = self._api.tokens.make(scope, "/".join(map(str, found[size - 1])))
        return answer

    async def UpdateExternalNetwork(
        self, request: pb.UpdateExternalNetworkRequest, context: Any
    ) -> pb.ExternalNetwork:
        """Change the fields that the mask names; the routers that go out here follow its gateway hosts.

        Each router by a transaction of its own: together they may be more than a transaction holds.
        """
        shown = await self._standard.update(request)
        if not request.validate_only:
            name = ExternalNetworkName.parse(shown.name)
            for router in sorted(router.name for router in self._api.store.state.routers_out(name)):
                await self._follow(router)
        return shown  # type: ignore[no-any-return]

    async def _follow(self, router: RouterName) -> None:
        stamp = self._api.stamp(current_caller())

        def build(state: State) -> tuple[Txn, None]:
            return edges.follow_txn(state, router, stamp), None

        await self._api.store.transact(build)

    async def DeleteExternalNetwork(self, request: pb.DeleteExternalNetworkRequest, context: Any) -> Empty:
        """Remove one that nobody uses."""
        await self._standard.delete(request, context)
        return Empty()


def _numbers(state: State, name: ExternalNetworkName, version: int) -> list[tuple[int, int]]:
    scope = ids.external_scope(name, version)
    return sorted((version, int(number)) for number in state.reservations.numbers(scope))


def _shown(reservation: Reservation) -> pb.ExternalAddress:
    parts = reservation.owner.split("/")
    return pb.ExternalAddress(
        ip_address=reservation.key.rpartition("/")[2],
        owner=reservation.owner,
        tenant="/".join(parts[:2]) if parts[0] == "tenants" else "",
        released=reservation.released,
        waiting_for=map(str, reservation.hosts),
    )
