"""Where nft is. Who runs it, and how, differs: in a namespace's thread, or beside the loop."""

from __future__ import annotations

import shutil

from cloison.errors import Unavailable


def binary() -> str:
    """Return the path of nft; raises Unavailable if it is not installed."""
    # Not by PATH: an agent may be started with a short one.
    found = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if found is None:
        raise Unavailable("nft is not installed; install the package nftables", retry_delay_s=10)
    return found
