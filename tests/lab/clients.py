"""Programs that guests run: echo servers, nc, ping, iperf3, dhclient, and what they say."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from topologies.nodes import LabNode
from topologies.wait import looks, wait_until
from topologies.workload import Workload

CONNECT_S, PATIENCE_S = 1.0, 30
START_S = 20.0
STOP_S = 5.0
IPERF_PORT = 5201
_QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@contextlib.contextmanager
def running(node: LabNode, argv: Sequence[str], **pipes: object) -> Iterator[subprocess.Popen[str]]:
    """A program in a node, ended with the block."""
    process = node.popen(list(argv), text=True, **{**_QUIET, **pipes})
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@contextlib.contextmanager
def echo_servers(guest: Workload, tcp: Sequence[int] = (), udp: Sequence[int] = ()) -> Iterator[None]:
    """Servers of both families that answer with what they get."""
    with contextlib.ExitStack() as stack:
        for port in tcp:
            listen = f"TCP6-LISTEN:{port},fork,reuseaddr,ipv6-v6only=0"
            stack.enter_context(running(guest, ["socat", listen, "EXEC:cat"]))
        for port in udp:
            receive = f"UDP6-RECVFROM:{port},fork,ipv6-v6only=0"
            stack.enter_context(running(guest, ["socat", receive, "EXEC:cat"]))
        wanted = {*(f"tcp {p}" for p in tcp), *(f"udp {p}" for p in udp)}
        wait_until(lambda: wanted <= _listening(guest), START_S, f"servers of {guest.name}")
        yield


def _listening(guest: Workload) -> set[str]:
    lines = guest.run(["ss", "-Hntul"]).stdout.splitlines()
    return {f"{line.split()[0]} {line.split()[4].rpartition(':')[2]}" for line in lines}


def answered(asking: Sequence[subprocess.Popen[str]], wait_s: float) -> list[bool]:
    """Which of these programs end well within that time (by looks at them); the others are ended."""
    for _ in looks(wait_s):
        if all(process.poll() is not None for process in asking):
            break
    return [process.poll() == 0 for process in asking]


def open_ports(
    source: Workload, target: Workload, ports: Sequence[int], version: int = 4, wait_s: float = CONNECT_S
) -> set[int]:
    """The ports to which `nc` gets a connection, all tried at once."""
    argv = ["nc", "-z", "-n", "-w", str(PATIENCE_S), target.address(version)]
    with contextlib.ExitStack() as stack:
        asking = [stack.enter_context(running(source, [*argv, str(port)])) for port in ports]
        return {port for port, is_open in zip(ports, answered(asking, wait_s), strict=True) if is_open}


def tcp(source: Workload, target: Workload, port: int, version: int = 4, wait_s: float = CONNECT_S) -> bool:
    """Whether `nc` gets a connection."""
    return open_ports(source, target, [port], version, wait_s) == {port}


def udp(source: Workload, target: Workload, port: int, version: int = 4) -> bool:
    """Whether an echo server answers a datagram."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with source.within(lambda: socket.socket(family, socket.SOCK_DGRAM)) as asking:
        asking.connect((target.address(version), port))
        asking.send(b"hello")
        for _ in looks(CONNECT_S):
            with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                return asking.recv(64, socket.MSG_DONTWAIT) == b"hello"
    return False


def ping(source: Workload, target: Workload, version: int = 4) -> bool:
    """Whether a ping is answered."""
    return source.ping(target.address(version), timeout_s=CONNECT_S).ok


@contextlib.contextmanager
def iperf_server(guest: Workload, port: int = IPERF_PORT) -> Iterator[None]:
    """An iperf3 server of both families."""
    with running(guest, ["iperf3", "-s", "-p", str(port)]):
        wait_until(lambda: f"tcp {port}" in _listening(guest), START_S, f"iperf3 of {guest.name}")
        yield


def throughput_bps(source: Workload, target: Workload, seconds: int, version: int = 4) -> float:
    """What TCP delivers, in bits a second."""
    argv = ["iperf3", "-J", "-c", target.address(version), "-t", str(seconds), "-p", str(IPERF_PORT)]
    done = source.run(argv, timeout_s=seconds + 15)
    report = json.loads(done.stdout)
    assert "error" not in report, report["error"]
    return float(report["end"]["sum_received"]["bits_per_second"])


