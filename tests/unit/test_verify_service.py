"""Verify and Trace over the API, with hosts in memory: what is attested, what is found, who may ask what."""

from __future__ import annotations

import asyncio
import hashlib
import json
from ipaddress import IPv4Address
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from cloison.addresses import wire_mac
from cloison.identity import Identity
from cloison.v1 import common_pb2, verify_pb2
from controller.cli.pki import Issued, init_ca, issue
from controller.flows.delta import ForeignFlow
from controller.flows.text import flows_text
from controller.reconcile import reading
from controller.signing import Signer
from tests.support.hosts import eventually
from tests.support.proof import ProofSite, leak, of, port, put_quietly, running


@pytest.mark.parametrize("live", [False, True])
async def test_a_sound_site_holds_and_every_host_has_its_digests(live: bool) -> None:
    async with running() as site:
        answer = await site.verify(live=live)
        attestation = answer.attestation
        assert attestation.holds, attestation.violations
        assert (attestation.live, attestation.controller) == (live, "c1")
        assert attestation.revision == site.store.state.revision
        assert (attestation.tenants, attestation.networks, attestation.ports) == (2, 2, 4)
        assert [h.host for h in attestation.hosts] == ["hosts/h1", "hosts/h2"]
        for told, host in zip(attestation.hosts, site.hosts, strict=True):
            flows = [installed.flow for installed in host.switch.flows.values()]
            assert told.matches_compiled
            assert told.flows_digest == hashlib.sha256(flows_text(flows).encode()).digest()
            assert told.flows == len(flows)
            assert told.fdb_entries == sum(map(len, host.fdb.values()))
        assert not answer.signature
        assert json.loads(answer.payload)["holds"] is True


async def test_live_and_compiled_digests_are_the_same_text_over_the_same_things() -> None:
    async with running() as site:
        compiled, live = await site.verify(), await site.verify(live=True)
        for a, b in zip(compiled.attestation.hosts, live.attestation.hosts, strict=True):
            assert (a.flows_digest, a.fdb_digest) == (b.flows_digest, b.fdb_digest)


async def test_a_leak_in_a_switch_is_found_live_only_and_named_with_its_path() -> None:
    async with running() as site:
        bad = leak(site)
        put_quietly(site.hosts[0], bad)
        assert (await site.verify()).attestation.holds
        attestation = (await site.verify(live=True)).attestation
        assert not attestation.holds
        assert [h.matches_compiled for h in attestation.hosts] == [False, True]
        found = next(v for v in attestation.violations if v.kind == "LEAK")
        assert set(found.subjects) >= {port("red", 1), port("blue", 1)}
        assert found.host == "hosts/h1"
        assert found.packet.startswith(f"in_port={of(site, 'red', 1)},")
        assert any("0xbad" in step.rule for step in found.path)
        assert found.path[-1].resource == port("blue", 1)


async def test_a_flow_of_no_language_of_ours_is_a_violation() -> None:
    async with running() as site:
        site.hosts[1].switch.foreign.append(ForeignFlow(0, 7, 0xBEEF, b"\x00\x01"))
        attestation = (await site.verify(live=True)).attestation
        assert [(v.kind, v.host) for v in attestation.violations] == [("FORBIDDEN_FLOW", "hosts/h2")]
        assert "0xbeef" in attestation.violations[0].message
        assert not attestation.hosts[1].matches_compiled


async def test_a_forwarding_entry_bent_to_another_host_is_found() -> None:
    async with running() as site:
        mac = wire_mac(IPv4Address("10.0.0.12"))
        vni = next(v for v, entries in site.hosts[0].fdb.items() if mac in entries)
        site.hosts[0].fdb[vni][mac] = bytes([192, 0, 2, 66])
        attestation = (await site.verify(live=True)).attestation
        kinds = {v.kind for v in attestation.violations}
        assert "FDB" in kinds
        assert not attestation.holds
        assert any("192.0.2.66" in v.message for v in attestation.violations)


