"""Send every kind from a hostile guest, hear what every guest gets, and compare."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from scapy.packet import Packet, Raw

from tests.lab.policies import Policies, both, rule
from tests.lab.spine import Site
from tests.lab.traffic import uplinks, wait_reaches
from tests.probe import exits, fragments, legitimate, policies, roles, spoofing, wrapping
from tests.probe.actors import (
    ADMITTED_TCP,
    ADMITTED_UDP,
    CLOSED_FAR,
    CLOSED_NEAR,
    ME,
    MUTE,
    NEAR,
    Actor,
    Frame,
    Kind,
)
from topologies.capture import Capture, settle

TENANTS = ("red", "blue")
SEND_INTERVAL_S = 0.001
SERVICES_DEVICE = "cl-services-a"
FRAME_MIN_BYTES = 60
KINDS_PER_ROUND = 250
_MARK_BYTES = 10


@dataclass
class Outcome:
    """What became of a kind, in frames. `where`: who got one that was not for it."""

    sent: int = 0
    leaked: int = 0
    wrongly_blocked: int = 0
    where: list[str] = field(default_factory=list)


def furnish(site: Site) -> None:
    """Give both tenants the further guests, and three of them a group that admits little."""
    extra = {NEAR: "h1", CLOSED_NEAR: "h1", CLOSED_FAR: "h2", MUTE: "h2"}
    for tenant in TENANTS:
        told = Policies(site, tenant)
        told.group("closed", *both(protocol="tcp", ports=(ADMITTED_TCP, ADMITTED_TCP)),
                   *both(protocol="udp", ports=(ADMITTED_UDP, ADMITTED_UDP)), rule("egress"))  # fmt: skip
        for actor, host in extra.items():
            options: dict[str, object] = {}
            if actor in (CLOSED_NEAR, CLOSED_FAR):
                options["security_groups"] = [told.name("closed")]
            if actor is MUTE:
                options["no_security_groups"] = True
            port = site.create_port(f"tenants/{tenant}/networks/web", actor.port, host, mac=actor.mac,
                                    addresses=[actor.ip4, actor.ip6], **options)  # fmt: skip
            site.adopt(port, site.lab.plug_port(port))
    site.wait_active()
    for target in ("red/p2", "red/p3", "red/p4"):
        for version in (4, 6):
            wait_reaches(site.guests["red/p1"], site.guests[target], version)


def provider(site: Site) -> wrapping.Provider:
    """What the sender is told of the provider."""
    host = site.host("h1")

    def mac(interface: str) -> str:
        return str(host.node.run(["cat", f"/sys/class/net/{interface}/address"], check=True).stdout.strip())

    vnis = {tenant: site.vni(tenant) for tenant in TENANTS}
    doors = {
        "its tap": site.guests["red/p1"].plug.tap,
        "the uplink": site.lab.underlay.interfaces("h1")[0].name,
        "br-int": "br-int",
        "the VXLAN device": f"vx{vnis['red']:06x}",
    }
    return wrapping.Provider(
        vteps={name: h.vtep for name, h in site.lab.hosts.items()},
        controller=str(site.lab.underlay.loopback("ctl")),
        vnis=vnis,
        macs={name: mac(interface) for name, interface in doors.items()},
    )


def all_kinds(site: Site) -> list[Kind]:
    """Every kind; names are unique."""
    kinds = [
        *legitimate.kinds("before"),
        *spoofing.kinds(),
        *roles.kinds(),
        *wrapping.kinds(provider(site)),
        *policies.kinds(),
        *fragments.kinds(),
        *legitimate.kinds("after"),
    ]
    names = [kind.name for kind in kinds]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"kinds of one name: {twice[:5]}")
    return kinds


def probe(site: Site) -> dict[str, Outcome]:
    """What became of every kind, by name. The site is furnished."""
    kinds = all_kinds(site)
    outcomes = {kind.name: Outcome() for kind in kinds}
    for start in range(0, len(kinds), KINDS_PER_ROUND):
        _round(site, kinds[start : start + KINDS_PER_ROUND], outcomes)
    return outcomes


def probe_exits(site: Site, ways: exits.Ways) -> dict[str, Outcome]:
    """What became of every kind by the routers, by name. Nothing but the way out itself comes outside."""
    kinds = list(exits.kinds(ways))
    outcomes = {kind.name: Outcome() for kind in kinds}
    if len(outcomes) != len(kinds):
        raise ValueError("kinds of one name")
    outside = Capture(site.lab.outside.node.pid, "eth0")
    _round(site, kinds, outcomes, {exits.OUTSIDE: outside})
    return outcomes


def _round(
    site: Site,
    kinds: Sequence[Kind],
    outcomes: dict[str, Outcome],
    elsewhere: Mapping[str, Capture] = MappingProxyType({}),
) -> None:
    """Send these kinds. elsewhere: what hears them besides the guests, by the name that kinds know it by."""
    sender = site.guests["red/p1"]
    secret = b"PRB" + os.urandom(4)
    marks = {_mark(secret, i, j): (kind, j) for i, kind in enumerate(kinds) for j in range(len(kind.frames))}
    with contextlib.ExitStack() as stack:
        heard = {
            short: stack.enter_context(guest.capture())
            for short, guest in site.guests.items()
            if guest is not sender
        }
        heard |= {name: stack.enter_context(capture) for name, capture in elsewhere.items()}
        services = {name: stack.enter_context(capture) for name, capture in _services(site)}
        wire = stack.enter_context(uplinks(site.lab, ""))
        sender.send(_bytes(kinds, secret), SEND_INTERVAL_S)
        settle([*heard.values(), *services.values()])
    for kind in kinds:
        outcomes[kind.name].sent += len(kind.frames)
    arrived = {short: _found(capture, secret, marks) for short, capture in heard.items()}
    for short, marked in arrived.items():
        for mark in marked:
            kind = marks[mark][0]
            if short not in _receivers(kind):
                _leak(outcomes[kind.name], short)
    for mark, (kind, _) in marks.items():
        missing = sum(mark not in arrived[there] for there in _receivers(kind))
        outcomes[kind.name].wrongly_blocked += missing
    _elsewhere(services, wire, secret, marks, outcomes)


def _receivers(kind: Kind) -> set[str]:
    return {to if "/" in to or to == exits.OUTSIDE else f"red/{to}" for to in kind.to}


def _elsewhere(
    services: dict[str, Capture],
    wire: dict[str, Capture],
    secret: bytes,
    marks: dict[bytes, tuple[Kind, int]],
    outcomes: dict[str, Outcome],
) -> None:
    """What came to the underlay, and to the local services, although it must not."""
    for host, capture in wire.items():
        for mark in _found(capture, secret, marks):
            if marks[mark][0].stays:
                _leak(outcomes[marks[mark][0].name], f"underlay of {host}")
    for host, capture in services.items():
        for mark in _found(capture, secret, marks):
            if not marks[mark][0].served:
                _leak(outcomes[marks[mark][0].name], f"services of {host}")


def _leak(outcome: Outcome, where: str) -> None:
    outcome.leaked += 1
    if where not in outcome.where:
        outcome.where.append(where)


def _services(site: Site) -> Iterator[tuple[str, Capture]]:
    for name, host in site.lab.hosts.items():
        if host.node.run(["ip", "link", "show", SERVICES_DEVICE]).returncode == 0:
            yield name, Capture(host.node.pid, SERVICES_DEVICE)


def _mark(secret: bytes, kind: int, frame: int) -> bytes:
    return secret + struct.pack("!HB", kind, frame)


def _bytes(kinds: Sequence[Kind], secret: bytes) -> Iterator[bytes]:
    for i, kind in enumerate(kinds):
        yield from (_padded(bytes(packet)) for packet in kind.filler)
        for j, frame in enumerate(kind.frames):
            yield _padded(_with_mark(frame, _mark(secret, i, j)))


def _with_mark(frame: Frame, mark: bytes) -> bytes:
    if isinstance(frame, bytes):
        return frame
    if isinstance(frame, Packet):
        return bytes(frame / Raw(mark))
    return frame(mark)


def _padded(frame: bytes) -> bytes:
    return frame.ljust(FRAME_MIN_BYTES, b"\0")


def _found(capture: Capture, secret: bytes, marks: dict[bytes, tuple[Kind, int]]) -> set[bytes]:
    """The marks that are in captured frames."""
    found = set()
    for frame in capture.frames:
        at = frame.data.find(secret)
        if at >= 0 and frame.data[at : at + _MARK_BYTES] in marks:
            found.add(frame.data[at : at + _MARK_BYTES])
    return found


__all__ = ["Actor", "ME", "Outcome", "all_kinds", "furnish", "probe", "probe_exits"]
