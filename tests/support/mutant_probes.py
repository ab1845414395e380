"""Packets made for one flow: such as come to it, or nearly, and differ in what they are besides.

What no header says (registers, where it came in) is taken from packets that are known to come to the flow's
table; what a header says is written into them. A flow of policy gets ends with the profiles that it names, a
connection that all clauses of a conjunction match, and one that the other table of policy admits too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from random import Random

from cloison.names import HostName
from controller.flows import Conjunction, Flow, Load, MatchTerm, field
from controller.flows.conntrack import CT_STATE
from controller.verify.intent import PortIntent
from controller.verify.packet import (
    CT_FIELDS,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    FIELD_NAMES,
    FRAGMENT_LATER,
    ND_ADVERTISEMENT,
    ND_SOLICITATION,
    PROTO_ICMPV6,
    PROTO_IPV6_FRAGMENT,
    STATE_FIELDS,
    VLAN_PRESENT,
    Packet,
)
from controller.verify.stages import CLAIMED, CLAIMED_HIGH, CLAIMED_IP, CLAIMED_LOW
from controller.verify.world import World
from tests.support.mutant_corpus import STRANGER, Arrival, Corpus, Probe
from tests.support.mutations import States

EGRESS, INGRESS = 24, 25
FORWARD = 20
# What leads to the tables of policy and on from there: it takes connections of all sorts to tell them.
NEAR_POLICY = (22, 23, 26)
STATES = (0x21, 0x21, 0x22, 0x2A, 0x24, 0x2C, 0x30)
REPLY, NEW_CONNECTION = 0x2A, 0x21
TRIES = 12
Terms = dict[str, MatchTerm]
Contrast = tuple[str, int]
"""A field, and one of its bits."""


class Probes:
    """Makes probes for flows of one world."""

    def __init__(self, rng: Random, world: World, states: States, corpus: Corpus) -> None:
        self.rng, self.world, self.states, self.corpus = rng, world, states, corpus
        self._pairs = list(corpus.pairs())
        self._led = {
            host: [ofport for at, ofport in world.by_tunnel if at == host]
            + [ofport for ofport in (world.service_of(host),) if ofport is not None]
            for host in world.hosts
        }
        self._judges = {
            host: [(host, f) for f in state.flows if f.table in (EGRESS, INGRESS) and f.match]
            for host, state in states.items()
            if world.on_host.get(host)
        }
        self._clauses: dict[HostName, dict[tuple[int, int], dict[int, list[Flow]]]] = {}

    def of(self, host: HostName, flow: Flow, others: Sequence[Flow] = ()) -> Iterator[Probe]:
        """Yield probes for a flow, without end. others: what it came instead of, or gave way to."""
        arrivals = self._arrivals(host, flow)
        contrasts = [c for other in others if other.table == flow.table for c in _contrasts(flow, other)]
        judges = [f for _, f in self._judges.get(host, ())]
        policy = {EGRESS: 0.9, INGRESS: 0.9}.get(
            flow.table, 0.5 if flow.table in NEAR_POLICY and judges else 0
        )
        while True:
            probe = None
            if self.rng.random() < policy:
                near = self.rng.choice(judges) if flow.table in NEAR_POLICY else flow
                probe = self._of_policy(host, near)
            yield probe or self._directed(host, flow, arrivals, contrasts)

    # --- any table ------------------------------------------------------------------------------------

    def _arrivals(self, host: HostName, flow: Flow) -> Sequence[Arrival]:
        """What comes to a flow's table with what the flow wants beside the header, or most of it."""
        known = self.corpus.arrivals.get((host, flow.table), [])

        def lacks(arrival: Arrival) -> int:
            return sum(arrival.kept.get(t.field.name, t.value) & t.mask != t.value for t in flow.match)

        fewest = min(map(lacks, known), default=0)
        best = [a for a in known if lacks(a) == fewest]
        # The MAC under which a frame comes to FORWARD is written by what follows from its address (_aim).
        aimed = any(t.field.name == "eth_dst" for t in flow.match) and fewest
        return [a for a in known if lacks(a) == fewest + 1] + best if aimed else best

    def _directed(
        self, host: HostName, flow: Flow, arrivals: Sequence[Arrival], contrasts: Sequence[Contrast]
    ) -> Probe:
        rng = self.rng
        terms = {t.field.name: t for t in flow.match}
        if arrivals and rng.random() < 0.95:
            # What is nearest to it, among a few.
            heard = [a for a in arrivals if a.heard] if rng.random() < 0.6 else arrivals
            some = rng.sample(heard or arrivals, min(len(heard or arrivals), rng.choice((1, 4, 16))))
            at, ofport, packet = min(some, key=lambda a: _distance(a.probe[2], terms)).probe
        else:
            at, ofport = self.corpus.packets.sender()
            packet = self.corpus.packets.make(at, ofport)
        terms = _said(terms, rng)
        if flow.table <= CLAIMED and "in_port" in terms:
            at, ofport = host, terms["in_port"].value
        elif flow.table <= CLAIMED and rng.random() < 0.7:
            at, ofport = host, rng.choice((STRANGER, rng.choice([1, *sorted(self.world.ofports_of(host))])))
            packet = self._in_network(flow) or packet
        values = {name: getattr(packet, name) for name in FIELD_NAMES}
        if rng.random() < 0.4:
            # What else it says is another packet's.
            other = self.corpus.packets.make(at, ofport)
            name = rng.choice(FIELD_NAMES)
            values[name] = getattr(other, name)
        if rng.random() < 0.5:
            values |= dict.fromkeys(CT_FIELDS, 0)
        if rng.random() < 0.3:
            values |= {"ct_state": rng.choice(STATES), "oversize": rng.getrandbits(1)}
        values |= self._unjudged(values) if rng.random() < 0.2 else {}
        if rng.random() < 0.3:
            values |= self._judged(values["eth_type"])
        raw = flow.table == FORWARD and rng.random() < 0.3
        if raw:
            # What comes out of the overlay, or from the services, has the MAC already under which it is led.
            at, ofport = host, rng.choice(self._led.get(host) or [STRANGER])
        rewritten = ("eth_src", "eth_dst") if flow.table >= FORWARD and not raw else ()
        apply(values, {n: t for n, t in terms.items() if n not in rewritten}, rng)
        if contrasts and rng.random() < 0.5:
            name, bit = rng.choice(contrasts)
            if name in values and name not in rewritten:
                values[name] ^= bit
        mac = terms.get("eth_dst")
        if flow.table >= FORWARD and mac is not None and not raw:
            _aim(values, mac.value)
        return at, ofport, whole(values)

    def _unjudged(self, values: dict[str, int]) -> dict[str, int]:
        """Neighbour discovery, which no policy is about."""
        if values["eth_type"] != ETH_IPV6:
            return {}
        kind = self.rng.choice((ND_SOLICITATION, ND_ADVERTISEMENT))
        target = values["ipv6_dst" if kind == ND_SOLICITATION else "ipv6_src"]
        return {"ip_proto": PROTO_ICMPV6, "icmpv6_type": kind, "icmpv6_code": 0, "ip_ttl": 255,
                "ipv6_nd_target": target, "ipv6_nd_sll": values["eth_src"], "ipv6_nd_tll": 0}  # fmt: skip

    def _judged(self, family: int) -> dict[str, int]:
        """The tuple of a connection that some rule admits somewhere."""
        judges = self._judges[self.rng.choice(sorted(self._judges))] if self._judges else []
        if family not in (ETH_IPV4, ETH_IPV6) or not judges:
            return {}
        host, flow = self.rng.choice(judges)
        terms = self._terms(host, flow)
        if "eth_type" in terms and terms["eth_type"].value != family:
            return {}
        values = self._connection(host, family)
        apply(values, {n: t for n, t in terms.items() if n in values}, self.rng)
        return {**values, "ct_state": self.rng.choice((NEW_CONNECTION, REPLY))}

    def _in_network(self, flow: Flow) -> Packet | None:
        """What ports of the network that a flow leads to might say to each other."""
        vni = next((a.value for a in flow.actions if isinstance(a, Load) and a.field.name == "reg0"), None)
        network = self.world.by_vni.get(vni) if vni is not None else None
        pairs = [p for p in self._pairs if network is not None and p[0].name.parent == network.name]
        kind = next((t.value for t in flow.match if t.field.name == "eth_type"), ETH_IPV4)
        known = pairs and kind in (ETH_ARP, ETH_IPV4, ETH_IPV6)
        return self.corpus.between(*self.rng.choice(pairs), kind) if known else None

    # --- policy ---------------------------------------------------------------------------------------

    def _of_policy(self, host: HostName, flow: Flow) -> Probe | None:
        rng = self.rng
        terms = self._terms(host, flow)
        reply = rng.random() < 0.25
        ends = [
            (s, r) for s, r in self._pairs if r.host == host and _fits((r, s) if reply else (s, r), terms)
        ]
        if not ends:
            return None
        sender, receiver = rng.choice(ends)
        family = terms["eth_type"].value if "eth_type" in terms else rng.choice((ETH_IPV4, ETH_IPV6))
        packet = self.corpus.between(sender, receiver, family)
        if packet is None or sender.host is None:
            return None
        values = {name: getattr(packet, name) for name in FIELD_NAMES}
        if rng.random() < 0.5:
            values |= self._connection(host, family)
        apply(values, {n: t for n, t in terms.items() if n in values and n != "eth_type"}, rng)
        values["ct_state"] = REPLY if reply else rng.choice((NEW_CONNECTION, NEW_CONNECTION, 0x22, 0x24))
        return sender.host, sender.ofport, whole(values)

    def _connection(self, host: HostName, family: int) -> dict[str, int]:
        """A tuple of which some rule speaks, or one that is near to that."""
        rng, packets = self.rng, self.corpus.packets
        ips = ("ct_nw_src", "ct_nw_dst") if family == ETH_IPV4 else ("ct_ipv6_src", "ct_ipv6_dst")
        pool = packets.ips4 if family == ETH_IPV4 else packets.ips6
        return {
            **{name: rng.choice(pool) for name in ips},
            "ct_nw_proto": rng.choice((1, 6, 6, 17, 47, 58)),
            "ct_tp_src": rng.choice((0, 3, 8, 40000)),
            "ct_tp_dst": rng.choice((0, 4, 22, 53, 80, 443, 8080, rng.getrandbits(16))),
        }

    def _terms(self, host: HostName, flow: Flow) -> Terms:
        """What a packet matches that meets a flow, all of a conjunction, and most often the other table."""
        other = INGRESS if flow.table == EGRESS else EGRESS
        admitting = [f for f in self.states[host].flows if f.table == other and f.goto is not None]
        both = self.rng.random() < 0.7
        for attempt in range(TRIES):
            ways = [self._complete(host, flow)]
            if admitting and both and attempt < TRIES - 1:
                ways.append(self._complete(host, self.rng.choice(admitting)))
            found = merged(part for way in ways for part in way)
            if found is not None:
                return found
        return {t.field.name: t for t in flow.match}

    def _complete(self, host: HostName, flow: Flow) -> list[Flow]:
        """A flow, with one of each other clause of one conjunction that it is a part of, or opens."""
        parts = [a for a in flow.actions if isinstance(a, Conjunction)]
        number = self.rng.choice(parts).id if parts else None
        number = next((t.value for t in flow.match if t.field.name == "conj_id"), number)
        if number is None:
            return [flow]
        own = {a.clause for a in parts if a.id == number}
        clauses = self.clauses(host).get((flow.table, number), {})
        return [flow, *(self.rng.choice(flows) for clause, flows in clauses.items() if clause not in own)]

    def clauses(self, host: HostName) -> dict[tuple[int, int], dict[int, list[Flow]]]:
        """The flows of each clause of each conjunction, by table and number, in the right state."""
        found = self._clauses.get(host)
        if found is None:
            found = self._clauses[host] = defaultdict(lambda: defaultdict(list))
            for flow in self.states[host].flows:
                for action in flow.actions:
                    if isinstance(action, Conjunction):
                        found[flow.table, action.id][action.clause].append(flow)
        return found

    # --- one table alone ------------------------------------------------------------------------------

    def inside(self, host: HostName, flow: Flow) -> tuple[Packet, dict[str, int]]:
        """A packet, and what the bridge keeps beside it, as they come to a flow, or nearly."""
        rng = self.rng
        packet = self.corpus.packets.make(*self.corpus.packets.sender())
        profiles = [0, 1, 2, *(p.profile for p in self.world.ports.values())]
        values = {name: getattr(packet, name) for name in FIELD_NAMES}
        if flow.table in (EGRESS, INGRESS) and packet.ct_state:
            values |= {"ct_state": NEW_CONNECTION}
            values |= self._connection(host, packet.eth_type)
        kept = {**dict.fromkeys(STATE_FIELDS, 0), **{name: values[name] for name in CT_FIELDS}}
        kept |= {
            "reg2": rng.randrange(1, 9),
            "reg3": rng.choice((1, 2, 4, 9, 17)),
            "reg8": rng.randrange(1, 3),
        }
        kept |= {f"reg{n}": rng.choice(profiles) for n in (4, 5, 6, 7)}
        kept["in_port"] = rng.randrange(1, 9)
        terms = merged(self._complete(host, flow)) or {t.field.name: t for t in flow.match}
        terms.pop("conj_id", None)
        apply(values, terms, rng)
        apply(kept, terms, rng)
        return Packet(**values), kept


