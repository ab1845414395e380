"""The metadata proxy asked by real `curl` through a real switch; an IaaS that checks as Nova does."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agent.services import nat_gate
from agent.services.metadata_http import parse_upstream
from agent.services.runtime import ServiceSettings
from tests.support.netns import network_namespace, sh
from tests.support.service_guests import Guest, Site, until, zone

pytestmark = [pytest.mark.system, pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")]

SECRET = b"shared with the IaaS"
META4, META6 = "http://169.254.169.254", "http://[fd00:ec2::254]"
LARGE = bytes(range(256)) * 4096


@pytest.fixture(autouse=True)
def _own_namespace() -> Iterator[None]:
    with network_namespace():
        yield


class _Iaas(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        instance = self.headers.get("X-Instance-ID", "")
        expected = hmac.new(SECRET, instance.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(self.headers.get("X-Instance-ID-Signature", ""), expected):
            return self._answer(403, b"bad signature")
        if self.path.endswith("/large"):
            return self._answer(200, LARGE)
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        seen: dict[str, Any] = {key.lower(): value for key, value in self.headers.items()}
        seen |= {"path": self.path, "method": self.command, "body": body.decode(), "count": len(self.headers)}
        return self._answer(200, json.dumps(seen).encode())

    do_POST = do_PUT = do_GET

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def iaas() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Iaas)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@asynccontextmanager
async def site() -> AsyncIterator[tuple[Site, Guest, Guest]]:
    """Two guests of two tenants with the same addresses."""
    with iaas() as url:
        async with Site(ServiceSettings(metadata=parse_upstream(url), metadata_secret=SECRET)) as made:
            one = made.add_guest(1, tenant="t1", address4="10.0.0.5", address6="fd00:1::5")
            two = made.add_guest(2, tenant="t2", address4="10.0.0.5", address6="fd00:1::5")
            made.serve(zone(0x101, "t1", "net1.t1.cloison.internal", web=["10.0.0.9"]))
            yield made, one, two


async def curl(guest: Guest, url: str, options: str = "") -> dict[str, Any]:
    return dict(
        json.loads(await guest.run(f"curl -gsS --fail --retry 3 --retry-connrefused -m 10 {options} {url}"))
    )


@pytest.mark.parametrize(("base", "address"), [(META4, "10.0.0.5"), (META6, "fd00:1::5")])
async def test_each_guest_is_known_for_who_it_is(base: str, address: str) -> None:
    async with site() as (_, one, two):
        path = f"{base}/openstack/latest/meta_data.json"
        forged = "-H 'X-Instance-ID: i-2' -H 'X_Instance_ID: i-2' -H 'X-Tenant-ID: p-t2'"
        forged += " -H 'X-Forwarded-For: 1.2.3.4'"
        # At the same time, from the same address, and one of them lies.
        answers = await asyncio.gather(
            *(curl(guest, path, forged) for guest in (one, two, one, two, one, two))
        )
        for seen, (instance, project) in zip(answers, [("i-1", "p-t1"), ("i-2", "p-t2")] * 3, strict=True):
            assert seen["x-instance-id"] == instance
            assert seen["x-tenant-id"] == seen["x-project-id"] == project
            assert seen["x-forwarded-for"] == address
            assert seen["path"] == "/openstack/latest/meta_data.json"
            assert "x_instance_id" not in seen


async def test_bodies_go_both_ways_whole() -> None:
    async with site() as (_, one, two):
        seen = await curl(one, f"{META4}/openstack/latest/password", f"--data-binary {'p' * 5000}")
        assert (seen["method"], seen["body"]) == ("POST", "p" * 5000)
        for guest, base in ((one, META4), (two, META6)):
            digest = await guest.run(f"sh -c 'curl -gsS --fail -m 20 {base}/large | sha256sum'")
            assert digest.split()[0] == hashlib.sha256(LARGE).hexdigest()


async def test_small_segments_and_loss_of_order_do_not_matter() -> None:
    async with site() as (_, one, _two):
        await one.run("ip route replace 169.254.169.254 dev eth0 advmss 200")
        digest = await one.run(f"sh -c 'curl -gsS --fail -m 20 {META4}/large | sha256sum'")
        assert digest.split()[0] == hashlib.sha256(LARGE).hexdigest()


async def test_one_that_holds_all_its_connections_harms_nobody() -> None:
    async with site() as (_, one, two):
        holder = await asyncio.create_subprocess_shell(
            f"exec ip netns exec {one.netns} python3 -c '{_HOLD}' 40 {nat_gate.CONNECTIONS_PER_PORT_MAX}",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert holder.stdout is not None
        try:
            async with asyncio.timeout(40):
                kept = int(await holder.stdout.readline())
            assert 0 < kept <= nat_gate.CONNECTIONS_PER_PORT_MAX
            assert (await curl(two, f"{META4}/x"))["x-instance-id"] == "i-2", "while they are held"
        finally:
            holder.kill()
            await holder.communicate()
        seen = await curl(one, f"{META4}/x", "--retry 10 --retry-all-errors")
        assert seen["x-instance-id"] == "i-1", "and itself as soon as they are gone"


_HOLD = """
import socket, sys, time
held = []
for _ in range(int(sys.argv[1])):
    try:
        s = socket.create_connection(("169.254.169.254", 80), 5)
        s.sendall(b"GET / HTTP/1.1\\r\\n")
    except OSError:
        continue
    held.append(s)
