"""The proof on a running lab: an attestation of the real switches and kernels, what it finds, and traces that
agree with Open vSwitch.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.policies import Policies, both, rule
from tests.lab.spine import Site, cloison, site
from topologies.wait import wait_until

RED1, RED3 = "tenants/red/networks/web/ports/p1", "tenants/red/networks/web/ports/p3"
CATCH_S = 30.0


@pytest.fixture(scope="module")
def lab_site(module_run_dir: Path) -> Iterator[Site]:
    with site(module_run_dir) as built:
        assert built.client.wait_realized().realized
        yield built


def verified(built: Site, *argv: str) -> tuple[int, dict[str, Any]]:
    """Exit status and attestation of `cloison verify --live`."""
    done = cloison(built.lab, "verify", "--live", "-o", "json", *argv)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def holds(built: Site) -> bool:
    return verified(built)[0] == 0


def ofport(built: Site, short: str) -> int:
    """The OpenFlow port behind which a guest is."""
    guest = built.guests[short]
    shown = built.host(guest.plug.host).switch.vsctl("get", "Interface", guest.plug.tap, "ofport").stdout
    return int(shown)


def test_a_running_lab_holds_and_the_saved_attestation_can_be_checked_anywhere(
    lab_site: Site, tmp_path: Path
) -> None:
    file, ca = tmp_path / "attested.json", lab_site.lab.run_dir / "operator" / "tls" / "ca.crt"
    status, told = verified(lab_site, "--out", str(file))
    assert (status, told["holds"], told["live"]) == (0, True, True), told
    assert [h["host"] for h in told["hosts"]] == sorted(f"hosts/{name}" for name in lab_site.lab.hosts)
    assert all(h["matches_compiled"] for h in told["hosts"])
    checked = cloison(lab_site.lab, "verify", "--check", str(file), "--ca", str(ca))
    assert checked.returncode == 0, checked.stderr
    assert "signed by cloison://controller/c1" in checked.stdout
    page = cloison(lab_site.lab, "verify", "--live").stdout
    assert "Isolation HOLDS" in page
    for true, false in (('"live":true', '"live":false'), ('"violations":[]', '"violations": []')):
        content = json.loads(file.read_text())
        assert true in content["payload"]
        content["payload"] = content["payload"].replace(true, false)
        forged = tmp_path / "forged.json"
        forged.write_text(json.dumps(content))
        refused = cloison(lab_site.lab, "verify", "--check", str(forged), "--ca", str(ca))
        assert refused.returncode == 1
        assert "not to be believed" in refused.stderr


@contextmanager
def again_and_again(built: Site, host: str, flow: str, file: Path) -> Iterator[None]:
    """Tamper faster than the controller repairs: the flow is there for most of the time.

    Two at once: a reading begins when a host is as it should be, as it would be between two runs of one.
    """
    file.write_text(f"{flow}\n" * 5000)
    stop = threading.Event()
    switch = built.host(host).switch

    def loop() -> None:
        while not stop.is_set():
            switch.ofctl("add-flows", str(file), check=False)

    switch.ofctl("add-flows", str(file))
    threads = [threading.Thread(target=loop) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_leak_by_hand_does_not_hold_and_is_named(lab_site: Site, tmp_path: Path) -> None:
    leak = f"table=0,priority=60000,cookie=0xbad,in_port={ofport(lab_site, 'red/p1')}"
    leak += f",actions=output:{ofport(lab_site, 'blue/p1')}"

    def caught() -> dict[str, Any] | None:
        status, told = verified(lab_site)
        return told if status == 1 and any(v["kind"] == "LEAK" for v in told["violations"]) else None

    with again_and_again(lab_site, "h1", leak, tmp_path / "flows"):
        told = wait_until(caught, CATCH_S, "an attestation that sees the leak")
    assert told is not None
    found = next(v for v in told["violations"] if v["kind"] == "LEAK")
    assert "tenants/blue/networks/web/ports/p1" in found["subjects"]
    assert any("cookie=0xbad" in step["rule"] for step in found["path"])
    assert [h["host"] for h in told["hosts"] if not h.get("matches_compiled")] == ["hosts/h1"]
    wait_until(lambda: holds(lab_site), CATCH_S, "an attestation that holds, after the repair")


def test_a_host_that_does_not_answer_is_named(lab_site: Site) -> None:
    agent = lab_site.host("h2").agent
    assert agent is not None
    os.kill(agent.pid, signal.SIGSTOP)
    try:
        status, told = verified(lab_site)
    finally:
        os.kill(agent.pid, signal.SIGCONT)
    assert status == 1
    assert [h["host"] for h in told["hosts"] if "unread" in h] == ["hosts/h2"]
    assert not told.get("violations")
    wait_until(lambda: holds(lab_site), CATCH_S, "an attestation that holds, with the agent back")


PACKETS = (
    ("icmp to 10.0.0.13", True),
    ("tcp dst port 80 to 10.0.0.13", True),
    ("arp who-has 10.0.0.13", True),
    ("arp reply to 10.0.0.13", True),
    ("icmp from 10.0.0.99 to 10.0.0.13", False),
    ("ether src 52:54:00:00:00:99 icmp to 10.0.0.13", False),
    ("vlan 7 icmp to 10.0.0.13", False),
    ("icmp to 10.0.0.99", False),
    ("icmp to 224.0.0.1", False),
    ("icmp to 10.0.0.11", False),
    ("eth_type=0x88cc", False),
    (
        "tcp oversize to 10.0.0.13",
        "the local services of hosts/h1: path MTU (it is too long for the overlay)",
    ),
    ("tcp size 1200 to 10.0.0.13", True),
    ("udp from 0.0.0.0 src port 68 to 255.255.255.255 dst port 67", "the local services of hosts/h1: DHCP"),
    ("udp to 169.254.169.253", "the local services of hosts/h1: DNS"),
    ("tcp to fd00:ec2::254", "the local services of hosts/h1: metadata"),
    ("udp src port 67 dst port 68 to 10.0.0.13", False),
    ("icmp type 3 code 4 to 10.0.0.13", False),
)


@pytest.mark.parametrize(("packet", "passes"), PACKETS)
def test_trace_agrees_with_the_switches(lab_site: Site, packet: str, passes: bool | str) -> None:
    told = traced(lab_site, RED1, packet)
    receiver = RED3 if passes is True else passes
    assert told.get("delivered", []) == ([receiver] if receiver else [])
    assert set(told["switch_traces"]) == ({"hosts/h1", "hosts/h3"} if passes is True else {"hosts/h1"})
    assert passes or told["drop_reason"]


def traced(built: Site, port: str, packet: str) -> dict[str, Any]:
    """What `cloison trace --live` tells: meaning, flows and switches must agree."""
    done = cloison(built.lab, "trace", port, *packet.split(), "--live", "-o", "json")
    assert done.returncode == 0, (done.stdout, done.stderr)
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["agree"]
    return told


WEB = "tenants/red/networks/web"
GROUPS = "tenants/red/securityGroups"
NEAR, FAR, QUIET = (f"{WEB}/ports/{name}" for name in ("near", "far", "quiet"))


@pytest.fixture(scope="module")
def policed(lab_site: Site) -> Site:
    """Two ports that take HTTP and echo from group default, on p1's host and on another; and a silent one."""
    policies = Policies(lab_site, "red")
    default = policies.name("default")
    web = both(protocol="tcp", ports=(80, 80), group=default)
    policies.group(
        "www", *web, rule(version=4, protocol="icmp", icmp=(8, 0), group=default, id="echo"),
        rule(version=6, protocol="icmpv6", group=default, id="echo6"),
    )  # fmt: skip
    policies.group("mute")
    wanted = (("near", "h1", 21, "www"), ("far", "h3", 23, "www"), ("quiet", "h1", 31, "mute"))
    for name, host, number, group in wanted:
        port = lab_site.create_port(
            WEB, name, host, addresses=[f"10.0.0.{number}", f"fd00:10::{number}"],
            security_groups=[policies.name(group)],
        )  # fmt: skip
        lab_site.adopt(port, lab_site.lab.plug_port(port))
    lab_site.wait_active()
    policies.enforced()
    return lab_site


