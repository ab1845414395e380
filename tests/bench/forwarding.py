"""10,000 forwarding entries: by an agent, from the controller's message to its answer; by `bridge -batch`.

The agent reads back what it wrote before it acknowledges; `bridge` does not.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path

from cloison.addresses import format_mac
from cloison.identity import Identity
from cloison.v1 import host_sync_pb2 as pb
from controller.cli.pki import init_ca, issue
from tests.bench.catalogue import Rows
from tests.bench.stats import median
from tests.support.agent_host import AgentHost
from tests.support.netns import network_namespace
from tests.support.ovs import Ovs
from tests.support.sync_peer import PeerSession, SyncPeer

ENTRIES = 10_000
VNI, MTU = 0x1000, 1450
MAC = 0x0AF00A000000
REMOTE = bytes([10, 77, 0, 2])
# In a namespace of its own: the agent would take the device for a stray one of ours.
BATCH = """set -e
ip link add vx type vxlan id 7 local 192.0.2.1 dstport 4789 nolearning
start=$(date +%s%N)
bridge -batch {script}
echo $(( $(date +%s%N) - start ))
"""


def measure(rows: Rows, directory: Path, rounds: int) -> None:
    """Fill the row of this module: medians of `rounds`."""
    script = directory / "entries"
    lines = (f"fdb add {format_mac(MAC + n)} dev vx dst 192.0.2.9 self permanent\n" for n in range(ENTRIES))
    script.write_text("".join(lines), encoding="ascii")
    spent = asyncio.run(_alternate(directory, script, rounds))
    note = "ours: message to acknowledgement over mTLS, read back; plan written to disk"
    medians = {name: median(each) for name, each in spent.items()}
    rows.fill_sides("10,000 forwarding entries, by bridge -batch", medians, samples=dict(spent), note=note)


async def _alternate(directory: Path, script: Path, rounds: int) -> dict[str, list[float]]:
    ca = directory / "ca"
    init_ca(ca)
    controller, host = issue(ca, Identity.parse("controller/c1")), issue(ca, Identity.parse("host/h1"))
    spent: dict[str, list[float]] = {"ours": [], "peer": []}
    async with SyncPeer(directory / "c1.sock", controller) as peer:
        with network_namespace(), Ovs(dummy=False) as ovs:
            agent = AgentHost(directory, ovs, host)
            try:
                await asyncio.to_thread(agent.start, peer.endpoint)
                session = await peer.session()
                await _rounds(session, script, rounds, spent)
            finally:
                agent.close()
    return spent


async def _rounds(session: PeerSession, script: Path, rounds: int, spent: dict[str, list[float]]) -> None:
    session.welcome(1, "tcp:127.0.0.1:6653")
    empty = pb.PlanDelta(revision=1)
    empty.networks.add(vni=VNI, mtu=MTU)
    await session.snapshot(1, empty)
    for number in range(rounds):
        full, gone = pb.PlanDelta(revision=2 * number + 2), pb.PlanDelta(revision=2 * number + 3)
        part = full.networks.add(vni=VNI, mtu=MTU)
        for n in range(ENTRIES):
            part.upserted.add(mac=MAC + n, vtep=REMOTE)
        start = time.perf_counter()
        ack = await session.change(full)
        spent["ours"].append((time.perf_counter() - start) * 1e3)
        assert not ack.errors, ack
        gone.networks.add(vni=VNI, mtu=MTU, removed_macs=[MAC + n for n in range(ENTRIES)])
        await session.change(gone)
        command = ["unshare", "--net", "sh", "-c", BATCH.format(script=script)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
        spent["peer"].append(int(done.stdout) / 1e6)
