"""A guest that asks as fast as it can takes nothing from the others, nor from the agent."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.agent_host import AgentHost
from tests.support.guest_netns import GuestNamespace
from tests.support.netns import network_namespace
from tests.support.ovs import Ovs
from tests.support.served import serve, service_port
from tests.support.sync_peer import SyncPeer

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

FLOOD_S = 10
_FLOOD = f"""
import socket, time
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
mac = "fa:16:3e:00:00:06"
asked = DHCP(options=[("message-type", "discover"), "end"])
boot = BOOTP(chaddr=bytes.fromhex(mac.replace(":", "")), xid=7)
ends = IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67)
frame = bytes(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / ends / boot / asked)
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind(("eth0", 0))
sent, end_s = 0, time.monotonic() + {FLOOD_S}
while time.monotonic() < end_s:
    for _ in range(100):
        try:
            out.send(frame)
            sent += 1
        except OSError:
            pass
print(sent)
"""


def memory_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def cpu_ticks(pid: int) -> int:
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))


async def test_a_port_that_floods_the_services_harms_nobody(tmp_path: Path) -> None:
    with (
        network_namespace(),
        Ovs(dummy=False) as ovs,
        GuestNamespace(tmp_path, "fa:16:3e:00:00:05") as victim,
        GuestNamespace(tmp_path, "fa:16:3e:00:00:06", "tap2") as flooder,
    ):
        host = AgentHost(tmp_path, ovs)
        try:
            async with SyncPeer(tmp_path / "c1.sock") as peer:
                await serve(host, peer, {"tap1": service_port(5), "tap2": service_port(6)})
                assert flooder.udhcpc()["ip"] == "10.0.0.6"
                assert victim.udhcpc()["ip"] == "10.0.0.5"
                before_kib, before_ticks = memory_kib(host.pid), cpu_ticks(host.pid)
                flood = flooder.start(sys.executable, "-c", _FLOOD)
                leases = 0
                while flood.poll() is None:
                    assert victim.udhcpc()["ip"] == "10.0.0.5"
                    leases += 1
                sent = int(flood.communicate()[0])
                assert leases >= 3
                assert sent > 50_000
                assert memory_kib(host.pid) - before_kib < 8 << 10
                assert cpu_ticks(host.pid) - before_ticks < FLOOD_S * 100 / 2
        finally:
            host.close()
