"""Live migration: a port comes to live where its guest announced itself last. Pure.

The hypervisor runs the guest in one place at a time and says where: by RARP, a gratuitous ARP or an
unsolicited neighbour advertisement at a place where the port is on standby (plugged.py). Then that place gets
the highest rank, with the addresses that its guest had claimed, and the former one is on standby: so a
migration that is taken back is one more announcement there.
"""

from __future__ import annotations

from dataclasses import replace

from cloison.names import HostName
from controller.reconcile.claims import ClaimRefused, binding_on
from controller.reconcile.plugged import live_binding, standby_bindings
from controller.store import keys
from controller.store.state import State
from controller.store.txn import Txn


def move_txn(state: State, host: HostName, number: int) -> Txn:
    """Return the change by which the port of that number comes to live on a host; none if it does already.

    Raises ClaimRefused if it is not on standby there.
    """
    binding = binding_on(state, host, number)
    port, txn = state.ports[binding.port], Txn()
    live = live_binding(state, port)
    if live is binding:
        return txn
    if live is None or binding not in standby_bindings(state, port):
        raise ClaimRefused("it is not on standby there")
    # That no other place comes to be the highest at the same moment.
    txn.require_none_newer(keys.bindings_prefix(port.name.parent), state.revision)
    txn.require(port)
    rank = 1 + max(b.rank for b in state.bindings_of(port.name))
    txn.update(binding, replace(binding, rank=rank, claimed=live.claimed))
    if live.claimed:
        txn.update(live, replace(live, claimed=()))
    return txn