def _contrasts(flow: Flow, other: Flow) -> Iterator[Contrast]:
    """Yield what tells packets of a flow from those of another: bits that only the other one looks at."""
    mine = {t.field.name: t for t in flow.match}
    for term in other.match:
        known = mine.get(term.field.name)
        left = term.mask & ~(known.mask if known is not None else 0)
        while left:
            yield term.field.name, left & -left
            left &= left - 1


def _distance(packet: Packet, terms: Terms) -> int:
    return sum(
        getattr(packet, name) & term.mask != term.value for name, term in terms.items() if name in FIELD_NAMES
    )


def _fits(ends: tuple[PortIntent, PortIntent], terms: Terms) -> bool:
    """Tell whether who opens a connection, and the other end, have the profiles that terms name."""
    named = ((terms.get(name), port.profile) for name, port in zip(("reg6", "reg7"), ends, strict=True))
    return all(term is None or profile & term.mask == term.value for term, profile in named)


def merged(flows: Iterable[Flow]) -> Terms | None:
    """All that some flows match together; None if that is nothing."""
    found: Terms = {}
    for flow in flows:
        for term in flow.match:
            known = found.get(term.field.name)
            if known is None:
                found[term.field.name] = term
                continue
            if (known.value ^ term.value) & known.mask & term.mask:
                return None
            found[term.field.name] = MatchTerm(term.field, known.value | term.value, known.mask | term.mask)
    return found


