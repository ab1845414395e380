"""Real etcd members with TLS and client certificates, on loopback, in a temporary directory; ended by pid.

    with EtcdCluster(members=3) as etcd:
        store = EtcdStore(etcd.endpoints, etcd.tls)
        etcd.kill(0); etcd.start(0)

`Proxy` sits between a store and a member, and cuts or swallows what passes.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from cloison.identity import Identity
from controller.cli.pki import Issued, init_ca, issue
from controller.store.etcd import Tls

START_DEADLINE_S = 30
STOP_DEADLINE_S = 10
PORTS_FIRST = 20_000


class EtcdCluster:
    """Members e0, e1, ... of one cluster. durable: fsync as in production (slower), for tests of crashes."""

    def __init__(self, *, members: int = 1, durable: bool = False, options: tuple[str, ...] = ()) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="etcd-"))
        self._options = (*options, *(() if durable else ("--unsafe-no-fsync",)))
        ca = self.directory / "ca"
        init_ca(ca)
        self._member = issue(ca, Identity.parse("etcd/e1"), ["127.0.0.1"])
        self._controller = issue(ca, Identity.parse("controller/c1"), ["127.0.0.1"])
        self.stranger: Issued = issue(ca, Identity.parse("host/h1"))
        self._ca = ca / "ca.crt"
        ports = free_ports(2 * members)
        self.endpoints = [f"https://127.0.0.1:{port}" for port in ports[:members]]
        self._peers = [f"https://127.0.0.1:{port}" for port in ports[members:]]
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * members

    @property
    def tls(self) -> Tls:
        """What a controller connects with."""
        return Tls(self._ca, self._controller.cert, self._controller.key)

    def __enter__(self) -> Self:
        try:
            for member in range(len(self.endpoints)):
                self.start(member, wait=False)
            for member in range(len(self.endpoints)):
                self.wait_healthy(member)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait(STOP_DEADLINE_S)
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, member: int, *, wait: bool = True) -> None:
        """Start a member, or start it again with the data it has."""
        name, url, peer = f"e{member}", self.endpoints[member], self._peers[member]
        tls = ("cert-file", self._member.cert), ("key-file", self._member.key), ("trusted-ca-file", self._ca)
        command = [
            "etcd",
            f"--name={name}",
            f"--data-dir={self.directory / name}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            "--initial-cluster=" + ",".join(f"e{i}={peer}" for i, peer in enumerate(self._peers)),
            "--client-cert-auth",
            "--client-cert-allowed-hostname=controller",
            "--peer-client-cert-auth",
            "--log-level=warn",
            *(f"--{option}={value}" for option, value in tls),
            *(f"--peer-{option}={value}" for option, value in tls),
            *self._options,
        ]
        with (self.directory / f"{name}.log").open("ab") as log:
            self._processes[member] = subprocess.Popen(command, stdout=log, stderr=log)
        if wait:
            self.wait_healthy(member)

    def wait_healthy(self, member: int = 0) -> None:
        """Wait until a member answers linearizably."""
        deadline = time.monotonic() + START_DEADLINE_S
        while self.ctl("get", "x", member=member, check=False, timeout_s=3).returncode != 0:
            process = self._processes[member]
            log = self.directory / f"e{member}.log"
            assert process is not None
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()

    def ctl(
        self, *command: str, member: int = 0, check: bool = True, timeout_s: int = START_DEADLINE_S
    ) -> subprocess.CompletedProcess[str]:
        """Run etcdctl as a controller."""
        tls = self.tls
        return subprocess.run(
            [
                "etcdctl",
                f"--endpoints={self.endpoints[member]}",
                f"--dial-timeout={timeout_s}s",
                f"--command-timeout={timeout_s}s",
                f"--cacert={tls.ca}",
                f"--cert={tls.cert}",
                f"--key={tls.key}",
                *command,
            ],
            env={**os.environ, "ETCDCTL_API": "3"},
            capture_output=True,
            text=True,
            check=check,
        )

    def signal(self, member: int, number: signal.Signals) -> None:
        """Send a signal to a member, SIGSTOP and SIGCONT for instance."""
        process = self._processes[member]
        assert process is not None
        process.send_signal(number)

    def kill(self, member: int = 0) -> None:
        """kill -9."""
        process = self._processes[member]
        assert process is not None
        process.kill()
        process.wait(STOP_DEADLINE_S)

    def wipe(self, member: int = 0) -> None:
        """Lose a killed member's data."""
        shutil.rmtree(self.directory / f"e{member}")

    def restore(self, snapshot: Path, member: int = 0) -> None:
        """Give a wiped member the data of a snapshot, as an operator would."""
        self.ctl(
            "snapshot",
            "restore",
            str(snapshot),
            f"--name=e{member}",
            f"--data-dir={self.directory / f'e{member}'}",
            f"--initial-advertise-peer-urls={self._peers[member]}",
            f"--initial-cluster=e{member}={self._peers[member]}",
        )

    def leader(self) -> int:
        """Return which member leads."""
        for member in range(len(self.endpoints)):
            answer = self.ctl("endpoint", "status", "-w", "fields", member=member).stdout
            fields = dict(line.split(" : ") for line in answer.splitlines() if " : " in line)
            if fields['"MemberID"'] == fields['"Leader"']:
                return member
        raise AssertionError("no leader")


class Proxy:
    """TCP in between, without looking inside. cut: connections end, none begins. swallow: answers vanish."""

    def __init__(self, endpoint: str) -> None:
        self._target = int(endpoint.rpartition(":")[2])
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.swallow = False
        self.is_cut = False

    async def start(self) -> str:
        """Listen; return the endpoint to give to the store."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """End everything."""
        self.cut()
        if self._server is not None:
            self._server.close()

    def cut(self) -> None:
        """End all connections and let no other through."""
        self.is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """Let connections through again."""
        self.is_cut = self.swallow = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            writer.transport.abort()
            return
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, to_writer}
        try:
            await asyncio.gather(
                self._pass(reader, to_writer, answers=False), self._pass(to_reader, writer, answers=True)
            )
        finally:
            self._writers -= {writer, to_writer}

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        try:
            while data := await reader.read(1 << 16):
                if answers and self.swallow:
                    continue
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()


def free_ports(number: int) -> list[int]:
    """Ports that are free, of those that the kernel gives nobody who asks for any port.

    Else somebody who listens or dials could get one before its server does, or while that is down.
    """
    first_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    ports: list[int] = []
    with ExitStack() as held:
        for port in random.sample(range(PORTS_FIRST, first_given), first_given - PORTS_FIRST):
            with suppress(OSError):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
                ports.append(port)
            if len(ports) == number:
                return ports
    raise AssertionError("no port is free")
