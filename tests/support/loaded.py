"""Everything that a reconciler means its hosts to hold, in a form that does not depend on the way to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from controller.reconcile.reconciler import Reconciler
from controller.verify.policy import PolicyIntent


def in_use(policy: PolicyIntent) -> PolicyIntent:
    """Without the address groups that no rule names: that those come or go is nobody's change."""
    named = {rule.remote_address_group for rules in policy.groups.values() for rule in rules}
    kept = {name: prefixes for name, prefixes in policy.address_groups.items() if name in named}
    return replace(policy, address_groups=kept)


def meant(reconciler: Reconciler) -> tuple[Any, ...]:
    """Everything that hosts are to hold, and what the gate takes them to hold."""
    verifier, world = reconciler._gate._verifier, reconciler._gate._verifier.world
    assert verifier.check_everything() == []
    assert reconciler._gate.refused == 0
    hosts, policies = reconciler.hosts, {t: in_use(policy) for t, policy in world.policies.items()}
    # (The order of subnets is any.)
    networks = {
        name: replace(network, subnets=tuple(sorted(network.subnets, key=str)))
        for name, network in world.networks.items()
    }
    # (Of a port that is plugged nowhere nothing is made.)
    ports = {name: port for name, port in world.ports.items() if port.host is not None or port.standby}
    assert not any(actor.blocked for actor in hosts.values())
    return (
        {name: dict(actor.flows.desired) for name, actor in hosts.items()},
        {name: actor.flows.units for name, actor in hosts.items()},
        {name: reconciler.plan_of(name) for name in hosts},
        (world.hosts, networks, ports, policies, world.clashes, dict(world.claims)),
        {
            name: ({vni: fdb for vni, fdb in held.fdb.items() if fdb}, held.devices)
            for name, held in verifier.hosts.items()
        },
    )
