"""Addresses that several ports list: they live at the one that announced them last, and only there."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from cloison.addresses import IpAddress
from cloison.model import AddressPair
from cloison.names import PortName
from controller.reconcile.claims import CLAIMS_MAX, ClaimRefused, claim_txn
from controller.store.state import State
from controller.store.txn import Txn
from tests.support.hosts import MemoryHost, eventually
from tests.support.reconciling import (
    H1,
    H2,
    NETWORK,
    VNI,
    Controller,
    controller,
    pair,
    port_flows_of,
    wire_of,
)

VIP = ip_address("10.0.0.9")
PAIRS = (AddressPair(ip_network("10.0.0.9/32")),)
ADMISSION, SERVICES, FORWARD, METER = 0, 6, 20, 31


async def listed(made: Controller, **fields: Any) -> tuple[MemoryHost, MemoryHost, PortName, PortName]:
    """Ports 1 on h1 and 2 on h2, both of which list the address."""
    h1, h2, p1, p2 = await pair(made)
    for name in (p1, p2):
        await made.change(name, **({"allowed_address_pairs": PAIRS} | fields))
    return h1, h2, p1, p2


def lives(made: Controller, name: PortName) -> tuple[IpAddress, ...]:
    """What the port's binding claims."""
    (binding,) = made.store.state.bindings_of(name)
    return binding.claimed


def delivers(host: MemoryHost, number: int) -> bool:
    """Frames to the address come out at the port."""
    return any(
        flow.table == FORWARD and any(t.field.name == "eth_dst" and t.value == wire_of(9) for t in flow.match)
        for flow in port_flows_of(host, number)
    )


def heard(host: MemoryHost, number: int) -> bool:
    """ARP that speaks for the address passes, and does not only go to the agent."""
    return spoken(host, number) == [SERVICES]


def told(host: MemoryHost, number: int) -> bool:
    """ARP that speaks for the address goes to the agent, and to nobody else."""
    return spoken(host, number) == [METER]


def spoken(host: MemoryHost, number: int) -> list[int | None]:
    return [
        flow.goto
        for flow in port_flows_of(host, number)
        if flow.table == ADMISSION
        and any(t.field.name == "arp_spa" and t.value == int(VIP) for t in flow.match)
    ]


async def at(host: MemoryHost, number: int, other: MemoryHost, its: int) -> None:
    """The address lives at a port of a host, and not at another's, whose frames go there."""

    def there() -> bool:
        return delivers(host, number) and heard(host, number)

    await eventually(there, f"{VIP} lives at {number}")
    vtep = ip_address(f"192.0.2.{host.switch.dpid}").packed
    await eventually(lambda: not delivers(other, its) and told(other, its), f"not at {its}")
    await eventually(lambda: other.fdb[VNI].get(wire_of(9)) == vtep, "whoever sends to it")
    assert wire_of(9) not in host.fdb[VNI]


async def test_an_address_lives_where_it_was_announced_last() -> None:
    async with controller() as made:
        h1, h2, p1, p2 = await listed(made)
        await eventually(lambda: told(h1, 1) and told(h2, 2), "nobody has it")
        made.reconciler.claimed(h1.session, 1, VIP)
        await at(h1, 1, h2, 2)
        made.reconciler.claimed(h2.session, 2, VIP)
        await at(h2, 2, h1, 1)
        assert (lives(made, p1), lives(made, p2)) == ((), (VIP,))
        made.reconciler.claimed(h1.session, 1, VIP)
        await at(h1, 1, h2, 2)
        assert made.reconciler.tracker.gate().refused == 0


async def test_a_move_costs_no_connection_of_either_port() -> None:
    async with controller() as made:
        h1, h2, *_ = await listed(made)
        made.reconciler.claimed(h1.session, 1, VIP)
        await at(h1, 1, h2, 2)
        flushed = [list(h.switch.flushed) for h in (h1, h2)]  # type: ignore[attr-defined]
        made.reconciler.claimed(h2.session, 2, VIP)
        await at(h2, 2, h1, 1)
        assert [list(h.switch.flushed) for h in (h1, h2)] == flushed  # type: ignore[attr-defined]


async def test_between_two_ports_of_one_host() -> None:
    async with controller() as made:
        h1, _, p1, _ = await listed(made)
        p3 = await made.create_port(3, "h1", allowed_address_pairs=PAIRS)
        h1.plug("if3")
        await made.active(p3)
        for number in (3, 1, 3):
            made.reconciler.claimed(h1.session, number, VIP)
            await eventually(lambda n=number: ends_at(h1) == [n], f"at {number}")
        assert (lives(made, p1), lives(made, p3)) == ((), (VIP,))
        assert made.reconciler.tracker.gate().refused == 0