def received_frames(guest: Workload) -> int:
    """How many frames the guest's eth0 has received."""

    def read() -> str:
        return Path("/proc/thread-self/net/dev").read_text(encoding="ascii")

    line = next(line for line in guest.within(read).splitlines() if line.strip().startswith("eth0:"))
    return int(line.split(":")[1].split()[1])


def received_segments(guest: Workload) -> int:
    """How many TCP segments the guest has received, over both families (RFC 4022, tcpInSegs)."""

    def read() -> str:
        return Path("/proc/thread-self/net/snmp").read_text(encoding="ascii")

    names, values = (line.split() for line in guest.within(read).splitlines() if line.startswith("Tcp:"))
    return int(values[names.index("InSegs")])


def silent_since_s(guests: Sequence[Workload], quiet_s: float, timeout_s: float) -> float:
    """Wait until no TCP arrived at any of the guests for a while; when the last did (monotonic seconds).

    What else arrives does not count: a guest's kernel asks for routers and neighbours whenever it likes.
    """
    deadline = time.monotonic() + timeout_s
    seen, last = [received_segments(g) for g in guests], time.monotonic()
    while time.monotonic() - last < quiet_s:
        now = [received_segments(g) for g in guests]
        if now != seen:
            seen, last = now, time.monotonic()
        assert time.monotonic() < deadline, f"still receiving after {timeout_s} s"
    return last


@dataclass(frozen=True)
class Lease:
    """What dhclient was told, by the names its script gets ("new_ip_address")."""

    values: dict[str, str]

    def __getitem__(self, name: str) -> str:
        return self.values[f"new_{name}"]


_CONF = """option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;
send host-name = gethostname();
request subnet-mask, broadcast-address, routers, rfc3442-classless-static-routes, interface-mtu,
  domain-name, domain-name-servers, host-name, ntp-servers,
  dhcp6.name-servers, dhcp6.domain-search;
timeout 20;
initial-interval 1;
"""
# Never the machine's own script: that writes the machine's /etc/resolv.conf.
_SCRIPT = """#!/bin/sh
case "$reason" in
  BOUND|RENEW|REBIND|REBOOT)
    ip -4 address replace "$new_ip_address/$new_subnet_mask" dev "$interface"
    if [ -n "$new_interface_mtu" ]; then ip link set "$interface" mtu "$new_interface_mtu"; fi;;
  BOUND6|RENEW6|REBIND6)
    ip -6 address replace "$new_ip6_address/$new_ip6_prefixlen" dev "$interface" nodad;;
  *) exit 0;;
esac
env | grep '^new_' > "{out}.part"
mv "{out}.part" "{out}"
"""


def dhclient(guest: Workload, directory: Path, version: int = 4, timeout_s: float = 25) -> Lease:
    """Get a lease with ISC's client and configure eth0 with it. Raises AssertionError without one."""
    base = directory / f"{guest.name}-{version}"
    conf, script, out = (base.with_suffix(s) for s in (".conf", ".sh", ".env"))
    out.unlink(missing_ok=True)
    conf.write_text(_CONF)
    script.write_text(_SCRIPT.format(out=out))
    script.chmod(0o755)
    argv = [
        "dhclient",
        f"-{version}",
        "-d",
        "-1",
        "-cf",
        str(conf),
        "-sf",
        str(script),
        "-lf",
        str(base.with_suffix(".leases")),
        "-pf",
        str(base.with_suffix(".pid")),
        "eth0",
    ]
    base.with_suffix(".leases").write_text("")
    with running(guest, argv):
        wait_until(out.exists, timeout_s, f"a lease for {guest.name}")
    pairs = (line.partition("=") for line in out.read_text().splitlines())
    return Lease({name: value.strip("'") for name, _, value in pairs})


def dig(guest: Workload, server: str, *question: str) -> list[str]:
    """The answers to a question, short."""
    argv = ["dig", f"@{server}", "+short", "+time=5", "+tries=2", *question]
    done = guest.run(argv, timeout_s=15)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()


def dig_status(guest: Workload, server: str, *question: str) -> str:
    """The status of an answer: NOERROR, NXDOMAIN, REFUSED..."""
    argv = ["dig", f"@{server}", "+time=5", "+tries=2", *question]
    text = guest.run(argv, timeout_s=15).stdout
    return text.partition("status: ")[2].partition(",")[0]
