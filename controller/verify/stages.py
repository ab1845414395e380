"""The stages of the pipeline as the proof knows them: tables, what registers mean, what may be where.

Written for the proof alone. The compiler has its own list (controller/compiler/pipeline.py); where the two
differ nothing is proved.
"""

from __future__ import annotations

ADMISSION, CLAIMED, ND_GUARD, SERVICES, TRACK, OPENING, TRACKED, ADDRESSING, ROUTE, SPREADING, FORWARD = (
    0, 1, 5, 6, 7, 8, 9, 10, 12, 15, 20,
)  # fmt: skip
DELIVER, DIRECTION, EGRESS, INGRESS, COMMIT, EXIT, SOURCE, TAG, OUTPUT, METER, SERVICE = (
    22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32,
)  # fmt: skip

NETWORK, FROM_PORT, TO_PORT, ORIGIN, FROM_PROFILE, TO_PROFILE, INITIATOR, RESPONDER, TENANT = (
    f"reg{n}" for n in range(9)
)
# What IPv4 and ARP say of their sender: an address, the low bits of a MAC, the others and bit 16.
CLAIMED_IP, CLAIMED_LOW, CLAIMED_HIGH = "reg9", "reg10", "reg11"
CLAIMS_IPV4 = 1 << 16
# As whom what crosses to another tenant is known there, and that tenant.
ABROAD_AS, ABROAD_TO = "reg12", "reg13"
TO_PORT_BITS = 16
# Bits of ORIGIN: which of the three a frame came from, whether it is too long for the overlay, and whether it
# is to cross to another tenant.
ORIGIN_BITS = 3
LOCAL, OVERLAY, FROM_SERVICE = 1, 2, 4
OVERSIZE_BIT = 3
ABROAD_BIT = 4
# In whose zone a connection is looked up and remembered: the sender's, then the receiver's.
ZONE_BITS = 16
ZONES = {
    TRACK: "nxm_in_port",
    TRACKED: "nxm_in_port",
    ROUTE: "nxm_in_port",
    DELIVER: TO_PORT,
    COMMIT: TO_PORT,
}
COMMITS = frozenset({TRACKED, COMMIT})
# Where a flow may look at the connection, and may be a part of a conjunction. (Of what TRACKED has just told
# connection tracking, ROUTE sees no state: that says that it is no reply, and so it is.)
CONNECTED = frozenset({OPENING, TRACKED, ROUTE, DIRECTION, EGRESS, INGRESS, COMMIT})
POLICY = frozenset({EGRESS, INGRESS})
# Where a flow may make copies, and what it may do to them before they go to another table: say where to.
COPIES = FORWARD
COPIED_TO = frozenset({DELIVER, EXIT})
COPIED_WRITES = frozenset({"eth_dst", TO_PORT, TO_PROFILE})
# The meters of a port: what it asks of the services, what opens a connection, what it sends to all. By
# OpenFlow port, added to:
METERED = {METER: 0, OPENING: 0x10000, SPREADING: 0x20000}

# MACs that mean something between a host and its services, and between hosts.
TO_SERVICE_PREFIX, TAG_PREFIX = 0x0AF3, 0x0AF4
SERVICE_MAC = 0x0AF3_0000_0001
ETHERNET_BYTES = 14
