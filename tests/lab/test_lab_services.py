"""A lab as it comes: a guest asks for a name and for metadata, and nobody had to prepare anything."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.lab.clients import dig, dig_status
from tests.lab.spine import Site, site

DNS = {4: "169.254.169.253", 6: "fd00:ec2::253"}
METADATA = {4: "169.254.169.254", 6: "[fd00:ec2::254]"}


@pytest.fixture(scope="module")
def cloud(module_run_dir: Path) -> Iterator[Site]:
    with site(module_run_dir, "overlap") as cloud:
        yield cloud


@pytest.mark.parametrize("version", [4, 6])
def test_names_of_the_tenant_are_known_and_others_refused(cloud: Site, version: int) -> None:
    guest = cloud.guests["red/p1"]
    assert dig(guest, DNS[version], "p2.web.red.cloison.internal", "A") == ["10.0.0.12"]
    assert dig_status(guest, DNS[version], "www.example.com") == "REFUSED"


@pytest.mark.parametrize("version", [4, 6])
def test_metadata_says_who_a_guest_is(cloud: Site, version: int) -> None:
    for short in ("red/p1", "blue/p3"):
        guest, port = cloud.guests[short], cloud.port(cloud.ports[short].name)
        base = f"http://{METADATA[version]}/latest/meta-data"
        argv = ["curl", "-sS", "-g", "-f", "-m", "9"]
        assert guest.run([*argv, f"{base}/instance-id"], check=True).stdout.strip() == port.device_id
        seen = guest.run([*argv, f"{base}/local-ipv4"], check=True).stdout.strip()
        assert ip_address(seen) == ip_address(guest.address(version))