def ends_at(host: MemoryHost) -> list[int]:
    """Which of the ports 1 and 3 frames to the address come out at."""
    return [number for number in (1, 3) if delivers(host, number)]


async def test_a_port_that_lists_it_no_more_loses_it() -> None:
    async with controller() as made:
        h1, h2, p1, _ = await listed(made)
        made.reconciler.claimed(h1.session, 1, VIP)
        await at(h1, 1, h2, 2)
        await made.change(p1, allowed_address_pairs=())
        await eventually(lambda: not delivers(h1, 1) and wire_of(9) not in h2.fdb[VNI], "gone")


async def test_a_port_that_is_unplugged_loses_it() -> None:
    async with controller() as made:
        h1, h2, p1, _ = await listed(made)
        made.reconciler.claimed(h1.session, 1, VIP)
        await at(h1, 1, h2, 2)
        h1.unplug("if1")
        await eventually(lambda: wire_of(9) not in h2.fdb[VNI], "gone")
        h1.plug("if1")
        await made.active(p1)
        assert lives(made, p1) == ()
        assert not delivers(h1, 1)


async def test_whose_own_it_is_has_it_as_long_as_it_is_plugged() -> None:
    async with controller() as made:
        h1, h2, *_ = await listed(made)
        made.reconciler.claimed(h1.session, 1, VIP)
        await at(h1, 1, h2, 2)
        owner = await made.create_port(9, "h2")
        await reserve(made, owner)
        assert delivers(h1, 1), "it is plugged nowhere"
        h2.plug("if9")
        await made.active(owner)
        await eventually(lambda: not delivers(h1, 1) and delivers(h2, 9), "its own")
        h2.unplug("if9")
        await eventually(lambda: delivers(h1, 1), "claimed as before")


async def reserve(made: Controller, name: PortName) -> None:
    """What the API does for the address of a port."""
    await made.commit(
        lambda txn, state: txn.reserve(f"ip/{NETWORK.tenant}/{NETWORK.network}/{VIP}", name, "uid-p9")
    )


REFUSED: list[tuple[str, int, IpAddress]] = [
    ("in none of its allowed", 1, ip_address("10.0.0.8")),
    ("in no subnet", 1, ip_address("192.168.0.9")),
    ("no port of that number", 2, VIP),
    ("no port of that number", 77, VIP),
]


@pytest.mark.parametrize(("why", "number", "address"), REFUSED)
async def test_who_may_not_have_it(why: str, number: int, address: IpAddress) -> None:
    async with controller() as made:
        pairs = (*PAIRS, AddressPair(ip_network("192.168.0.0/24")))
        await listed(made, allowed_address_pairs=pairs)
        with pytest.raises(ClaimRefused, match=why):
            claim_txn(made.store.state, H1, number, address)
        assert claim_txn(made.store.state, H1, 1, VIP)


async def test_not_if_a_plugged_port_has_it_as_its_own() -> None:
    async with controller() as made:
        _, h2, *_ = await listed(made)
        owner = await made.create_port(9, "h2")
        await reserve(made, owner)
        assert claim_txn(made.store.state, H1, 1, VIP)
        h2.plug("if9")
        await made.active(owner)
        with pytest.raises(ClaimRefused, match="p9 has the address"):
            claim_txn(made.store.state, H1, 1, VIP)


async def test_at_most_so_many_of_one_port() -> None:
    async with controller() as made:
        wide = (AddressPair(ip_network("10.0.0.128/25")),)
        await listed(made, allowed_address_pairs=wide)
        for last in range(200, 200 + CLAIMS_MAX):
            await claim(made, 1, f"10.0.0.{last}")
        with pytest.raises(ClaimRefused, match="already"):
            claim_txn(made.store.state, H1, 1, ip_address("10.0.0.250"))


async def test_the_same_again_changes_nothing() -> None:
    async with controller() as made:
        await listed(made)
        before = await claim(made, 1, str(VIP))
        assert await claim(made, 1, str(VIP)) == before


async def test_two_that_claim_at_the_same_moment_do_not_both_have_it() -> None:
    async with controller() as made:
        await listed(made)
        state = made.store.state
        first, second = claim_txn(state, H1, 1, VIP), claim_txn(state, H2, 2, VIP)
        assert (await made.store._commit(first)).committed
        assert not (await made.store._commit(second)).committed


async def claim(made: Controller, number: int, address: str) -> int:
    """Store a claim of a port on h1."""

    def build(state: State) -> tuple[Txn, None]:
        return claim_txn(state, H1, number, ip_address(address)), None

    revision, _ = await made.store.transact(build)
    return revision
