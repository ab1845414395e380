"""From the operations of a request to the intents of the single methods: same requests, same rules. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cloison.errors import InvalidIntent
from cloison.model import Resource
from cloison.names import HostName
from cloison.v1 import plan_pb2
from controller.api.intents import (
    address_group,
    common,
    edges,
    external_network,
    floating_ip,
    host,
    network,
    peering,
    port,
    router,
    security_group,
    subnet,
    tenant,
)
from controller.store.hypothesis import Hypothesis
from controller.store.state import State
from controller.store.txn import Txn

STEPS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Step:
    """One operation. field: where it is in the request; identity: tells it from the request's other ones."""

    kind: str
    request: Any
    field: str
    identity: str

    @property
    def method(self) -> str:
        """Full name of the single method that does the same."""
        words = [word.capitalize() for word in self.kind.split("_")]
        noun = "".join(words[1:]).removesuffix("Rules")
        return f"/cloison.v1.{noun}Service/{''.join(words)}"


class Circumstances(NamedTuple):
    """What an operation depends on besides the state. connected: hosts whose agent is."""

    stamp: common.Stamp
    connected: Collection[HostName]


Carry = Callable[[State, Any, Circumstances], tuple[Txn, Resource]]


def _made(intent: Callable[[State, Any, common.Stamp], tuple[Txn, Any]]) -> Carry:
    return lambda state, request, given: intent(state, request, given.stamp)


def _unmade(intent: Callable[[State, Any], tuple[Txn, Any]]) -> Carry:
    return lambda state, request, given: intent(state, request)


def _delete_host(state: State, request: Any, given: Circumstances) -> tuple[Txn, Resource]:
    return host.delete(state, request, HostName.parse(request.name) in given.connected)


def _update_external_network(state: State, request: Any, stamp: common.Stamp) -> tuple[Txn, Resource]:
    """Change an external network, and with it where routers go out: here that is one transaction."""
    txn, network = external_network.update(state, request, stamp)
    made = Hypothesis(state)
    if txn:
        made.carry_out(txn)
    for router_name in sorted(one.name for one in state.routers_out(network.name)):
        followed = edges.follow_txn(made.after, router_name, stamp)
        if followed:
            made.carry_out(followed)
    return made.txn, network


_CARRY: dict[str, Carry] = {
    "create_tenant": _made(tenant.create),
    "update_tenant": _made(tenant.update),
    "delete_tenant": _unmade(tenant.delete),
    "create_network": _made(network.create),
    "update_network": _made(network.update),
    "delete_network": _unmade(network.delete),
    "create_subnet": _made(subnet.create),
    "update_subnet": _made(subnet.update),
    "delete_subnet": _unmade(subnet.delete),
    "create_port": _made(port.create),
    "update_port": _made(port.update),
    "delete_port": _unmade(port.delete),
    "create_host": _made(host.create),
    "update_host": _made(host.update),
    "delete_host": _delete_host,
    "create_security_group": _made(security_group.create),
    "update_security_group": _made(security_group.update),
    "delete_security_group": _unmade(security_group.delete),
    "add_security_group_rules": _made(security_group.add_rules),
    "remove_security_group_rules": _made(security_group.remove_rules),
    "create_address_group": _made(address_group.create),
    "update_address_group": _made(address_group.update),
    "delete_address_group": _unmade(address_group.delete),
    "create_router": _made(router.create),
    "update_router": _made(router.update),
    "delete_router": _unmade(router.delete),
    "create_floating_ip": _made(floating_ip.create),
    "update_floating_ip": _made(floating_ip.update),
    "delete_floating_ip": _unmade(floating_ip.delete),
    "create_external_network": _made(external_network.create),
    "update_external_network": _made(_update_external_network),
    "delete_external_network": _unmade(external_network.delete),
    "create_peering": _made(peering.create),
    "update_peering": _made(peering.update),
    "delete_peering": _unmade(peering.delete),
}


def steps_of(operations: Sequence[plan_pb2.Operation]) -> Iterator[Step]:
    """Yield the operations of a request; raises InvalidIntent."""
    if len(operations) > STEPS_MAX:
        raise InvalidIntent.of("operations", f"{len(operations)} operations", f"at most {STEPS_MAX}")
    for index, operation in enumerate(operations):
        kind, field = operation.WhichOneof("kind"), f"operations[{index}]"
        if kind is None:
            raise InvalidIntent.of(field, "", "one kind of change, such as create_port")
        request = getattr(operation, kind)
        if request.validate_only:
            raise InvalidIntent.of(
                f"{field}.{kind}.validate_only",
                "true",
                "false: it is not for a single one of several operations",
            )
        yield Step(kind, request, f"{field}.{kind}", str(index))


def carry_out(state: State, step: Step, given: Circumstances) -> Txn:
    """Return the transaction of one operation, made on state. Raises what the single method would raise."""
    txn, _ = done(state, step, given)
    return txn


def done(state: State, step: Step, given: Circumstances) -> tuple[Txn, Resource]:
    """As carry_out; with what the operation is about, as it makes it (or as it was, if it is deleted)."""
    return _CARRY[step.kind](state, step.request, given)


def hosts_going(steps: Iterable[Step]) -> frozenset[HostName]:
    """Return the hosts that are to be deleted: of them it matters whether their agents are connected."""
    names = {step.request.name for step in steps if step.kind == "delete_host"}
    return frozenset(filter(None, map(_host, names)))


def _host(name: str) -> HostName | None:
    try:
        return HostName.parse(name)
    except InvalidIntent:
        return None
