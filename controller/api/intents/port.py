"""Ports: what creating, changing and deleting one stores. Pure.

What a port holds is one set of reservation keys (`identifiers`): creating reserves it, deleting releases
it, changing does both with the difference.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv6Address

from cloison.addresses import Mac, format_mac, link_local
from cloison.errors import PermissionDenied
from cloison.model import FixedIp, Network, Port
from cloison.names import HostName, NetworkName, PortName, SecurityGroupName, SubnetName, TenantName
from cloison.v1 import port_pb2
from controller.api import allocate, masks, validate
from controller.api.intents import common, fixed_ips, guest_identity, membership, multicast, release
from controller.api.intents.guest_identity import Identity
from controller.api.intents.membership import Membership
from controller.store import ids, keys, profiles, transit
from controller.store.state import State
from controller.store.txn import Txn

REQUESTED_HOSTS_MAX = 16
_HOSTS_SHOWN_MAX = 10


def address_keys(network: NetworkName, mac: Mac, addresses: Iterable[FixedIp]) -> frozenset[str]:
    """Return the reservation keys of a MAC and addresses, wire MACs of the IPv6 ones included."""
    taken = {ids.mac(network, mac), ids.wire6(network, link_local(mac))}
    for fixed_ip in addresses:
        taken.add(ids.ip(network, fixed_ip.address))
        if isinstance(fixed_ip.address, IPv6Address):
            taken.add(ids.wire6(network, fixed_ip.address))
    return frozenset(taken)


def identifiers(port: Port) -> frozenset[str]:
    """Return the reservation keys of everything a port holds that hosts may have in flows or entries."""
    numbers = {ids.port_number(port.number)}
    return address_keys(port.name.parent, port.mac, port.fixed_ips) | numbers


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a request says about a port, each field well-formed by itself."""

    mac: Mac | None
    fixed_ips: tuple[fixed_ips.Wanted, ...]
    hosts: tuple[HostName, ...]
    iface_id: str
    groups: tuple[SecurityGroupName, ...]
    identity: Identity


def _parse(
    check: validate.Checker, message: port_pb2.Port, fields: frozenset[str], tenant: TenantName
) -> _Wanted:
    """Check the named fields by themselves."""
    common.check_meta(check, message, "port")
    mac = None
    if "mac_address" in fields and message.mac_address:
        mac = check.take(lambda: validate.mac(message.mac_address, "port.mac_address"))
    wanted = fixed_ips.parse(check, message.fixed_ips) if "fixed_ips" in fields else ()
    hosts = _parse_hosts(check, message.requested_hosts) if "requested_hosts" in fields else ()
    iface_id = ""
    if "iface_id" in fields and message.iface_id:
        iface_id = check.take(lambda: validate.token(message.iface_id, "port.iface_id")) or ""
    named = message.security_groups if "security_groups" in fields else ()
    groups = membership.parse(check, named, tenant)
    return _Wanted(mac, wanted, hosts, iface_id, groups, guest_identity.parse(check, message, fields))


def _parse_hosts(check: validate.Checker, texts: Iterable[str]) -> tuple[HostName, ...]:
    names: list[HostName] = []
    for i, text in enumerate(texts):
        if i >= REQUESTED_HOSTS_MAX:
            check.wrong("port.requested_hosts", f"{i + 1} or more", f"at most {REQUESTED_HOSTS_MAX} hosts")
            break
        field = f"port.requested_hosts[{i}]"
        name = check.take(lambda text=text, field=field: HostName.parse(text, field))  # type: ignore[misc]
        if name is not None and check.that(name not in names, field, text, "each host once"):
            names.append(name)
    return tuple(names)


def _check_hosts(check: validate.Checker, state: State, hosts: Iterable[HostName]) -> None:
    for i, host in enumerate(hosts):
        if host not in state.hosts:
            known = ", ".join(map(str, sorted(state.hosts)[:_HOSTS_SHOWN_MAX])) or "none yet"
            check.wrong(f"port.requested_hosts[{i}]", host, f"a host that exists, such as: {known}")