def apply(values: dict[str, int], terms: Terms, rng: Random) -> None:
    """Make values match the terms, most often all of them."""
    there = [name for name in terms if name in values]
    near = rng.choice(there) if there and rng.random() < 0.25 else None
    for name in there:
        term = terms[name]
        # What the term leaves open: as it is, or near to what it says, or anything.
        bit = 1 << rng.randrange(term.field.width)
        other = rng.choice((values[name], term.value ^ bit, rng.getrandbits(term.field.width)))
        values[name] = other & ~term.mask | term.value
        if name == near and term.mask:
            values[name] ^= 1 << rng.choice([n for n in range(term.field.width) if term.mask >> n & 1])


def whole(values: dict[str, int]) -> Packet:
    """A packet that may be: no fragment that shows what it cannot have, no numbers that are too large."""
    values["arp_op"] &= 0xFF
    values["ip_frag"] &= 3
    if values["ip_frag"] == FRAGMENT_LATER:
        values["ip_frag"] = 3
    if values["ip_frag"] & FRAGMENT_LATER and values["eth_type"] == ETH_IPV6:
        values["ip_proto"] = PROTO_IPV6_FRAGMENT
    if values["vlan_vid"]:
        values["vlan_vid"] |= VLAN_PRESENT
    if values["ct_state"] & CT_STATE["new"]:
        # What begins a connection is no reply: no tracker calls a packet both.
        values["ct_state"] &= ~CT_STATE["rpl"]
    return Packet(**values).canonical()


