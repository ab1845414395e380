"""The agents' stream: checks who dials and what they say, then hands it to the reconciler.

The certificate names the host; nothing in the messages can make it another one. An agent may report only
about its own host and sees only its own plan.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, ip_address
from typing import Any

import structlog

from cloison.addresses import IpAddress
from cloison.errors import CloisonError, InvalidIntent, PermissionDenied, Unavailable
from cloison.identity import Role
from cloison.model import OFPORT_MAX, VNI_MAX
from cloison.names import ID_EXPECTED, ID_PATTERN, HostName
from cloison.v1 import host_sync_pb2, host_sync_pb2_grpc
from controller.api.auth import current_caller
from controller.reconcile.reconciler import Reconciler
from controller.reconcile.registration import Registration
from controller.reconcile.session import AgentSession

_log = structlog.get_logger(__name__)

INTERFACES_MAX = 16384
TUNNEL_PORTS_MAX = 16384
INTERFACE_NAME_LENGTH_MAX = 255
PHYSICAL_NETWORKS_MAX = 64
LABELS_MAX = 64
LABEL_LENGTH_MAX = 255
IFACE_ID_LENGTH_MAX = 255
HELLO_DEADLINE_S = 10.0

Messages = AsyncIterator[host_sync_pb2.AgentMessage]


class HostSyncServicer(host_sync_pb2_grpc.HostSyncServicer):
    """One Sync call per connected agent."""

    def __init__(self, reconciler: Reconciler, openflow_target: str) -> None:
        self._reconciler = reconciler
        self._openflow_target = openflow_target

    async def Sync(
        self, request_iterator: Messages, context: Any
    ) -> AsyncIterator[host_sync_pb2.ControllerMessage]:
        """Hello, inventory, then plans out and receipts in, until either side ends it."""
        hello = await self._hello(request_iterator)
        session = AgentSession(HostName(hello.host_id))
        registration = _registration(hello)
        await self._reconciler.register(registration, hello.epoch)
        yield host_sync_pb2.ControllerMessage(
            welcome=host_sync_pb2.Welcome(
                controller_id=self._reconciler.tracker.controller_id,
                epoch=self._reconciler.epoch,
                openflow_target=self._openflow_target,
            )
        )
        reader = asyncio.create_task(self._read(session, request_iterator))
        try:
            async for message in session.outgoing():
                yield message
        finally:
            reader.cancel()
            self._reconciler.agent_gone(session)
        if reader.done() and not reader.cancelled() and (error := reader.exception()) is not None:
            raise error
        raise Unavailable(session.closed_because or "the session ended")

    @staticmethod
    async def _hello(messages: Messages) -> host_sync_pb2.Hello:
        try:
            async with asyncio.timeout(HELLO_DEADLINE_S):
                first = await anext(messages)
        except (StopAsyncIteration, TimeoutError) as error:
            raise InvalidIntent.of("hello", "nothing", f"a Hello within {HELLO_DEADLINE_S:.0f} s") from error
        if first.WhichOneof("kind") != "hello":
            raise InvalidIntent.of("kind", first.WhichOneof("kind"), "Hello as the first message")
        caller = current_caller()
        named = first.hello.host_id
        if caller.identity.role is Role.HOST and caller.secure and caller.identity.name != named:
            raise PermissionDenied(
                f"host_id {named!r} is not the host that the certificate names ({caller.identity.name!r})"
            )
        return first.hello

    async def _read(self, session: AgentSession, messages: Messages) -> None:
        """Take in what the agent says until it stops; then end the session."""
        try:
            async for message in messages:
                match message.WhichOneof("kind"):
                    case "inventory":
                        _check_inventory(session, message.inventory)
                        if not session.ready:
                            await self._reconciler.quiet()
                        self._reconciler.inventory(session, message.inventory)
                    case "ack":
                        self._reconciler.acked(session, message.ack)
                    case "drift":
                        self._reconciler.drifted(session, message.drift)
                    case "inspection":
                        self._reconciler.inspected(session, message.inspection)
                    case "address_claim":
                        claim = message.address_claim
                        self._reconciler.claimed(session, claim.port_number, _claimed_address(claim))
                    case other:
                        raise InvalidIntent.of("kind", other, "inventory, ack, drift, claim or inspection")
            session.close("the agent ended the stream")
        except CloisonError as error:
            _log.warning("agent session refused", host=session.host.host, error=str(error))
            session.close(str(error))
            raise
        finally:
            # Whatever ended it: nobody would listen to this agent any more, so it must dial again.
            session.close("an internal error")


def _claimed_address(claim: host_sync_pb2.AddressClaim) -> IpAddress | None:
    if not claim.address:
        return None
    try:
        return ip_address(claim.address)
    except ValueError as error:
        raise InvalidIntent.of("address", claim.address[:16].hex(), "4 or 16 bytes, or none") from error


def _registration(hello: host_sync_pb2.Hello) -> Registration:
    """Check a Hello; raises InvalidIntent naming the field."""
    if not ID_PATTERN.fullmatch(hello.host_id):
        raise InvalidIntent.of("host_id", hello.host_id, ID_EXPECTED)
    try:
        vtep = ip_address(hello.vtep_address)
    except ValueError as error:
        raise InvalidIntent.of("vtep_address", hello.vtep_address, "an IPv4 or IPv6 address") from error
    if vtep.is_multicast or vtep.is_unspecified or vtep.is_loopback or _is_ambiguous(vtep):
        raise InvalidIntent.of("vtep_address", hello.vtep_address, "a unicast address of the underlay")
    if not hello.datapath_id:
        raise InvalidIntent.of("datapath_id", hello.datapath_id, "the datapath id of br-int, not 0")
    if not 576 <= hello.underlay_mtu <= 65535:
        raise InvalidIntent.of("underlay_mtu", hello.underlay_mtu, "576 to 65535 bytes")
    if len(hello.physical_networks) > PHYSICAL_NETWORKS_MAX:
        given = len(hello.physical_networks)
        raise InvalidIntent.of("physical_networks", given, f"at most {PHYSICAL_NETWORKS_MAX} of them")
    for name in hello.physical_networks:
        if not 1 <= len(name) <= LABEL_LENGTH_MAX:
            raise InvalidIntent.of("physical_networks", name, f"names of 1 to {LABEL_LENGTH_MAX} characters")
    return Registration(
        host=HostName(hello.host_id),
        vtep=vtep,
        datapath_id=hello.datapath_id,
        underlay_mtu=hello.underlay_mtu,
        agent_version=hello.agent_version[:64],
        datapath_type=hello.datapath_type[:64],
        labels={
            key[:LABEL_LENGTH_MAX]: value[:LABEL_LENGTH_MAX]
            for key, value in sorted(hello.labels.items())[:LABELS_MAX]
        },
        physical_networks=tuple(sorted(set(hello.physical_networks))),
    )


def _is_ambiguous(vtep: IpAddress) -> bool:
    """Tell whether an address can be written in another way, or means another host elsewhere."""
    if isinstance(vtep, IPv4Address):
        return vtep.is_reserved
    return vtep.is_link_local or vtep.scope_id is not None or vtep.ipv4_mapped is not None


def _check_inventory(session: AgentSession, inventory: host_sync_pb2.Inventory) -> None:
    if len(session.interfaces) + len(inventory.interfaces) > 2 * INTERFACES_MAX:
        raise InvalidIntent.of("interfaces", len(inventory.interfaces), f"at most {INTERFACES_MAX} on a host")
    if len(session.tunnel_ports) + len(inventory.tunnel_ports) > 2 * TUNNEL_PORTS_MAX:
        raise InvalidIntent.of(
            "tunnel_ports", len(inventory.tunnel_ports), f"at most {TUNNEL_PORTS_MAX} on a host"
        )
    for item in inventory.interfaces:
        if not 0 < len(item.name) <= INTERFACE_NAME_LENGTH_MAX:
            raise InvalidIntent.of("name", item.name[:80], f"1 to {INTERFACE_NAME_LENGTH_MAX} characters")
        if not 0 < len(item.iface_id) <= IFACE_ID_LENGTH_MAX:
            raise InvalidIntent.of("iface_id", item.iface_id[:80], f"1 to {IFACE_ID_LENGTH_MAX} characters")
        if not 0 < item.ofport <= OFPORT_MAX:
            raise InvalidIntent.of("ofport", item.ofport, f"1 to {OFPORT_MAX}")
    for tunnel in inventory.tunnel_ports:
        if not 0 < tunnel.vni <= VNI_MAX or not 0 < tunnel.ofport <= OFPORT_MAX:
            raise InvalidIntent.of(
                "tunnel_ports", f"{tunnel.vni}:{tunnel.ofport}", "a VNI and an OpenFlow port"
            )
