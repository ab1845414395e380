"""`cloison plan`, `apply`, `export`, --dry-run against a real server: files in, files out, what is said."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from cloison.names import PortName, TenantName
from controller.cli.main import cli
from tests.support.plans import meant
from tests.unit.test_cli import NET, Served, read, run, served, world

assert served
assert world

TENANT = """\
kind: Tenant
name: acme
display_name: Acme Inc.
labels: {tier: gold, answer: no}
---
kind: Network
name: web
---
kind: Subnet
network: web
name: v4
cidr: 10.0.0.0/24
gateway: none
pools: [10.0.0.10-10.0.0.99, 10.0.0.120-10.0.0.130]
---
kind: Subnet
network: web
name: v6
cidr: 2001:db8::/64
"""
PORTS = """\
kind: Port
network: web
name: a
mac: 52:54:00:12:34:56
ips: [10.0.0.10]
hosts: [h1]
---
kind: Port
network: web
name: b
ips: 10.0.0.11
subnets: [v6]
disabled: true
iface_id: vm-7
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "tenant.yaml").write_text(TENANT)
    (tmp_path / "sub" / "ports.yml").write_text(PORTS)
    (tmp_path / "notes.txt").write_text("not: [YAML")
    return tmp_path


def ask(*args: str, answer: str) -> Result:
    return CliRunner().invoke(cli, list(args), prog_name="cloison", input=answer)


def actions(plan: dict[str, Any]) -> list[tuple[str, str]]:
    return [(change["action"], change["name"].rsplit("/", 1)[-1]) for change in plan.get("changes", [])]


def test_plan_apply_and_nothing_more(served: Served, files: Path) -> None:
    run("host", "create", "h1")
    shown = run("plan", "-f", str(files)).stdout
    assert "+ tenants/acme/networks/web/ports/a" in shown
    assert "labels: answer=no, tier=gold" in shown
    assert "7 to create" in shown  # the tenant's default group among them
    assert not served.api.store.state.tenants
    done = run("apply", "-f", str(files), "--yes", "--wait").stdout
    assert "7 objects, at revision" in done
    port = served.api.store.state.ports[PortName("acme", "web", "b")]
    assert (port.disabled, port.iface_id) == (True, "vm-7")
    assert [str(f.address)[:8] for f in port.fixed_ips] == ["10.0.0.1", "2001:db8"]
    assert served.api.store.state.tenants[TenantName("acme")].meta.labels["answer"] == "no"
    assert "No changes" in run("plan", "-f", str(files)).stdout
    assert read("plan", "-f", str(files)).keys() & {"changes", "hosts", "becomes_reachable"} == set()
    run("plan", "-f", str(files), "--detailed-exitcode")
    (files / "sub" / "ports.yml").write_text(PORTS.replace("disabled: true", "disabled: false"))
    changed = CliRunner().invoke(cli, ["plan", "-f", str(files), "--detailed-exitcode"])
    assert changed.exit_code == 6
    assert "disabled: yes -> no" in changed.stdout


def test_an_export_is_what_there_is(world: Served, tmp_path: Path) -> None:
    run("subnet", "create", "s6", "-t", "acme", "-n", "web", "--cidr", "2001:db8::/64", "--no-gateway")
    run(
        "port",
        "create",
        "web2",
        "-t",
        "acme",
        "-n",
        "web",
        "--disabled",
        "--iface-id",
        "vm",
        "--label",
        "a=b",
    )
    run("network", "create", "empty", "-t", "acme", "--display-name", "with: colon")
    before = meant(world.api.store.state)
    exported = run("export", "acme").stdout
    (tmp_path / "acme.yaml").write_text(exported)
    for prune in ((), ("--prune",)):
        assert not actions(read("plan", "-f", str(tmp_path), *prune))
    # From nothing, it comes to the same, but for what is chosen anew (and is kept when it was exported).
    for kind, name in (("port", "web1"), ("port", "web2"), ("subnet", "s4"), ("subnet", "s6")):
        run(kind, "delete", f"{NET}/{kind}s/{name}")
    run("network", "delete", NET, "tenants/acme/networks/empty")
    run("tenant", "delete", "acme")
    run("apply", "-f", str(tmp_path / "acme.yaml"), "--yes")
    assert run("export", "tenants/acme").stdout == exported
    assert meant(world.api.store.state).keys() >= {key for key in before if str(key).startswith("tenants/")}