def _check_mac(check: validate.Checker, state: State, network: NetworkName, mac: Mac, uid: str) -> None:
    field, text = "port.mac_address", format_mac(mac)
    held = release.foreign(state.reservations.get(ids.mac(network, mac)), uid)
    if held is not None:
        release.refuse_released(held, field, text)
        check.wrong(field, text, f"a MAC that no other port of the network has: {held.owner} has it")
        return
    wire = release.foreign(state.reservations.get(ids.wire6(network, link_local(mac))), uid)
    if wire is not None:
        release.refuse_released(wire, field, text)
        check.wrong(field, text, f"another MAC: {fixed_ips.clash(link_local(mac), wire.owner)}")


def _check_iface(check: validate.Checker, state: State, name: PortName, iface_id: str) -> None:
    held = state.reservations.get(ids.iface(iface_id))
    if held is None:
        return
    release.refuse_released(held, "port.iface_id", iface_id)
    # iface-ids are one space for all tenants; whose it is, is not another tenant's to know.
    own = held.owner.startswith(f"{name.parent.parent}/")
    check.wrong(
        "port.iface_id", iface_id, f"an iface-id that is free: {held.owner if own else 'another port'} has it"
    )


def _refuse_schedule(stamp: common.Stamp, message: port_pb2.Port) -> None:
    if message.requested_hosts and not stamp.operator:
        raise PermissionDenied("only operators may set port.requested_hosts; leave it empty")


def _check_pairs(check: validate.Checker, member: Membership, identity: Identity) -> None:
    pairs = identity.pairs
    check.that(
        not (member.open and pairs),
        "port.allowed_address_pairs",
        f"{len(pairs)} pairs",
        "none, since no_port_security is set: such a port may send anything",
    )


def create(state: State, request: port_pb2.CreatePortRequest, stamp: common.Stamp) -> tuple[Txn, Port]:
    """Return the transaction that makes the port with all it holds; an empty one for a repeated request."""
    check, message = validate.Checker(), request.port
    _refuse_schedule(stamp, message)
    membership.refuse_open(stamp, message, None)
    parent = check.take(lambda: NetworkName.parse(request.parent, "parent"))
    validate.check_resource_id(check, request.port_id, "port_id")
    validate.check_request_id(check, request.request_id)
    fields = frozenset(masks.writable_fields(message.DESCRIPTOR))
    guest_identity.refuse_identity(stamp, message, fields, None)
    tenant = parent.parent if parent is not None else TenantName("")
    wanted = _parse(check, message, fields, tenant)
    member = membership.wanted(check, message, wanted.groups, fields, tenant)
    _check_pairs(check, member, wanted.identity)
    check.done()
    assert parent is not None
    common.found(state.tenants, parent.parent)
    common.found(state.networks, parent)
    name = PortName(parent.tenant, parent.network, request.port_id)
    if not stamp.system:
        transit.refuse(state, parent, name)
    existing = common.repeated(state.ports.get(name), request)
    if existing is not None:
        return Txn(), existing
    multicast.check_another_port(state, state.networks[parent])
    port = _new_port(check, state, name, wanted, member, request, stamp)
    txn = Txn()
    txn.create(port)
    for key in sorted(identifiers(port) | {ids.iface(port.iface_id)}):
        txn.reserve(key, name, stamp.uid)
    _refer(txn, state, None, port)
    membership.join(txn, state, None, port)
    return txn, port


def _new_port(
    check: validate.Checker,
    state: State,
    name: PortName,
    wanted: _Wanted,
    member: Membership,
    request: port_pb2.CreatePortRequest,
    stamp: common.Stamp,
) -> Port:
    network = name.parent
    _check_hosts(check, state, wanted.hosts)
    membership.check_groups(check, state, network.parent, member)
    if wanted.mac is not None:
        _check_mac(check, state, network, wanted.mac, stamp.uid)
    iface_id = wanted.iface_id or stamp.uid
    _check_iface(check, state, name, iface_id)
    wishes = wanted.fixed_ips or fixed_ips.one_of_each_family(state, network)
    chosen = fixed_ips.check(check, state, network, wishes, stamp.uid)
    check.done()
    mac = wanted.mac or allocate.mac(state, network, stamp, fixed_ips.wires(network, chosen))
    addresses = fixed_ips.resolve(state, network, mac, chosen, stamp)
    identity = guest_identity.at_creation(wanted.identity, name, stamp.uid)
    return Port(
        name=name,
        meta=common.new_meta(request.port, request, stamp),
        number=allocate.port_number(state, stamp),
        mac=mac,
        fixed_ips=addresses,
        requested_hosts=wanted.hosts,
        disabled=request.port.disabled,
        iface_id=iface_id,
        security_groups=member.groups,
        profile=membership.number_of(state, network.parent, member, stamp),
        allowed_address_pairs=guest_identity.own_mac_unsaid(identity.pairs, mac),
        dns_name=identity.dns_name,
        device_id=identity.device_id,
        project_id=identity.project_id,
        dhcp_options=identity.dhcp_options,
    )


