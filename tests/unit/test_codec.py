"""The wire forms: what is written is read back, and what is malformed is refused with the field named."""

from __future__ import annotations

import dataclasses
from copy import deepcopy
from ipaddress import IPv4Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloison import codec, codec_parts, model, protocols
from cloison.errors import InvalidIntent
from cloison.immutable import ImmutableMapping
from cloison.model import Meta, Revision, Vni
from cloison.names import (
    AddressGroupName,
    HostName,
    NetworkName,
    PortName,
    SecurityGroupName,
    SubnetName,
    TenantName,
)
from cloison.v1 import port_pb2, record_pb2, security_group_pb2
from tests.support import exits

ids = st.from_regex(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
labels = st.dictionaries(text, text, max_size=3).map(ImmutableMapping)
addresses = st.ip_addresses()
networks = st.builds(NetworkName, ids, ids)
subnet_names = st.builds(SubnetName, ids, ids, ids)
hosts = st.builds(HostName, ids)
revisions = st.integers(1, 2**62).map(Revision)
metas = st.builds(
    Meta,
    uid=st.uuids().map(str),
    revision=revisions,
    create_time_ns=st.integers(0, codec_parts.TIME_NS_MAX),
    update_time_ns=st.integers(0, codec_parts.TIME_NS_MAX),
    display_name=text,
    labels=labels,
    request_id=text,
    request_digest=st.binary(max_size=32),
)
groups = st.builds(SecurityGroupName, ids, ids)
address_groups = st.builds(AddressGroupName, ids, ids)


def ranges(addresses):
    """Ranges without host bits."""
    return st.builds(
        lambda address, share: ip_network((address, int(address.max_prefixlen * share)), strict=False),
        addresses,
        st.floats(0, 1),
    )


@st.composite
def subnets(draw):
    address = draw(addresses)
    length = draw(st.integers(0, address.max_prefixlen))
    same = st.ip_addresses(v=address.version)
    modes = st.sampled_from(model.Ipv6Mode) if address.version == 6 else st.just(model.Ipv6Mode.UNSPECIFIED)
    route = st.builds(model.Route, ranges(same), same)
    return model.Subnet(
        name=draw(subnet_names),
        meta=draw(metas),
        cidr=ip_network((address, length), strict=False),
        gateway_ip=draw(st.none() | same),
        allocation_pools=tuple(draw(st.lists(st.builds(model.AllocationPool, same, same), max_size=3))),
        dhcp=draw(st.booleans()),
        dns_servers=tuple(draw(st.lists(same, max_size=2))),
        routes=tuple(draw(st.lists(route, max_size=2))),
        ntp_servers=tuple(draw(st.lists(same, max_size=2))),
        ipv6_mode=draw(modes),
    )


rules = st.builds(
    model.SecurityGroupRule,
    id=text,
    number=st.integers(1, model.RULE_NUMBER_MAX),
    direction=st.sampled_from(model.Direction),
    ether_type=st.sampled_from(model.EtherType),
    protocol=st.none() | st.integers(0, 255),
    icmp_type=st.none() | st.integers(0, 255),
    icmp_code=st.none() | st.integers(0, 255),
    remote_prefix=st.none() | ranges(addresses),
    remote_group=st.none() | groups,
    remote_address_group=st.none() | address_groups,
    description=text,
) | st.builds(
    model.SecurityGroupRule,
    id=text,
    number=st.integers(1, model.RULE_NUMBER_MAX),
    direction=st.sampled_from(model.Direction),
    protocol=st.sampled_from((6, 17)),
    port_min=st.integers(0, 65535),
    port_max=st.integers(1, 65535),
)


resources = st.one_of(
    st.builds(
        model.Tenant,
        name=st.builds(TenantName, ids),
        meta=metas,
        number=st.integers(1, model.TENANT_NUMBER_MAX),
    ),
    st.builds(
        model.Network,
        name=networks,
        meta=metas,
        vni=st.integers(model.VNI_MIN, model.VNI_MAX).map(Vni),
        mtu_limit=st.integers(0, model.MTU_LIMIT_MAX),
        dns_domain=text,
        multicast=st.booleans(),
    ),
    st.builds(
        model.SecurityGroup,
        name=groups,
        meta=metas,
        number=st.integers(1, model.GROUP_NUMBER_MAX),
        rules=st.lists(rules, max_size=4).map(tuple),
    ),
    st.builds(
        model.AddressGroup,
        name=address_groups,
        meta=metas,
        prefixes=st.lists(ranges(addresses), max_size=3).map(tuple),
    ),
    subnets(),
    st.builds(
        model.Port,
        name=st.builds(PortName, ids, ids, ids),
        meta=metas,
        number=st.integers(1, model.PORT_NUMBER_MAX),
        mac=st.integers(0, (1 << 48) - 1),
        fixed_ips=st.lists(st.builds(model.FixedIp, subnet_names, addresses), max_size=3).map(tuple),
        requested_hosts=st.lists(hosts, max_size=2).map(tuple),
        disabled=st.booleans(),
        iface_id=text.filter(bool),
        security_groups=st.lists(groups, max_size=2).map(tuple),
        profile=st.integers(1, model.PROFILE_MAX),
        allowed_address_pairs=st.lists(
            st.builds(model.AddressPair, ranges(addresses), st.none() | st.integers(0, (1 << 48) - 1)),
            max_size=2,
        ).map(tuple),
        dns_name=text,
        device_id=text,
        project_id=text,
        dhcp_options=st.builds(model.DhcpOptions, text, text, text, text),
    ),
    st.builds(
        model.Host,
        name=hosts,
        meta=metas,
        vtep=st.none() | addresses,
        datapath_id=st.integers(0, (1 << 64) - 1),
        underlay_mtu=st.integers(0, 65535),
        agent_version=text,
        datapath_type=text,
        agent_labels=labels,
        physical_networks=st.lists(text, max_size=2).map(tuple),
    ),
    exits.external_networks,
    exits.floating_ips,
    exits.routers,
)
bindings = st.builds(
    model.PortBinding,
    port=st.builds(PortName, ids, ids, ids),
    port_uid=text,
    host=hosts,
    interface=text,
    ofport=st.integers(1, model.OFPORT_MAX),
    claimed=st.lists(st.ip_addresses(), max_size=3).map(tuple),
    rank=st.integers(-(2**63), 2**63 - 1),
    revision=revisions,
)
others = st.one_of(
    bindings,
    exits.edges,
    st.builds(
        model.PolicyProfile,
        tenant=st.builds(TenantName, ids),
        number=st.integers(model.PROFILE_FIRST, model.PROFILE_MAX),
        groups=st.lists(groups, min_size=1, max_size=3).map(tuple),
        revision=revisions,
    ),
    st.builds(
        model.TunnelPort,
        host=hosts,
        vni=st.integers(model.VNI_MIN, model.VNI_MAX).map(Vni),
        ofport=st.integers(1, model.OFPORT_MAX),
        revision=revisions,
    ),
    st.builds(
        model.Reservation,
        key=text,
        owner=text.filter(bool),
        owner_uid=text,
        released=st.booleans(),
        hosts=st.lists(hosts, max_size=3).map(tuple),
        revision=revisions,
    ),
)


def revision_of(stored):
    return stored.meta.revision if isinstance(stored, model.Resource) else stored.revision


def at_revision(stored, revision):
    if isinstance(stored, model.Resource):
        return dataclasses.replace(stored, meta=dataclasses.replace(stored.meta, revision=revision))
    return dataclasses.replace(stored, revision=revision)


@pytest.mark.slow
@given(resources | others)
def test_a_record_reads_back_as_what_was_written(stored):
    key = stored.key if isinstance(stored, model.Reservation) else "some/key"
    again = codec.record_from_bytes(key, codec.record_to_bytes(stored), revision_of(stored))
    assert again == stored


@given(resources | others, revisions)
def test_a_record_holds_intent_and_no_revision(stored, revision):
    assert codec.record_to_bytes(at_revision(stored, revision)) == codec.record_to_bytes(stored)


@pytest.mark.slow
@given(resources | bindings)
def test_a_message_reads_back_as_the_model_without_the_request(resource):
    message = codec.resource_to_proto(resource)
    revision = revision_of(resource)
    assert message.revision == revision
    if isinstance(resource, model.Resource):
        assert message.etag == codec.etag_of(revision)
        bare = dataclasses.replace(resource.meta, request_id="", request_digest=b"")
        resource = dataclasses.replace(resource, meta=bare)
    assert (
        codec.resource_from_proto(type(message).FromString(message.SerializeToString()), revision) == resource
    )


@pytest.mark.slow
@given(resources | others, st.data())
def test_a_truncated_record_is_refused_or_whole(stored, data):
    """Cutting protobuf can leave a valid shorter message; it must never escape as another exception."""
    whole = codec.record_to_bytes(stored)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        codec.record_from_bytes("k", cut, 1)
    except InvalidIntent:
        pass


@given(st.binary(max_size=200))
def test_noise_is_refused_with_invalid_intent_or_decodes(noise):
    try:
        codec.record_from_bytes("k", noise, 1)
    except InvalidIntent:
        pass


def port_message(**changes):
    fields = {
        "name": "tenants/a/networks/n/ports/p",
        "uid": "u",
        "number": 1,
        "mac_address": "52:54:00:00:00:01",
        "iface_id": "u",
        "profile": model.PROFILE_NONE,
    }
    return port_pb2.Port(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "tenants/a/ports/p"}, "name"),
        ({"uid": ""}, "uid"),
        ({"number": 0}, "number"),
        ({"mac_address": "52-54-00-00-00-01"}, "mac_address"),
        ({"iface_id": ""}, "iface_id"),
        (
            {
                "fixed_ips": [
                    port_pb2.FixedIp(subnet="tenants/a/networks/n/subnets/s", ip_address="10.0.0.256")
                ]
            },
            "fixed_ips[0].ip_address",
        ),
        ({"fixed_ips": [port_pb2.FixedIp(subnet="s", ip_address="10.0.0.1")]}, "fixed_ips[0].subnet"),
        ({"requested_hosts": ["h1"]}, "requested_hosts"),
        ({"profile": 0}, "profile"),
        ({"security_groups": ["default"]}, "security_groups"),
        (
            {"allowed_address_pairs": [port_pb2.AddressPair(prefix="10.0.0.1/24")]},
            "allowed_address_pairs[0].prefix",
        ),
    ],
)
def test_a_malformed_field_is_named(changes, field):
    with pytest.raises(InvalidIntent) as caught:
        codec.resource_from_proto(port_message(**changes), 1)
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize("address", ["fe80::1%eth0", "10.0.0.1/24", "0x0a000001", "", "1.2.3"])
def test_an_address_has_one_spelling_that_means_the_same_everywhere(address):
    fixed_ip = port_pb2.FixedIp(subnet="tenants/a/networks/n/subnets/s", ip_address=address)
    with pytest.raises(InvalidIntent):
        codec.resource_from_proto(port_message(fixed_ips=[fixed_ip]), 1)


