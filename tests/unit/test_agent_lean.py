"""What the agent's modules bring along, and that a package imported in part can still be had whole."""

from __future__ import annotations

import gc
import subprocess
import sys

from agent.lean import hold_collections, resume_collections
from cloison.lean import give_back

SEEN = """
import sys
import agent.netlink, agent.services.runtime
print(*(name for name in {names!r} if name in sys.modules))
"""
WHOLE = """
import agent.netlink.links, agent.services.dhcp4
import pyroute2, dpkt
assert pyroute2.AsyncIPRoute is agent.netlink.links.AsyncIPRoute
assert dpkt.dhcp.DHCP is agent.services.dhcp4.dpkt.dhcp.DHCP
assert pyroute2.NDB and dpkt.ethernet.Ethernet and pyroute2.IPRoute and dpkt.UnpackError
assert not hasattr(dpkt, "nothing") and not hasattr(pyroute2, "nothing")
"""


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


def test_only_what_is_used_of_a_library_is_imported() -> None:
    unused = ["pyroute2.ndb.main", "pyroute2.ipdb", "dpkt.bgp", "dpkt.http2", "unittest.case", "rich"]
    assert run(SEEN.format(names=unused)).split() == []


def test_who_imports_such_a_library_gets_all_of_it() -> None:
    run(WHOLE)


def test_what_was_made_while_nothing_is_collected_is_not_looked_at_later() -> None:
    before = gc.get_freeze_count()
    try:
        hold_collections()
        assert not gc.isenabled()
        kept = [[n] for n in range(1000)]
        resume_collections()
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(kept)
    finally:
        gc.unfreeze()


def test_memory_is_given_back_and_what_is_there_stays() -> None:
    kept = [bytes([n % 256]) * 1000 for n in range(1000)]
    give_back()
    assert all(set(each) == {n % 256} for n, each in enumerate(kept))