def _said(terms: Terms, rng: Random) -> Terms:
    """What a frame must say for CLAIMED to be told what a flow there looks at."""
    told = {name: terms[name] for name in (CLAIMED_IP, CLAIMED_LOW, CLAIMED_HIGH) if name in terms}
    if not told:
        return terms
    kind, ip, mac = rng.choice(((ETH_ARP, "arp_spa", "arp_sha"), (ETH_IPV4, "ipv4_src", "eth_src")))
    found = {name: term for name, term in terms.items() if name not in told}
    found["eth_type"] = MatchTerm(field("eth_type"), kind, 0xFFFF)
    if CLAIMED_IP in told:
        found[ip] = told[CLAIMED_IP]._replace(field=field(ip))
    value = mask = 0
    for name, bits, at in ((CLAIMED_LOW, 0xFFFF_FFFF, 0), (CLAIMED_HIGH, 0xFFFF, 32)):
        if name in told:
            value |= (told[name].value & bits) << at
            mask |= (told[name].mask & bits) << at
    return {mac: MatchTerm(field(mac), value, mask), **found}


def _aim(values: dict[str, int], mac: int) -> None:
    """Make a packet that comes to FORWARD with this destination MAC."""
    low = mac & 0xFFFFFFFF
    if mac >> 32 == 0x0AF0:
        values["arp_tpa" if values["eth_type"] == ETH_ARP else "ipv4_dst"] = low
    elif mac >> 32 == 0x0AF6:
        for name in ("ipv6_dst", "ipv6_nd_target"):
            values[name] = values[name] & ~0xFFFFFFFF | low
    else:
        # Outside the subnets the MAC decides.
        values |= {"eth_dst": mac, "ipv4_dst": 0x08080808, "ipv6_dst": 0x20014860 << 96 | 8}
