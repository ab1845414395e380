"""Queries read and answers written, judged by dnspython and by what the RFCs say."""

from __future__ import annotations

import random
import struct
from ipaddress import ip_address

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from agent.services import dns_message
from agent.services.dns_message import Query
from agent.services.dns_zones import Node
from tests.support.effort import examples

APEX, WEB = "net1.t1.cloison.internal", "web.net1.t1.cloison.internal"
NODE = Node(APEX, True, (ip_address("10.0.0.5").packed, ip_address("fd00:1::5").packed))

SIGNATURE = "A 8 2 60 20300101000000 20200101000000 1 example. AAAA"
RECORDS = [
    ("A", "192.0.2.1"), ("CNAME", "a.example."), ("MX", "1 a.example."), ("TXT", '"x" "y"'),
    ("SOA", ". . 1 2 3 4 5"), ("SRV", "1 2 3 a.example."), ("NSEC", "a.example. A"),
    ("HTTPS", "1 . alpn=h2"), ("RRSIG", SIGNATURE),
]  # fmt: skip


def read(message: dns.message.Message | bytes, *, over_tcp: bool = False) -> Query:
    wire = message if isinstance(message, bytes) else message.to_wire()
    query = dns_message.read(wire, over_tcp=over_tcp)
    assert isinstance(query, Query)
    return query


def answered(query: Query, node: Node = NODE, *, recursion: bool = True) -> dns.message.Message:
    return dns.message.from_wire(dns_message.from_zones(query, node, recursion=recursion))


def refused(message: dns.message.Message | bytes) -> dns.message.Message:
    wire = message if isinstance(message, bytes) else message.to_wire()
    answer = dns_message.read(wire, over_tcp=False)
    assert isinstance(answer, bytes)
    return dns.message.from_wire(answer)


def texts(message: dns.message.Message) -> set[str]:
    return {record.to_text() for rrset in message.answer for record in rrset}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("A", {"10.0.0.5"}), ("AAAA", {"fd00:1::5"}), ("ANY", {"10.0.0.5", "fd00:1::5"}), ("TXT", set())],
)
def test_what_a_name_means(kind: str, expected: set[str]) -> None:
    message = dns.message.make_query("WeB.NET1.t1.cloison.internal", kind)
    answer = answered(read(message))
    assert texts(answer) == expected
    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.flags & dns.flags.AA
    assert answer.flags & dns.flags.RA
    assert answer.flags & dns.flags.RD
    assert answer.id == message.id
    assert str(answer.question[0].name) == "WeB.NET1.t1.cloison.internal.", "the asker's spelling comes back"
    assert all(5 <= rrset.ttl <= 30 for rrset in answer.answer)


@pytest.mark.parametrize(("exists", "rcode"), [(True, dns.rcode.NOERROR), (False, dns.rcode.NXDOMAIN)])
def test_a_negative_answer_says_for_how_long_and_in_which_zone(exists: bool, rcode: dns.rcode.Rcode) -> None:
    answer = answered(read(dns.message.make_query("no." + APEX, "A")), Node(APEX, exists))
    assert answer.rcode() == rcode
    (soa,) = answer.authority
    assert soa.rdtype == dns.rdatatype.SOA
    assert str(soa.name) == APEX + "."
    assert soa.ttl == soa[0].minimum == 5
    assert not answer.answer


def test_the_apex_has_soa_and_ns_and_no_address() -> None:
    node = Node(APEX, True)
    for kind, start in (("SOA", "dns.cloison.internal. "), ("NS", "dns.cloison.internal.")):
        (text,) = texts(answered(read(dns.message.make_query(APEX, kind)), node))
        assert text.startswith(start)
    assert not texts(answered(read(dns.message.make_query(APEX, "A")), node))


def test_edns_is_answered_with_edns_and_only_then() -> None:
    plain = answered(read(dns.message.make_query(WEB, "A", use_edns=False)))
    assert plain.edns == -1
    with_edns = answered(read(dns.message.make_query(WEB, "A", use_edns=0, payload=4096, want_dnssec=True)))
    assert with_edns.edns == 0
    assert with_edns.payload == 1232
    assert with_edns.ednsflags & dns.flags.DO
    assert refused(dns.message.make_query(WEB, "A", use_edns=1)).rcode() == dns.rcode.BADVERS


