"""What the agent keeps on disk: the plan it runs, and the highest epoch it has obeyed. Readable by root
only.

The plan is one file of checksummed records: a whole plan, then the deltas since. A record cut short at
the end (the machine stopped) is dropped; it was never acknowledged, because save() comes before every
acknowledgement. A record that is damaged in the middle makes the whole file useless: half a plan would be
an older one.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from google.protobuf.message import DecodeError

from agent.plan import EMPTY_PLAN, HostPlan, full_deltas
from cloison.errors import Precondition, Unavailable
from cloison.v1 import host_sync_pb2 as pb

_RECORD = struct.Struct(">BII")
_HEADER, _DELTA, _COMPLETE = 1, 2, 3
_FORMAT = struct.Struct(">8sIq")
_MAGIC, _VERSION = b"cloison\0", 1
RECORD_BYTES_MAX = 64 << 20
COMPACT_BYTES_MIN = 1 << 20
"""Deltas on disk are folded into a whole plan when they take more than this and more than the plan itself."""


@dataclass(frozen=True, slots=True)
class Fence:
    """The newest authority over this host: nothing with a lower epoch is obeyed."""

    epoch: int = 0
    controller_id: str = ""
    openflow_target: str = ""


class StateDirectory:
    """The directory, held by one agent at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: IO[bytes] | None = None

    def open(self) -> None:
        """Make the directory if needed and take its lock; raises Precondition if another agent holds it."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.chmod(0o700)
        self._lock = open(self._path / "lock", "ab", opener=_opener)  # noqa: SIM115 - held until close()
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            description = f"another agent uses {self._path}; one agent per host and state directory"
            raise Precondition("AGENT_RUNNING", str(self._path), description) from err

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def plan_path(self) -> Path:
        """Where the plan is."""
        return self._path / "plan"

    @property
    def edges_path(self) -> Path:
        """The directory of the files that hold the namespaces of edges."""
        return self._path / "edges"

    def read_fence(self) -> Fence:
        """Return what write_fence wrote last; raises Precondition if that cannot be read any more."""
        path = self._path / "fence.json"
        try:
            values = json.loads(path.read_text())
            return Fence(int(values["epoch"]), str(values["controller_id"]), str(values["openflow_target"]))
        except FileNotFoundError:
            return Fence()
        except (ValueError, KeyError, TypeError) as err:
            description = (
                f"{path} is damaged, so the highest epoch obeyed is not known. If no deposed controller "
                "can still be running, remove the file and start again"
            )
            raise Precondition("FENCE_DAMAGED", str(path), description) from err

    def write_fence(self, fence: Fence) -> None:
        """Write the fence and wait until it is on disk."""
        try:
            _replace(self._path / "fence.json", json.dumps(asdict(fence)).encode())
        except OSError as err:
            raise Unavailable(f"the fence cannot be saved in {self._path}: {err.strerror}") from err


class PlanLog:
    """The plan on disk. append() and replace() change it; save() comes before what is acknowledged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._whole_bytes = 0
        self._end = 0
        self._dirty = False
        self.epoch = 0
        """The epoch under which the plan was accepted."""
        self.trouble = ""
        """Why load() could not use the file, if it could not."""

    def load(self) -> HostPlan | None:
        """Return the plan on disk, None if there is no usable one; drop a record that was cut short."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        plan = self._replay(data)
        if plan is None:
            return None
        self._file = open(self._path, "r+b", opener=_opener)  # noqa: SIM115 - held until close()
        self._file.truncate(self._end)
        self._file.seek(self._end)
        return plan

    def _replay(self, data: bytes) -> HostPlan | None:
        plan, complete = EMPTY_PLAN, False
        try:
            for kind, payload, end in _records(data):
                if kind == _HEADER:
                    magic, version, self.epoch = _FORMAT.unpack(payload)
                    if (magic, version) != (_MAGIC, _VERSION):
                        raise ValueError(f"format {version} is not known")
                elif kind == _DELTA:
                    plan = plan.apply(pb.PlanDelta.FromString(payload))
                elif kind == _COMPLETE:
                    complete, self._whole_bytes = True, end
                self._end = end
        except (ValueError, struct.error, DecodeError) as err:
            self.trouble = f"{self._path} is damaged: {err}"
            return None
        if not complete:
            self.trouble = f"{self._path} holds no whole plan"
            return None
        return plan

    def append(self, delta: pb.PlanDelta) -> None:
        """Add one delta. If the disk does not take it, the next save() writes the whole plan, or says why
        not.

        One that tells but a newer revision is not waited for by save(): the plan is the same without it.
        """
        if self._file is None:
            return
        record = _record(_DELTA, delta.SerializeToString())
        try:
            self._file.write(record)
            self._file.flush()
        except OSError:
            self.close()
            return
        self._end += len(record)
        self._dirty = self._dirty or any(field.name != "revision" for field, _ in delta.ListFields())

    def start_over(self, epoch: int) -> None:
        """A plan under this epoch takes the place of the one on disk: the next save() writes it whole."""
        self.close()
        self.epoch = epoch

    def save(self, plan: HostPlan) -> None:
        """Wait until the plan is on disk.

        The deltas appended, or all of it if an append failed or they are many.
        """
        deltas_bytes = self._end - self._whole_bytes
        if self._file is None or deltas_bytes > max(COMPACT_BYTES_MIN, self._whole_bytes):
            self.replace(plan, self.epoch)
        else:
            self._sync()

    def replace(self, plan: HostPlan, epoch: int) -> None:
        """Write the whole plan anew, in one step.

        Raises Unavailable and leaves the old file if that fails.
        """
        records = [_record(_HEADER, _FORMAT.pack(_MAGIC, _VERSION, epoch))]
        records += [_record(_DELTA, delta.SerializeToString()) for delta in full_deltas(plan)]
        records.append(_record(_COMPLETE, b""))
        data = b"".join(records)
        self.close()
        try:
            _replace(self._path, data)
            self._file = open(self._path, "r+b", opener=_opener)  # noqa: SIM115 - held until close()
        except OSError as err:
            raise Unavailable(f"the plan cannot be saved: {err.strerror}") from err
        self._file.seek(len(data))
        self._end = self._whole_bytes = len(data)
        self._dirty, self.epoch = False, epoch

    def _sync(self) -> None:
        assert self._file is not None
        if not self._dirty:
            return
        try:
            os.fdatasync(self._file.fileno())
        except OSError as err:
            self.close()
            raise Unavailable(f"the plan cannot be saved: {err.strerror}") from err
        self._dirty = False

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _record(kind: int, payload: bytes) -> bytes:
    return _RECORD.pack(kind, len(payload), zlib.crc32(payload, kind)) + payload


def _records(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield (kind, payload, end offset).

    Stop before a last record cut short, raise ValueError at other damage.
    """
    at = 0
    while at + _RECORD.size <= len(data):
        kind, length, checksum = _RECORD.unpack_from(data, at)
        start, end = at + _RECORD.size, at + _RECORD.size + length
        if kind not in (_HEADER, _DELTA, _COMPLETE) or length > RECORD_BYTES_MAX:
            raise ValueError(f"no record begins at byte {at}")
        if end > len(data):
            return
        payload = data[start:end]
        if zlib.crc32(payload, kind) != checksum:
            if end == len(data):
                return
            raise ValueError(f"the record at byte {at} does not match its checksum")
        yield kind, payload, end
        at = end


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _replace(path: Path, data: bytes) -> None:
    """Put data in place of the file, so that after a crash either the old or the new content is there."""
    fresh = path.with_name(path.name + ".new")
    with open(fresh, "wb", opener=_opener) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