# Who sends what; who gets it, or why nobody.
JUDGED = (
    (RED1, "tcp to 10.0.0.23", FAR),
    (RED1, "tcp to 10.0.0.21", NEAR),
    (RED1, "tcp to fd00:10::21 port 80", NEAR),
    (RED1, "icmp to 10.0.0.23", FAR),
    (RED1, "icmp6 to fd00:10::21", NEAR),
    (RED1, "tcp established to 10.0.0.23", FAR),
    (RED1, "tcp oversize to 10.0.0.21", NEAR),
    (RED1, "tcp fragment first to 10.0.0.23 port 80", FAR),
    (RED1, "tcp fragment later to 10.0.0.21", NEAR),
    (RED1, "tcp fragment later to fd00:10::23", FAR),
    (FAR, "tcp reply to 10.0.0.11", RED1),
    (NEAR, "tcp reply to 10.0.0.11", RED1),
    (NEAR, "icmp reply to 10.0.0.11", RED1),
    (FAR, "icmp6 reply to fd00:10::11", RED1),
    (
        RED1,
        "tcp to 10.0.0.23 port 81",
        f"INGRESS: no flow: no ingress rule of {GROUPS}/www admits tcp/81 from {RED1}",
    ),
    (RED1, "tcp to 10.0.0.21 port 81", f"no ingress rule of {GROUPS}/www admits tcp/81 from {RED1}"),
    (
        RED1,
        "udp fragment later to 10.0.0.21",
        f"no ingress rule of {GROUPS}/www admits later fragments of udp",
    ),
    (RED1, "icmp type 13 to 10.0.0.23", f"no ingress rule of {GROUPS}/www admits icmp type 13 code 0"),
    (QUIET, "tcp to 10.0.0.11", f"EGRESS: no flow: no egress rule of {GROUPS}/mute admits tcp/80 to {RED1}"),
    (QUIET, "tcp to 10.0.0.13", f"no egress rule of {GROUPS}/mute admits tcp/80 to {RED3}"),
    (FAR, "tcp to 10.0.0.11", f"no egress rule of {GROUPS}/www admits tcp/80 to {RED1}"),
    (
        NEAR,
        "tcp src port 81 reply to 10.0.0.11",
        f"no ingress rule of {GROUPS}/www admits tcp/81, which this replies",
    ),
    (NEAR, "tcp ct_state=inv to 10.0.0.11", "connection tracking finds it invalid"),
)