@pytest.mark.parametrize(("payload", "limit"), [(None, 512), (100, 512), (900, 900), (65535, 1232)])
def test_what_does_not_fit_a_datagram_is_cut_and_said_to_be(payload: int | None, limit: int) -> None:
    many = Node(APEX, True, tuple((0x0A000000 + i).to_bytes(4) for i in range(200)))
    options = {"use_edns": False} if payload is None else {"use_edns": 0, "payload": payload}
    message = dns.message.make_query(WEB, "A", **options)
    wire = dns_message.from_zones(read(message), many, recursion=True)
    assert len(wire) <= limit
    assert dns.message.from_wire(wire).flags & dns.flags.TC
    whole = dns_message.from_zones(read(message, over_tcp=True), many, recursion=True)
    assert len(texts(dns.message.from_wire(whole))) == 200


def test_an_answer_is_no_longer_than_its_way_can_carry() -> None:
    many = Node(APEX, True, tuple((0x0A000000 + i).to_bytes(4) for i in range(200)))
    wire = dns.message.make_query(WEB, "A", use_edns=0, payload=4096).to_wire()
    for room, limit in ((952, 952), (100, 512)):
        query = dns_message.read(wire, over_tcp=False, udp_bytes_max=room)
        assert isinstance(query, Query)
        assert len(dns_message.from_zones(query, many, recursion=True)) <= limit


def test_what_is_not_a_query_we_answer() -> None:
    good = dns.message.make_query(WEB, "A").to_wire()
    answer = dns.message.make_response(dns.message.from_wire(good)).to_wire()
    assert dns_message.read(answer, over_tcp=False) is None, "an answer is never answered"
    assert dns_message.read(good[:11], over_tcp=False) is None
    two = struct.pack("!H", 2)
    assert refused(good[:4] + two + good[6:]).rcode() == dns.rcode.FORMERR
    assert refused(good[:-1]).rcode() == dns.rcode.FORMERR
    assert refused(good + bytes(2000)).rcode() == dns.rcode.FORMERR
    assert refused(dns.message.make_query(WEB, "AXFR")).rcode() == dns.rcode.REFUSED
    assert refused(dns.message.make_query(WEB, "TXT", rdclass="CH")).rcode() == dns.rcode.REFUSED
    for opcode in (dns.opcode.NOTIFY, dns.opcode.UPDATE, dns.opcode.STATUS):
        header = struct.unpack_from("!H", good)[0], (opcode << 11) | 0x0100
        bad = refused(struct.pack("!HH", *header) + good[4:])
        assert bad.rcode() == dns.rcode.NOTIMP


def test_of_a_guests_message_only_the_question_goes_out() -> None:
    message = dns.message.make_query("secret.example", "A", use_edns=0, want_dnssec=True)
    message.use_edns(0, dns.flags.DO, 4096, options=[dns.edns.GenericOption(65001, b"from the guest")])
    out = dns.message.from_wire(dns_message.outgoing(read(message), 4711))
    assert out.id == 4711
    assert out.options == ()
    assert out.ednsflags & dns.flags.DO
    assert out.question == message.question


def test_an_answer_is_believed_if_it_is_to_what_was_asked() -> None:
    query = read(dns.message.make_query("www.example", "A"))
    asked = dns.message.from_wire(dns_message.outgoing(query, 4711))

    def reply(**changes: object) -> bytes:
        response = dns.message.make_response(asked)
        for key, value in changes.items():
            setattr(response, key, value)
        return response.to_wire()

    assert dns_message.answer_to(query, 4711, reply()) is not None
    assert dns_message.answer_to(query, 4712, reply()) is None
    assert dns_message.answer_to(query, 4711, reply(flags=0)) is None
    other = dns.rrset.from_text("www.other.", 0, "IN", "A")
    assert dns_message.answer_to(query, 4711, reply(question=[other])) is None
    assert dns_message.answer_to(query, 4711, reply(question=[])) is None
    assert dns_message.answer_to(query, 4711, b"") is None
    cut = bytearray(reply(answer=[dns.rrset.from_text("www.example.", 60, "IN", "A", "192.0.2.1")]))
    cut[2] |= 0x02
    truncated = dns_message.answer_to(query, 4711, bytes(cut[:-3]))
    assert truncated is not None
    passed = dns.message.from_wire(dns_message.passed_on(query, truncated))
    assert passed.flags & dns.flags.TC


