"""Security groups and what guests are told, on the command line and as files."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from click.shell_completion import ShellComplete

from cloison.names import PortName, SecurityGroupName
from cloison.v1 import port_pb2
from controller.cli.main import cli
from tests.support.plans import meant
from tests.unit.test_cli import NET, Served, read, run, served, world

assert served
assert world
ACME = ("-t", "acme")
GROUPS = "tenants/acme/securityGroups"


@pytest.fixture
def groups(world: Served) -> Served:
    run("address-group", "create", "office", *ACME, "--prefix", "192.0.2.0/24", "--prefix", "2001:db8::/32")
    run("security-group", "create", "web", *ACME, "--label", "tier=front")
    return world


def test_groups_and_rules(groups: Served) -> None:
    add = ("security-group", "rule", "add", "web", *ACME)
    run(*add, "--ingress", "--protocol", "tcp", "--port", "80-443", "--remote-address-group", "office")
    run(*add, "--egress", "--ipv6", "--description", "everything", "--id", "out")
    run(*add, "--ingress", "--protocol", "icmp", "--icmp-type", "8", "--icmp-code", "0")
    lines = run(*add, "--ingress", "--protocol", "47", "--remote-group", "default").stdout.splitlines()
    assert lines[0].split() == ["RULE", "DIRECTION", "FAMILY", "PROTOCOL", "PORTS", "REMOTE", "DESCRIPTION"]
    assert [line.split() for line in lines[1:]] == [
        ["rule-1", "ingress", "any", "tcp", "80-443", "address", "group", "office"],
        ["out", "egress", "IPV6", "any", "any", "anyone", "everything"],
        ["rule-3", "ingress", "IPV4", "icmp", "type", "8", "code", "0", "anyone"],
        ["rule-4", "ingress", "any", "gre", "any", "group", "default"],
    ]
    assert run("security-group", "rule", "list", "web", *ACME).stdout.splitlines() == lines
    shown = run("security-group", "show", "web", *ACME).stdout
    assert "direction=EGRESS" in shown
    left = run("security-group", "rule", "remove", f"{GROUPS}/web", "out", "rule-4", "--wait").stdout
    assert "rule-4" not in left
    assert groups.api.tracker.waited[-1][0] == SecurityGroupName("acme", "web")
    listed = run("security-group", "list").stdout.splitlines()
    assert [line.split()[:3] for line in listed[1:]] == [["acme", "default", "2"], ["acme", "web", "2"]]
    assert "192.0.2.0/24 2001:db8::/32" in run("address-group", "list", *ACME).stdout
    refused = run("address-group", "delete", "office", *ACME, code=1)
    assert "is still named by rules of" in refused.stderr
    run("security-group", "delete", "web", *ACME)
    run("address-group", "update", "office", *ACME, "--prefix", "10.0.0.0/8", "--display-name", "x")
    assert read("address-group", "get", "office", *ACME)["prefixes"] == ["10.0.0.0/8"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--protocol", "tcp"), 2, "--ingress (others) or --egress"),
        (("--ingress", "--protocol", "tcp", "--port", "http"), 2, "is no port or range such as 22"),
        (("--ingress", "--protocol", "icmp", "--icmp-type", "300"), 2, "0<=x<=255"),
        (("--ingress", "--port", "22"), 1, "rules[0].port_min: '22' is wrong: 0, since no protocol is given"),
        (("--ingress", "--protocol", "tpc"), 1, "a protocol name such as tcp"),
        (("--ingress", "--remote-group", "none"), 1, "the tenant has default, web"),
    ],
)
def test_wrong_rules(groups: Served, arguments: tuple[str, ...], code: int, told: str) -> None:
    result = run("security-group", "rule", "add", "web", *ACME, *arguments, code=code)
    assert told in " ".join(result.stderr.split())


def test_a_dry_run_says_who_can_then_talk(groups: Served) -> None:
    run(
        "port",
        "create",
        "web2",
        *ACME,
        "-n",
        "web",
        "--ip",
        "10.0.0.6",
        "--host",
        "h1",
        "--security-group",
        "web",
    )
    before = groups.api.store.state.revision
    add = ("security-group", "rule", "add", "web", *ACME, "--ingress", "--protocol", "tcp", "--port", "22")
    shown = run(*add, "--dry-run").stdout
    assert "rules: - -> rule-1: ingress tcp port 22" in shown
    assert "acme/web/web1 -> acme/web/web2  (once plugged)" in shown
    assert "IPv4 10.0.0.5 -> 10.0.0.6, tcp port 22" in shown
    assert groups.api.store.state.revision == before


def test_ports_in_groups(groups: Served) -> None:
    create = ("port", "create", "p", *ACME, "-n", "web")
    run(
        *create,
        "--security-group",
        "web",
        "--security-group",
        "default",
        "--address-pair",
        "10.0.0.9,00:00:5e:00:01:01",
        "--address-pair",
        "10.0.1.0/24",
        "--dns-name",
        "www",
        "--boot-file-uefi",
        "boot.efi",
        "--next-server",
        "10.0.0.2",
        "--device-id",
        "i-1",
        "--project-id",
        "p-1",
    )
    name = f"{NET}/ports/p"
    found = read("port", "get", name)
    assert found["security_groups"] == [f"{GROUPS}/default", f"{GROUPS}/web"]
    assert found["allowed_address_pairs"] == [
        {"prefix": "10.0.0.9/32", "mac_address": "00:00:5e:00:01:01"},
        {"prefix": "10.0.1.0/24"},
    ]
    assert found["dhcp_options"] == {"next_server": "10.0.0.2", "boot_file_uefi": "boot.efi"}
    assert (found["dns_name"], found["device_id"], found["project_id"]) == ("www", "i-1", "p-1")
    for option, column in (
        ("--no-security-group", "(none)"),
        ("--security-group=web", "web"),
    ):
        assert column in run("port", "update", name, option).stdout
    assert "cannot" not in run("port", "update", name, "--clear", "allowed_address_pairs").stdout
    assert "(no port security)" in run("port", "update", name, "--no-port-security").stdout
    assert "default" in run("port", "update", name, "--port-security").stdout


def test_networks_and_subnets(world: Served) -> None:
    run("network", "update", NET, "--mtu", "1400", "--dns-domain", "web.example.org", "--multicast")
    found = read("network", "get", NET)
    assert (found["mtu_limit"], found["dns_domain"], found["multicast"]) == (1400, "web.example.org", True)
    run("network", "update", NET, "--no-multicast", "--clear", "dns_domain", "--clear", "mtu_limit")
    assert read("network", "get", NET)["dns_domain"] == "web.acme.cloison.internal"
    create = ("subnet", "create", "s6", *ACME, "-n", "web", "--cidr", "2001:db8::/64", "--ipv6-mode", "slaac")
    run(*create, "--dns", "2001:db8::53", "--ntp", "2001:db8::123", "--route", "2001:db8:1::/48,2001:db8::9")
    found = read("subnet", "get", f"{NET}/subnets/s6")
    assert (found["ipv6_mode"], found["dns_servers"]) == ("SLAAC", ["2001:db8::53"])
    assert found["routes"] == [{"destination": "2001:db8:1::/48", "next_hop": "2001:db8::9"}]
    assert read("subnet", "update", f"{NET}/subnets/s6", "--no-dhcp")["no_dhcp"] is True
    assert "no_dhcp" not in read("subnet", "update", f"{NET}/subnets/s6", "--dhcp", "--clear", "routes")
    result = run("subnet", "update", f"{NET}/subnets/s6", "--route", "2001:db8:1::/48", code=2)
    assert "is not RANGE,NEXTHOP" in result.stderr


def test_statistics(world: Served) -> None:
    name = f"{NET}/ports/web1"
    result = run("port", "stats", name, code=1)
    assert "plugged nowhere" in result.stderr
    world.run(world.api.bind(name, "hosts/h1"))
    drop = port_pb2.DropCount(
        reason="SPOOFED", table="ADMISSION", of_port=True, count=port_pb2.Count(packets=7)
    )
    answers = world.api.statistics.answers
    answers[PortName.parse(name)] = port_pb2.PortStatistics(
        delivered=port_pb2.Count(packets=12, bytes=3456), drops=[drop]
    )
    lines = [line.split() for line in run("port", "stats", "web1", *ACME, "-n", "web").stdout.splitlines()]
    assert ["delivered", "to", "the", "guest", "12", "3456"] in lines
    assert ["SPOOFED", "ADMISSION", "7", "0", "this", "port"] in lines
    assert read("port", "stats", name)["drops"][0]["reason"] == "SPOOFED"


def test_completion_knows_groups(groups: Served) -> None:
    def proposed(*arguments: str, incomplete: str = "") -> set[str]:
        complete = ShellComplete(cli, {}, "cloison", "_CLOISON_COMPLETE")
        return {item.value for item in complete.get_completions(list(arguments), incomplete)}

    assert {"security-group", "address-group"} <= proposed(incomplete="")
    assert proposed("security-group", "delete", *ACME) == {"default", "web"}
    assert proposed("security-group", "rule", "add", *ACME, incomplete="w") == {"web"}
    assert proposed("port", "create", "x", *ACME, "--security-group") == {"default", "web"}
    assert proposed("security-group", "rule", "add", "web", *ACME, "--remote-address-group") == {"office"}


DOCUMENTS = """
    kind: Tenant
    name: acme
    ---
    kind: AddressGroup
    name: office
    prefixes: [192.0.2.0/24, "2001:db8::/32"]
    ---
    kind: SecurityGroup
    name: front
    display_name: Front
    rules:
    - {direction: ingress, protocol: tcp, ports: 443}
    - {direction: ingress, protocol: tcp, ports: 8000-8080, address_group: office}
    - {direction: ingress, group: back, description: from behind}
    - {direction: egress, ether_type: ipv6, protocol: udp, ports: 53, prefix: "2001:db8::53", id: dns}
    ---
    kind: SecurityGroup
    name: back
    rules:
    - {direction: egress, group: front}
    - {direction: ingress, protocol: icmp, icmp_type: 8, icmp_code: 0}
    ---
    kind: Network
    name: web
    mtu: 1400
    multicast: yes
    dns_domain: web.example.org
    ---
    kind: Subnet
    network: web
    name: s4
    cidr: 10.0.0.0/24
    dhcp: no
    dns: [9.9.9.9, 1.1.1.1]
    ntp: 10.0.0.123
    routes: [192.0.2.0/24 via 10.0.0.7]
    ---
    kind: Subnet
    network: web
    name: s6
    cidr: 2001:db8:7::/64
    ipv6_mode: slaac
    ---
    kind: Port
    network: web
    name: a
    security_groups: [front, default]
    address_pairs: [10.0.0.200 00:00:5e:00:01:01, 10.0.0.201]
    dns_name: www
    device_id: i-1
    project_id: p-1
    boot: {next_server: 10.0.0.2, boot_file_ipxe: "http://10.0.0.2/x"}
    ---
    kind: Port
    network: web
    name: b
    security_groups: none
    ---
    kind: Port
    network: web
    name: c
    port_security: no
    """


def test_files_say_it_all(served: Served, tmp_path: Path) -> None:
    (tmp_path / "acme.yaml").write_text(dedent(DOCUMENTS))
    run("apply", "-f", str(tmp_path), "--yes")
    assert "No changes" in run("plan", "-f", str(tmp_path), "--prune").stdout
    exported = run("export", "acme").stdout
    documents = {(d["kind"], d["name"]): d for d in yaml.safe_load_all(exported)}
    assert documents["SecurityGroup", "front"]["rules"] == [
        {"direction": "ingress", "protocol": "tcp", "ports": 443},
        {"direction": "ingress", "protocol": "tcp", "ports": "8000-8080", "address_group": "office"},
        {"direction": "ingress", "group": "back", "description": "from behind"},
        {
            "id": "dns",
            "direction": "egress",
            "ether_type": "ipv6",
            "protocol": "udp",
            "ports": 53,
            "prefix": "2001:db8::53/128",
        },
    ]
    assert documents["Port", "b"]["security_groups"] == []
    assert documents["Port", "c"]["port_security"] is False
    # What was exported is what there is, in every respect, also where there is nothing yet.
    (tmp_path / "acme.yaml").write_text(exported)
    assert "No changes" in run("plan", "-f", str(tmp_path), "--prune").stdout
    before = {key for key in meant(served.api.store.state) if str(key).startswith("tenants/")}
    for name in "abc":
        run("port", "delete", f"{NET}/ports/{name}")
    for name in ("s4", "s6"):
        run("subnet", "delete", f"{NET}/subnets/{name}")
    run("network", "delete", NET)
    (tmp_path / "empty.yaml").write_text("kind: Tenant\nname: acme\n")
    run("apply", "-f", str(tmp_path / "empty.yaml"), "--prune", "--yes")
    assert [g.group for g in served.api.store.state.security_groups] == ["default"]
    run("tenant", "delete", "acme")
    run("apply", "-f", str(tmp_path / "acme.yaml"), "--yes")
    assert run("export", "acme").stdout == exported
    assert {key for key in meant(served.api.store.state) if str(key).startswith("tenants/")} == before


WRONG = [
    ("kind: SecurityGroup\nname: g\nrules: x", "rules: a list of mappings such as"),
    ("kind: SecurityGroup\nname: g\nrules: [x]", "rules[0]: a mapping such as"),
    ("kind: SecurityGroup\nname: g\nrules: [{port: 22}]", "rules[0].port: no field of a rule"),
    (
        "kind: SecurityGroup\nname: g\nrules: [{protocol: tcp}]",
        "rules[0].direction: one of ingress, egress, not ''",
    ),
    (
        "kind: SecurityGroup\nname: g\nrules: [{direction: ingress, ports: ssh}]",
        "rules[0].ports: a number, not 'ssh'",
    ),
    (
        "kind: SecurityGroup\nname: g\nrules: [{direction: in}]",
        "rules[0].direction: one of ingress, egress, not 'in'",
    ),
    (
        "kind: SecurityGroup\nname: g\nrules: [{direction: egress, protocol: tcp, ports: 9-8}]",
        "(SecurityGroup g, line 1), rules[0].ports: '8' is wrong",
    ),
    (
        "kind: SecurityGroup\nname: g\nrules: [{direction: egress, group: none}]",
        "(SecurityGroup g, line 1), rules[0].group: 'tenants/acme/securityGroups/none' is wrong",
    ),
    (
        "kind: AddressGroup\nname: g\nprefixes: [10.0.0.1/8]",
        "(AddressGroup g, line 1), prefixes[0]: '10.0.0.1/8'",
    ),
    (
        "kind: Port\nnetwork: web\nname: a\nsecurity_groups: [x]",
        "security_groups[0]: 'tenants/acme/securityGroups/x'",
    ),
    ("kind: Port\nnetwork: web\nname: a\naddress_pairs: [x]", "address_pairs[0]"),
    ("kind: Port\nnetwork: web\nname: a\nboot: {file: x}", "boot: a mapping of next_server"),
    ("kind: Network\nname: a\nmtu: big", "mtu: a number, not 'big'"),
    ("kind: Network\nname: a\nmtu: 9", "(Network a, line 1), mtu: '9' is wrong"),
    ("kind: Subnet\nnetwork: web\nname: a\ncidr: 10.2.0.0/24\nroutes: [x]", "routes[0]: RANGE via ADDRESS"),
    ("kind: Subnet\nnetwork: web\nname: a\ncidr: 10.2.0.0/24\nipv6_mode: x", "ipv6_mode: one of stateful"),
    (
        "kind: Subnet\nnetwork: web\nname: a\ncidr: 10.2.0.0/24\ndns: [x]",
        "(Subnet a, line 1), dns[0]: 'x' is wrong",
    ),
]


@pytest.mark.parametrize(("text", "expected"), WRONG, ids=[w[1][:30] for w in WRONG])
def test_errors_name_the_field_of_a_document(world: Served, tmp_path: Path, text: str, expected: str) -> None:
    run("context", "set", "demo", "--tenant", "acme")
    (tmp_path / "p.yaml").write_text(text)
    result = run("plan", "-f", str(tmp_path), code=1)
    assert expected in result.stderr, result.stderr
    assert "desired[" not in result.stderr
