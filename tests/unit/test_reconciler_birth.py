"""A port whose interface is plugged before the port is created: bound by its own transaction."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from cloison.addresses import Mac
from cloison.model import FixedIp, Meta
from cloison.names import HostName, PortName, SubnetName
from cloison.v1 import host_sync_pb2, port_pb2
from controller.store.state import State
from controller.store.txn import Txn
from tests.support.hosts import MemoryHost, eventually
from tests.support.reconciling import H1, H2, Controller, controller, settled, with_base

NAME = PortName("acme", "web", "p7")


async def create(made: Controller, *hosts: HostName) -> int:
    """Create the port as the API does; return the revision."""
    template = await made.create_port(3)
    port = replace(
        made.store.state.ports[template],
        name=NAME,
        meta=Meta(uid="uid-p7"),
        number=7,
        mac=Mac(0x020000000007),
        fixed_ips=(FixedIp(SubnetName("acme", "web", "v4"), ip_address("10.0.0.7")),),
        requested_hosts=hosts,
        iface_id="if7",
    )

    def fill(txn: Txn, state: State) -> None:
        txn.create(port)
        binding = made.reconciler.birth(state, port)
        if binding is not None:
            txn.create(binding)

    return await made.commit(fill)


async def test_what_is_plugged_is_bound_at_the_ports_own_revision_and_the_agent_hears_it() -> None:
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1)
        await h1.connect("if7")
        await eventually(lambda: "if7" in h1.verdicts, "refused: no port has it yet")
        revision = await create(made, H1)
        assert made.store.state.bindings[NAME, H1].revision == revision
        await eventually(lambda: h1.verdicts["if7"].bound, "told")
        await made.active(NAME)


async def test_what_was_unplugged_at_that_moment_does_not_stay_bound() -> None:
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1)
        await h1.connect("if7")
        await eventually(lambda: "if7" in h1.verdicts, "judged")
        birth = made.reconciler.birth

        def unplugged_meanwhile(state: State, port: object) -> object:
            binding = birth(state, port)  # type: ignore[arg-type]
            h1.unplug("if7")
            return binding

        made.reconciler.birth = unplugged_meanwhile  # type: ignore[method-assign, assignment]
        await create(made, H1)
        await eventually(lambda: (NAME, H1) not in made.store.state.bindings, "taken back")
        await settled(made)
        assert made.status(NAME) == port_pb2.Port.DOWN


async def test_nothing_is_bound_that_is_plugged_twice_or_nowhere() -> None:
    async with controller() as made:
        await with_base(made)
        h1, h2 = MemoryHost(made.reconciler, 1), MemoryHost(made.reconciler, 2)
        await h1.connect("if7")
        await h2.connect("if7")
        await eventually(lambda: "if7" in h1.verdicts and "if7" in h2.verdicts, "judged")
        revision = await create(made, H1, H2)
        # (Which of them has it is decided as for a port that was there before.)
        assert all(b.revision != revision for b in made.store.state.bindings_of(NAME))
        await made.active(NAME)
        assert (
            made.reconciler.birth(made.store.state, replace(made.store.state.ports[NAME], iface_id="no"))
            is None
        )


async def test_a_number_that_is_anothers_binds_nothing() -> None:
    async with controller() as made:
        await with_base(made)
        h1 = MemoryHost(made.reconciler, 1)
        await h1.connect("if1")
        port = await made.create_port(1, "h1")
        await made.active(port)
        number = made.store.state.bindings[port, H1].ofport
        second = host_sync_pb2.Interface(name="tap-if7", iface_id="if7", ofport=number)
        made.reconciler.inventory(h1.session, host_sync_pb2.Inventory(interfaces=[second]))
        await create(made, H1)
        await settled(made)
        assert (NAME, H1) not in made.store.state.bindings