def test_a_resolvers_answer_comes_in_the_guests_form() -> None:
    query = read(dns.message.make_query("www.example", "A", use_edns=False))
    answer = dns.message.make_response(dns.message.from_wire(dns_message.outgoing(query, 1)))
    answer.flags |= dns.flags.AD | dns.flags.RA
    answer.answer = [
        dns.rrset.from_text("www.example.", 60, "IN", "CNAME", "real.example."),
        dns.rrset.from_text("real.example.", 60, "IN", "A", "192.0.2.1"),
    ]
    got = dns.message.from_wire(dns_message.passed_on(query, answer))
    assert got.id == query.message.id
    assert got.edns == -1
    assert not got.flags & dns.flags.AD, "nobody here has checked a signature"
    assert texts(got) == {"real.example.", "192.0.2.1"}


def mutations(seeds: list[bytes], count: int) -> list[bytes]:
    chance = random.Random(4711)
    made = []
    for _ in range(count):
        wire = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 6)):
            what = chance.randrange(4)
            at = chance.randrange(len(wire)) if wire else 0
            if what == 0 and wire:
                wire[at] = chance.choice([0, 1, 0x3F, 0x40, 0x80, 0xC0, 0xFF, chance.randrange(256)])
            elif what == 1:
                del wire[at : at + chance.randrange(1, 9)]
            elif what == 2:
                wire[at:at] = chance.randbytes(chance.randrange(1, 9))
            else:
                wire[at:at] = wire[at // 2 : at]
        made.append(bytes(wire))
    return made


def test_no_bytes_break_the_reader_and_no_answer_is_too_long() -> None:
    queries = [
        dns.message.make_query(WEB, "A").to_wire(),
        dns.message.make_query(WEB, "AAAA", use_edns=0, want_dnssec=True, payload=4096).to_wire(),
        dns.message.make_query("5.0.0.10.in-addr.arpa", "PTR", use_edns=False).to_wire(),
        dns.message.make_query(WEB, "A", use_edns=0, options=[dns.edns.ECSOption("192.0.2.0", 24)]).to_wire(),
    ]
    many = Node(APEX, True, tuple((0x0A000000 + i).to_bytes(4) for i in range(200)))
    read_well = 0
    for wire in mutations(queries, examples(10_000)):
        for over_tcp in (False, True):
            query = dns_message.read(wire, over_tcp=over_tcp)
            if not isinstance(query, Query):
                assert query is None or 12 <= len(query) <= 1232
                continue
            read_well += 1
            assert len(dns_message.from_zones(query, many, recursion=True)) <= query.bytes_max
            assert len(dns_message.failure(query, dns.rcode.SERVFAIL)) <= query.bytes_max
            dns_message.outgoing(query, 1)
    assert read_well, "the damage is not so great that nothing is tried"


def test_no_answer_of_a_resolver_breaks_the_guests() -> None:
    query = read(dns.message.make_query("www.example", "A"))
    response = dns.message.make_response(dns.message.from_wire(dns_message.outgoing(query, 1)))
    for kind, text in RECORDS:
        response.answer.append(dns.rrset.from_text("www.example.", 60, "IN", kind, text))
    believed = 0
    for wire in mutations([response.to_wire()], examples(10_000)):
        answer = dns_message.answer_to(query, 1, wire)
        if answer is not None:
            believed += 1
            assert len(dns_message.passed_on(query, answer)) <= query.bytes_max
    assert believed
