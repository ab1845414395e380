"""Peerings: what creating, changing and deleting one's half of an agreement stores. Pure.

A half is held against its own tenant's state alone: whether the other side is there, or agrees, is not looked
at, so nothing can be learnt of another tenant by asking. Its router is written with it, so that of two
halves, or of a half and a route, that come at one moment, the second is judged with the first in view.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloison.addresses import IpNetwork
from cloison.codec import resource_to_proto
from cloison.errors import InvalidIntent
from cloison.model import AllowedService, Meta, Peering, Router
from cloison.names import PeeringName, RouterName, SecurityGroupName, TenantName
from cloison.v1 import peering_pb2 as pb
from cloison.v1 import security_group_pb2
from controller.api import allocate, masks, validate
from controller.api.intents import common, release, router_parts, rules
from controller.store import ids, profiles
from controller.store.peerings import overlapping, place
from controller.store.state import State
from controller.store.txn import Txn

PEERINGS_PER_TENANT_MAX = 100
PREFIXES_MAX, SERVICES_MAX = 32, 64
_LISTS = ("prefixes", "peer_prefixes", "services")
_INGRESS = security_group_pb2.SecurityGroupRule.INGRESS


def create(state: State, request: pb.CreatePeeringRequest, stamp: common.Stamp) -> tuple[Txn, Peering]:
    """Return the transaction that makes the half; an empty one for a repeated request."""
    check, message = validate.Checker(), request.peering
    parent = check.take(lambda: TenantName.parse(request.parent, "parent"))
    validate.check_resource_id(check, request.peering_id, "peering_id")
    validate.check_request_id(check, request.request_id)
    common.check_meta(check, message, "peering")
    check.done()
    assert parent is not None
    common.found(state.tenants, parent)
    name = PeeringName(parent.tenant, request.peering_id)
    existing = common.repeated(state.peerings.get(name), request)
    if existing is not None:
        return Txn(), existing
    common.check_room(len(state.peerings_of(parent)), PEERINGS_PER_TENANT_MAX, parent, "peerings")
    number = allocate.profile_number(state, stamp)
    peering = _parsed(state, message, name, common.new_meta(message, request, stamp), number)
    txn = Txn()
    txn.create(peering)
    txn.reserve(ids.profile_number(number), name, peering.meta.uid)
    txn.add_reference(peering.router, name)
    _write_router(txn, state, peering, stamp)
    return txn, peering


def update(state: State, request: pb.UpdatePeeringRequest, stamp: common.Stamp) -> tuple[Txn, Peering]:
    """Return the transaction that changes what the mask names."""
    message = request.peering
    name = PeeringName.parse(message.name, "peering.name")
    fields = masks.fields_to_update(message, request.update_mask, "peering")
    check = validate.Checker()
    common.check_meta(check, message, "peering")
    check.done()
    old = common.found(state.peerings, name)
    common.check_etag(old, message.etag)
    for field in ("router", "peer_router"):
        if field in fields:
            common.check_immutable(f"peering.{field}", getattr(message, field), str(getattr(old, field)))
    merged = resource_to_proto(old)
    for field in _LISTS:
        if field in fields:
            merged.ClearField(field)
            getattr(merged, field).extend(getattr(message, field))
    new = _parsed(state, merged, name, common.changed_meta(old.meta, message, fields), old.number)
    txn, new = common.changed(old, new, stamp)
    if new.peer_prefixes != old.peer_prefixes or new.prefixes != old.prefixes:
        _write_router(txn, state, new, stamp)
    return txn, new


def delete(state: State, request: pb.DeletePeeringRequest) -> tuple[Txn, Peering]:
    """Return the transaction that withdraws: from then on nothing passes."""
    name = PeeringName.parse(request.name)
    peering = common.found(state.peerings, name)
    common.check_etag(peering, request.etag)
    txn = Txn()
    txn.drop_reference(peering.router, name)
    txn.delete(peering)
    # Its number is in flows of both sides.
    sides = (name.parent, peering.peer_router.parent)
    hosts = {host for tenant in sides for host in profiles.hosts_of(state, tenant)}
    number = ids.profile_number(peering.number)
    release.release(txn, state, [number], peering.meta.uid, tuple(sorted(hosts)))
    return txn, peering


def refuse_odds(check: validate.Checker, state: State, router: Router) -> None:
    """Refuse a router, as it is to be, that its peerings have no room beside or no place in."""
    for peering in sorted(state.peerings_at(router.name), key=lambda p: p.name):
        for prefix, what in overlapping(state, router, peering):
            check.wrong("router", what, f"nothing that overlaps {prefix}, which {peering.name} accepts")
        for prefix in peering.prefixes:
            if place(state, router, prefix) is None:
                expected = f"an interface in the subnet of {prefix}, which {peering.name} lists"
                check.wrong("router.interfaces", f"none there for {prefix}", expected)


def _parsed(state: State, message: pb.Peering, name: PeeringName, meta: Meta, number: int) -> Peering:
    """Return the half of a message; raises InvalidIntent with all that is wrong."""
    check = validate.Checker()
    router = check.take(lambda: _own_router(state, message.router, name))
    peer = check.take(lambda: _peer_router(message.peer_router, name))
    own = _prefixes(check, message.prefixes, "peering.prefixes")
    theirs = _prefixes(check, message.peer_prefixes, "peering.peer_prefixes")
    services = _services(check, message.services, name)
    check.done()
    assert router is not None
    assert peer is not None
    made = Peering(
        name=name,
        meta=meta,
        router=router.name,
        peer_router=peer,
        number=number,
        prefixes=own,
        peer_prefixes=theirs,
        services=services,
    )
    _check_alone(check, state, made)
    for prefix in own:
        if place(state, router, prefix) is None:
            known = ", ".join(str(state.subnets[i.subnet].cidr) for i in router.interfaces) or "it has none"
            expected = f"a range within the subnet of an interface of {router.name}: {known}"
            check.wrong("peering.prefixes", prefix, expected)
    for prefix, what in overlapping(state, router, made):
        check.wrong("peering.peer_prefixes", prefix, f"a range that does not overlap {what}")
    check.done()
    return made


def _own_router(state: State, text: str, name: PeeringName) -> Router:
    router = RouterName.parse(text, "peering.router")
    if router.tenant != name.tenant:
        raise InvalidIntent.of("peering.router", text, f"a router of {name.parent}, as the peering is")
    found = state.routers.get(router)
    if found is None:
        raise InvalidIntent.of("peering.router", text, "a router that exists")
    return found


def _peer_router(text: str, name: PeeringName) -> RouterName:
    router = RouterName.parse(text, "peering.peer_router")
    if router.tenant == name.tenant:
        expected = "a router of another tenant: those of one tenant join its networks themselves"
        raise InvalidIntent.of("peering.peer_router", text, expected)
    return router


def _check_alone(check: validate.Checker, state: State, made: Peering) -> None:
    for other in state.peerings_at(made.router):
        if other.name != made.name and other.peer_router == made.peer_router:
            check.wrong(
                "peering.peer_router", made.peer_router, f"another router: {other.name} names this one"
            )


def _prefixes(check: validate.Checker, texts: Sequence[str], field: str) -> tuple[IpNetwork, ...]:
    """Return the ranges in order, none overlapping another; at least one."""
    check.that(bool(texts), field, "", "at least one range, such as 10.0.0.0/24")
    found: list[IpNetwork] = []
    for place_, text in check.each(field, texts, PREFIXES_MAX, "ranges"):
        range_ = check.take(lambda t=text, p=place_: validate.prefix(t, p))  # type: ignore[misc]
        if range_ is None:
            continue
        never = router_parts.never_routed(range_)
        if never is not None:
            check.wrong(place_, text, f"a range of addresses that are routed: {never}")
            continue
        other = next((r for r in found if r.overlaps(range_)), None)
        if check.that(other is None, place_, text, f"a range that does not overlap {other}"):
            found.append(range_)
    return tuple(sorted(found, key=lambda r: (r.version, int(r.network_address), r.prefixlen)))


def _services(
    check: validate.Checker, messages: Sequence[pb.AllowedService], name: PeeringName
) -> tuple[AllowedService, ...]:
    """Return the services in order, each once. They are checked as a rule that says the same would be."""
    found: set[AllowedService] = set()
    group = SecurityGroupName(name.tenant, "default")
    for field, message in check.each("peering.services", messages, SERVICES_MAX, "services"):
        said = security_group_pb2.SecurityGroupRule(
            direction=_INGRESS,
            protocol=message.protocol,
            port_min=message.port_min,
            port_max=message.port_max,
        )
        rule = rules.parse(check, said, field, group)
        if rule is None:
            continue
        service = AllowedService(rule.protocol, rule.port_min, rule.port_max)
        if check.that(service not in found, field, message.protocol or "any", "each service once"):
            found.add(service)
    return tuple(sorted(found, key=lambda s: tuple(-1 if v is None else v for v in _key(s))))


def _key(service: AllowedService) -> tuple[int | None, int | None, int | None]:
    return service.protocol, service.port_min, service.port_max


def _write_router(txn: Txn, state: State, peering: Peering, stamp: common.Stamp) -> None:
    router = state.routers[peering.router]
    txn.update(router, common.touched(router, stamp))
