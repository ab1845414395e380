"""DNS messages: a query read, an answer written. Pure; dnspython does the wire format.

RFC 1035; RFC 2308 (negative answers), RFC 6891 (EDNS0), RFC 8482 (ANY), RFC 9619 (one question).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from agent.services.dns_zones import ROOT_DOMAIN, SERVER_NAME, Node, text_of

TTL_S, NEGATIVE_TTL_S = 10, 5
"""An address moves to another port within seconds; no answer may outlive that for long."""
UDP_BYTES_MAX = 1232
"""What is sent in one datagram, and what is announced by EDNS0: fits the least MTU of IPv6."""
UDP_BYTES_MIN = 512
TCP_BYTES_MAX = 65535
QUERY_BYTES_MAX = 1232
"""A query is a name and perhaps options: more than this nobody needs."""

_HEADER = struct.Struct("!HHHHHH")
_QR, _OPCODE, _RD, _RCODE_NOTIMP, _RCODE_FORMERR = 0x8000, 0x7800, 0x0100, 4, 1
_ADDITIONALS_MAX = 2
"""OPT, and a signature."""
_TRANSFERS = frozenset({dns.rdatatype.AXFR, dns.rdatatype.IXFR, dns.rdatatype.MAILA, dns.rdatatype.MAILB})
_SOA = f"{SERVER_NAME}. hostmaster.{ROOT_DOMAIN}. 1 3600 600 86400 {NEGATIVE_TTL_S}"

# What dnspython raises for bytes it cannot make sense of: its own, and those of what it is built on.
UNREADABLE = (
    dns.exception.DNSException,
    ValueError,
    struct.error,
    IndexError,
    KeyError,
    OverflowError,
    TypeError,
)


@dataclass(frozen=True, slots=True)
class Query:
    """A query that can be answered: one question of class IN. `text` is its name as dns_zones has it."""

    message: dns.message.Message
    name: dns.name.Name
    kind: dns.rdatatype.RdataType
    text: str
    over_tcp: bool
    udp_bytes_max: int = UDP_BYTES_MAX

    @property
    def bytes_max(self) -> int:
        """How long the answer may be."""
        if self.over_tcp:
            return TCP_BYTES_MAX
        if self.message.edns < 0:
            return UDP_BYTES_MIN
        return max(UDP_BYTES_MIN, min(self.message.payload, self.udp_bytes_max))


def read(wire: bytes, *, over_tcp: bool, udp_bytes_max: int = UDP_BYTES_MAX) -> Query | bytes | None:
    """Return a query; or the answer to what is none; or None for what must not be answered at all.

    udp_bytes_max: what the way to the guest can carry.
    """
    if len(wire) < _HEADER.size:
        return None
    _, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(wire)
    if flags & _QR:
        return None  # an answer to an answer would go round for ever
    if flags & _OPCODE:
        return _bare(wire, _RCODE_NOTIMP)
    if (questions, answers, authorities) != (1, 0, 0) or additionals > _ADDITIONALS_MAX:
        return _bare(wire, _RCODE_FORMERR)
    if len(wire) > QUERY_BYTES_MAX:
        return _bare(wire, _RCODE_FORMERR)
    try:
        message = dns.message.from_wire(wire, keyring=False)
        question = message.question[0]
        text = text_of(question.name.labels[:-1])
        query = Query(message, question.name, question.rdtype, text, over_tcp, udp_bytes_max)
        refusal = _refusal(query, question.rdclass)
        return query if refusal is None else failure(query, refusal)
    except UNREADABLE:
        return _bare(wire, _RCODE_FORMERR)


def _refusal(query: Query, rdclass: dns.rdataclass.RdataClass) -> dns.rcode.Rcode | None:
    """Return why a query that can be read is not answered, or None."""
    if query.message.edns > 0:
        return dns.rcode.BADVERS
    if rdclass != dns.rdataclass.IN or query.kind in _TRANSFERS:
        return dns.rcode.REFUSED
    if dns.rdatatype.is_metatype(query.kind) and query.kind != dns.rdatatype.ANY:
        return dns.rcode.FORMERR
    return None


def _bare(wire: bytes, rcode: int) -> bytes:
    """Return an answer that is only a header: all that is safe to say to what could not be read."""
    number, flags, *_ = _HEADER.unpack_from(wire)
    return _HEADER.pack(number, _QR | flags & (_OPCODE | _RD) | rcode, 0, 0, 0, 0)


def failure(query: Query, rcode: dns.rcode.Rcode, *, recursion: bool = True) -> bytes:
    """Return an answer without records. recursion: whether names are looked up elsewhere."""
    response = _response(query, recursion=recursion)
    response.set_rcode(rcode)
    return _written(response, query)


def from_zones(query: Query, node: Node, *, recursion: bool) -> bytes:
    """Return the answer from the tenant's own names. recursion: whether others are looked up elsewhere."""
    response = _response(query, recursion=recursion)
    response.flags |= dns.flags.AA
    records = list(_records(query, node))
    for kind, texts in records:
        response.answer.append(_rrset(query.name, kind, texts, TTL_S))
    if not records:
        apex = dns.name.from_text(node.apex)
        response.authority.append(_rrset(apex, dns.rdatatype.SOA, [_SOA], NEGATIVE_TTL_S))
    if not node.exists:
        response.set_rcode(dns.rcode.NXDOMAIN)
    return _written(response, query)


