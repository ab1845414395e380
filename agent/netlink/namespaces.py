"""Network namespaces that outlive the process: each is held by a file it is mounted on, in a directory of
ours.

Not in /run/netns: hosts that are namespaces of one machine share that. To look inside:
`nsenter --net=DIRECTORY/e7 ip address`. The mounts must be those of the machine: an agent that runs in a
mount namespace of its own takes its edges along when it ends.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from cloison.errors import Unavailable

_CLONE_NEWNET = 0x40000000
_MS_BIND, _MNT_DETACH = 0x1000, 0x2
_NAME = re.compile(r"e([1-9][0-9]{0,9})")
_OWN = "/proc/thread-self/ns/net"
T = TypeVar("T")


class Namespaces:
    """The namespaces of edges, by number. Needs CAP_SYS_ADMIN."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def numbers(self) -> set[int]:
        """Return those of which there is a file, whatever it holds."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return set()
        return {int(match[1]) for name in names if (match := _NAME.fullmatch(name))}

    def path(self, number: int) -> Path:
        """Return the file of a namespace."""
        return self._directory / f"e{number}"

    def open(self, number: int) -> int | None:
        """Return a descriptor of a namespace, None if there is none (as after a restart of the machine)."""
        try:
            descriptor = os.open(self.path(number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        if os.fstat(descriptor).st_dev == os.stat(_OWN).st_dev:
            return descriptor
        os.close(descriptor)
        return None

    async def make(self, number: int) -> None:
        """Make a namespace; raises Unavailable with the kernel's words."""
        path = self.path(number)

        def work() -> None:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            path.touch(mode=0o600)
            unshare()
            _call("mount", _OWN.encode(), os.fsencode(path), None, _MS_BIND, None)

        await apart(work)

    async def remove(self, number: int) -> None:
        """Take the name of a namespace away: it ends when nobody is in it. Raises Unavailable."""
        path = self.path(number)

        def work() -> None:
            # One mount for each time that somebody made it.
            with suppress(OSError):
                while True:
                    _call("umount2", os.fsencode(path), _MNT_DETACH)
            path.unlink(missing_ok=True)

        await apart(work)


async def apart(work: Callable[[], T], netns: int | None = None, *, failure: str = "namespace") -> T:
    """Return what work() returns, called in a thread of its own, in the namespace of that descriptor if
    given.

    Raises what it raises; an OSError as Unavailable, which begins with what failed.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            if netns is not None:
                _call("setns", netns, _CLONE_NEWNET)
            future.set_result(work())
        except OSError as err:
            future.set_exception(Unavailable(f"{failure}: {err}"))
        except BaseException as err:  # noqa: BLE001 - handed on to the waiting side
            future.set_exception(err)

    # It ends with a namespace that no other work may run in.
    threading.Thread(target=run, name="netns", daemon=True).start()
    return await asyncio.wrap_future(future)


def unshare() -> None:
    """Put the calling thread into a new namespace."""
    _call("unshare", _CLONE_NEWNET)


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