@pytest.mark.parametrize(("sender", "packet", "outcome"), JUDGED)
def test_trace_agrees_about_connections(policed: Site, sender: str, packet: str, outcome: str) -> None:
    told = traced(policed, sender, packet)
    if outcome.startswith("tenants/"):
        assert told["delivered"] == told["meant"] == [outcome]
    else:
        assert not told.get("delivered")
        assert outcome in told["drop_reason"]


def test_a_trace_names_the_rules_that_admit(policed: Site) -> None:
    path = traced(policed, RED1, "icmp to 10.0.0.23")["path"]
    judged = {step["stage"]: step for step in path if step["stage"] in ("EGRESS", "INGRESS")}
    assert judged["EGRESS"]["resource"] == f"{GROUPS}/default"
    assert judged["INGRESS"]["resource"] == f"{GROUPS}/www"
    assert judged["INGRESS"]["note"] == f"admitted by rule echo of {GROUPS}/www"


def test_a_switch_that_leaks_does_not_agree(policed: Site, tmp_path: Path) -> None:
    """The flows as read and the switch agree on a leak: the meaning does not."""
    leak = "table=25,priority=60000,cookie=0xbad,actions=goto_table:26"

    def caught() -> bool:
        done = cloison(policed.lab, "trace", RED1, "tcp to 10.0.0.21 port 81", "--live", "-o", "json")
        assert done.returncode in (0, 1), done.stderr
        told = json.loads(done.stdout)
        return done.returncode == 1 and not told.get("meant") and told.get("delivered") == [NEAR]

    with again_and_again(policed, "h1", leak, tmp_path / "flows"):
        wait_until(caught, CATCH_S, "a trace that sees the leak")
    wait_until(lambda: holds(policed), CATCH_S, "an attestation that holds, after the repair")


def test_a_trace_reads_like_a_page(lab_site: Site) -> None:
    done: subprocess.CompletedProcess[str] = cloison(lab_site.lab, "trace", RED1, "--to", RED3)
    assert done.returncode == 0, done.stderr
    for words in (
        "ADMISSION",
        "serves tenants/red/networks/web/ports/p1",
        f"delivered to {RED3}",
        "as meant",
    ):
        assert words in done.stdout
