"""The formats of packets that the services build, of dpkt: it brings some sixty more that nobody needs."""

from __future__ import annotations

from agent.lean import in_parts

in_parts("dpkt")

import dpkt.arp  # noqa: E402
import dpkt.dhcp  # noqa: E402
import dpkt.dpkt  # noqa: E402
import dpkt.ip  # noqa: E402
import dpkt.ip6  # noqa: E402
import dpkt.udp  # noqa: E402

__all__ = ["dpkt"]
