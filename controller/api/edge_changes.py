"""The transactions on edges of hosts, as whoever keeps them asks for them (reconcile/keeper.py)."""

from __future__ import annotations

import time
from uuid import uuid4

from cloison.model import RouterEdge
from cloison.names import HostName, RouterName
from controller.api.intents import edges
from controller.api.intents.common import Stamp
from controller.store.state import State
from controller.store.txn import Txn


class ApiEdgeChanges:
    """See controller.reconcile.keeper.EdgeChanges."""

    def make(self, state: State, router: RouterName, host: HostName) -> Txn:
        """See EdgeChanges."""
        return edges.edge_txn(state, router, host, _stamp())

    def drop(self, state: State, edge: RouterEdge) -> Txn:
        """See EdgeChanges."""
        return edges.drop_edge_txn(state, edge)

    def follow(self, state: State, router: RouterName) -> Txn:
        """See EdgeChanges."""
        return edges.follow_txn(state, router, _stamp())


def _stamp() -> Stamp:
    return Stamp(time.time_ns(), str(uuid4()))
