"""One namespace of an edge while it is looked at or changed: its netlink sockets, its settings, its rules."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

from agent.netlink import connections, edge_wire, nft, offloads
from agent.netlink.announce import open_on
from agent.netlink.namespaces import apart
from agent.netlink.requests import Requests, open_socket
from agent.netlink.wire import NETFILTER, link_dump
from agent.plan import LEGS, Standing
from cloison.errors import Unavailable

_SYSCTL = Path("/proc/sys/net")
_NFT_TIMEOUT_S = 10.0
# What is there already, or is not there any more: what was read back says whether that is right.
HARMLESS = (errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL, errno.EEXIST)


class Room:
    """An async context manager; takes over the descriptor of the namespace and closes it."""

    def __init__(self, netns: int) -> None:
        self._netns = netns
        self._route = Requests()

    async def __aenter__(self) -> Self:
        try:
            self._route = Requests(await apart(open_socket, self._netns))
        except BaseException:
            os.close(self._netns)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._route.close()
        os.close(self._netns)

    @property
    def netns(self) -> int:
        """Descriptor of the namespace, open as long as the room is."""
        return self._netns

    async def legs(self) -> dict[str, edge_wire.Device]:
        """Return the devices of ours by name."""
        found = [edge_wire.device(body) for body in await self.dump(link_dump())]
        return {device.name: device for device in found if device.name in LEGS and device.kind == "veth"}

    async def dump(self, request: bytes) -> list[memoryview]:
        """Return the bodies of a dump; raises Unavailable."""
        return [body async for bodies in self._route.dump(request) for body in bodies]

    async def carry_out(self, requests: Sequence[bytes]) -> list[str]:
        """Carry out changes; return what the kernel refused, in its words."""
        refusals, _ = await self._route.batch(requests)
        return [str(refusal) for refusal in refusals if refusal.errno not in HARMLESS]

    async def look(self, settings: Mapping[str, str]) -> tuple[dict[str, str], dict[str, bool], str]:
        """Return the settings that there are, which legs finish frames, and the digest of the rules."""

        def work() -> tuple[dict[str, str], dict[str, bool], str]:
            values = {}
            for key in settings:
                try:
                    values[key] = (_SYSCTL / key).read_text().strip()
                except FileNotFoundError:
                    continue
            return values, _finished(), _listing()

        return await apart(work, self._netns)

    async def set_up(self, settings: Mapping[str, str], finish: Mapping[str, bool]) -> None:
        """Write settings, those of devices that are not there left out; let legs finish frames, or not."""

        def work() -> None:
            for key, value in settings.items():
                path = _SYSCTL / key
                if path.exists():
                    path.write_text(value)
            for name, is_wanted in finish.items():
                offloads.finish(name, is_wanted=is_wanted)

        await apart(work, self._netns)

    async def load(self, rules: str, *, anew: bool) -> str:
        """Make the ruleset this one, in one transaction; return the digest of what is listed then.

        anew: whatever is there goes. Raises Unavailable with nft's words.
        """

        def work() -> str:
            _nft(["-f", "-"], f"flush ruleset\n{rules}" if anew else rules)
            return _listing()

        return await apart(work, self._netns)

    async def forget_connections(self, standing: Standing) -> int:
        """Forget the connections that may not go on; how many."""
        sock = await apart(lambda: open_socket(protocol=NETFILTER), self._netns)
        requests = Requests(sock)
        try:
            return await connections.forget(requests, standing.holds)
        finally:
            requests.close()

    async def socket_on(self, device: str) -> socket.socket:
        """Return a socket that sends frames from a device."""
        return await apart(lambda: open_on(device), self._netns)


def _finished() -> dict[str, bool]:
    found = {}
    for name in LEGS:
        try:
            found[name] = offloads.finished(name)
        except OSError:
            continue  # no such device
    return found


def _listing() -> str:
    return sha256(_nft(["-s", "list", "ruleset"]).encode()).hexdigest()


def _nft(arguments: list[str], text: str = "") -> str:
    """Run nft in the calling thread's namespace; return its output, raise Unavailable with its words."""
    try:
        done = subprocess.run(
            [nft.binary(), *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=_NFT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as err:
        raise Unavailable("nft did not answer") from err
    if done.returncode:
        raise Unavailable(f"nftables refused the rules: {' '.join(done.stderr.split())[:500]}")
    return done.stdout
