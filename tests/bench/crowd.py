"""Stands in for the agents of many hosts: one process, a real gRPC stream over TLS for each, no kernel part.

`python -m tests.bench.crowd FILE`: the hosts (JSON, as `Spec` says), and a socket on which the bench tells
what was plugged. Each says Hello, reports its interfaces and the tunnel devices that its plan asks for (put
into its bridge as dummies), and acknowledges what it is asked to as soon as they are reported. It writes no
forwarding entries and reads nothing back: what it costs is no agent's cost, and its hosts' times are none.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc

from cloison.v1 import host_sync_pb2 as pb
from cloison.v1 import host_sync_pb2_grpc

MTU = 1500
RETRY_S = 0.5
Reported = tuple[str, str, int]
"""An interface: name, iface-id, OpenFlow port."""


@dataclass(frozen=True)
class Member:
    """One host. `database`: of its switch; `bridge`: what its ports are plugged into."""

    name: str
    vtep: str
    datapath_id: int
    cert: str
    key: str
    database: str
    bridge: str


@dataclass(frozen=True)
class Spec:
    """All of them, and whom they dial."""

    endpoint: str
    server_name: str
    ca: str
    socket: str
    members: list[Member] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write it for the process."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Spec:
        """Read what `save` wrote."""
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**data, "members": [Member(**member) for member in data["members"]]})


class Agent:
    """The stream of one host."""

    def __init__(self, member: Member, spec: Spec) -> None:
        """Dials nobody yet."""
        self.member, self._spec = member, spec
        self.complete = asyncio.Event()
        self._interfaces: dict[str, Reported] = {}
        self._tunnels: dict[int, int] = {}
        self._call: Any = None

    async def run(self) -> None:
        """Keep the stream up, for ever."""
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                async with self._channel() as channel:
                    await self._talk(host_sync_pb2_grpc.HostSyncStub(channel).Sync())  # type: ignore[no-untyped-call]
            self._call = None
            self.complete.clear()
            await asyncio.sleep(RETRY_S)

    async def plugged(self, interfaces: list[Reported]) -> None:
        """Report further interfaces."""
        self._interfaces.update({each[0]: each for each in interfaces})
        if self._call is not None:
            await self._tell(pb.Inventory(interfaces=map(_interface, interfaces)))

    async def _talk(self, call: Any) -> None:
        member = self.member
        hello = pb.Hello(
            host_id=member.name, vtep_address=member.vtep, datapath_id=member.datapath_id,
            underlay_mtu=MTU, agent_version="crowd", datapath_type="dummy",
        )  # fmt: skip
        await call.write(pb.AgentMessage(hello=hello))
        whole = pb.Inventory(complete=True, interfaces=map(_interface, self._interfaces.values()))
        whole.tunnel_ports.extend(_tunnel(vni, ofport) for vni, ofport in self._tunnels.items())
        await call.write(pb.AgentMessage(inventory=whole))
        self._call = call
        while (message := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            await self._take(message)

    async def _take(self, message: pb.ControllerMessage) -> None:
        kind = message.WhichOneof("kind")
        if kind == "delta":
            await self._follow(message.delta)
        elif kind == "snapshot_complete":
            self.complete.set()
        elif kind == "barrier":
            await self._ack(message.barrier)
        if message.HasField("then"):
            await self._ack(message.then)

    async def _follow(self, delta: pb.PlanDelta) -> None:
        """Have a device for each network, and tell its number."""
        new = [part.vni for part in delta.networks if part.vni not in self._tunnels]
        gone = [vni for vni in delta.removed_vnis if self._tunnels.pop(vni, None) is not None]
        words = [word for vni in gone for word in ("--", "--if-exists", "del-port", _device(vni))]
        for vni in new:
            words += ["--", "--may-exist", "add-port", self.member.bridge, _device(vni)]
            words += ["--", "set", "Interface", _device(vni), "type=dummy"]
        if not words:
            return
        await self._vsctl(*words[1:])
        numbers = [await self._vsctl("get", "Interface", _device(vni), "ofport") for vni in new]
        self._tunnels.update(zip(new, map(int, numbers), strict=True))
        told = [_tunnel(vni, self._tunnels[vni]) for vni in new]
        await self._tell(pb.Inventory(tunnel_ports=told, removed_tunnel_ports=gone))

    async def _ack(self, barrier: pb.Barrier) -> None:
        await self._call.write(pb.AgentMessage(ack=pb.Ack(revision=barrier.revision)))

    async def _tell(self, inventory: pb.Inventory) -> None:
        await self._call.write(pb.AgentMessage(inventory=inventory))

    async def _vsctl(self, *words: str) -> str:
        command = ("ovs-vsctl", "--timeout=60", f"--db={self.member.database}", *words)
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        said, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit status {process.returncode}")
        return said.decode().strip()

    def _channel(self) -> grpc.aio.Channel:
        files = (self._spec.ca, self.member.key, self.member.cert)
        credentials = grpc.ssl_channel_credentials(*(Path(file).read_bytes() for file in files))
        options = (
            ("grpc.ssl_target_name_override", self._spec.server_name),
            ("grpc.use_local_subchannel_pool", 1),
        )
        return grpc.aio.secure_channel(self._spec.endpoint, credentials, options=options)


def _device(vni: int) -> str:
    """As the controller expects it to be named."""
    return f"vx{vni:06x}"


def _interface(reported: Reported) -> pb.Interface:
    name, iface_id, ofport = reported
    return pb.Interface(name=name, iface_id=iface_id, ofport=ofport)


def _tunnel(vni: int, ofport: int) -> pb.TunnelPort:
    return pb.TunnelPort(vni=vni, ofport=ofport)


async def _serve(spec: Spec) -> None:
    agents = {member.name: Agent(member, spec) for member in spec.members}

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Lines {"host", "interfaces"}; each is answered when it was passed on. {} asks whether all is up."""
        async for line in reader:
            said = json.loads(line)
            if said:
                await agents[said["host"]].plugged([tuple(each) for each in said["interfaces"]])
            else:
                await asyncio.gather(*(agent.complete.wait() for agent in agents.values()))
            writer.write(b"{}\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(listen, spec.socket, limit=1 << 24)
    async with server:
        await asyncio.gather(*(agent.run() for agent in agents.values()))


if __name__ == "__main__":
    asyncio.run(_serve(Spec.load(Path(sys.argv[1]))))
