"""From a connection that is judged wrongly to a violation: with a packet of it and its way, if it has ports.

The verdict is policing.py's and stands without: ports that suffer from it may be plugged tomorrow.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from cloison.model import Direction
from cloison.names import HostName
from controller.flows.text import flow_text, value_text
from controller.verify.budget import WALK_STEPS, Budget, Exhausted
from controller.verify.grammar import Refused
from controller.verify.intent import PortIntent
from controller.verify.packet import (
    CT_FIELDS,
    ETH_IPV4,
    ETH_IPV6,
    FRAGMENT,
    FRAGMENT_LATER,
    NEW,
    OFFSETS,
    PROTO_IPV6_FRAGMENT,
    PROTO_UDP,
    TRACKED,
    WIDTHS,
    Packet,
)
from controller.verify.path import Fabric
from controller.verify.policing import Difference, remote_profile
from controller.verify.policy import PROFILE_OPEN
from controller.verify.semantics import meaning
from controller.verify.violation import BLACKHOLE, LEAK, UNDEFINED, Violation, of_packet
from controller.verify.world import World

PAIRS_MAX = 2_000


class Accuser:
    """Finds ports for a connection that is judged wrongly."""

    def __init__(self, world: World, fabric: Fabric, budget: Budget) -> None:
        self._world, self._fabric, self._budget = world, fabric, budget

    def violation(self, host: HostName, tenant: str, wrong: Difference | Refused) -> Violation:
        """Return what is wrong with a tenant's policy on a host."""
        if isinstance(wrong, Refused):
            path = (flow_text(wrong.flow),) if wrong.flow is not None else ()
            return Violation(UNDEFINED, str(wrong), host, (f"tenants/{tenant}",), path=path)
        with suppress(Exhausted):
            found = self._shown(host, tenant, wrong)
            if found is not None:
                return found
        return Violation(*_said(wrong), host, (f"tenants/{tenant}",))

    def _shown(self, host: HostName, tenant: str, wrong: Difference) -> Violation | None:
        """With a packet of two ports that have such a connection; None if there are none."""
        for sender, receiver in self._ends(host, tenant, wrong):
            self._budget.spend(WALK_STEPS)
            packet = _packet(sender, receiver, wrong)
            if packet is None or sender.host is None:
                continue
            wanted = meaning(self._world, sender.host, sender.ofport, packet)
            try:
                journey = self._fabric.walk(sender.host, sender.ofport, packet)
            except Refused:
                return None
            found = of_packet(self._world, sender.host, sender.ofport, packet, wanted, journey)
            if found is not None and not (wrong.admitted and found.kind == BLACKHOLE):
                return found
        return None

    def _ends(
        self, host: HostName, tenant: str, wrong: Difference
    ) -> Iterator[tuple[PortIntent, PortIntent]]:
        """Pairs of ports that may have such a connection, the second one on the host, where it is judged."""
        egress = wrong.judge.direction is Direction.EGRESS
        left = PAIRS_MAX
        for network in self._world.on_host.get(host, ()):
            if network.tenant != tenant:
                continue
            for receiver in self._world.ports_on(host, network).values():
                for sender in self._world.members_of(network).ports.values():
                    ends = (sender, receiver) if egress else (receiver, sender)
                    remote = remote_profile(wrong)
                    fits = ends[0].profile == wrong.subject and remote in (0, ends[1].profile)
                    if fits and sender is not receiver and (sender.checked or receiver.checked):
                        yield sender, receiver
                    left -= 1
                    if not left:
                        return


def _said(wrong: Difference) -> tuple[str, str]:
    what = wrong.judge.direction.value.lower()
    whose = "ports without port security" if wrong.subject == PROFILE_OPEN else f"profile {wrong.subject}"
    verb = "admits, and should not" if wrong.admitted else "does not admit, and should"
    connection = _connection_text(wrong) if wrong.number is not None else "some connections"
    return LEAK if wrong.admitted else BLACKHOLE, f"{what} of {whose} {verb}: {connection}"


def _connection_text(wrong: Difference) -> str:
    fields = _fields(wrong)
    named = [f"{name}={value_text(name, value)}" for name, value in fields.items() if value]
    remote = remote_profile(wrong)
    return ",".join((*named, *([f"remote profile {remote}"] if remote else ())))


def _fields(wrong: Difference) -> dict[str, int]:
    number = wrong.number or 0
    return {
        name: number >> OFFSETS[name] & (1 << WIDTHS[name]) - 1
        for name in CT_FIELDS
        if name not in ("ct_state",)
    }


def _packet(sender: PortIntent, receiver: PortIntent, wrong: Difference) -> Packet | None:
    """A packet between two ports that is of the connection: its tuple may be any, as that of an error is."""
    if wrong.number is None:
        return None
    eth_type = wrong.number >> OFFSETS["eth_type"] & 0xFFFF
    later = wrong.number >> OFFSETS["ip_frag"] & FRAGMENT_LATER
    four = eth_type == ETH_IPV4
    sources = sender.addresses4 if four else sender.addresses6
    targets = receiver.addresses4 if four else receiver.addresses6
    if eth_type not in (ETH_IPV4, ETH_IPV6) or not sources or not targets:
        return None
    proto = PROTO_IPV6_FRAGMENT if later and not four else PROTO_UDP
    addresses = {
        "ipv4_src" if four else "ipv6_src": sources[0],
        "ipv4_dst" if four else "ipv6_dst": targets[0],
    }
    return Packet(
        eth_src=sender.mac, eth_dst=receiver.mac, eth_type=eth_type, ip_proto=proto, ip_ttl=64,
        ip_frag=FRAGMENT | FRAGMENT_LATER if later else 0, udp_src=1 if not later else 0,
        ct_state=TRACKED | NEW, **addresses, **_fields(wrong),
    ).canonical()  # fmt: skip
