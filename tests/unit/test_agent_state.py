"""What is on disk: a crash loses only what was not acknowledged, and never leads to an older plan."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from agent.plan import EMPTY_PLAN, HostPlan
from agent.state import COMPACT_BYTES_MIN, Fence, PlanLog, StateDirectory
from cloison.errors import Precondition, Unavailable
from cloison.v1 import host_sync_pb2 as pb


def delta(revision: int, macs: range = range(2, 4)) -> pb.PlanDelta:
    message = pb.PlanDelta(revision=revision)
    part = message.networks.add(vni=0x1000, mtu=1450)
    for mac in macs:
        part.upserted.add(mac=mac << 1, vtep=bytes([10, 0, 0, revision]))
    return message


def write_log(path: Path, revisions: int = 4) -> list[tuple[int, HostPlan]]:
    """Write a log of a whole plan and some deltas; return (size of the file, plan) after each step."""
    log, plan = PlanLog(path), EMPTY_PLAN.apply(delta(1))
    log.start_over(5)
    log.save(plan)
    steps = [(path.stat().st_size, plan)]
    for revision in range(2, revisions + 1):
        change = delta(revision, range(revision, revision + 3))
        log.append(change)
        plan = plan.apply(change)
        log.save(plan)
        steps.append((path.stat().st_size, plan))
    log.close()
    return steps


def test_what_was_saved_is_recalled(tmp_path: Path) -> None:
    plan = write_log(tmp_path / "plan")[-1][1]
    log = PlanLog(tmp_path / "plan")
    assert log.load() == plan
    assert log.epoch == 5
    assert stat.S_IMODE((tmp_path / "plan").stat().st_mode) == 0o600


def test_a_crash_at_any_byte_loses_only_the_record_being_written(tmp_path: Path) -> None:
    path = tmp_path / "plan"
    steps = write_log(path)
    data = path.read_bytes()
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        saved = [plan for end, plan in steps if end <= size]
        log = PlanLog(path)
        plan = log.load()
        assert plan == (saved[-1] if saved else None), f"cut at byte {size}"
        if plan is None:
            continue
        after = delta(9)
        log.append(after)
        log.save(plan.apply(after))
        log.close()
        assert PlanLog(path).load() == plan.apply(after), f"continued after a cut at byte {size}"


def test_a_newer_revision_of_the_same_plan_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("agent.state.os.fdatasync", synced.append)
    log, plan = PlanLog(tmp_path / "plan"), EMPTY_PLAN.apply(delta(1))
    log.start_over(5)
    log.save(plan)

    def take(change: pb.PlanDelta) -> None:
        nonlocal plan
        log.append(change)
        plan = plan.apply(change)
        log.save(plan)

    take(pb.PlanDelta(revision=2))
    assert synced == []
    recalled = PlanLog(tmp_path / "plan").load()
    assert recalled is not None
    assert recalled.revision == 2, "it is written all the same"
    take(delta(3))
    assert len(synced) == 1
    for change in (
        pb.PlanDelta(revision=4, removed_vnis=[0x1000]),
        pb.PlanDelta(revision=5, removed_service_ports=[7]),
        pb.PlanDelta(revision=6, zones=[pb.ZoneDelta(vni=0x1000)]),
        pb.PlanDelta(revision=7, removed_edges=[7]),
    ):
        before = len(synced)
        take(change)
        assert len(synced) == before + 1, change
    # One of which nothing was said yet is not forgotten over those that say nothing.
    log.append(delta(8))
    take(pb.PlanDelta(revision=9))
    assert len(synced) == before + 2


def test_damage_in_the_middle_makes_no_older_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan"
    steps = write_log(path)
    data = path.read_bytes()
    last_record = steps[-2][0]
    for at in range(last_record):
        broken = bytearray(data)
        broken[at] ^= 0x40
        path.write_bytes(broken)
        log = PlanLog(path)
        plan = log.load()
        # A length that now points past the end looks like a record cut short; nothing else may.
        assert plan is None or plan in [step[1] for step in steps]
        if plan is None:
            assert log.trouble
        else:
            assert is_length_byte(data, at), f"byte {at} was damaged and an older plan came out"


def is_length_byte(data: bytes, at: int) -> bool:
    start = 0
    while start < len(data):
        if start + 1 <= at < start + 5:
            return True
        start += 9 + int.from_bytes(data[start + 1 : start + 5], "big")
    return False


@pytest.mark.slow
def test_many_deltas_are_folded(tmp_path: Path) -> None:
    path = tmp_path / "plan"
    log, plan = PlanLog(path), EMPTY_PLAN
    log.start_over(1)
    log.save(plan)
    written = 0
    for revision in range(1, 200):
        change = delta(revision, range(2, 1000))
        written += change.ByteSize()
        log.append(change)
        plan = plan.apply(change)
        log.save(plan)
    assert written > 2 * COMPACT_BYTES_MIN
    assert path.stat().st_size < written / 2
    assert PlanLog(path).load() == plan


def test_a_disk_that_takes_nothing_is_told_and_made_up_for(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    log, plan = PlanLog(directory / "plan"), EMPTY_PLAN.apply(delta(1))
    log.start_over(1)
    (directory / "plan.new").mkdir()
    with pytest.raises(Unavailable, match="cannot be saved"):
        log.save(plan)
    (directory / "plan.new").rmdir()
    change = delta(2)
    log.append(change)
    log.save(plan.apply(change))
    assert PlanLog(directory / "plan").load() == plan.apply(change)


def test_one_agent_at_a_time_and_root_only(tmp_path: Path) -> None:
    first, second = StateDirectory(tmp_path / "state"), StateDirectory(tmp_path / "state")
    first.open()
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    with pytest.raises(Precondition, match="another agent"):
        second.open()
    first.close()
    second.open()
    second.close()


def test_the_fence_is_kept_and_a_damaged_one_is_not_guessed(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    state.open()
    assert state.read_fence() == Fence()
    fence = Fence(7, "c1", "ssl:10.0.0.1:6653")
    state.write_fence(fence)
    assert state.read_fence() == fence
    (tmp_path / "fence.json").write_text(json.dumps({"epoch": "many"}))
    with pytest.raises(Precondition, match="damaged"):
        state.read_fence()
    state.close()
