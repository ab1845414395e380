"""External networks, gateways and floating IPs on the command line and in files."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from click.shell_completion import ShellComplete

from cloison.names import ExternalNetworkName, FloatingIpName, HostName, RouterName
from controller.cli.fields_outside import EXTERNAL_NETWORK_FIELDS, FLOATING_IP_FIELDS
from controller.cli.main import cli
from tests.unit.test_cli import Served, read, run, served, world

assert served
assert world
ACME = ("-t", "acme")
FILES = """
    kind: Router
    name: r1
    tenant: acme
    interfaces: [web/s4]
    gateway: {external_network: inet, ip_addresses: [192.0.2.7], distributed_snat: yes}
    ---
    kind: FloatingIp
    name: f1
    tenant: acme
    external_network: inet
    address: 192.0.2.9
    port: web/web1
"""


@pytest.fixture
def inet(world: Served) -> Served:
    made = ("--physical-network", "physnet1", "--subnet", "192.0.2.0/24,192.0.2.1,192.0.2.100-192.0.2.200")
    run("external-network", "create", "inet", *made, "--share-with", "acme", "--gateway-host", "h1")
    return world


def test_an_external_network_is_made_shown_changed_and_taken_away(inet: Served) -> None:
    shown = read("external-network", "get", "inet")
    assert shown["subnets"][0]["gateway_ip"] == "192.0.2.1"
    assert shown["subnets"][0]["allocation_ranges"] == [{"first": "192.0.2.100", "last": "192.0.2.200"}]
    listed = run("external-network", "list").stdout
    assert {"inet", "physnet1", "192.0.2.0/24", "h1", "acme", "1500"} <= set(listed.split())
    run("external-network", "update", "inet", "--mtu", "9000", "--clear", "gateway_hosts")
    stored = inet.api.store.state.external_networks[ExternalNetworkName("inet")]
    assert (stored.mtu, stored.gateway_hosts) == (9000, ())
    assert "nothing was changed" in run("external-network", "delete", "inet", "--dry-run").stderr
    run("external-network", "delete", "inet")
    assert not inet.api.store.state.external_networks


def test_a_router_goes_out_and_no_more(inet: Served) -> None:
    run("router", "create", "r1", *ACME, "--interface", "web/s4")
    dry = run("router", "set-gateway", "r1", "inet", *ACME, "--ip", "192.0.2.7", "--dry-run").stdout
    assert "+ tenants/acme/networks/cl-r1" in dry
    run("router", "set-gateway", "r1", "inet", *ACME, "--ip", "192.0.2.7", "--no-snat")
    gateway = inet.api.store.state.routers[RouterName("acme", "r1")].gateway
    assert gateway is not None
    assert not gateway.snat
    assert "inet 192.0.2.7" in run("router", "list", *ACME).stdout
    run("router", "unset-gateway", "r1", *ACME)
    assert inet.api.store.state.routers[RouterName("acme", "r1")].gateway is None
    wrong = run("router", "set-gateway", "r1", "nowhere", *ACME, code=1)
    assert "router.gateway.external_network" in wrong.stderr


def test_a_floating_ip_is_made_moved_and_let_go(inet: Served) -> None:
    run("router", "create", "r1", *ACME, "--interface", "web/s4")
    run("router", "set-gateway", "r1", "inet", *ACME)
    run("port", "create", "web2", *ACME, "-n", "web", "--ip", "10.0.0.6")
    run("floating-ip", "create", "f1", *ACME, "--external-network", "inet", "--port", "web/web1")
    run("floating-ip", "update", "f1", *ACME, "--port", "web/web2", "--distributed")
    listed = run("floating-ip", "list", *ACME).stdout
    assert {"f1", "inet", "web/web2", "10.0.0.6", "yes"} <= set(listed.split())
    taken = json.loads(run("external-network", "addresses", "inet", "-o", "json").stdout)
    assert [one["owner"] for one in taken if "floatingIps" in one["owner"]] == ["tenants/acme/floatingIps/f1"]
    table = run("external-network", "addresses", "inet").stdout
    assert "tenants/acme/routers/r1" in table
    run("floating-ip", "update", "f1", *ACME, "--clear", "port")
    assert inet.api.store.state.floating_ips[FloatingIpName("acme", "f1")].port is None
    run("floating-ip", "delete", "f1", *ACME)
    waiting = run("external-network", "addresses", "inet").stdout
    assert [line.split()[-1] for line in waiting.splitlines() if "floatingIps" in line] == ["h1"]
    assert HostName("h1") in inet.api.store.state.hosts


def test_the_way_out_in_files(inet: Served, tmp_path: Path) -> None:
    file = tmp_path / "acme.yaml"
    file.write_text(dedent(FILES))
    shown = run("plan", "-f", str(file)).stdout
    assert "gateway: inet 192.0.2.7 (distributed SNAT)" in shown
    assert "+ tenants/acme/floatingIps/f1" in shown
    run("apply", "-f", str(file), "--yes")
    assert "No changes" in run("plan", "-f", str(file)).stdout
    exported = run("export", "acme").stdout
    documents = {(d["kind"], d["name"]): d for d in yaml.safe_load_all(exported)}
    assert documents["Router", "r1"]["gateway"] == {
        "external_network": "inet",
        "ip_addresses": ["192.0.2.7"],
        "distributed_snat": True,
    }
    assert documents["FloatingIp", "f1"]["port"] == "web/web1"
    assert "cl-r1" not in exported
    everything = tmp_path / "all.yaml"
    everything.write_text(exported)
    assert "No changes" in run("plan", "-f", str(everything), "--prune").stdout


def test_what_is_wrong_is_told_where_it_stands(inet: Served, tmp_path: Path) -> None:
    file = tmp_path / "acme.yaml"
    for old, new, place in (
        ("192.0.2.7", "10.0.0.7", "gateway.ip_addresses[0]"),
        ("192.0.2.9", "10.0.0.9", "address"),
        ("web/web1", "web", "port"),
        ("distributed_snat: yes", "distributed: yes", "gateway"),
        ("external_network: inet, ip", "external_network: no, ip", "gateway.external_network"),
    ):
        file.write_text(dedent(FILES).replace(old, new))
        refused = run("plan", "-f", str(file), code=1)
        assert place in refused.stderr, refused.stderr


def test_options_say_what_they_are_about(inet: Served) -> None:
    fields = (*EXTERNAL_NETWORK_FIELDS, *FLOATING_IP_FIELDS)
    assert len({field.parameter for field in fields}) == len(fields)
    wrong = run("external-network", "create", "x", "--physical-network", "p", "--subnet", "a,b,c", code=2)
    assert "CIDR[,GATEWAY][,FIRST-LAST...]" in wrong.stderr
    wrong = run("floating-ip", "create", "x", *ACME, "--external-network", "i", "--port", "p", code=2)
    assert "NETWORK/PORT" in wrong.stderr


def test_completion_knows_what_there_is(inet: Served) -> None:
    run("router", "create", "r1", *ACME, "--interface", "web/s4")
    run("floating-ip", "create", "f1", *ACME, "--external-network", "inet")

    def proposed(*arguments: str, incomplete: str = "") -> set[str]:
        complete = ShellComplete(cli, {}, "cloison", "_CLOISON_COMPLETE")
        return {item.value for item in complete.get_completions(list(arguments), incomplete)}

    assert {"external-network", "floating-ip"} <= proposed(incomplete="")
    assert {"set-gateway", "unset-gateway"} <= proposed("router")
    assert proposed("external-network", "addresses") == {"inet"}
    assert proposed("router", "set-gateway", *ACME) == {"r1"}
    assert proposed("router", "set-gateway", "r1", *ACME) == {"inet"}
    assert proposed("floating-ip", "delete", *ACME) == {"f1"}
    assert proposed("floating-ip", "create", "x", *ACME, "--external-network") == {"inet"}
    assert proposed("external-network", "update", "inet", "--gateway-host") == {"h1"}
    assert proposed("external-network", "update", "inet", "--share-with") == {"acme"}