def test_an_epoch_is_no_object_and_an_object_no_epoch():
    data = codec.epoch_to_bytes(7, "c1")
    assert codec.epoch_from_bytes(data) == (7, "c1")
    with pytest.raises(InvalidIntent):
        codec.record_from_bytes("epoch", data, 1)
    with pytest.raises(InvalidIntent):
        codec.epoch_from_bytes(record_pb2.Record(tenant={"name": "tenants/a"}).SerializeToString())


def test_what_is_read_cannot_be_changed():
    message = port_message(labels={"a": "1"})
    port = codec.resource_from_proto(message, 1)
    message.labels["a"] = "2"
    assert port.meta.labels == {"a": "1"}
    with pytest.raises(TypeError):
        port.meta.labels["a"] = "3"
    with pytest.raises(AttributeError):
        port.meta.labels._items = {}
    assert deepcopy(port) == port
    assert dataclasses.asdict(port)["meta"]["labels"] == {"a": "1"}


def test_names_shared_by_many_ports_are_one_object():
    fixed_ips = [port_pb2.FixedIp(subnet="tenants/a/networks/n/subnets/s", ip_address="10.0.0.1")]
    first = codec.resource_from_proto(port_message(fixed_ips=fixed_ips), 1)
    second = codec.resource_from_proto(port_message(fixed_ips=fixed_ips), 2)
    assert first.fixed_ips[0].subnet is second.fixed_ips[0].subnet
    assert first.fixed_ips[0].address == ip_address("10.0.0.1") == IPv4Address("10.0.0.1")


