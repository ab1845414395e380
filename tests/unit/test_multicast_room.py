"""How many ports a network with multicast may have, and what stands behind the limit."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from cloison.model import Vni
from cloison.v1 import network_pb2
from controller.api.intents import multicast
from controller.compiler import Everyone, NetworkView, network_flows
from controller.compiler.tables.forward import COPIES_MAX
from controller.openflow.encode import encode_flow
from tests.support.api import Api
from tests.support.plans import refused
from tests.support.requests import NET, ip, make_world, port

ON = network_pb2.UpdateNetworkRequest(
    network=network_pb2.Network(name=NET, multicast=True), update_mask=FieldMask(paths=["multicast"])
)
# Bytes around a flow in a bundle: the headers of three messages, and what is the same in all flows.
AROUND = 8 + 8 + 8 + 40


@pytest.fixture
async def world(api: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """One port, and room for three."""
    monkeypatch.setattr(multicast, "PORTS_MAX", 3)
    await make_world(api)
    return api


async def fill(api: Api, *ids: int) -> None:
    for number in ids:
        await api.ports.CreatePort(port(f"more{number}", fixed_ips=[ip(f"10.0.0.{100 + number}")]))


async def test_a_port_too_many_is_refused_and_says_why(world: Api) -> None:
    await world.networks.UpdateNetwork(ON)
    await fill(world, 1, 2)
    refusal = await refused(fill(world, 3))
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert NET in refusal.message
    assert "has multicast and 3 ports" in refusal.message


async def test_a_network_that_is_too_large_gets_no_multicast(world: Api) -> None:
    await fill(world, 1, 2, 3)
    refusal = await refused(world.networks.UpdateNetwork(ON))
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "has 4 ports" in refusal.message
    await fill(world, 4)


def view(local: int, hosts: int) -> NetworkView:
    everyone = Everyone(
        ports=tuple((ofport, 1 << 20, ofport) for ofport in range(1, local + 1)),
        own_mac=0x0AF500000001,
        other_macs=tuple(0x0AF500000100 + n for n in range(hosts)),
    )
    network = NetworkView(
        tenant_number=1, vni=Vni(5001), subnets=(ip_network("10.0.0.0/24"),), tunnel_ofport=60000
    )
    return replace(network, everyone=everyone)


@pytest.mark.parametrize(("local", "hosts"), [(COPIES_MAX, 0), (1, COPIES_MAX - 1)])
def test_as_many_copies_as_are_made_fit_into_a_message(local: int, hosts: int) -> None:
    for flow in network_flows(view(local, hosts)):
        assert len(encode_flow(flow)) + AROUND < 1 << 16


def test_more_copies_are_not_made() -> None:
    with pytest.raises(ValueError, match="1001 copies"):
        network_flows(view(1000, 1))
