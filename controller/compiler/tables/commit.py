"""COMMIT (26): remembers a new connection in the zone of the port it is for, now that policy admits it.

The first packet of `ssh 10.0.0.6`, admitted: remembered in the zone of 10.0.0.6's port -> SOURCE.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.compiler.cookies import STATIC
from controller.compiler.headers import ETH_IPV4, ETH_IPV6
from controller.compiler.pipeline import COMMIT, SOURCE
from controller.flows import Flow, ct_state, match

NEW = 200
KNOWN = 100


def static_flows() -> Iterator[Flow]:
    """All of the table."""
    for eth_type in (ETH_IPV4, ETH_IPV6):
        new = match(eth_type=eth_type, ct_state=ct_state("+new+trk-inv"))
        yield COMMIT.flow(NEW, new, COMMIT.commit(), goto=SOURCE, cookie=STATIC)
    yield COMMIT.flow(KNOWN, match(ct_state=ct_state("+trk-inv")), goto=SOURCE, cookie=STATIC)
