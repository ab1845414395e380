"""The peer of the benchmark: many hosts of OVN's hold and confirm what ours do."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import procs
from tests.bench.layout import PORTS_PER_TENANT, Layout
from tests.bench.peer import Peer, installed
from topologies.wait import WaitTimeoutError

pytestmark = pytest.mark.skipif(not installed(), reason="OVN is for the benchmark alone")
HOSTS = 3


@pytest.fixture
def run_root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Not the benchmark's own directory, which it may be using; short, for the sockets below it."""
    with tempfile.TemporaryDirectory() as directory:
        monkeypatch.setattr(procs, "RUN_ROOT", Path(directory))
        yield Path(directory)


def _layout() -> Layout:
    return Layout(HOSTS * PORTS_PER_TENANT, HOSTS, spread=1)


def _dump(peer: Peer, host: int) -> str:
    return peer.chassis[host].ofctl("dump-flows")


@pytest.mark.usefixtures("run_root")
def test_a_host_of_ovns_holds_the_tenants_that_are_on_it_and_all_confirm() -> None:
    layout = _layout()
    with Peer(layout) as peer:
        peer.populate()
        dumps = [_dump(peer, host) for host in range(HOSTS)]
        for guest in layout.background:
            assert [guest.mac in dump for dump in dumps] == [host == guest.host for host in range(HOSTS)]
        assert {kind: len(pids) for kind, pids in peer.pids.items() if "controller" in kind} == {
            "controller": layout.spread,
            "controller, other hosts": HOSTS - layout.spread,
        }
        [guest] = layout.new(1, first_hosts=True)
        before = [peer.flows(host) for host in range(HOSTS)]
        peer.plug([guest])
        peer.add(guest)
        assert guest.mac in _dump(peer, 0)
        assert [peer.flows(host) for host in (1, 2)] == before[1:]
        wanted, confirmed = peer.nb("get", "NB_Global", ".", "nb_cfg", "hv_cfg").split()
        assert wanted == confirmed, "by every host"


@pytest.mark.usefixtures("run_root")
def test_ovn_that_is_not_filled_in_time_says_so() -> None:
    with Peer(_layout(), patience_s=1) as peer:
        peer.chassis[0].controller.kill()  # so that it never is
        with pytest.raises(WaitTimeoutError):
            peer.sync()
