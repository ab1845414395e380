"""COMMIT (26): remembers a new connection in the zone of the port it is for, now that policy admits it.

What is to cross to another tenant has passed the policy of its own one, and is for no port here yet: from now
on it is in that tenant's network, from whom that tenant knows by the number of its peering, and goes to
FORWARD once more. (Back there, once: only ROUTE says ABROAD, and here it is taken away.)

The first packet of `ssh 10.0.0.6`, admitted: remembered in the zone of 10.0.0.6's port -> SOURCE.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.compiler.cookies import STATIC
from controller.compiler.headers import ETH_IPV4, ETH_IPV6
from controller.compiler.pipeline import COMMIT, FORWARD, SOURCE
from controller.compiler.registers import ABROAD, ABROAD_AS, ABROAD_TO, FROM_PROFILE, TENANT
from controller.flows import Flow, Resubmit, ct_state, match

CROSSING = 300
NEW = 200
KNOWN = 100


def static_flows() -> Iterator[Flow]:
    """All of the table."""
    for eth_type in (ETH_IPV4, ETH_IPV6):
        new = match(eth_type=eth_type, ct_state=ct_state("+new+trk-inv"))
        abroad = match(eth_type=eth_type, **ABROAD.has(1, 1))
        become = (FROM_PROFILE.copy(ABROAD_AS), TENANT.copy(ABROAD_TO), ABROAD.load(0))
        yield COMMIT.flow(CROSSING, abroad, *become, Resubmit(FORWARD.number), cookie=STATIC)
        yield COMMIT.flow(NEW, new, COMMIT.commit(), goto=SOURCE, cookie=STATIC)
    yield COMMIT.flow(KNOWN, match(ct_state=ct_state("+trk-inv")), goto=SOURCE, cookie=STATIC)
