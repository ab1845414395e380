"""Random requests to every method: each is answered or refused with a reason, none breaks anything."""

from __future__ import annotations

import random
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor

from controller.api.server import SERVICES
from tests.support.api import Api, refusal_of
from tests.support.groups import check_groups, make_groups
from tests.support.plans import references
from tests.support.requests import NET

CALLS = 600
# Words that reach deep, and words that nobody should have to expect.
TEXTS = [
    *(
        "",
        "acme",
        "web",
        "p1",
        "h1",
        "s4",
        "-",
        "*",
        "tenants/acme",
        NET,
        f"{NET}/ports/p1",
        f"{NET}/subnets/s4",
    ),
    *("default", "tenants/acme/securityGroups/default", "tenants/acme/securityGroups/web"),
    *("tenants/acme/addressGroups/office", "office", "rule-1", "rule-2"),
    *("tcp", "udp", "icmp", "icmpv6", "47", "256", "any", "0.0.0.0/0", "10.0.0.0/8", "2001:db8::/32"),
    *("web.acme.internal", "169.254.169.254", "fd00:ec2::254", "fe80::a9fe:a9fd"),
    *("hosts/h1", "tenants/-", "tenants/-/networks/-", f"{NET}/ports/p1/binding", "tenants/acme/networks/-"),
    *(
        "10.0.0.0/24",
        "10.0.0.5",
        "10.3.0.0/16",
        "2001:db8::/64",
        "2001:db8::5",
        "::",
        "0.0.0.0",
        "::/0",
        "10.0.0.0/33",
    ),
    *("52:54:00:00:00:01", "02:00:00:00:00:09", "ff:ff:ff:ff:ff:ff", "7c1b7f5e-5f0e-4d43-9a52-3d2d8a3a5b1c"),
    *(
        "\x00",
        "\n",
        "..",
        "a/b",
        "é",
        "𝔘",
        "\u202e",
        "%s",
        "' OR 1=1",
        "a" * 3000,
        "1" * 5000,
        "//////",
        "-1",
    ),
    *(
        "mac_address",
        "fixed_ips",
        "labels",
        "display_name",
        "name",
        "uid",
        "requested_hosts",
        "fixed_ips.subnet",
        "security_groups",
        "no_port_security",
        "rules",
    ),
]
NUMBERS = [0, 1, -1, 2, 7, 22, 80, 100, 255, 1280, 65535, 65536, 2**31 - 1, -(2**31)]


def fill(message: Any, chance: random.Random, depth: int = 0) -> Any:
    """Set some fields of a message to something."""
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.35:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)[chance.choice(TEXTS)] = chance.choice(TEXTS)
        elif field.is_repeated:
            for _ in range(chance.choice([1, 1, 2, 20])):
                if field.message_type is None:
                    getattr(message, field.name).append(value(field, chance))
                else:
                    fill(getattr(message, field.name).add(), chance, depth + 1)
        elif field.message_type is not None:
            if depth < 3:
                getattr(message, field.name).SetInParent()
                fill(getattr(message, field.name), chance, depth + 1)
        else:
            setattr(message, field.name, value(field, chance))
    return message


def value(field: FieldDescriptor, chance: random.Random) -> Any:
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        text = chance.choice(TEXTS)
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if field.cpp_type in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64):
        return abs(chance.choice(NUMBERS))
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return chance.choice([v.number for v in field.enum_type.values] + [99])
    return chance.choice(NUMBERS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_no_request_breaks_anything(api: Api, seed: int) -> None:
    await make_groups(api)
    chance = random.Random(seed)
    pool = descriptor_pool.Default()
    methods = [
        (f"/{service}/{method.name}", method)
        for service in SERVICES
        # Proof needs hosts, which this server has none of; test_verify_service.py asks it.
        if service != "cloison.v1.VerifyService"
        for method in pool.FindServiceByName(service).methods
        if not method.server_streaming
    ]
    for _ in range(CALLS):
        path, method = chance.choice(methods)
        request = fill(message_factory.GetMessageClass(method.input_type)(), chance)
        before = api.store.state.revision
        try:
            await api.channel.unary_unary(path)(request.SerializeToString())
        except grpc.aio.AioRpcError as error:
            refusal = refusal_of(error)
            assert refusal.reason, (path, request, refusal)
            assert api.store.state.revision == before, (path, request)
    check_groups(api.store.state, references(api.store.etcd))
