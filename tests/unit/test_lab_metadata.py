"""What stands for an IaaS in a lab answers with what the agents say of the instance, and nothing else."""

from __future__ import annotations

import json

import pytest

from topologies.metadata import answer

ASKED = {"X-Instance-ID": "i-1", "X-Project-ID": "acme", "X-Forwarded-For": "10.0.0.5"}


def test_an_instance_learns_who_it_is() -> None:
    assert answer("/latest/meta-data/instance-id", ASKED) == "i-1"
    lower = {name.lower(): value for name, value in ASKED.items()}
    assert answer("/latest/meta-data/instance-id", lower) == "i-1"
    assert answer("/latest/meta-data/local-ipv4?x=1", ASKED) == "10.0.0.5"
    assert answer("/latest/meta-data/", ASKED) == "instance-id\nlocal-ipv4"
    told = answer("/openstack/latest/meta_data.json", ASKED)
    assert json.loads(told or "") == {"uuid": "i-1", "project_id": "acme"}


@pytest.mark.parametrize("path", ["/latest/user-data", "/latest/meta-data/../x", "/../etc/passwd", "x"])
def test_nothing_is_anywhere_else(path: str) -> None:
    assert answer(path, ASKED) is None
