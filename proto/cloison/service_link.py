"""What the switch and the services of a host agree on: addresses, MACs, the device between them. Pure.

The proof has numbers of its own (controller/verify), as it shares none with what it judges.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from cloison.addresses import IpAddress, Mac

DNS4 = IPv4Address("169.254.169.253")
"""Names, and the identity of the DHCP server."""
METADATA4 = IPv4Address("169.254.169.254")
DNS6 = IPv6Address("fd00:ec2::253")
METADATA6 = IPv6Address("fd00:ec2::254")
LINK_LOCAL6 = IPv6Address("fe80::a9fe:a9fd")
"""What router advertisements and DHCPv6 come from."""

SERVICES_4 = (DNS4, METADATA4)
SERVICES_6 = (DNS6, METADATA6, LINK_LOCAL6)
SERVICE_ADDRESSES: tuple[IpAddress, ...] = (*SERVICES_4, *SERVICES_6)
"""Where the services of each host answer, in every network."""

SERVICE_MAC = Mac(0x0AF300000001)
"""What a guest sees the services at; the switch puts it into every answer."""
TO_AGENT = 0x0AF3
"""High 16 bits of the destination MAC of a frame to the agent; the rest is the number of the asking port."""
FROM_AGENT = 0x0AF300
"""High 24 bits of the source MAC of a frame from the agent; the rest is the VNI."""

SERVICE_LINK = "cl-services"
"""Name of the services' device on the bridge of every host."""
