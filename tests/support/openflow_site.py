"""A CA, a server for switches, and the switches as they come: what tests of OpenFlow sessions need."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

from cloison.identity import Identity
from controller.cli.pki import Issued, init_ca, issue
from controller.openflow.server import Authorize, Limits, SwitchServer, TlsFiles
from controller.openflow.session_switch import SessionSwitch
from controller.openflow.switch import Switch

DEADLINE_S = 10.0


@dataclass(frozen=True)
class Pki:
    """A CA with a controller; further certificates on demand."""

    directory: Path
    controller: TlsFiles

    @classmethod
    def make(cls, directory: Path) -> Pki:
        init_ca(directory)
        controller = issue(directory, Identity.parse("controller/c1"), ["127.0.0.1"])
        return cls(directory, TlsFiles(controller.key, controller.cert, controller.ca))

    def issue(self, identity: str) -> Issued:
        return issue(self.directory, Identity.parse(identity), force=True)

    def context(self, identity: str | None) -> ssl.SSLContext:
        """How a client with that certificate, or with none, dials the controller."""
        context = ssl.create_default_context(cafile=str(self.directory / "ca.crt"))
        if identity is not None:
            issued = self.issue(identity)
            context.load_cert_chain(issued.cert, issued.key)
        return context


class Site:
    """A server, the switches that came and the datapath ids that went."""

    def __init__(
        self,
        tls: TlsFiles | None,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        *,
        authorize: Authorize = lambda host_id, dpid: host_id == "h1",
        limits: Limits | None = None,
    ) -> None:
        self.up: asyncio.Queue[Switch] = asyncio.Queue()
        self.down: asyncio.Queue[int] = asyncio.Queue()
        self.server = SwitchServer(
            listen,
            tls,
            authorize,
            lambda dpid, switch: self.up.put_nowait(switch),
            self.down.put_nowait,
            insecure=tls is None,
            limits=limits or Limits(),
        )

    @property
    def target(self) -> str:
        """What a bridge is pointed at."""
        return "ssl:{}:{}".format(*self.server.address)

    async def switch(self) -> SessionSwitch:
        """The next switch that comes."""
        switch = await asyncio.wait_for(self.up.get(), DEADLINE_S)
        assert isinstance(switch, SessionSwitch)
        return switch

    async def __aenter__(self) -> Site:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()
