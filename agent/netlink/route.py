"""What is used of pyroute2: its sockets for links and addresses, and ethtool. The rest is half of it."""

from __future__ import annotations

from agent.lean import in_parts

# (Of unittest it imports the mocks.)
in_parts("unittest", "pyroute2", "pyroute2.ethtool", "pyroute2.iproute")

from pyroute2.ethtool.ioctl import IoctlEthtool  # noqa: E402
from pyroute2.iproute.linux import AsyncIPRoute  # noqa: E402
from pyroute2.netlink.exceptions import NetlinkError  # noqa: E402

__all__ = ["AsyncIPRoute", "IoctlEthtool", "NetlinkError"]
