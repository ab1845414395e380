"""What is outside a lab: reached from the bridge of a host, untagged and in a VLAN, and only there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import links, namespaces
from topologies.lab import Lab
from topologies.outside import BRIDGE, OutsideSpec
from topologies.spec import of_hosts

SPEC = OutsideSpec(
    {0: ("203.0.113.1/24", "2001:db8::1/64"), 100: ("192.0.2.1/24",)}, hosts=("h1",), blob_bytes=1 << 20
)


@pytest.fixture(scope="module")
def lab(module_run_dir: Path) -> Iterator[Lab]:
    before = links()
    with Lab(of_hosts(2), module_run_dir, with_control=False, outside=SPEC) as made:
        mark = made.mark
        yield made
    assert links() == before
    assert namespaces(mark) == set()


def probe(lab: Lab, name: str, tag: int, address: str) -> None:
    """Give h1 an address on its bridge."""
    host = lab.hosts["h1"]
    port = ["add-port", BRIDGE, name, f"tag={tag}", "--", "set", "Interface", name, "type=internal"]
    host.switch.vsctl(*port)
    host.node.ip([f"address add {address} dev {name}", f"link set {name} up"])


def answers(lab: Lab, device: str, address: str) -> bool:
    return lab.hosts["h1"].node.run(["ping", "-c1", "-W1", "-I", device, address]).returncode == 0


def test_a_host_reaches_each_segment_in_its_vlan_only(lab: Lab) -> None:
    probe(lab, "flat", 0, "203.0.113.9/24")
    probe(lab, "tagged", 100, "192.0.2.9/24")
    assert answers(lab, "flat", lab.outside.near(4))
    assert answers(lab, "tagged", lab.outside.near(4, 100))
    assert not answers(lab, "flat", lab.outside.near(4, 100))
    host = lab.hosts["h1"].node
    host.ip([f"route add {lab.outside.far(4)} via {lab.outside.near(4)}"])
    got = host.run(
        ["curl", "-sS", "-o", "/dev/null", "-w", "%{size_download}", lab.outside.url(4)], check=True
    )
    assert got.stdout == str(SPEC.blob_bytes)
    host.run(["iperf3", "-c", lab.outside.far(4), "-n", "1M"], check=True)


def test_only_the_hosts_named_have_a_bridge(lab: Lab) -> None:
    bridges = {name: host.switch.vsctl("list-br").stdout.split() for name, host in lab.hosts.items()}
    assert (BRIDGE in bridges["h1"], BRIDGE in bridges["h2"]) == (True, False)
