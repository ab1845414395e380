"""Two nftables tables named `cloison`, changed in one transaction: who may send VXLAN here, and whom the
host ignores.

The kernel delivers a VXLAN frame from any source that knows a VNI, so UDP 4789 is open to the plan's
VTEPs only. And with the userspace datapath the host's own IP stack hears every frame that enters the
bridge; interfaces of the bridge are therefore shut to it (Open vSwitch takes its copy earlier). Values
travel as JSON, never as text of a command.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import Iterable
from typing import Any

from agent.netlink.wire import VXLAN_PORT
from agent.plan import Firewall, Vtep
from cloison.errors import Unavailable

_TABLE = "cloison"
_FAMILIES = ("inet", "arp")
_SETS = (
    ("inet", "vteps4", "ipv4_addr"),
    ("inet", "vteps6", "ipv6_addr"),
    ("inet", "guarded", "ifname"),
    ("arp", "guarded", "ifname"),
)
_CHAINS = (
    # Local delivery, so that VXLAN of others which is only routed through this host is left alone.
    ("inet", "vxlan", "input", -300),
    # Before connection tracking and reassembly see anything of a tenant.
    ("inet", "guard", "prerouting", -500),
    ("arp", "guard", "input", 0),
)
TIMEOUT_S = 10.0


def _match(left: dict[str, Any], operator: str, right: Any) -> dict[str, Any]:
    return {"match": {"op": operator, "left": left, "right": right}}


def _foreign(protocol: str, peers: str) -> list[dict[str, Any]]:
    return [
        _match({"payload": {"protocol": "udp", "field": "dport"}}, "==", VXLAN_PORT),
        _match({"payload": {"protocol": protocol, "field": "saddr"}}, "!=", f"@{peers}"),
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


def _elements(peers: Iterable[Vtep], guarded: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """Return what goes into each set, as nft writes it."""
    four, six = [], []
    for vtep in peers:
        if len(vtep) == 4:
            four.append(socket.inet_ntop(socket.AF_INET, vtep))
        else:
            six.append(socket.inet_ntop(socket.AF_INET6, vtep))
    names = sorted(guarded)
    return {
        ("inet", "vteps4"): sorted(four),
        ("inet", "vteps6"): sorted(six),
        ("inet", "guarded"): names,
        ("arp", "guarded"): names,
    }


def rebuild_commands(wanted: Firewall) -> list[dict[str, Any]]:
    """Return the transaction that replaces whatever is there by wanted."""
    commands: list[dict[str, Any]] = []
    for family in _FAMILIES:
        table = {"table": {"family": family, "name": _TABLE}}
        # The first `add` lets `delete` succeed when there is no table.
        commands += [{"add": table}, {"delete": table}, {"add": table}]
    for family, name, kind in _SETS:
        commands.append({"add": {"set": {"family": family, "table": _TABLE, "name": name, "type": kind}}})
    for family, name, hook, priority in _CHAINS:
        chain = {"family": family, "table": _TABLE, "name": name, "type": "filter", "hook": hook,
                 "prio": priority, "policy": "accept"}  # fmt: skip
        commands.append({"add": {"chain": chain}})
    for family, chain_name, expression in _RULES:
        rule = {"family": family, "table": _TABLE, "chain": chain_name, "expr": expression}
        commands.append({"add": {"rule": rule}})
    return commands + _element_commands("add", wanted.peers, wanted.guarded)


def change_commands(actual: Firewall, wanted: Firewall) -> list[dict[str, Any]]:
    """Return the transaction from actual to wanted, both intact: members of sets only."""
    return [
        *_element_commands("delete", actual.peers - wanted.peers, actual.guarded - wanted.guarded),
        *_element_commands("add", wanted.peers - actual.peers, wanted.guarded - actual.guarded),
    ]


def _element_commands(verb: str, peers: Iterable[Vtep], guarded: Iterable[str]) -> list[dict[str, Any]]:
    return [
        {verb: {"element": {"family": family, "table": _TABLE, "name": name, "elem": members}}}
        for (family, name), members in _elements(peers, guarded).items()
        if members
    ]


def parse(listings: Iterable[dict[str, Any]]) -> Firewall:
    """Make a Firewall of what `nft -j list table` printed for each family."""
    sets: dict[tuple[str, str], set[str]] = {}
    kinds, chains, rules = set(), set(), []
    for item in (item for listing in listings for item in listing.get("nftables", [])):
        if "set" in item:
            body = item["set"]
            key = (body["family"], body["name"])
            sets[key] = {member for member in body.get("elem", []) if isinstance(member, str)}
            plain = len(sets[key]) == len(body.get("elem", [])) and not body.get("flags")
            kinds.add((*key, body["type"] if plain else None))
        elif "chain" in item:
            body = item["chain"]
            shape = (body.get("hook"), body.get("prio")) if body.get("policy") == "accept" else (None, None)
            chains.add((body["family"], body["name"], *shape))
        elif "rule" in item:
            body = item["rule"]
            rules.append((body["family"], body["chain"], [_uncounted(part) for part in body["expr"]]))
    peers = {socket.inet_pton(socket.AF_INET, text) for text in sets.get(("inet", "vteps4"), ())}
    peers |= {socket.inet_pton(socket.AF_INET6, text) for text in sets.get(("inet", "vteps6"), ())}
    guarded = sets.get(("inet", "guarded"), set())
    intact = (
        kinds == set(_SETS)
        and chains == set(_CHAINS)
        and rules == [(family, chain, expression) for family, chain, expression in _RULES]
        and sets.get(("arp", "guarded")) == guarded
    )
    return Firewall(frozenset(map(Vtep, peers)), frozenset(guarded), intact)


def _uncounted(part: dict[str, Any]) -> dict[str, Any]:
    return {"counter": None} if "counter" in part else part


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
    commands = change_commands(actual, wanted) if actual.intact else rebuild_commands(wanted)
    if not commands:
        return
    status, _, words = await _nft("-j", "-f", "-", data=json.dumps({"nftables": commands}).encode())
    if status:
        raise Unavailable(f"nftables refused the change: {words}")


async def _nft(*arguments: str, data: bytes = b"") -> tuple[int, str, str]:
    """Run nft; return its exit status, its output, and what it said on one line."""
    binary = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if binary is None:
        raise Unavailable("nft is not installed; install the package nftables", retry_delay_s=10)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(binary, *arguments, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, words = await process.communicate(data)
    except TimeoutError as err:
        process.kill()
        await process.wait()
        raise Unavailable("nft did not answer") from err
    return process.returncode or 0, out.decode(), " ".join(words.decode("utf-8", "replace").split())[:500]