def is_kept(s):
    s.setblocking(False)
    try:
        s.recv(1)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
# Who gets none is told so; that takes as long as it takes.
kept, most, end = len(held), int(sys.argv[2]), time.monotonic() + 20
while kept > most and time.monotonic() < end:
    time.sleep(0.1)
    held = [s for s in held if is_kept(s)]
    kept = len(held)
print(kept, flush=True)
sys.stdin.read()
"""


_FLOOD = """
import os, socket, struct, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
end, sent = time.monotonic() + float(sys.argv[1]), 0
def total(data):
    x = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while x >> 16:
        x = (x & 0xFFFF) + (x >> 16)
    return x ^ 0xFFFF
ends = bytes([10, 0, 0, 5, 169, 254, 169, 254])
head = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 6, 0) + ends
head = head[:10] + struct.pack("!H", total(head)) + head[12:]
ethernet = bytes.fromhex("0af300000001") + bytes.fromhex("525400000001") + bytes([8, 0])
while time.monotonic() < end:
    tcp = struct.pack("!HHIIBBHHH", 1024 + sent % 60000, 80, sent, 0, 0x50, 2, 8192, 0, 0)
    tcp = tcp[:16] + struct.pack("!H", total(ends + struct.pack("!HH", 6, 20) + tcp)) + tcp[18:]
    s.send(ethernet + head + tcp)
    sent += 1
print(sent)
"""


async def test_a_flood_of_new_connections_harms_nobody_else() -> None:
    """With no meter in the switch: all of it comes to the services."""
    async with site() as (made, one, two):
        assert (await curl(two, f"{META4}/x"))["x-instance-id"] == "i-2"
        before_kib = _resident_kib()
        flood = asyncio.create_task(one.run(f"python3 -c '{_FLOOD}' 4"))
        seen = 0
        while not flood.done():
            assert (await curl(two, f"{META4}/x"))["x-instance-id"] == "i-2"
            seen += 1
        sent = int(await flood)
        assert sent > 1000
        assert made.services.counts()["received"] > 1000
        assert seen > 0, "meanwhile it is served"
        print(f"while {sent} were sent: {seen} requests of the other in 4 s")
        assert _resident_kib() - before_kib < 16 * 1024
        assert (await curl(one, f"{META4}/x", "--retry 10 --retry-all-errors"))["x-instance-id"] == "i-1"


def _resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


async def test_the_end_of_a_port_or_its_change_ends_its_connections() -> None:
    async with site() as (made, one, two):
        holders = []
        for guest in (one, two):
            held = await asyncio.create_subprocess_shell(
                f"exec ip netns exec {guest.netns} nc 169.254.169.254 80",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            holders.append(held)
        await until(lambda: _serving(2), "both are connected")
        one.record.device_id = "i-7"
        made.serve()
        await until(lambda: _serving(1), "who is another instance now has no connection of the one before")
        async with asyncio.timeout(20):
            assert holders[0].stdin is not None
            holders[0].stdin.close()
            await holders[0].communicate()
        assert (await curl(one, f"{META4}/x"))["x-instance-id"] == "i-7"
        made.withdraw(two)
        await until(lambda: _serving(0), "a port that is gone has no connection")
        holders[1].kill()
        await holders[1].communicate()


async def _serving(count: int) -> bool:
    """Whether so many connections of guests are being served."""
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return names.count("NatGate._serve") == count


async def test_a_restart_only_interrupts() -> None:
    async with site() as (made, one, two):
        assert (await curl(one, f"{META4}/x"))["x-instance-id"] == "i-1"
        made.withdraw(one)
        refused = await one.run(f"curl -sS -m 2 {META4}/x", check=False)
        assert "timed out" in refused.lower() or "Failed to connect" in refused
        made.serve()
        await made.stop_services()
        assert "curl" in await two.run(f"curl -sS -m 1 {META4}/x", check=False)
        await made.start_services()
        for guest, instance in ((two, "i-2"), (one, "i-1")):
            for base in (META4, META6):
                assert (await curl(guest, f"{base}/x"))["x-instance-id"] == instance


async def test_nothing_else_is_reachable_at_the_service_addresses() -> None:
    async with site() as (made, one, _two):
        open_ports = []
        for address, port in (("169.254.169.254", 53), ("169.254.169.253", 80), ("169.254.169.254", 22)):
            done = await one.run(f"nc -z -w 1 {address} {port} && echo open || echo closed", check=False)
            open_ports += [port] if "open" in done else []
        assert open_ports == []
        assert "cl-services" in sh("ip -br link"), (
            "the host has the device of the switch, and no other of ours"
        )
        assert " services" not in sh("ip -br link")
        assert "169.254" not in sh("ip addr")
        await made.stop_services()
        held = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_link(fd)]
        assert "/dev/net/tun" not in held, "with its last holder the namespace goes"
        await made.start_services()


def _is_link(fd: str) -> bool:
    try:
        os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return False
    return True


async def test_an_iaas_that_is_away_is_said_to_be() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with Site(ServiceSettings(metadata=parse_upstream(url), metadata_secret=SECRET)) as made:
            one = made.add_guest(1, tenant="t1", address4="10.0.0.5", address6="fd00:1::5")
            asked = f"curl -sS -m 10 -D - {META4}/x"
            assert (await one.run(asked)).startswith("HTTP/1.1 502 ")
            one.record.device_id = ""
            made.serve()
            assert (await one.run(asked)).startswith("HTTP/1.1 404 ")