def rule_message(**changes):
    fields = {"id": "ssh", "number": 1, "direction": security_group_pb2.SecurityGroupRule.INGRESS}
    return security_group_pb2.SecurityGroupRule(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"number": 0}, "number"),
        ({"direction": 0}, "direction"),
        ({"direction": 7}, "direction"),
        ({"ether_type": 7}, "ether_type"),
        ({"protocol": "tpc"}, "protocol"),
        ({"protocol": "256"}, "protocol"),
        ({"protocol": "-1"}, "protocol"),
        ({"port_min": 70000, "port_max": 70000}, "port_min"),
        ({"icmp_type": 256}, "icmp_type"),
        ({"remote_prefix": "10.0.0.1/24"}, "remote_prefix"),
        ({"remote_group": "tenants/a/addressGroups/g"}, "remote_group"),
        ({"remote_address_group": "tenants/a/securityGroups/g"}, "remote_address_group"),
    ],
)
def test_a_malformed_field_of_a_rule_is_named(changes, field):
    group = security_group_pb2.SecurityGroup(
        name="tenants/a/securityGroups/g", uid="u", number=1, rules=[rule_message(), rule_message(**changes)]
    )
    with pytest.raises(InvalidIntent) as caught:
        codec.resource_from_proto(group, 1)
    assert [violation.field for violation in caught.value.violations] == [f"rules[1].{field}"]


@given(st.integers(0, 255))
def test_a_protocol_is_read_by_the_name_it_is_shown_under(number):
    assert protocols.protocol_number(protocols.protocol_name(number)) == number
