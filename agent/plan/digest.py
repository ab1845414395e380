"""The digest of a host's FDBs: what both ends compare to know that they mean the same.

SHA-256 over the entries of all networks in the order (VNI, MAC), each entry being 4 bytes of VNI, 6 bytes
of MAC (both big endian) and the 4 or 16 bytes of its VTEP.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from hashlib import sha256

from agent.plan.model import Vtep
from cloison.addresses import Mac
from cloison.model import Vni
from cloison.v1 import host_sync_pb2 as pb


def _record(vni: int, mac: int, vtep: bytes) -> bytes:
    return vni.to_bytes(4, "big") + mac.to_bytes(6, "big") + vtep


def fdb_digest(fdbs: Mapping[Vni, Mapping[Mac, Vtep]]) -> bytes:
    """Return the digest of these FDBs (32 bytes), computed from nothing."""
    digest = sha256()
    for vni in sorted(fdbs):
        digest.update(b"".join(_record(vni, mac, vtep) for mac, vtep in sorted(fdbs[vni].items())))
    return digest.digest()


class FdbDigest:
    """The same digest, kept up to date: a change costs a search, not a sort of everything."""

    def __init__(self) -> None:
        self._records: dict[Vni, list[bytes]] = {}

    def put(self, vni: Vni, mac: Mac, vtep: Vtep) -> None:
        """Set the VTEP of one MAC."""
        records = self._records.setdefault(vni, [])
        record = _record(vni, mac, vtep)
        at = bisect_left(records, record[:10])
        if at < len(records) and records[at][:10] == record[:10]:
            records[at] = record
        else:
            records.insert(at, record)

    def discard(self, vni: Vni, mac: Mac) -> None:
        """Take one MAC out; nothing happens if it is not there."""
        records = self._records.get(vni, [])
        key = _record(vni, mac, b"")
        at = bisect_left(records, key)
        if at < len(records) and records[at][:10] == key:
            del records[at]

    def set_network(self, vni: Vni, fdb: Mapping[Mac, Vtep]) -> None:
        """Set the whole FDB of one network."""
        self._records[vni] = [_record(vni, mac, vtep) for mac, vtep in sorted(fdb.items())]

    def drop_network(self, vni: Vni) -> None:
        """Take out a network with all its entries."""
        self._records.pop(vni, None)

    def value(self) -> bytes:
        """Return the digest (32 bytes)."""
        digest = sha256()
        for vni in sorted(self._records):
            digest.update(b"".join(self._records[vni]))
        return digest.digest()


def edge_digest(message: pb.Edge) -> bytes:
    """Return the digest of an edge that the kernel holds as this record says (32 bytes)."""
    return sha256(message.SerializeToString(deterministic=True)).digest()


def with_edges(fdb: bytes, edges: Mapping[int, bytes]) -> bytes:
    """Return the digest of FDBs and edges together: that of the FDBs where there are no edges.

    Else SHA-256 over the digest of the FDBs and, in the order of the numbers, 4 bytes of each edge's number
    (big endian) and its digest.
    """
    if not edges:
        return fdb
    return sha256(fdb + b"".join(n.to_bytes(4, "big") + edges[n] for n in sorted(edges))).digest()
