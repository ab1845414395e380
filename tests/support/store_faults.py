"""What every store promises of cut watches, lost history and bad records; see store_suite."""

from __future__ import annotations

import pytest

from cloison.codec import record_to_bytes
from cloison.model import Host
from cloison.names import HostName, PortName
from controller.store import keys
from controller.store.changes import Event
from controller.store.keys import stored_key
from controller.store.state import State
from controller.store.store import Store
from tests.support.store_world import (
    LAN,
    WEB,
    Backend,
    Replica,
    content,
    creating,
    deleting,
    eventually,
    meta,
    port,
    relabelling,
    taking,
)


class Faults:
    """A mirror that could not follow is whole again afterwards; what nobody can read hurts nobody else."""

    async def test_after_compaction_deletions_are_found(self, backend: Backend, base: Store) -> None:
        for n in range(1, 6):
            await base.transact(taking(port(f"p{n}", number=n), f"10.0.0.{n}"))
        other = await backend.new_store()
        replica = Replica(other)
        backend.cut(other)
        await base.transact(deleting(PortName(*WEB, "p1")))
        await base.transact(relabelling(PortName(*WEB, "p2"), "changed"))
        revision, _ = await base.transact(creating(port("p6", number=6)))
        await backend.compact()
        backend.mend(other)
        await eventually(lambda: other.state.revision >= revision)
        replica.check()
        assert content(other.state) == content(base.state)
        [resync] = [changes for changes in replica.seen if changes.resync]
        assert PortName(*WEB, "p1") in {change.key for change in resync.changes if change.new is None}

    async def test_deletions_are_told_apart_by_kind(self, backend: Backend, base: Store) -> None:
        """A tenant and a host, a subnet and a port may have the same ids."""
        await base.transact(creating(Host(name=HostName("acme"), meta=meta()), port("lan")))
        other = await backend.new_store()
        backend.cut(other)
        await base.transact(deleting(HostName("acme")))
        revision, _ = await base.transact(deleting(LAN))
        await backend.compact()
        backend.mend(other)
        await eventually(lambda: other.state.revision >= revision)
        assert content(other.state) == content(base.state)
        assert HostName("acme") not in other.state.hosts
        assert LAN not in other.state.subnets

    async def test_a_cut_watch_misses_nothing_and_halves_nothing(self, backend: Backend, base: Store) -> None:
        other = await backend.new_store()
        replica = Replica(other)
        expected = []
        for n in range(1, 10):
            if n % 3 == 0:
                backend.cut(other)
            if n % 3 == 1:
                backend.mend(other)
            both = [port(f"p{n}{side}", number=2 * n + side) for side in (0, 1)]
            revision, _ = await base.transact(creating(*both))
            expected.append((revision, {made.name for made in both}))
        backend.mend(other)
        await eventually(lambda: other.state.revision >= revision)
        replica.check()
        seen = [(c.revision, {change.key for change in c.changes}) for c in replica.seen if c.changes]
        assert seen == expected

    @pytest.mark.parametrize(
        "poison",
        [
            b"\xff\xff\xff",
            b"",
            record_to_bytes(port("other", number=9)),
            record_to_bytes(port("p1", number=9))[:-3],
            b"\x9a\x06\x03abc",
        ],
        ids=["noise", "empty", "another's", "truncated", "unknown kind"],
    )
    async def test_a_bad_record_hurts_only_itself(self, backend: Backend, base: Store, poison: bytes) -> None:
        await base.transact(creating(port("p1", number=1), port("p2", number=2)))
        replica = Replica(base)
        good = base.state.ports[PortName(*WEB, "p1")]
        key = keys.resource_key(good.name)
        await backend.put_raw(key, poison)
        await eventually(lambda: key in base.quarantine)
        assert base.state.ports[good.name] == good
        await base.transact(relabelling(PortName(*WEB, "p2"), "goes on"))
        later = await backend.new_store()
        assert key in later.quarantine
        assert good.name not in later.state.ports
        assert later.state.ports[PortName(*WEB, "p2")] == base.state.ports[PortName(*WEB, "p2")]
        # The last good value is what an update starts from, and it replaces the bad record.
        await base.transact(relabelling(good.name, "mended"))
        await eventually(lambda: not later.quarantine)
        assert not base.quarantine
        assert later.state.ports[good.name].meta.display_name == "mended"
        replica.check()

    async def test_keys_of_strangers_hurt_nobody(self, backend: Backend, base: Store) -> None:
        for stranger in ("junk", "ports/a/b", "alloc/ip/a/b/10.0.0.01", "alloc/none/1", "hosts/UPPER"):
            await backend.put_raw(keys.PREFIX + stranger, b"x")
            await eventually(lambda key=keys.PREFIX + stranger: key in base.quarantine)
            await backend.put_raw(keys.PREFIX + stranger, None)
            await eventually(lambda: not base.quarantine)

    async def test_events_know_their_keys(self, base: Store) -> None:
        await base.transact(taking(port("p1"), "10.0.0.7"))
        copy = State()
        copy.apply(1, [Event(stored_key(stored), stored) for stored in content(base.state).values()])
        assert content(copy) == content(base.state)
