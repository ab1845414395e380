"""The resolver asked by real `dig` in real namespaces through a real switch, with a real dnsmasq upstream."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from agent.services import dns_forward
from agent.services.dns_forward import parse_resolver
from agent.services.runtime import ServiceSettings
from tests.support.netns import network_namespace
from tests.support.service_guests import Guest, Site, zone

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        not shutil.which("dig") or not shutil.which("dnsmasq"), reason="needs dig and dnsmasq"
    ),
]

RESOLVER_PORT = 5399
DNS4, DNS6 = "@169.254.169.253", "@fd00:ec2::253"
MANY = [f"10.7.{i // 200}.{i % 200 + 1}" for i in range(300)]


@pytest.fixture(autouse=True)
def _own_namespace() -> Iterator[None]:
    with network_namespace():
        yield


@contextmanager
def resolver() -> Iterator[str]:
    """A real resolver of the provider; returns where it is."""
    records = [f"--txt-record=long.example,{str(i) * 200}" for i in range(8)]
    process = subprocess.Popen(
        ["dnsmasq", "--no-daemon", "--no-resolv", "--no-hosts", f"--port={RESOLVER_PORT}",
         "--conf-file=/dev/null", "--bind-interfaces", "--listen-address=127.0.0.1",
         "--host-record=www.example,192.0.2.7,2001:db8::7",
         "--address=/nowhere.example/", *records],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", RESOLVER_PORT), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "dnsmasq does not answer"
                time.sleep(0.02)
        yield f"127.0.0.1:{RESOLVER_PORT}"
    finally:
        process.terminate()
        process.wait()


@asynccontextmanager
async def site(*resolvers: str) -> AsyncIterator[tuple[Site, Guest, Guest]]:
    """Two tenants with the same addresses, each with a web of its own."""
    settings = ServiceSettings(resolvers=[parse_resolver(text) for text in resolvers])
    async with Site(settings) as made:
        one = made.add_guest(1, tenant="t1", address4="10.0.0.5", address6="fd00:1::5")
        two = made.add_guest(2, tenant="t2", address4="10.0.0.5", address6="fd00:1::5")
        made.serve(
            zone(
                0x101,
                "t1",
                "net1.t1.cloison.internal",
                web=["10.0.0.9", "fd00:1::9"],
                self=["10.0.0.5"],
                many=MANY,
            ),
            zone(0x155, "t1", "corp.example", "net2", db=["10.1.0.1"]),
            zone(0x102, "t2", "net1.t2.cloison.internal", web=["10.0.0.7"], other=["10.0.0.5"]),
        )
        yield made, one, two


async def short(guest: Guest, query: str, server: str = DNS4) -> list[str]:
    return sorted((await guest.run(f"dig +short +tries=2 +time=3 {query} {server}")).split())


@pytest.mark.parametrize("server", [DNS4, DNS6])
async def test_each_tenant_gets_its_own_names_and_no_others(server: str) -> None:
    async with site() as (_, one, two):
        assert await short(one, "web.net1.t1.cloison.internal", server) == ["10.0.0.9"]
        assert await short(one, "WEB.Net1.T1.cloison.INTERNAL AAAA", server) == ["fd00:1::9"]
        assert await short(one, "db.corp.example", server) == ["10.1.0.1"]
        assert await short(one, "-x 10.0.0.5", server) == ["self.net1.t1.cloison.internal."]
        assert await short(two, "-x 10.0.0.5", server) == ["other.net1.t2.cloison.internal."]
        assert await short(one, "-x fd00:1::9", server) == ["web.net1.t1.cloison.internal."]
        foreign = await two.run(f"dig web.net1.t1.cloison.internal {server}")
        assert "status: NXDOMAIN" in foreign
        assert "status: REFUSED" in await two.run(f"dig db.corp.example {server}"), (
            "nobody is there to be asked"
        )


async def test_negative_answers_and_the_zone_itself() -> None:
    async with site() as (_, one, _two):
        missing = await one.run(f"dig nobody.net1.t1.cloison.internal {DNS4}")
        assert "status: NXDOMAIN" in missing
        assert "aa" in missing.partition("flags:")[2].partition(";")[0]
        assert "SOA" in missing
        nothing = await one.run(f"dig TXT web.net1.t1.cloison.internal {DNS4}")
        assert "status: NOERROR" in nothing
        assert "ANSWER: 0" in nothing
        assert "SOA" in nothing
        assert await short(one, "NS net1.t1.cloison.internal") == ["dns.cloison.internal."]
        assert await short(one, "dns.cloison.internal") == ["169.254.169.253"]


async def test_what_is_too_long_comes_by_tcp() -> None:
    async with site() as (_, one, _two):
        for server in (DNS4, DNS6):
            cut = await one.run(f"dig +ignore many.net1.t1.cloison.internal {server}")
            assert " tc " in cut.partition("flags:")[2].partition(";")[0] + " "
            assert await short(one, "many.net1.t1.cloison.internal", server) == sorted(MANY)
            assert await short(one, "+tcp web.net1.t1.cloison.internal", server) == ["10.0.0.9"]


async def test_other_names_are_asked_of_the_resolvers() -> None:
    with resolver() as upstream:
        # The first one is dead: its port is closed.
        async with site("127.0.0.1:1", upstream) as (_, one, two):
            for guest in (one, two):
                assert await short(guest, "www.example") == ["192.0.2.7"]
                assert await short(guest, "www.example AAAA", DNS6) == ["2001:db8::7"]
            assert "status: NXDOMAIN" in await one.run(f"dig nowhere.example {DNS4}")
            long = (await one.run(f"dig +short TXT long.example {DNS4}")).split()
            assert {line.strip('"')[0] for line in long if len(line) > 100} == set("01234567")
            assert "status: NXDOMAIN" in await one.run(f"dig -x 10.9.9.9 {DNS4}"), (
                "private: not asked outside"
            )
            assert await short(one, "web.net1.t1.cloison.internal") == ["10.0.0.9"]


async def test_a_silent_resolver_costs_its_own_askers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_forward, "TRY_TIMEOUT_S", 3.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", RESOLVER_PORT))
        async with site(f"127.0.0.1:{RESOLVER_PORT}") as (made, one, two):
            flood = asyncio.create_task(
                one.run(
                    "dig +tries=1 +time=1 +short " + " ".join(f"n{i}.example" for i in range(6)) + f" {DNS4}",
                    check=False,
                )
            )
            names = [one.run(f"dig +tries=1 +time=15 name{i}.example {DNS4}", check=False) for i in range(60)]
            many = asyncio.gather(*names)
            assert await short(two, "web.net1.t2.cloison.internal") == ["10.0.0.7"]
            assert await short(one, "web.net1.t1.cloison.internal") == ["10.0.0.9"]
            assert not many.done(), "those who ask the silent one are still waiting"
            answers = await many
            assert all("status: SERVFAIL" in answer or "timed out" in answer for answer in answers)
            assert any("status: SERVFAIL" in answer for answer in answers)
            await flood
            assert made.services.counts().get("defects", 0) == 0


async def test_a_restart_and_a_change_are_seen_at_once() -> None:
    async with site() as (made, one, two):
        assert await short(one, "+tcp web.net1.t1.cloison.internal") == ["10.0.0.9"]
        await made.stop_services()
        await made.start_services()
        assert await short(one, "web.net1.t1.cloison.internal") == ["10.0.0.9"]
        deadline = time.monotonic() + 10
        while await short(two, "+tcp web.net1.t2.cloison.internal") != ["10.0.0.7"]:
            assert time.monotonic() < deadline
        made.serve(zone(0x101, "t1", "net1.t1.cloison.internal", web=["10.0.0.77"]))
        assert await short(one, "web.net1.t1.cloison.internal") == ["10.0.0.77"]
        made.withdraw(one)
        assert "timed out" in await one.run(
            f"dig +tries=1 +time=1 web.net1.t1.cloison.internal {DNS4}", check=False
        )
