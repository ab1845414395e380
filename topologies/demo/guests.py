"""The workloads of the demo as it sees them, and the tokens their frames carry.

Both tenants use the same addresses and MACs, so "who was reached" is decided by the namespace in which a
frame with the sender's token arrives, never by an address.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Any

from topologies.state import LabState

_MAGIC = b"CLSN" + os.urandom(4)
"""Begins every token of this run; random, so that no leftover of another run is taken for ours."""
_TOKEN = struct.Struct("!8sBBB5s")
_END = b"-end-"


@dataclass(frozen=True)
class Guest:
    """A plugged workload: its namespace (a process in it), and what its port was given."""

    index: int
    name: str
    tenant: str
    host: str
    pid: int
    mac: str
    v4: str
    v6: str

    @classmethod
    def of(cls, index: int, name: str, tenant: str, record: dict[str, Any]) -> Guest:
        """From a workload's entry in the lab's record. Raises StopIteration without both families."""
        addresses = [ip_interface(a) for a in record["addresses"]]
        v4, v6 = (next(str(a.ip) for a in addresses if a.version == v) for v in (4, 6))
        return cls(index, name, tenant, record["host"], record["pid"], record["mac"], v4, v6)


@dataclass(frozen=True)
class Token:
    """What a probe carries: who sent it, whom it is for, and of which kind (an index) it is."""

    source: int
    target: int
    kind: int

    def encode(self) -> bytes:
        """Sixteen bytes, as long as the pattern that `ping -p` takes."""
        return _TOKEN.pack(_MAGIC, self.source, self.target, self.kind, _END)

    @classmethod
    def find(cls, data: bytes) -> Token | None:
        """The first whole token in a frame."""
        at = data.find(_MAGIC)
        while at >= 0:
            if data[at + 11 : at + 16] == _END:
                return cls(*_TOKEN.unpack(data[at : at + 16])[1:4])
            at = data.find(_MAGIC, at + 1)
        return None


def guests(state: LabState, tenants: dict[str, str]) -> list[Guest]:
    """All workloads; `tenants` maps a workload's name to its tenant."""
    return [
        Guest.of(i, name, tenants[name], record) for i, (name, record) in enumerate(state.workloads.items())
    ]
