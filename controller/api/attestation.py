"""Attestations: what was verified, on what evidence, what was found; as a message and as signed text. Pure.

Deterministic: the same flows, entries and devices have the same digests on every host and in every run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from google.protobuf.json_format import MessageToDict

from cloison.addresses import format_mac
from cloison.names import HostName
from cloison.v1 import common_pb2, verify_pb2
from controller.api.explain import violation_message
from controller.flows.text import flows_text
from controller.reconcile.reading import Holding, Picture
from controller.verify.budget import WHOLE_STEPS
from controller.verify.isolation import verify_all
from controller.verify.path import HostState
from controller.verify.violation import DEVICE, FORBIDDEN_FLOW, Violation
from controller.verify.world import World

VIOLATIONS_MAX = 100
INVARIANTS = (
    "No packet leaves the network of its sender, and none reaches a port but the one it is meant for.",
    "No connection is admitted but by a rule of the groups of each side; taken-away rules admit nothing.",
    "Every packet that should be received is received, once, unchanged but for its MACs.",
    "No port sends with a source MAC, an IPv4, IPv6 or ARP address, or an advertisement that is not its own.",
    "What is for the local services goes there alone, by the meter of its port; what they answer goes to "
    "the port they name. What opens a connection goes by another meter of its port.",
    "What comes out of the overlay stays with the local ports of its network; nothing loops.",
    "Every forwarding entry leads to the host of the port that has the address; no other entry is there.",
    "Every VNI, VTEP, OpenFlow port, connection zone, MAC and wire MAC belongs to one object.",
    "No flow floods, learns, sends to the controller, or does what the proof does not understand.",
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the proof says of a state, and the digests of what it judged."""

    hosts: tuple[verify_pb2.HostAttestation, ...]
    violations: tuple[verify_pb2.Violation, ...]
    violations_total: int
    holds: bool


def judge(
    picture: Picture,
    held: Mapping[HostName, Holding] | None = None,
    unread: Mapping[HostName, str] | None = None,
) -> Verdict:
    """Verify what hosts hold (None: what was compiled) against what is meant. Takes as long as it takes.

    For a host that could not be read, what was compiled stands in, so that the others can be judged; then
    the verdict is that it does not hold, unless the host has nothing to carry.
    """
    unread = unread or {}
    taken = {name: (held or {}).get(name, compiled) for name, compiled in picture.compiled.items()}
    states = {name: host_state(holding) for name, holding in taken.items()}
    found = [*_strange(taken), *verify_all(picture.intent, states, WHOLE_STEPS)]
    world = World(picture.intent)
    return Verdict(
        tuple(_host(name, taken[name], picture.compiled[name], unread.get(name)) for name in sorted(taken)),
        tuple(violation_message(world, states, violation) for violation in found[:VIOLATIONS_MAX]),
        len(found),
        not found and not any(_carries(picture, world, name) for name in unread),
    )


def host_state(holding: Holding) -> HostState:
    """Return what the proof judges of a host."""
    return HostState(holding.flows, holding.fdb, holding.devices)


def _carries(picture: Picture, world: World, name: HostName) -> bool:
    return bool(world.on_host.get(name)) or bool(picture.compiled[name].fdb)


def _strange(taken: Mapping[HostName, Holding]) -> Iterable[Violation]:
    """What was read and has no place in a HostState is a violation by being there."""
    for name, holding in sorted(taken.items()):
        for flow in holding.foreign:
            message = (
                f"table {flow.table} has a flow of priority {flow.priority}, cookie {flow.cookie:#x}, that"
                " this controller cannot have put there: its match or actions are none of ours, or it expires"
            )
            yield Violation(FORBIDDEN_FLOW, message, name)
        for oddity in holding.oddities:
            yield Violation(DEVICE, oddity, name)


def _host(
    name: HostName, holding: Holding, compiled: Holding, unread: str | None
) -> verify_pb2.HostAttestation:
    message = verify_pb2.HostAttestation(host=str(name))
    if unread is not None:
        condition = common_pb2.Condition(reason="HOST_UNREAD", message=unread, subjects=[str(name)])
        message.unread.CopyFrom(condition)
        return message
    message.flows_digest = flows_digest(holding)
    message.flows = len(holding.flows) + len(holding.foreign)
    message.fdb_digest = fdb_digest(holding)
    message.fdb_entries = sum(map(len, holding.fdb.values()))
    message.matches_compiled = holding is compiled or (
        set(holding.flows) == set(compiled.flows)
        and {v: dict(e) for v, e in holding.fdb.items()} == {v: dict(e) for v, e in compiled.fdb.items()}
        and dict(holding.devices) == dict(compiled.devices)
        and not holding.foreign
        and not holding.oddities
    )
    return message


def flows_digest(holding: Holding) -> bytes:
    """SHA-256 over the flows, one a line, sorted; foreign ones last, with the bytes of their match."""
    foreign = sorted(
        f"foreign table={f.table} priority={f.priority} cookie={f.cookie:#x} match={f.match.hex()}\n"
        for f in holding.foreign
    )
    return hashlib.sha256((flows_text(holding.flows) + "".join(foreign)).encode()).digest()


def fdb_digest(holding: Holding) -> bytes:
    """SHA-256 over the entries and devices, one a line, sorted."""
    lines = [
        f"fdb {vni} {format_mac(mac)} {vtep}\n"
        for vni, entries in holding.fdb.items()
        for mac, vtep in entries.items()
    ]
    lines += [f"device {ofport} {vni}\n" for ofport, vni in holding.devices.items()]
    return hashlib.sha256("".join(sorted(lines)).encode()).digest()


def canonical(attestation: verify_pb2.Attestation) -> bytes:
    """Return the text that is signed: proto3 JSON with every field, keys sorted, no spaces, UTF-8."""
    plain = MessageToDict(
        attestation, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
