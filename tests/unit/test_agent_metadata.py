"""The rules of the metadata proxy, and the proxy between a guest and an IaaS, both streams here."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network

import pytest

from agent.services import metadata, metadata_http
from agent.services.metadata import MetadataProxy
from agent.services.metadata_http import Asker, Upstream, parse_upstream, refusal, request_headers
from agent.services.nat_gate import Client
from agent.services.seams import ServicePort
from cloison.addresses import Mac
from cloison.errors import InvalidIntent
from cloison.model import Vni
from tests.support.effort import examples

SECRET = b"shared"
ASKER = Asker("i-1", "p-1", "10.0.0.5")
UPSTREAM = Upstream("nova", 8775, False)
PORT = ServicePort(
    number=1, vni=Vni(1), mac=Mac(0x525400000001), addresses=(ip_address("10.0.0.5"),
    ip_address("fd00:1::5")),
    tenant="t1", network="net1", port="port1", mtu=1400, device_id="i-1", project_id="p-1",
    allowed_prefixes=(ip_network("10.0.0.64/30"),),
)  # fmt: skip

Answerer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://nova:8775", Upstream("nova", 8775, False)),
        ("https://meta.example/base/", Upstream("meta.example", 443, True, "/base")),
        ("http://[fd00::1]", Upstream("fd00::1", 80, False)),
    ],
)
def test_a_url_is_taken_apart(url: str, expected: Upstream) -> None:
    assert parse_upstream(url) == expected


@pytest.mark.parametrize(
    "url", ["nova:8775", "ftp://nova", "http://", "http://a:b@nova", "http://nova?x",
    "http://nova:0", "http://n ova", "http://[x"]
)  # fmt: skip
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(InvalidIntent):
        parse_upstream(url)


def test_the_headers_are_those_of_the_port_whatever_the_guest_says() -> None:
    forged = [
        (b"X-Instance-ID", b"i-2"), (b"x_instance_id", b"i-2"), (b"X-Instance-ID-Signature", b"00"),
        (b"X_INSTANCE-ID_signature", b"00"), (b"X-Tenant-ID", b"p-2"), (b"X-Project-Id", b"p-2"),
        (b"X-Forwarded-For", b"10.9.9.9"), (b"X-Forwarded-Host", b"evil"), (b"Forwarded", b"for=10.9.9.9"),
        (b"X-Metadata-Provider", b"x"), (b"X-Real-IP", b"10.9.9.9"), (b"X-Auth-Token", b"t"),
        (b"Host", b"evil"),
        (b"Connection", b"close, X-Mine"), (b"X-Mine", b"hop"), (b"Transfer-Encoding", b"chunked"),
        (b"Metadata-Flavor", b"kept"),
    ]  # fmt: skip
    headers = request_headers(forged, UPSTREAM, ASKER, SECRET)
    assert dict(headers) == {
        b"host": b"nova:8775",
        b"connection": b"close",
        b"metadata-flavor": b"kept",
        b"x-forwarded-for": b"10.0.0.5",
        b"x-instance-id": b"i-1",
        b"x-tenant-id": b"p-1",
        b"x-project-id": b"p-1",
        b"x-instance-id-signature": hmac.new(SECRET, b"i-1", hashlib.sha256).hexdigest().encode(),
    }
    assert len(headers) == len(dict(headers)), "no header twice"


@pytest.mark.parametrize(
    "target", [b"/", b"/latest/meta-data/?a=../b", b"/a..b/...", b"/openstack/latest/user%5fdata"]
)
def test_what_is_passed_on(target: bytes) -> None:
    assert refusal(b"GET", target, ASKER) is None


@pytest.mark.parametrize(
    "target",
    [b"http://nova/", b"*", b"a", b"/../x", b"/a/..", b"/%2e%2e/x", b"/%252e./x", b"/a/%2e%2e%2fx",
    b"/a%5c..%5cx", b"/./x",
     b"/a b", b"/a\x00", b"/\xff", b"/<script>"],
)  # fmt: skip
def test_a_path_that_could_leave_its_place_is_refused(target: bytes) -> None:
    refused = refusal(b"GET", target, ASKER)
    assert refused is not None
    assert refused[0] == 400


def test_who_is_no_instance_has_no_metadata() -> None:
    for asker in (
        Asker("", "p", "10.0.0.5"),
        Asker("i\r\nX-Instance-ID: 2", "p", "10.0.0.5"),
        Asker("i", "é", "10.0.0.5"),
    ):
        refused = refusal(b"GET", b"/", asker)
        assert refused is not None
        assert refused[0] == 404
    assert refusal(b"CONNECT", b"/", ASKER) == (405, "method not allowed")


@asynccontextmanager
async def iaas(answer: Answerer) -> AsyncIterator[Upstream]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Upstream("127.0.0.1", server.sockets[0].getsockname()[1], False, "/base")
    finally:
        server.close()


@asynccontextmanager
async def guest(
    proxy: MetadataProxy, address: str = "10.0.0.5"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    ended: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await proxy.serve(Client(PORT, ip_address(address)), reader, writer)
        except OSError:
            pass
        except Exception as err:  # noqa: BLE001 - a defect, shown at the end
            ended.append(err)
        finally:
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    try:
        yield reader, writer
    finally:
        writer.close()
        server.close()
    assert not ended, ended


async def exchange(proxy: MetadataProxy, request: bytes, address: str = "10.0.0.5") -> bytes:
    async with guest(proxy, address) as (reader, writer):
        writer.write(request)
        writer.write_eof()
        async with asyncio.timeout(10):
            try:
                return await reader.read(-1)
            except ConnectionError:
                return b""


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    body = head + await reader.readexactly(length)
    writer.write(b"HTTP/1.1 200 OK\r\nX-Instance-ID: secret\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def get(path: bytes = b"/latest", extra: bytes = b"") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n" + extra + b"\r\n"


async def test_a_request_goes_on_in_the_instances_name() -> None:
    async with iaas(echo) as upstream:
        answer = await exchange(MetadataProxy(upstream, SECRET), get(extra=b"X-Instance-ID: i-9\r\n"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"secret" not in head
    assert body.startswith(b"GET /base/latest HTTP/1.1\r\n")
    assert b"x-instance-id: i-1\r\n" in body
    assert b"i-9" not in body


@pytest.mark.parametrize(
    ("address", "told"), [("10.0.0.66", b"10.0.0.66"), ("10.9.9.9", b"10.0.0.5"), ("fe80::1", b"fd00:1::5")]
)
async def test_the_address_told_is_one_of_the_ports(address: str, told: bytes) -> None:
    async with iaas(echo) as upstream:
        answer = await exchange(MetadataProxy(upstream, SECRET), get(), address)
    assert b"x-forwarded-for: " + told + b"\r\n" in answer


async def test_a_connection_serves_many_requests_bodies_included() -> None:
    async with iaas(echo) as upstream:
        post = b"POST /openstack/latest/password HTTP/1.1\r\nHost: m\r\nExpect: 100-continue\r\n"
        post += b"Transfer-Encoding: chunked\r\n\r\n"
        first = get(b"/one").replace(b"Connection: close\r\n", b"")
        answer = await exchange(
            MetadataProxy(upstream), first + post + b"5\r\nhello\r\n0\r\n\r\n" + get(b"/three")
        )
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert b"GET /base/one " in answer
    assert b"content-length: 5\r\n" in answer
    assert b"\r\n\r\nhello" in answer
    assert b"GET /base/three " in answer


async def test_without_a_metadata_service_there_is_no_metadata() -> None:
    assert (await exchange(MetadataProxy(None), get())).startswith(b"HTTP/1.1 404 ")


async def closed(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-server\r\n\r\n")


async def endless_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n" + b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 2000)


async def too_long(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")


@pytest.mark.parametrize("answerer", [closed, nonsense, endless_head, too_long])
async def test_an_iaas_that_fails_is_said_to_have(answerer: Answerer) -> None:
    async with iaas(answerer) as upstream:
        assert (await exchange(MetadataProxy(upstream), get())).startswith(b"HTTP/1.1 502 ")


async def test_an_iaas_that_is_not_there_or_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await exchange(MetadataProxy(Upstream("127.0.0.1", 1, False)), get())).startswith(
        b"HTTP/1.1 502 "
    )

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    monkeypatch.setattr(metadata, "ANSWER_S", 0.2)
    async with iaas(silent) as upstream:
        assert (await exchange(MetadataProxy(upstream), get())).startswith(b"HTTP/1.1 504 ")


async def test_an_answer_that_breaks_off_breaks_off() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    async with iaas(half) as upstream:
        answer = await exchange(MetadataProxy(upstream), get())
    assert b"502" not in answer
    assert answer.endswith(b"half") or answer == b""


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: m\r\nContent-Length: 70000\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\n"
         + (b"4000\r\n" + b"x" * 0x4000 + b"\r\n") * 5, 413),
        (b"GET / HTTP/1.1\r\nHost: m\r\n" + b"X: " + b"y" * 20000, 431),
        (b"GET /../x HTTP/1.1\r\nHost: m\r\n\r\n", 400),
        (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: m\r\n\r\n", 414),
        (b"TRACE / HTTP/1.1\r\nHost: m\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: m\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
         b"0\r\n\r\n", 400),
    ],
)  # fmt: skip
async def test_a_request_out_of_bounds_is_answered_here(request_bytes: bytes, status: int) -> None:
    asked = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        await echo(reader, writer)

    async with iaas(note) as upstream:
        answer = await exchange(MetadataProxy(upstream), request_bytes)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not asked, "the IaaS hears nothing of it"


async def test_a_slow_guest_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "REQUEST_S", 0.1)
    monkeypatch.setattr(metadata, "IDLE_S", 0.2)
    async with asyncio.timeout(5), guest(MetadataProxy(UPSTREAM)) as (reader, writer):
        assert await reader.read() == b"", "nothing was asked, nothing is said"
        assert writer is not None
    async with asyncio.timeout(5), guest(MetadataProxy(UPSTREAM)) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: m\r\nContent-Length: 5\r\n\r\nab")
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


async def test_no_bytes_break_the_proxy_or_change_in_whose_name_it_asks() -> None:
    """Whatever a guest sends, what reaches the IaaS is a request in the name of i-1, once."""
    chance, names = random.Random(3), []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = [line.lower() for line in head.split(b"\r\n")]
        names.append([line for line in lines if line.replace(b"_", b"-").startswith(b"x-instance-id:")])
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    pieces = [b"GET ", b"/", b" HTTP/1.1\r\n", b"Host: m\r\n", b"X-Instance-ID: i-9\r\n",
    b"x_instance_id: i-9\r\n", b" X-Instance-ID: i-9\r\n",
              b"Transfer-Encoding: chunked\r\n", b"Content-Length: 3\r\n", b"\r\n", b"\n", b"\r",
              b"0\r\n\r\n", b"abc", b"\x00", b"\xff", b": ", b"POST "]  # fmt: skip
    valid = get(extra=b"X-Instance-ID: i-9\r\n").replace(b"Connection: close\r\n", b"")
    async with iaas(note) as upstream:
        proxy = MetadataProxy(upstream, SECRET)
        for _ in range(examples(2_000) // 5):
            sent = bytearray(valid + valid)
            for _ in range(chance.randrange(1, 5)):
                at = chance.randrange(len(sent))
                sent[at : at + chance.randrange(6)] = chance.choice(pieces)
            await exchange(proxy, bytes(sent))
    assert names, "some of it is passed on"
    assert all(name == [b"x-instance-id: i-1"] for name in names)


async def test_no_answer_of_the_iaas_breaks_the_proxy() -> None:
    chance = random.Random(6)
    valid = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.0 404 No\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 None\r\nConnection: x\r\n\r\n",
        b"HTTP/1.1 101 Switch\r\nUpgrade: x\r\n\r\nhello",
        b"HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n",
    ]
    pieces = [
        b"\r\n",
        b"\n",
        b"Content-Length: 7\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"0",
        b"9",
        b" ",
        b"\x00",
        b"\xff",
    ]
    statuses = set()

    async def damaged(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        answer = bytearray(chance.choice(valid))
        for _ in range(chance.randrange(3)):
            at = chance.randrange(len(answer))
            answer[at : at + chance.randrange(4)] = chance.choice(pieces)
        writer.write(bytes(answer))

    async with iaas(damaged) as upstream:
        proxy = MetadataProxy(upstream, SECRET)
        for _ in range(examples(2_000) // 5):
            method = chance.choice([b"GET", b"HEAD", b"POST"])
            statuses.add((await exchange(proxy, get().replace(b"GET", method)))[9:12])
    assert {b"200", b"404", b"502"} <= statuses


def test_no_headers_break_the_rules() -> None:
    chance = random.Random(4)
    for _ in range(examples(10_000)):
        headers = [
            (
                chance.choice([b"Connection", b"x-instance-id", b"X_Tenant_Id", chance.randbytes(5)]),
                chance.randbytes(8),
            )
            for _ in range(chance.randrange(6))
        ]
        made = request_headers(headers, UPSTREAM, ASKER, SECRET)
        assert [value for name, value in made if name.replace(b"_", b"-") == b"x-instance-id"] == [b"i-1"]
        metadata_http.answer_headers(headers)
        refusal(chance.choice([b"GET", b"X"]), b"/" + chance.randbytes(chance.randrange(20)), ASKER)
