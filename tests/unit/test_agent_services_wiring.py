"""The loop and the local services: every plan reaches them, their device is seen to, what fails is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from agent.outbox import Outbox
from agent.plan import SERVICE_AGENT_LINK, HostPlan, ServiceLink
from agent.reconcile import Reconciler
from agent.seams import HostSettings
from agent.state import PlanLog
from cloison.errors import Unavailable
from cloison.service_link import SERVICE_LINK
from cloison.v1 import host_sync_pb2 as pb
from tests.support.agent_host import eventually
from tests.unit.test_agent_reconcile import LOCAL, MemoryBridge, MemoryKernel, plan, running

DEADLINE_S = 5.0


class MemoryServices:
    """Remembers what it was told; `refuse` makes the device unreadable."""

    def __init__(self) -> None:
        self.plans: list[HostPlan] = []
        self.links: list[ServiceLink] = []
        self.refuse = False

    def serve(self, plan: HostPlan) -> None:
        self.plans.append(plan)

    def attach(self, link: ServiceLink) -> None:
        if self.refuse:
            raise Unavailable("cl-services-a cannot be read")
        self.links.append(link)


class Loop:
    def __init__(self, directory: Path, audit_interval_s: float = 3600) -> None:
        self.kernel, self.bridge, self.outbox = MemoryKernel(), MemoryBridge(), Outbox()
        self.services = MemoryServices()
        settings = HostSettings("h1", LOCAL, audit_interval_s=audit_interval_s, conntrack_limit=4321)
        log = PlanLog(directory / "plan")
        self.reconciler = Reconciler(settings, self.kernel, self.bridge, log, self.outbox, self.services)

    async def until(self, check: Callable[[], object], what: str) -> None:
        """Run the loop until check() is true."""
        task = asyncio.create_task(self.reconciler.run())
        try:
            await eventually(check, what, DEADLINE_S)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_the_services_have_their_device_before_there_is_a_plan(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    await loop.until(lambda: loop.bridge.limit, "the limit of connections")
    assert loop.services.links == [ServiceLink(7, 8)]
    assert loop.bridge.specs[-1].service == 7
    assert {SERVICE_LINK, SERVICE_AGENT_LINK} <= loop.kernel.actual.firewall.guarded
    assert loop.bridge.limit == 4321


async def test_a_device_that_cannot_be_used_is_told_and_tried_again(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    loop.services.refuse = True
    loop.reconciler.set_plan(HostPlan(1, {}, {}))  # type: ignore[arg-type]
    loop.reconciler.barrier(1, taken_away=False, flows_changed=False)
    acks: list[pb.Ack] = []

    def heard(*reasons: str) -> bool:
        acks.extend(m.ack for m in loop.outbox.take() if m.WhichOneof("kind") == "ack")
        return bool(acks) and [error.reason for error in acks[-1].errors] == list(reasons)

    await loop.until(lambda: heard("SERVICES_FAILED"), "the fault")
    assert loop.bridge.specs[-1].service is None, "the port on the bridge is left as it is"
    loop.services.refuse = False
    await loop.until(lambda: heard(), "that it works")
    assert loop.bridge.specs[-1].service == 7


async def test_an_audit_sets_the_limit_again(tmp_path: Path) -> None:
    """ovs-vswitchd forgets it when it is started anew."""
    loop = Loop(tmp_path, audit_interval_s=0.05)
    await loop.until(lambda: loop.bridge.limit, "the limit of connections")
    loop.bridge.limit = 0
    await loop.until(lambda: loop.bridge.limit, "the limit again")


async def test_every_plan_reaches_the_services(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        services = host.reconciler._services = MemoryServices()
        session = host.obeying()
        session.take(plan())
        assert services.plans == [], "half a snapshot is no plan"
        session.take(message_complete())
        port = pb.ServicePort(number=7, vni=1, mac=1, mtu=1450, port="tenants/a/networks/b/ports/c")
        session.take(pb.ControllerMessage(delta=pb.PlanDelta(revision=11, service_ports=[port])))
        assert [set(known.service_ports) for known in services.plans] == [set(), {7}]


def message_complete() -> pb.ControllerMessage:
    return pb.ControllerMessage(snapshot_complete=pb.SnapshotComplete(revision=10))