def _refer(txn: Txn, state: State, old: Port | None, new: Port | None) -> None:
    """Add and drop references so that those of old become those of new."""
    before = _referred(old) if old else set()
    after = _referred(new) if new else set()
    owner = new or old
    assert owner is not None
    for referred in sorted(after - before, key=str):
        txn.add_reference(referred, owner.name)
        # Not only there: as it was read, so that the address fits the range at the moment of the commit.
        if not isinstance(referred, HostName):
            txn.require(state.subnets[referred])
    for referred in sorted(before - after, key=str):
        txn.drop_reference(referred, owner.name)


def _referred(port: Port) -> set[SubnetName | HostName]:
    return {*port.requested_hosts, *(fixed_ip.subnet for fixed_ip in port.fixed_ips)}


def update(state: State, request: port_pb2.UpdatePortRequest, stamp: common.Stamp) -> tuple[Txn, Port]:
    """Return the transaction that changes a port; identifiers it no longer holds wait for the hosts."""
    message = request.port
    name = PortName.parse(message.name, "port.name")
    fields = _fields_to_update(request, stamp)
    check = validate.Checker()
    wanted = _parse(check, message, fields, name.parent.parent)
    check.done()
    old = common.found(state.ports, name)
    transit.refuse(state, name.parent, name)
    common.check_etag(old, message.etag)
    if "no_port_security" in fields:
        membership.refuse_open(stamp, message, old)
    guest_identity.refuse_identity(stamp, message, fields, old)
    if "iface_id" in fields:
        common.check_immutable("port.iface_id", message.iface_id, old.iface_id)
    if "mac_address" in fields and wanted.mac is None and "*" not in request.update_mask.paths:
        check.wrong(
            "port.mac_address", "", f"a MAC; to keep {format_mac(old.mac)}, leave the field out of the mask"
        )
    new = _changed_port(check, state, old, wanted, message, fields, stamp)
    member = membership.wanted(check, message, wanted.groups, fields, name.parent.parent, old)
    membership.check_groups(check, state, name.parent.parent, member)
    identity = guest_identity.after_update(wanted.identity, old, fields)
    _check_pairs(check, member, identity)
    check.done()
    new = _known_as(state, new, member, identity, stamp)
    txn, new = common.changed(old, new, stamp)
    if txn:
        _keep_floating(txn, state, old, new)
        _exchange(txn, state, old, new)
        membership.join(txn, state, old, new)
    return txn, new


def _fields_to_update(request: port_pb2.UpdatePortRequest, stamp: common.Stamp) -> frozenset[str]:
    """Return what a request changes; what is the operators' is left alone where everything is asked for."""
    fields = masks.fields_to_update(request.port, request.update_mask, "port")
    if stamp.operator:
        return fields
    everything = "*" in request.update_mask.paths
    if "requested_hosts" in fields and not everything:
        raise PermissionDenied("only operators may change port.requested_hosts; leave it out")
    _refuse_schedule(stamp, request.port)
    if everything and not request.port.no_port_security:
        fields -= {"no_port_security"}
    return fields - {"requested_hosts"} - {f for f in guest_identity.OPERATORS_FIELDS if everything}


def _known_as(state: State, port: Port, member: Membership, identity: Identity, stamp: common.Stamp) -> Port:
    """Return a port with its groups, its names and what it may send besides."""
    kept = member == Membership.of(port)
    return replace(
        port,
        security_groups=member.groups,
        profile=port.profile if kept else membership.number_of(state, port.name.parent.parent, member, stamp),
        allowed_address_pairs=guest_identity.own_mac_unsaid(identity.pairs, port.mac),
        dns_name=identity.dns_name,
        device_id=identity.device_id,
        project_id=identity.project_id,
        dhcp_options=identity.dhcp_options,
    )


