"""A guest as a network namespace with one interface, and the DHCP clients that real guests run.

What a client is told is kept as shell variables, by event (`told("BOUND")`); nothing of the machine's own
configuration is touched.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from contextlib import suppress
from itertools import count
from pathlib import Path

from tests.support.netns import sh

_NUMBERS = count()

_DHCLIENT_CONF = """
option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;
request subnet-mask, broadcast-address, domain-name, domain-search, domain-name-servers, host-name,
  interface-mtu, ntp-servers, rfc3442-classless-static-routes, dhcp6.name-servers, dhcp6.domain-search;
send host-name "anything";
timeout 20;
retry 2;
initial-interval 1;
"""
_SCRIPT = """#!/bin/sh
event=${reason:-$1}
env > "$(dirname "$0")/told.$event"
case "$event" in
PREINIT|PREINIT6|deconfig) ip link set "$interface" up ;;
BOUND|REBOOT) ip addr replace "$new_ip_address/$new_subnet_mask" dev "$interface" ;;
BOUND6) ip -6 addr replace "$new_ip6_address/$new_ip6_prefixlen" dev "$interface" ;;
bound) ip addr replace "$ip/$mask" dev "$interface" ;;
esac
exit 0
"""


class GuestNamespace:
    """`tap` is the end that is plugged into a bridge of the caller's namespace; the guest has `eth0`."""

    def __init__(self, directory: Path, mac: str, tap: str = "tap1") -> None:
        self.name, self.tap, self.mac = f"cl-guest-{os.getpid()}-{next(_NUMBERS)}", tap, mac
        self.directory = directory / self.name
        self.directory.mkdir()
        self.script = self.directory / "script"
        self.script.write_text(_SCRIPT)
        self.script.chmod(0o755)
        (self.directory / "dhclient.conf").write_text(_DHCLIENT_CONF)

    def __enter__(self) -> GuestNamespace:
        sh(f"ip netns add {self.name}")
        try:
            sh(f"ip link add {self.tap} type veth peer name eth0 netns {self.name}")
            sh(f"ip link set {self.tap} up")
            self.run("sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0")
            self.run("sysctl -qw net.ipv6.conf.eth0.accept_dad=0 net.ipv6.conf.eth0.addr_gen_mode=0")
            self.run(f"ip link set eth0 address {self.mac}")
            self.run("ethtool -K eth0 tx off")
            self.run("ip link set lo up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # Clients that went into the background would outlive the namespace's name.
        found = subprocess.run(
            ["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False
        )
        for pid in found.stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", self.name], check=False)

    def run(self, command: str, *, check: bool = True, timeout_s: float = 40) -> str:
        """Run a command line in the guest; return what it printed."""
        argv = ["ip", "netns", "exec", self.name, *shlex.split(command)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout_s)
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Start a program in the guest; what it prints can be read from it."""
        return subprocess.Popen(["ip", "netns", "exec", self.name, *argv], stdout=subprocess.PIPE, text=True)

    def dhclient(self, version: int) -> dict[str, str]:
        """Get a lease with ISC dhclient; return what it was told."""
        files = f"-cf {self.directory}/dhclient.conf -lf {self.directory}/leases{version} -sf {self.script}"
        event = "BOUND6" if version == 6 else "BOUND"
        self.run(f"dhclient -{version} -1 -v -pf {self.directory}/pid{version} {files} eth0")
        self.run(f"dhclient -{version} -x -pf {self.directory}/pid{version} {files} eth0", check=False)
        return self.told(event)

    def udhcpc(self) -> dict[str, str]:
        """Get a lease with BusyBox's udhcpc; return what it was told."""
        # (Of its requests it sends three, so far apart.)
        options = "-n -q -f -t 10 -T 3 -O mtu -O staticroutes -O search -O ntpsrv"
        self.run(f"udhcpc -i eth0 {options} -s {self.script}")
        return self.told("bound")

    def told(self, event: str) -> dict[str, str]:
        """The variables the client's script had at an event."""
        text = (self.directory / f"told.{event}").read_text()
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def addresses(self) -> str:
        """What `ip` says of the guest's addresses."""
        return self.run("ip -o addr show dev eth0")