async def test_what_an_agent_finds_odd_does_not_hold() -> None:
    async with running() as site:
        host = site.hosts[0]
        answers = host.answers

        def odd(question: object) -> list[object]:
            made = answers(question)  # type: ignore[arg-type]
            made[0].oddities.append(common_pb2.Condition(reason="LINK_ALTERED", message="vx001389 learns"))
            return made  # type: ignore[return-value]

        host.answers = odd  # type: ignore[assignment,method-assign]
        attestation = (await site.verify(live=True)).attestation
        assert [(v.kind, v.message) for v in attestation.violations] == [
            ("DEVICE", "LINK_ALTERED: vx001389 learns")
        ]


async def test_a_host_that_cannot_be_read_is_named_and_nothing_is_claimed_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "SETTLE_S", 0.05)
    async with running() as site:
        site.hosts[1].disconnect_agent()
        attestation = (await site.verify(live=True)).attestation
        assert not attestation.holds
        assert not attestation.violations
        first, second = attestation.hosts
        assert not first.HasField("unread")
        assert (second.unread.reason, list(second.unread.subjects)) == ("HOST_UNREAD", ["hosts/h2"])
        assert "agent of hosts/h2 is not connected" in second.unread.message
        assert not second.flows_digest


@pytest.mark.slow
async def test_an_agent_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "TIMEOUT_S", 0.2)
    async with running() as site:
        site.hosts[1].mute = True
        attestation = (await site.verify(live=True)).attestation
        assert not attestation.holds
        assert "no answer" in attestation.hosts[1].unread.message
        site.hosts[1].mute = False
        assert (await site.verify(live=True)).attestation.holds


@pytest.mark.slow
async def test_a_state_that_changes_meanwhile_is_attested_at_one_revision() -> None:
    async with running() as site:
        churn = asyncio.create_task(churning(site))
        try:
            answers = await asyncio.gather(
                *(site.verify(live=bool(n % 2)) for n in range(6)), return_exceptions=True
            )
        finally:
            churn.cancel()
        for answer in answers:
            if isinstance(answer, grpc.aio.AioRpcError):
                assert answer.code() is grpc.StatusCode.UNAVAILABLE
            else:
                assert isinstance(answer, verify_pb2.VerifyResponse)
                assert answer.attestation.holds, answer.attestation.violations


async def test_what_is_on_its_way_to_a_host_is_no_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that comes after the hosts were waited for, and before they are read."""
    wait_for_hosts, changes = reading.Observer._settled, iter([True])
    async with running() as site:
        host, slow = site.hosts[0], asyncio.Event()
        apply = host.switch.apply

        async def apply_later(*args: Any, **options: Any) -> Any:
            await slow.wait()
            return await apply(*args, **options)

        async def then_a_change(observer: reading.Observer) -> int | None:
            settled = await wait_for_hosts(observer)
            if next(changes, False):
                before = site.reconciler.revision
                monkeypatch.setattr(host.switch, "apply", apply_later)
                host.unplug(next(iter(host.session.interfaces.values())).iface_id)
                await eventually(lambda: site.reconciler.revision > before, "the change worked out")
                asyncio.get_running_loop().call_later(0.2, slow.set)
            return settled

        monkeypatch.setattr(reading.Observer, "_settled", then_a_change)
        attestation = (await site.verify(live=True)).attestation
        assert attestation.holds, attestation.violations


async def churning(site: ProofSite) -> None:
    while True:
        for host in site.hosts:
            tap = next(iter(host.session.interfaces.values()))
            host.unplug(tap.iface_id)
            await asyncio.sleep(0.02)
            host.plug(tap.iface_id)
            await asyncio.sleep(0.02)


# -- signatures ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    ca = tmp_path_factory.mktemp("ca")
    init_ca(ca)
    return issue(ca, Identity.parse("controller/c1"))


async def test_the_payload_is_the_attestation_and_signed_by_the_certificate(certificates: Issued) -> None:
    signer = Signer(certificates.cert.read_bytes(), certificates.key.read_bytes())
    async with running(signer) as site:
        answer = await site.verify(live=True)
        cert = x509.load_pem_x509_certificate(answer.certificate)
        key = cert.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(answer.signature, answer.payload, ec.ECDSA(hashes.SHA256()))
        told = json.loads(answer.payload)
        assert list(told) == sorted(told)
        assert [h["host"] for h in told["hosts"]] == ["hosts/h1", "hosts/h2"]