def _changed_port(
    check: validate.Checker,
    state: State,
    old: Port,
    wanted: _Wanted,
    message: port_pb2.Port,
    fields: frozenset[str],
    stamp: common.Stamp,
) -> Port:
    """Return the port with MAC, addresses, hosts and metadata as wanted."""
    network, uid = old.name.parent, old.meta.uid
    mac = wanted.mac or old.mac
    if mac != old.mac:
        _check_mac(check, state, network, mac, uid)
    hosts = wanted.hosts if "requested_hosts" in fields else old.requested_hosts
    _check_hosts(check, state, hosts)
    addresses = old.fixed_ips
    chosen: tuple[fixed_ips.Chosen, ...] = ()
    if "fixed_ips" in fields:
        kept = fixed_ips.given_out(state, old.fixed_ips)
        wishes = fixed_ips.keep(wanted.fixed_ips, kept)
        chosen = fixed_ips.check(check, state, network, wishes, uid)
    check.done()
    if "fixed_ips" in fields:
        addresses = fixed_ips.resolve(state, network, mac, chosen, stamp, uid)
    elif mac != old.mac:
        addresses = fixed_ips.follow_mac(state, addresses, mac, uid)
    return replace(
        old,
        meta=common.changed_meta(old.meta, message, fields),
        mac=mac,
        fixed_ips=addresses,
        requested_hosts=hosts,
        disabled=message.disabled if "disabled" in fields else old.disabled,
    )


def _keep_floating(txn: Txn, state: State, old: Port, new: Port) -> None:
    """Refuse to take an address away that a floating IP stands for."""
    gone = {f.address for f in old.fixed_ips} - {f.address for f in new.fixed_ips}
    floating = [f.name for f in state.floating_ips_at(old.name) if f.fixed in gone]
    common.refuse_if_referenced(old.name, floating, "has an address, about to go, that is that of")
    for address in sorted(gone, key=str):
        txn.require_unreferenced(keys.address_of(old.name, address))


def _exchange(txn: Txn, state: State, old: Port, new: Port) -> None:
    """Reserve what the new form of a port needs, release what it needs no longer."""
    before, after = identifiers(old), identifiers(new)
    for key in sorted(after - before):
        txn.reserve(key, new.name, new.meta.uid)
    hosts = release.holders(state, _network_of(state, old))
    release.release(txn, state, before - after, old.meta.uid, hosts)
    _refer(txn, state, old, new)


def _network_of(state: State, port: Port) -> Network:
    return common.found(state.networks, port.name.parent)


def delete(state: State, request: port_pb2.DeletePortRequest) -> tuple[Txn, Port]:
    """Return the transaction that removes a port; its bindings go with it.

    What it held goes to nobody else before every host that may have it in a flow or forwarding entry has
    confirmed; its iface-id, which is in neither, is free at once.
    """
    name = PortName.parse(request.name)
    port = common.found(state.ports, name)
    transit.refuse(state, name.parent, name)
    common.check_etag(port, request.etag)
    floating = (one.name for one in state.floating_ips_at(name))
    common.refuse_if_referenced(name, floating, "is what these floating IPs stand for")
    return remove(state, port, holders(state, port)), port


def rescheduled(state: State, port: Port, hosts: tuple[HostName, ...], stamp: common.Stamp) -> Txn:
    """Return the transaction by which a port may be plugged on other hosts."""
    txn, new = common.changed(port, replace(port, requested_hosts=hosts), stamp)
    if txn:
        _refer(txn, state, port, new)
    return txn


def holders(state: State, port: Port) -> tuple[HostName, ...]:
    """Return the hosts that may hold something of a port.

    Also where it is plugged without counting (disabled, or no longer scheduled): flows may still be there.
    """
    bound = (binding.host for binding in state.bindings_of(port.name))
    return tuple(sorted({*release.holders(state, _network_of(state, port)), *bound}))


def remove(state: State, port: Port, hosts: tuple[HostName, ...]) -> Txn:
    """Return the transaction that removes a port; what it held waits for these hosts, but its iface-id."""
    txn = Txn()
    txn.delete(port)
    _refer(txn, state, port, None)
    profiles.refer(txn, port.name, port.profile, None)
    release.release(txn, state, identifiers(port), port.meta.uid, hosts)
    release.release(txn, state, [ids.iface(port.iface_id)], port.meta.uid, ())
    return txn
