"""The pure parts of the benchmark: percentiles, fitted growth, verdicts, the table, the layout, the plots."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import count
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench import growth as growing
from tests.bench import report
from tests.bench.catalogue import HOST_COUNTS, LEAKS, MANY_HOSTS_PORTS, SIZES, SPREAD, Rows, catalogue
from tests.bench.crowd import Member, Spec
from tests.bench.layout import PORTS_PER_TENANT, Layout
from tests.bench.many import shares
from tests.bench.northbound import joined, tenant_commands
from tests.bench.ovsdb import operations
from tests.bench.pace import Pace
from tests.bench.plots import plot, write
from tests.bench.probes import Packet, packets, sent_to, trace_text
from tests.bench.procs import apart
from tests.bench.rows import NOT_RUN, Goal, Row, table
from tests.bench.standing import listed
from tests.bench.stats import growth, median, percentile


def test_percentiles_interpolate() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    assert median(values) == 2.5
    assert (percentile(values, 0), percentile(values, 100)) == (1, 4)
    assert percentile(range(101), 95) == 95
    assert percentile([7.0], 99) == 7
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_growth_finds_the_exponent_of_a_power(exponent: float) -> None:
    costs = [3 * size**exponent for size in SIZES]
    assert growth(SIZES, costs) == pytest.approx(exponent, abs=1e-9)


def test_growth_needs_two_sizes() -> None:
    assert growth([100], [1.0]) is None
    assert growth([], []) is None
    assert growth([100, 1000], [0.0, 1.0]) is None, "what costs nothing has no logarithm"


@pytest.mark.parametrize(
    ("goal", "ours", "peer", "met"),
    [
        (Goal(1 / 20), 5.0, 100.0, True),
        (Goal(1 / 20), 5.1, 100.0, False),
        (Goal(1 / 20), 5.0, None, None),
        (Goal(1.2, least=True), 120.0, 100.0, True),
        (Goal(1.2, least=True), 119.0, 100.0, False),
        (Goal(10, on="ours"), 10.0, None, True),
        (Goal(1_000, on="ours", least=True), 999.0, 1.0, False),
        (Goal(0, on="ours"), 0.0, 28.0, True),
    ],
)
def test_a_verdict_follows_from_figure_and_goal(
    goal: Goal, ours: float, peer: float | None, met: bool | None
) -> None:
    row = Row("x", "ms", goal, ours, peer)
    assert row.met is met
    assert row.verdict == {True: "met", False: "MISSED", None: "-"}[met]


def test_what_was_not_measured_is_said_to_be() -> None:
    rows = Rows()
    rows.fill("add a port, p50, at 1,000 ports", ours=5.0, peer=110.0)
    lines = table(rows).splitlines()
    line = next(line for line in lines if line.startswith("add a port, p50, at 1,000"))
    assert line.split()[-1] == "met"
    assert "0.0455" in line
    others = [line for line in lines[2:] if line]
    stated = sum(row.goal is not None for row in catalogue())
    assert sum(line.endswith(NOT_RUN) for line in others) == stated - 1, "and what has no goal is left out"
    assert rows["add a port, p95, at 1,000 ports"].as_dict()["met"] is None


def test_rows_have_one_name_each_and_no_others() -> None:
    names = [row.name for row in catalogue()]
    assert len(names) == len(set(names))
    with pytest.raises(KeyError):
        Rows().fill("something else", ours=1.0)


def test_growth_of_the_goal_is_that_of_the_largest_by_the_smallest() -> None:
    rows = Rows()
    for size in SIZES:
        rows.fill(f"add a port, p50, at {size:,} ports", ours=4.0 if size < 10_000 else 6.0, peer=size / 10)
    growing.fill(rows)
    row = rows["growth: add a port, p50, 10,000 by 100 ports"]
    assert (row.ours, row.peer, row.met) == (1.5, 100.0, False)
    assert growing.exponents(rows)["add a port, p50"]["peer"] == pytest.approx(1)
    assert "OVN 23.03 +1.00" in growing.text(growing.exponents(rows))


@pytest.mark.parametrize("ports", [100, 1_000, 10_000])
def test_every_host_holds_every_tenant_and_addresses_are_used_once(ports: int) -> None:
    layout = Layout(ports, hosts=4)
    assert len(layout.background) == ports
    held = {(guest.tenant, guest.host) for guest in layout.background}
    assert len(held) == 4 * (ports // PORTS_PER_TENANT)
    everyone = layout.background + layout.new(300)
    assert max(Counter((g.tenant, g.network, g.address) for g in everyone).values()) == 1
    assert max(Counter(g.mac for g in everyone).values()) == 1
    assert len({g.id for g in everyone}) == len(everyone)


@pytest.mark.parametrize("hosts", HOST_COUNTS)
def test_of_many_hosts_a_tenant_is_on_ten(hosts: int) -> None:
    layout = Layout(MANY_HOSTS_PORTS, hosts, SPREAD)
    on: dict[int, set[int]] = {}
    for guest in layout.background:
        on.setdefault(guest.tenant, set()).add(guest.host)
    assert {len(its) for its in on.values()} == {SPREAD}
    assert set().union(*on.values()) == set(range(hosts)), "no host is idle"
    measured = layout.new(40, first_hosts=True)
    assert {guest.host for guest in measured} == set(range(SPREAD)), "whose agents are real, each of them"
    assert all(on[guest.tenant] == set(range(SPREAD)) for guest in measured), "and all that must confirm"
    assert not {guest.id for guest in measured} & {guest.id for guest in layout.background}


def test_samples_end_with_the_time_but_there_are_some() -> None:
    def taken(limit_s: float, least: int) -> int:
        seconds = count()
        return len(list(Pace(limit_s, least, clock=lambda: next(seconds)).over(range(100))))

    assert taken(1_000, 5) == 100, "all that were asked for"
    assert taken(0, 5) == 5
    assert 10 <= taken(10, 5) <= 20
    assert list(Pace(0, 5).over([])) == []


def _run(date: str, rows: Rows, **more: object) -> str:
    speed = {"load": 1.0, "p50_ms": 5.0}
    known = dict.fromkeys(("cores", "cpu", "kernel", "ovs", "ovn", "etcd"), "?")
    facts = {**known, "date": date, "calibration_before": speed}
    return json.dumps(report.report_of(rows, facts=facts, **more))


def test_runs_of_one_size_each_are_one_table(tmp_path: Path) -> None:
    for size in SIZES:
        rows = Rows()
        rows.fill(f"add a port, p50, at {size:,} ports", ours=4.0, peer=size / 10, samples={"ours": [4.0]})
        rows.fill(LEAKS, ours=size == 1_000, samples={"rounds": 10})
        broken = {"burst": "why"} if size == 100 else {}
        (tmp_path / f"{size}.json").write_text(_run(f"run of {size}", rows, failures=broken))
    both, more = report.read(tmp_path / f"{size}.json" for size in SIZES)
    growing.fill(both)
    assert both["add a port, p50, at 5,000 ports"].ratio == pytest.approx(0.008)
    assert both["add a port, p50, at 5,000 ports"].samples == {"ours": [4.0]}
    assert both["growth: add a port, p50, 10,000 by 100 ports"].met
    assert (both[LEAKS].ours, both[LEAKS].met, both[LEAKS].samples) == (1, False, {"rounds": 40})
    text = report.text(both, more["runs"], more["failures"])
    assert all(f"run of {size}" in text for size in SIZES)
    assert "OVN 23.03 +1.00" in text
    assert "FAILED: burst" in text
    again = tmp_path / "merged.json"
    again.write_text(json.dumps(report.report_of(both, **more)))
    twice, known = report.read([again])
    assert [row.as_dict() for row in twice] == [row.as_dict() for row in both]
    assert known["runs"] == more["runs"]


def test_a_run_that_overwrites_a_figure_takes_its_peer_along(tmp_path: Path) -> None:
    first, second, name = Rows(), Rows(), "add a port, p50, at 1,000 ports"
    first.fill(name, ours=5.0, peer=200.0)
    second.fill(name, ours=6.0)
    for number, rows in enumerate((first, second)):
        (tmp_path / f"{number}.json").write_text(_run("", rows))
    rows, _ = report.read([tmp_path / "0.json", tmp_path / "1.json"])
    assert (rows[name].ours, rows[name].peer, rows[name].met) == (6.0, None, None), "of one run, never of two"


def test_every_row_of_the_json_has_what_was_promised() -> None:
    promised = {"name", "ours", "peer", "ratio", "goal", "met", "unit", "samples"}
    assert all(promised <= row.as_dict().keys() for row in catalogue())


def test_the_crowd_reads_what_the_bench_wrote(tmp_path: Path) -> None:
    member = Member("h11", "100.64.96.11", 12, "crt", "key", "unix:db.sock", "br-int")
    spec = Spec("100.64.0.1:7443", "controller.c1", "ca.crt", "crowd.sock", [member])
    spec.save(tmp_path / "crowd.json")
    assert Spec.load(tmp_path / "crowd.json") == spec


def test_all_interfaces_are_one_transaction() -> None:
    done = list(operations("br-int", ["tap1", "tap2"], "dummy"))
    assert [each["op"] for each in done] == ["insert"] * 4 + ["mutate", "mutate", "select"]
    interface, port = done[2]["row"], done[3]["row"]
    assert (interface["name"], interface["type"]) == ("tap2", "dummy")
    assert interface["external_ids"] == ["map", [["iface-id", "tap2"]]]
    assert port["interfaces"] == ["named-uuid", done[2]["uuid-name"]]
    assert done[4]["mutations"][0][2] == ["set", [["named-uuid", done[n]["uuid-name"]] for n in (1, 3)]]


def test_a_tenant_of_ovns_is_one_transaction_with_a_group_of_all_its_ports() -> None:
    guests = Layout(PORTS_PER_TENANT, hosts=4).background
    commands = list(tenant_commands(0, guests))
    assert sum(command[0] == "lsp-set-port-security" for command in commands) == PORTS_PER_TENANT
    assert [c[1:] for c in commands if c[0] == "pg-add"] == [["pg0", *(guest.id for guest in guests)]]
    words = joined(commands)
    assert words.count("--") == len(commands) - 1
    assert [word for word in words if word != "--"] == [word for command in commands for word in command]


def test_processes_of_hosts_beyond_the_measured_ones_are_told_apart() -> None:
    pids = {"northd": [1], "controller": [2, 3, 4], "vswitchd": [5, 6, 7], "databases": [8, 9]}
    of_hosts = ("controller", "vswitchd")
    assert apart(pids, of_hosts, 3) == pids, "all of them are measured"
    assert apart(pids, of_hosts, 2) == {
        "northd": [1], "controller": [2, 3], "controller, other hosts": [4],
        "vswitchd": [5, 6], "vswitchd, other hosts": [7], "databases": [8, 9],
    }  # fmt: skip


def test_what_an_add_costs_is_shared_out_and_nothing_is_lost() -> None:
    kinds = {"northd": 100.0, "databases": 7.0, "controller": 20.0, "vswitchd": 3.0}
    kinds |= {"controller, other hosts": 400.0, "crowd, other hosts": 1.0}
    parts = shares(kinds, ("controller", "ovsdb", "vswitchd"))
    assert parts == {"controllers": 107.0, "those hosts": 23.0, "other hosts": 401.0}
    assert sum(parts.values()) == sum(kinds.values())


def test_plots_of_hosts_say_so(tmp_path: Path) -> None:
    rows = Rows()
    for hosts in HOST_COUNTS:
        rows.fill(f"flows of a host, of {hosts} hosts", ours=10_000 / hosts, peer=200_000 / hosts)
        rows.fill(f"add a port, p50, on {SPREAD} of {hosts} hosts", ours=50.0)
    growing.draw(rows, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"flows-by-hosts.svg", "add-port-by-hosts.svg"}
    both, alone = ((tmp_path / f"{name}-by-hosts.svg").read_text() for name in ("flows", "add-port"))
    assert ">hosts<" in both
    assert (both.count("<polyline"), alone.count("<polyline")) == (2, 1), "OVN's where there is one"
    write(tmp_path, "none", "", "", {})
    assert not (tmp_path / "none.svg").exists()


def test_a_plot_is_svg_with_a_curve_a_side() -> None:
    text = plot("a < b", "ms", {"ours": {100: 5.0, 1_000: 6.0}, "OVN 23.03": {100: 20.0, 1_000: 100.0}})
    root = ElementTree.fromstring(text)
    assert len(root.findall("{*}polyline")) == 2
    assert "a < b" in [node.text for node in root.findall("{*}text")]


def test_a_dump_is_compared_without_what_is_counted() -> None:
    before = (
        " cookie=0x1, duration=1.5s, table=0, n_packets=1, n_bytes=2, idle_age=3, priority=5,ip actions=drop"
    )
    after = " cookie=0x1, duration=9.5s, table=0, n_packets=7, n_bytes=9, priority=5,ip actions=drop"
    assert listed(before) == listed(after)
    assert listed(before) != listed(before.replace("priority=5", "priority=6"))
    assert listed("OFPST_FLOW reply (OF1.4):") == []


def test_random_packets_stay_where_both_sides_mean_the_same() -> None:
    layout = Layout(1_000, hosts=4)
    here = [guest for guest in layout.background if guest.host == 0]
    sent = packets(here, 500)
    assert sent == packets(here, 500), "the same every time"
    for packet in sent:
        same_tenant = packet.source.tenant == packet.target.tenant
        assert packet.source != packet.target
        assert not same_tenant or packet.source.network == packet.target.network, "OVN would route it"
    assert 0.1 < sum(bool(p.spoofed) for p in sent) / len(sent) < 0.3
    assert {p.protocol for p in sent} == {"tcp", "udp", "icmp"}


def test_a_packet_is_told_with_what_it_claims() -> None:
    source, target = Layout(100, hosts=4).background[:2]
    packet = Packet(source, target, "tcp", 443)
    text = trace_text(packet, 7)
    assert text.startswith(f"in_port=7,tcp,dl_src={source.mac},dl_dst={target.mac},nw_src={source.address}")
    assert text.endswith("tcp_dst=443")
    assert f"nw_src={target.address}" in trace_text(replace(packet, spoofed=target.address), 7)
    assert f"dl_src={target.mac}" in trace_text(replace(packet, spoofed=target.mac), 7)
    assert "tcp" not in trace_text(replace(packet, protocol="icmp"), 7)


def test_what_a_port_has_sent_is_read_from_its_counters() -> None:
    dump = "OFPST_PORT reply\n  port 5: rx pkts=3, bytes=1, drop=0\n           tx pkts=42, bytes=9, drop=0\n"
    assert sent_to(dump) == 42
