"""Two nftables tables named `cloison`, changed in one transaction: who may send VXLAN here, and whom the
host ignores.

The kernel delivers a VXLAN frame from any source that knows a VNI, so UDP 4789 is open, for each VNI, to
the VTEPs that have it in the plan. And with the userspace datapath the host's own IP stack hears every
frame that enters the bridge; interfaces of the bridge are therefore shut to it (Open vSwitch takes its copy
earlier). Changes travel as JSON. Only the whole is written as text, because JSON cannot say the type of a
set that holds a VNI: of the values in it, addresses and VNIs are formatted here, and names are checked.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Iterable
from typing import Any

from agent.netlink import nft
from agent.netlink.requests import Requests
from agent.netlink.wire import NFGENMSG, VXLAN_PORT, attributes, message
from agent.plan import Firewall, Peer, Vtep
from cloison.errors import Unavailable
from cloison.model import Vni

_TABLE = "cloison"
_FAMILIES = ("inet", "arp")
# As nft lists them: family, name, type.
_SETS = (
    ("inet", "vteps4", ("ipv4_addr", "integer")),
    ("inet", "vteps6", ("ipv6_addr", "integer")),
    ("inet", "guarded", ("ifname",)),
    ("arp", "guarded", ("ifname",)),
)
# RFC 7348, section 5: behind 8 bytes of UDP and 4 of VXLAN flags come 24 bits of VNI.
_VNI = {"payload": {"base": "th", "offset": 96, "len": 24}}
_SKELETON = """
table inet cloison
delete table inet cloison
table arp cloison
delete table arp cloison
table inet cloison {{
  set vteps4 {{ typeof ip saddr . @th,96,24; {vteps4} }}
  set vteps6 {{ typeof ip6 saddr . @th,96,24; {vteps6} }}
  set guarded {{ type ifname; {guarded} }}
  chain vxlan {{
    type filter hook input priority -300; policy accept;
    udp dport 4789 ip saddr . @th,96,24 != @vteps4 counter drop
    udp dport 4789 ip6 saddr . @th,96,24 != @vteps6 counter drop
  }}
  chain guard {{
    type filter hook prerouting priority -500; policy accept;
    iifname @guarded counter drop
  }}
}}
table arp cloison {{
  set guarded {{ type ifname; {guarded} }}
  chain guard {{
    type filter hook input priority 0; policy accept;
    iifname @guarded counter drop
  }}
}}
"""
_CHAINS = (
    # Local delivery, so that VXLAN of others which is only routed through this host is left alone.
    ("inet", "vxlan", "input", -300),
    # Before connection tracking and reassembly see anything of a tenant.
    ("inet", "guard", "prerouting", -500),
    ("arp", "guard", "input", 0),
)
# NFT_MSG_GETGEN of linux/netfilter/nf_tables.h: subsystem 10, message 16.
_GET_GENERATION = message(10 << 8 | 16, 0, NFGENMSG.pack(0, 0, 0))
_NFTA_GEN_ID = 1
TIMEOUT_S = 10.0
_NAME = re.compile(r"[A-Za-z0-9_.@:-]{1,15}")


def _match(left: dict[str, Any], operator: str, right: Any) -> dict[str, Any]:
    return {"match": {"op": operator, "left": left, "right": right}}


def _foreign(protocol: str, peers: str) -> list[dict[str, Any]]:
    return [
        _match({"payload": {"protocol": "udp", "field": "dport"}}, "==", VXLAN_PORT),
        _match({"concat": [{"payload": {"protocol": protocol, "field": "saddr"}}, _VNI]}, "!=", f"@{peers}"),
        {"counter": None},
        {"drop": None},
    ]


_FROM_BRIDGE = [_match({"meta": {"key": "iifname"}}, "==", "@guarded"), {"counter": None}, {"drop": None}]
_RULES: tuple[tuple[str, str, list[dict[str, Any]]], ...] = (
    ("inet", "vxlan", _foreign("ip", "vteps4")),
    ("inet", "vxlan", _foreign("ip6", "vteps6")),
    ("inet", "guard", _FROM_BRIDGE),
    ("arp", "guard", _FROM_BRIDGE),
)


def _elements(peers: Iterable[Peer], guarded: Iterable[str]) -> dict[tuple[str, str], list[Any]]:
    """Return what goes into each set, as nft writes it in JSON."""
    found: dict[int, list[tuple[str, int]]] = {4: [], 16: []}
    for vni, vtep in peers:
        family = socket.AF_INET if len(vtep) == 4 else socket.AF_INET6
        found[len(vtep)].append((socket.inet_ntop(family, vtep), int(vni)))
    names = sorted(guarded)
    return {
        ("inet", "vteps4"): [{"concat": [*peer]} for peer in sorted(found[4])],
        ("inet", "vteps6"): [{"concat": [*peer]} for peer in sorted(found[16])],
        ("inet", "guarded"): names,
        ("arp", "guarded"): names,
    }


def rebuild_text(wanted: Firewall) -> str:
    """Return the transaction that replaces whatever is there by wanted; raises Unavailable for a name that
    no interface of ours has.
    """
    odd = sorted(name for name in wanted.guarded if not _NAME.fullmatch(name))
    if odd:
        raise Unavailable(f"interface {odd[0]!r} cannot be guarded: rename it")
    elements = _elements(wanted.peers, wanted.guarded)
    vteps = {
        name: ", ".join(
            f"{address} . {vni}" for address, vni in (e["concat"] for e in elements["inet", name])
        )
        for name in ("vteps4", "vteps6")
    }
    guarded = ", ".join(f'"{name}"' for name in sorted(wanted.guarded))
    parts = {**vteps, "guarded": guarded}
    return _SKELETON.format(
        **{name: f"elements = {{ {members} }};" if members else "" for name, members in parts.items()}
    )


def change_commands(actual: Firewall, wanted: Firewall) -> list[dict[str, Any]]:
    """Return the transaction from actual to wanted, both intact: members of sets only."""
    return [
        *_element_commands("delete", actual.peers - wanted.peers, actual.guarded - wanted.guarded),
        *_element_commands("add", wanted.peers - actual.peers, wanted.guarded - actual.guarded),
    ]


def _element_commands(verb: str, peers: Iterable[Peer], guarded: Iterable[str]) -> list[dict[str, Any]]:
    return [
        {verb: {"element": {"family": family, "table": _TABLE, "name": name, "elem": members}}}
        for (family, name), members in _elements(peers, guarded).items()
        if members
    ]


def parse(listings: Iterable[dict[str, Any]]) -> Firewall:
    """Make a Firewall of what `nft -j list table` printed for each family."""
    sets: dict[tuple[str, str], set[Any]] = {}
    kinds, chains, rules = set(), set(), []
    for item in (item for listing in listings for item in listing.get("nftables", [])):
        if "set" in item:
            body = item["set"]
            key = (body["family"], body["name"])
            sets[key], plain = _members(body)
            kind = body["type"] if isinstance(body["type"], list) else [body["type"]]
            kinds.add((*key, tuple(kind) if plain else None))
        elif "chain" in item:
            body = item["chain"]
            shape = (body.get("hook"), body.get("prio")) if body.get("policy") == "accept" else (None, None)
            chains.add((body["family"], body["name"], *shape))
        elif "rule" in item:
            body = item["rule"]
            rules.append((body["family"], body["chain"], [_uncounted(part) for part in body["expr"]]))
    peers = {_peer(socket.AF_INET, member) for member in sets.get(("inet", "vteps4"), ())}
    peers |= {_peer(socket.AF_INET6, member) for member in sets.get(("inet", "vteps6"), ())}
    guarded = sets.get(("inet", "guarded"), set())
    intact = (
        kinds == set(_SETS)
        and chains == set(_CHAINS)
        and rules == [(family, chain, expression) for family, chain, expression in _RULES]
        and sets.get(("arp", "guarded")) == guarded
    )
    return Firewall(frozenset(peers), frozenset(map(str, guarded)), intact)


def _members(body: dict[str, Any]) -> tuple[set[Any], bool]:
    """Return what a set holds, and whether that is all, in a form that we write."""
    members: set[Any] = set()
    given = body.get("elem", [])
    for element in given:
        if isinstance(element, str):
            members.add(element)
        elif isinstance(element, dict) and isinstance(element.get("concat"), list):
            address, vni = (*element["concat"], None, None)[:2]
            if isinstance(address, str) and isinstance(vni, int):
                members.add((address, vni))
    return members, len(members) == len(given) and not body.get("flags")


def _peer(family: socket.AddressFamily, member: tuple[str, int]) -> Peer:
    address, vni = member
    return Vni(vni), Vtep(socket.inet_pton(family, address))


def _uncounted(part: dict[str, Any]) -> dict[str, Any]:
    return {"counter": None} if "counter" in part else part


async def generation(requests: Requests) -> int:
    """Return the number of the rule sets of this namespace: with each change of any of them it is another.

    requests are of netfilter. Raises Unavailable if the kernel does not tell.
    """
    refusals, answers = await requests.batch([_GET_GENERATION])
    for body in answers:
        found = dict(attributes(body, NFGENMSG.size)).get(_NFTA_GEN_ID)
        if found is not None:
            return int.from_bytes(found, "big")
    raise Unavailable(f"nftables cannot be read: {refusals or 'no generation'}")


async def read() -> Firewall:
    """Return the firewall as the kernel holds it; raises Unavailable if it cannot be read."""
    listings = []
    for family in _FAMILIES:
        status, out, words = await _nft("-j", "list", "table", family, _TABLE)
        if status and "No such file or directory" not in words:
            raise Unavailable(f"nftables cannot be read: {words}")
        listings.append(json.loads(out) if not status else {})
    return parse(listings)


async def apply(actual: Firewall, wanted: Firewall) -> None:
    """Make the firewall what is wanted, in one transaction; raises Unavailable if the kernel refuses."""
    if not actual.intact:
        status, _, words = await _nft("-f", "-", data=rebuild_text(wanted).encode())
    elif commands := change_commands(actual, wanted):
        status, _, words = await _nft("-j", "-f", "-", data=json.dumps({"nftables": commands}).encode())
    else:
        return
    if status:
        raise Unavailable(f"nftables refused the change: {words}")


async def _nft(*arguments: str, data: bytes = b"") -> tuple[int, str, str]:
    """Run nft; return its exit status, its output, and what it said on one line."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        nft.binary(), *arguments, stdin=pipe, stdout=pipe, stderr=pipe
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, words = await process.communicate(data)
    except TimeoutError as err:
        process.kill()
        await process.wait()
        raise Unavailable("nft did not answer") from err
    return process.returncode or 0, out.decode(), " ".join(words.decode("utf-8", "replace").split())[:500]