def _records(query: Query, node: Node) -> Iterator[tuple[dns.rdatatype.RdataType, list[str]]]:
    """Yield what answers the query, by type."""
    known: dict[dns.rdatatype.RdataType, list[str]] = {
        dns.rdatatype.A: [str(IPv4Address(address)) for address in node.addresses if len(address) == 4],
        dns.rdatatype.AAAA: [str(IPv6Address(address)) for address in node.addresses if len(address) == 16],
        dns.rdatatype.PTR: [f"{name}." for name in node.names],
    }
    if node.is_apex(query.text):
        known |= {dns.rdatatype.SOA: [_SOA], dns.rdatatype.NS: [f"{SERVER_NAME}."]}
    for kind, texts in known.items():
        if texts and query.kind in (kind, dns.rdatatype.ANY):
            yield kind, texts


def _rrset(
    name: dns.name.Name, kind: dns.rdatatype.RdataType, texts: list[str], ttl_s: int
) -> dns.rrset.RRset:
    records = [dns.rdata.from_text(dns.rdataclass.IN, kind, text) for text in texts]
    return dns.rrset.from_rdata_list(name, ttl_s, records)


def outgoing(query: Query, number: int) -> bytes:
    """Return a query to a resolver for what a guest asked: its question and three flags, nothing else."""
    message = dns.message.make_query(
        query.name, query.kind, use_edns=0, payload=UDP_BYTES_MAX, want_dnssec=wants_dnssec(query), id=number
    )
    message.flags = query.message.flags & (dns.flags.RD | dns.flags.CD)
    return message.to_wire()


def wants_dnssec(query: Query) -> bool:
    """Tell whether a guest asked for signatures."""
    return query.message.edns >= 0 and bool(query.message.ednsflags & dns.flags.DO)


def answer_to(query: Query, number: int, wire: bytes) -> dns.message.Message | None:
    """Return a resolver's answer to `outgoing(query, number)`; None if these bytes are not that."""
    try:
        # A truncated answer may end within a record, and none is used: the guest asks again by TCP.
        is_truncated = len(wire) >= _HEADER.size and bool(_HEADER.unpack_from(wire)[1] & dns.flags.TC)
        message = dns.message.from_wire(wire, keyring=False, ignore_trailing=True, question_only=is_truncated)
    except UNREADABLE:
        return None
    if message.id != number or not message.flags & dns.flags.QR or message.opcode() != dns.opcode.QUERY:
        return None
    if len(message.question) != 1:
        return None
    question = message.question[0]
    same = (
        question.name == query.name
        and question.rdtype == query.kind
        and question.rdclass == dns.rdataclass.IN
    )
    return message if same else None


def passed_on(query: Query, answer: dns.message.Message) -> bytes:
    """Return a resolver's answer as the guest gets it."""
    response = _response(query)
    response.flags |= answer.flags & dns.flags.TC
    rcode = answer.rcode()
    # An extended code needs an OPT record, which who sent none would not read.
    response.set_rcode(rcode if rcode < 16 or query.message.edns >= 0 else dns.rcode.SERVFAIL)
    response.answer, response.authority = answer.answer, answer.authority
    response.additional = answer.additional
    try:
        return _written(response, query)
    except UNREADABLE:
        return failure(query, dns.rcode.SERVFAIL)


def _response(query: Query, *, recursion: bool = True) -> dns.message.Message:
    response = dns.message.QueryMessage(id=query.message.id)
    response.flags = dns.flags.QR | query.message.flags & (dns.flags.RD | dns.flags.CD)
    if recursion:
        response.flags |= dns.flags.RA
    response.question = list(query.message.question)
    if query.message.edns >= 0:
        response.use_edns(0, query.message.ednsflags & dns.flags.DO, payload=UDP_BYTES_MAX)
    return response


def _written(response: dns.message.Message, query: Query) -> bytes:
    """Return the wire form; what does not fit is left out, and said to be (the TC flag)."""
    return response.to_wire(max_size=query.bytes_max, prefer_truncation=True)
