"""From the floating IPs that a tenant should have to the operations that make it so. Pure. See desired.py.

Those that stand for another address than they should let go of it before anything else, so that ports and
gateways may go, and two may change places; the rest comes last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cloison.model import FloatingIp
from cloison.names import FloatingIpName
from cloison.v1 import floating_ip_pb2
from controller.api.planning.operations import Step
from controller.store.state import State

_FIELDS = ("display_name", "labels", "port", "fixed_ip", "distributed")
# What never changes is compared, where it is said.
_KEPT = ("external_network", "ip_address")
Wanted = Mapping[FloatingIpName, tuple[floating_ip_pb2.FloatingIp, str]]


def letting_go(there: tuple[FloatingIp, ...], wanted: Wanted, *, prune: bool) -> Iterator[Step]:
    """Yield what takes away those that should not be, and others from what they stand for."""
    for floating in sorted(there, key=lambda one: one.name):
        name = str(floating.name)
        if floating.name not in wanted:
            if prune:
                request = floating_ip_pb2.DeleteFloatingIpRequest(name=name)
                yield Step("delete_floating_ip", request, name, name)
        elif floating.port is not None and _elsewhere(floating, wanted[floating.name][0]):
            update = floating_ip_pb2.UpdateFloatingIpRequest()
            update.floating_ip.name = name
            update.update_mask.paths.extend(("port", "fixed_ip"))
            yield Step("update_floating_ip", update, name, f"{name} port")


def _elsewhere(floating: FloatingIp, message: floating_ip_pb2.FloatingIp) -> bool:
    kept = message.fixed_ip in ("", str(floating.fixed))
    return message.port != str(floating.port) or not kept


def standing(state: State, wanted: Wanted) -> Iterator[Step]:
    """Yield what makes and changes those that should be."""
    for name, (message, field) in sorted(wanted.items()):
        if name in state.floating_ips:
            update = floating_ip_pb2.UpdateFloatingIpRequest(floating_ip=message)
            kept = (one for one in _KEPT if getattr(message, one))
            update.update_mask.paths.extend((*_FIELDS, *kept))
            yield Step("update_floating_ip", update, field, str(name))
        else:
            create = floating_ip_pb2.CreateFloatingIpRequest(
                parent=str(name.parent), floating_ip_id=name.floating_ip, floating_ip=message
            )
            yield Step("create_floating_ip", create, field, str(name))
