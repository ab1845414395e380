"""Security groups over gRPC; intents/security_group.py says what each method stores."""

from __future__ import annotations

from typing import Any

from google.protobuf.empty_pb2 import Empty

from cloison.model import SecurityGroup
from cloison.names import SecurityGroupName
from cloison.v1 import security_group_pb2, security_group_pb2_grpc
from controller.api.intents import security_group as intents
from controller.api.standard import Api, Kind, Standard

KIND: Kind[SecurityGroup] = Kind(
    plural="security_groups",
    parse=SecurityGroupName.parse,
    table=lambda state: state.security_groups,
    under=lambda state, name: state.groups_of(name),
    collection=("tenants",),
    list_response=security_group_pb2.ListSecurityGroupsResponse,
    create=intents.create,
    update=intents.update,
    delete=intents.delete,
)


class SecurityGroupService(security_group_pb2_grpc.SecurityGroupServiceServicer):
    """See security_group.proto."""

    def __init__(self, api: Api) -> None:
        self._standard = Standard(api, KIND)

    async def CreateSecurityGroup(
        self, request: security_group_pb2.CreateSecurityGroupRequest, context: Any
    ) -> security_group_pb2.SecurityGroup:
        """Create, or return what the same request created before."""
        return await self._standard.create(request)  # type: ignore[no-any-return]

    async def GetSecurityGroup(
        self, request: security_group_pb2.GetSecurityGroupRequest, context: Any
    ) -> security_group_pb2.SecurityGroup:
        """Return one."""
        return self._standard.get(request)  # type: ignore[no-any-return]

    async def ListSecurityGroups(
        self, request: security_group_pb2.ListSecurityGroupsRequest, context: Any
    ) -> security_group_pb2.ListSecurityGroupsResponse:
        """Return one page."""
        return self._standard.list(request)  # type: ignore[no-any-return]

    async def UpdateSecurityGroup(
        self, request: security_group_pb2.UpdateSecurityGroupRequest, context: Any
    ) -> security_group_pb2.SecurityGroup:
        """Change the fields that the mask names."""
        return await self._standard.update(request)  # type: ignore[no-any-return]

    async def AddSecurityGroupRules(
        self, request: security_group_pb2.AddSecurityGroupRulesRequest, context: Any
    ) -> security_group_pb2.SecurityGroup:
        """Add rules to those that are there."""
        return await self._standard.change(request, intents.add_rules)  # type: ignore[no-any-return]

    async def RemoveSecurityGroupRules(
        self, request: security_group_pb2.RemoveSecurityGroupRulesRequest, context: Any
    ) -> security_group_pb2.SecurityGroup:
        """Take rules away."""
        return await self._standard.change(request, intents.remove_rules)  # type: ignore[no-any-return]

    async def DeleteSecurityGroup(
        self, request: security_group_pb2.DeleteSecurityGroupRequest, context: Any
    ) -> Empty:
        """Remove one that nothing depends on."""
        await self._standard.delete(request, context)
        return Empty()