def test_a_saved_plan_is_applied_and_no_other(world: Served, tmp_path: Path) -> None:
    manifest, saved = tmp_path / "p.yaml", tmp_path / "plan.json"
    manifest.write_text("kind: Port\nnetwork: web\nname: new\ntenant: acme\n")
    run("plan", "-f", str(manifest), "--out", str(saved))
    planned = json.loads(saved.read_text())
    manifest.write_text(manifest.read_text() + "mac: 52:54:00:00:00:09\n")
    other = run("apply", "-f", str(manifest), "--plan", str(saved), "--yes", code=1)
    assert "something else than the plan" in other.output
    run("apply", "--plan", str(saved), "--yes")
    [mac] = [f["after"] for f in planned["plan"]["changes"][0]["fields"] if f["field"] == "mac_address"]
    assert read("port", "get", f"{NET}/ports/new")["mac_address"] == mac
    again = CliRunner().invoke(cli, ["apply", "--plan", str(saved), "--yes"])
    assert again.exit_code == 1
    assert "the plan does not hold any more" in again.stderr
    assert "next: `cloison plan`" in again.stderr
    saved.write_text("{}")
    assert "holds no plan" in CliRunner().invoke(cli, ["apply", "--plan", str(saved), "--yes"]).stderr


def test_it_asks_first(world: Served, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("kind: Port\ntenant: acme\nnetwork: web\nname: new\n")
    for answer in ("n\n", ""):
        result = ask("apply", "-f", str(tmp_path), answer=answer)
        assert result.exit_code == 1
        assert "+ tenants/acme/networks/web/ports/new" in result.stdout
        assert PortName("acme", "web", "new") not in world.api.store.state.ports
    assert ask("apply", "-f", str(tmp_path), answer="y\n").exit_code == 0
    assert PortName("acme", "web", "new") in world.api.store.state.ports
    assert "name the files" in run("apply", code=2).stderr


def test_prune_deletes_what_is_in_no_file(world: Served, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("kind: Network\ntenant: acme\nname: web\nlabels: {tier: front}\n")
    assert not actions(read("plan", "-f", str(tmp_path)))
    plan = read("plan", "-f", str(tmp_path), "--prune")
    assert actions(plan) == [("DELETE", "web1"), ("DELETE", "s4")]
    shown = run("plan", "-f", str(tmp_path), "--prune").stdout
    assert "- tenants/acme/networks/web/ports/web1" in shown
    run("apply", "-f", str(tmp_path), "--prune", "--yes")
    assert not world.api.store.state.ports


def test_a_tenant_without_a_document_stays_as_it_is(world: Served, tmp_path: Path) -> None:
    run("tenant", "update", "acme", "--display-name", "Acme", "--label", "a=b")
    (tmp_path / "n.yaml").write_text("kind: Network\ntenant: acme\nname: more\n")
    assert actions(read("plan", "-f", str(tmp_path))) == [("CREATE", "more")]
    (tmp_path / "n.yaml").write_text("kind: Network\ntenant: nobody\nname: more\n")
    assert "tenants/nobody does not exist" in run("plan", "-f", str(tmp_path), code=1).stderr
    run("context", "set", "demo", "--tenant", "acme")
    (tmp_path / "n.yaml").write_text("kind: Network\nname: more\n")
    assert actions(read("plan", "-f", str(tmp_path))) == [("CREATE", "more")]


def test_who_can_talk_is_shown(world: Served, tmp_path: Path) -> None:
    run("port", "create", "web2", "-t", "acme", "-n", "web", "--ip", "10.0.0.6", "--host", "h1")
    world.run(world.api.bind(f"{NET}/ports/web1", "hosts/h1", 5))
    world.run(world.api.bind(f"{NET}/ports/web2", "hosts/h1", 6))
    (tmp_path / "p.yaml").write_text(
        dedent("""\
            kind: Port
            tenant: acme
            network: web
            name: web1
            disabled: true
            ---
            kind: Port
            tenant: acme
            network: web
            name: web3
            ips: [10.0.0.7]
            hosts: h1
            """)
    )
    lines = run("plan", "-f", str(tmp_path)).stdout.splitlines()
    gained = lines.index("Can talk then, and could not before:")
    lost = lines.index("Can no longer talk:")
    assert lines[gained + 1] == "  acme/web/web3 <-> acme/web/web2  (once plugged)"
    assert set(lines[gained + 2 : gained + 4]) == {
        "      IPv4 10.0.0.7 -> 10.0.0.6, any protocol",
        "      IPv4 10.0.0.6 -> 10.0.0.7, any protocol",
    }
    assert lines[lost + 1] == "  acme/web/web1 <-> acme/web/web2"
    assert any(line.startswith("h1 ") for line in lines)
    assert lines[-1].startswith("Plan: 1 to create, 1 to change, 0 to delete; 1 pairs come to talk, 1 cease")


WRONG = [
    (
        "kind: Prot\nname: a",
        "p.yaml, document 1 (Prot a, line 1), kind: one of Tenant, AddressGroup, Sec",
    ),
    ("kind: Port\nname: a", "network: the network that the port is in"),
    ("kind: Port\nnetwork: web", "name: the port's name"),
    ("kind: Port\nnetwork: web\nname: a\nadress: x", "(Port a, line 1), adress: no field of a Port; it has"),
    ("kind: Port\nnetwork: web\nname: a\nips: {a: b}", "ips: a list of values"),
    ("kind: Port\nnetwork: web\nname: a\nhosts: []", "hosts: at least one"),
    ("kind: Port\nnetwork: web\nname: a\ndisabled: maybe", "disabled: true or false, not 'maybe'"),
    ("kind: Subnet\nnetwork: web\nname: a\npools: [10.0.0.1]", "pools[0]: FIRST-LAST"),
    ("kind: Network\nname: a\nlabels: [b]", "labels: a mapping"),
    ("kind: Network\nname: [b]", "name: one value"),
    ("- a\n- b", "document 1 (line 1): is no mapping"),
    ("kind: Port\nname: a\nname: b", "p.yaml, line 3: 'name' comes twice"),
    ("kind: Port\n  name: [", "p.yaml, line"),
    ("# nothing\n---\n---\n", "no YAML document"),
    (
        "kind: Network\nname: a\n---\nkind: Port\nnetwork: web\nname: b\nmac: zz\nips: [10.0.0.7, 10.9.9.9]",
        "document 2 (Port b, line 4), mac: 'zz' is wrong",
    ),
    (
        "kind: Subnet\nnetwork: web\nname: s4\ncidr: 10.1.0.0/24",
        "(Subnet s4, line 1), cidr: '10.1.0.0/24' is",
    ),
    ("kind: Subnet\nnetwork: web\nname: s5\ncidr: 10.1.0.0/24\npools: [10.1.0.9-10.1.0.3]", "pools[0]:"),
    ("kind: Port\nnetwork: web\nname: b\nips: [10.0.0.7, 10.9.9.9]", "ips[1]: '10.9.9.9' is wrong"),
    ("kind: Port\nnetwork: web\nname: b\nips: [10.0.0.7]\nsubnets: [s9]", "subnets[0]:"),
    ("kind: Port\nnetwork: web\nname: b\nhosts: [h9]", "hosts[0]: 'hosts/h9' is wrong"),
    ("kind: Port\nnetwork: web\nname: B", "(Port B, line 1), name: "),
    (
        "kind: Tenant\nname: acme\n---\nkind: Tenant\nname: acme",
        "document 2 (Tenant acme, line 4), name: each",
    ),
    ("kind: Network\nname: a\n---\nkind: Network\nname: a", "document 2 (Network a, line 4), name: "),
]


@pytest.mark.parametrize(("text", "expected"), WRONG, ids=[w[1][:30] for w in WRONG])
def test_errors_name_file_document_and_field(world: Served, tmp_path: Path, text: str, expected: str) -> None:
    run("context", "set", "demo", "--tenant", "acme")
    (tmp_path / "p.yaml").write_text(text)
    result = run("plan", "-f", str(tmp_path), code=1)
    assert expected in result.stderr, result.stderr
    assert "desired[" not in result.stderr


def test_all_mistakes_at_once(world: Served, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("kind: Port\n---\nkind: Subnet\nname: x\ntenant: acme\n")
    lines = run("plan", "-f", str(tmp_path), code=1).stderr.splitlines()
    assert lines[0] == "error: the files are wrong in several places"
    assert ["document 1" in lines[1], "document 2" in lines[2]] == [True, True]


def test_dry_run_is_a_plan(world: Served) -> None:
    before = meant(world.api.store.state)
    for args, expected in [
        (("port", "create", "x", "-t", "acme", "-n", "web"), "+ tenants/acme/networks/web/ports/x"),
        (("port", "update", f"{NET}/ports/web1", "--disabled"), "disabled: no -> yes"),
        (("port", "delete", f"{NET}/ports/web1"), "- tenants/acme/networks/web/ports/web1"),
        (("host", "create", "h9"), "+ hosts/h9"),
        (("tenant", "create", "zed"), "+ tenants/zed"),
        (("network", "update", NET, "--display-name", "x"), "display_name: - -> x"),
        (("subnet", "update", f"{NET}/subnets/s4", "--no-gateway"), "no_gateway: no -> yes"),
    ]:
        result = run(*args, "--dry-run")
        assert expected in result.stdout
        assert "nothing was changed" in result.stderr
    result = run("port", "create", "x", "-t", "acme", "-n", "web", "--mac", "zz", "--dry-run", code=1)
    assert result.stderr.splitlines()[-1].startswith("error: port.mac_address: 'zz' is wrong")
    assert meant(world.api.store.state) == before


def test_yaml_of_a_plan(world: Served, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("kind: Network\ntenant: acme\nname: more\n")
    shown = yaml.safe_load(run("plan", "-f", str(tmp_path), "-o", "yaml").stdout)
    assert actions(shown) == [("CREATE", "more")]
    piped = CliRunner().invoke(
        cli, ["plan", "-f", "-", "-o", "json"], input=(tmp_path / "p.yaml").read_text()
    )
    assert actions(json.loads(piped.stdout)) == [("CREATE", "more")]
