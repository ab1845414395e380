"""Numbers and layouts of OpenFlow 1.4 and of the Nicira extensions that this project speaks. Pure, no logic.

Sources: OpenFlow Switch Specification 1.4.1 (section numbers below) and ovs-actions(7), ovs-fields(7). What
is not used is not here.
"""

from __future__ import annotations

from struct import Struct

VERSION = 0x05  # 1.4 on the wire (7.1.1)

# Message types (7.1.1)
HELLO = 0
ERROR = 1
ECHO_REQUEST = 2
ECHO_REPLY = 3
EXPERIMENTER = 4
FEATURES_REPLY = 6
GET_CONFIG_REQUEST = 7
GET_CONFIG_REPLY = 8
SET_CONFIG = 9
PORT_STATUS = 12
FLOW_MOD = 14
MULTIPART_REQUEST = 18
MULTIPART_REPLY = 19
BARRIER_REQUEST = 20
BARRIER_REPLY = 21
METER_MOD = 29
BUNDLE_CONTROL = 33
BUNDLE_ADD_MESSAGE = 34
# What a switch says unasked: packets, flows and ports that change, roles, tables, requests of others (7.4).
UNASKED = frozenset((10, 11, PORT_STATUS, 30, 31, 32))

# How fragments are handled (7.3.2); NX_MATCH is Open vSwitch's (nicira-ext.h, OFPC_FRAG_NX_MATCH)
FRAGMENTS_MASK = 3
FRAGMENTS_NX_MATCH = 3

# Commands of a flow-mod (7.3.4.1)
ADD = 0
DELETE_STRICT = 4

# Meters (7.3.4.5): commands, flags, the one kind of band
METER_ADD = 0
METER_MODIFY = 1
METER_DELETE = 2
METER_PACKETS_BURST = 0b0110
METER_FLAGS = 0b0111  # of the units and the burst; the rest is counting
BAND_DROP = 1

# Multipart types and flags (7.3.5)
MP_FLOW = 1
MP_PORT_STATS = 4
MP_METER = 9
MP_METER_CONFIG = 10
MP_PORT_DESC = 13
MP_FLOW_MONITOR = 16
MP_MORE = 1

# Bundles (7.3.9)
BUNDLE_OPEN_REQUEST = 0
BUNDLE_CLOSE_REQUEST = 2
BUNDLE_CLOSE_REPLY = 3
BUNDLE_COMMIT_REQUEST = 4
BUNDLE_COMMIT_REPLY = 5
BUNDLE_DISCARD_REQUEST = 6
BUNDLE_ATOMIC_ORDERED = 3

# Flow monitors (7.3.5.17)
MONITOR_ADD = 0
MONITOR_FLAGS_ADD_REMOVED_MODIFY = 0b1110
EVENT_INITIAL = 0
EVENT_ADDED = 1
EVENT_REMOVED = 2
EVENT_MODIFIED = 3
EVENT_ABBREV = 4
EVENT_PAUSED = 5
EVENT_RESUMED = 6

# The errors that are looked at (7.5.4)
ERROR_BUNDLE_FAILED = 17
BUNDLE_MSG_FAILED = 13

PORT_MAX = 0xFFFFFF00  # above are the reserved ports
ANY = 0xFFFFFFFF  # OFPP_ANY, OFPG_ANY, OFP_NO_BUFFER
ALL_TABLES = 0xFF

MATCH_OXM = 1
INSTRUCTION_GOTO_TABLE = 1
INSTRUCTION_APPLY_ACTIONS = 4
INSTRUCTION_METER = 6
ACTION_OUTPUT = 0
ACTION_DEC_NW_TTL = 24
ACTION_SET_FIELD = 25
ACTION_EXPERIMENTER = 0xFFFF
NICIRA = 0x00002320
NXAST_REG_MOVE = 6
NXAST_REG_LOAD = 7
NXAST_RESUBMIT_TABLE = 14
NXAST_OUTPUT_REG = 15
NXAST_CONJUNCTION = 34
NXAST_CT = 35
NXAST_CHECK_PKT_LARGER = 49
CT_COMMIT = 1
NXT_CT_FLUSH_ZONE = 29

# Number, length, [pad, address, pad], name, [config, state] (7.2.1); a status has a head before it (7.4.3)
PORT = Struct(">IH10x16s8x")
PORT_STATUS_HEAD_SIZE = 8
PORT_REASON_DELETE = 1
HEADER = Struct(">BBHI")  # version, type, length, xid
ERROR_BODY = Struct(">HH")  # type, code
# Header, bundle, [pad], flags; then the flow-mod: header, cookie, [cookie mask], table, command, [timeouts],
# priority, and what is the same in all: buffer, out port, out group, flags, importance
BUNDLED_FLOW_MOD = Struct(">BBHII2xHBBHIQ8xBB4xH16s")
BUNDLE_ADD_SIZE = 16  # of it, what stands before the flow-mod
FLOW_MOD_TAIL = Struct(">IIIHH").pack(ANY, ANY, ANY, 0, 0)
MULTIPART = Struct(">HH4x")  # type, flags
CONFIG = Struct(">HH")  # flags, bytes of a packet to send to the controller
BUNDLE_BODY = Struct(">IHH")  # bundle, type, flags; of an add: bundle, pad, flags
# After the multipart header: table, out port, out group, cookie, cookie mask
FLOW_STATS_REQUEST = Struct(">B3xII4xQQ")
# Length, [table, duration, priority, timeouts, flags, importance, cookie], packets, bytes (7.3.5.2)
FLOW_STATS = Struct(">H30xQQ")
# Monitor, out port, out group, flags, table, command (7.3.5.17)
MONITOR_REQUEST = Struct(">IIIHBB")
UPDATE_HEADER = Struct(">HH")  # length, event
# Length, event, table, reason, idle, hard, priority, [zeros], cookie
UPDATE_FULL = Struct(">HHBBHHH4xQ")
EMPTY_MATCH = bytes((0, MATCH_OXM, 0, 4, 0, 0, 0, 0))
GOTO_TABLE = Struct(">HHB3x")
INSTRUCTION_ACTIONS = Struct(">HH4x")
TYPE_LENGTH = Struct(">HH")
NICIRA_HEAD = Struct(">HHIH")  # type, length, vendor, subtype
DEC_TTL = Struct(">HH4x")  # type, length
OUTPUT_ACTION = Struct(">4sIH6x")  # head, port, max length
REG_LOAD = Struct(">10sHIQ")  # head, offset << 6 | bits - 1, field, value
REG_MOVE = Struct(">10sHHHII")  # head, bits, source offset, destination offset, source, destination
OUTPUT_REG = Struct(">10sHIH6x")  # head, offset << 6 | bits - 1, field, max length
# Head, flags, field of the zone (0: none), zone number or offset << 6 | bits - 1, table (255: none), helper
CT = Struct(">10sHIHB3xH")
CONJUNCTION = Struct(">10sBBI")  # head, clause (from 0), clauses, id
CHECK_LARGER = Struct(">10sHHI6x")  # head, bytes, bit, field
RESUBMIT = Struct(">10sHB3x")  # head, in_port (as it is), table
PORT_IN_PORT = 0xFFF8  # OFPP_IN_PORT in 16 bits, as Nicira actions have it
METER = Struct(">HHI")  # an instruction: type, length, meter
METER_HEAD = Struct(">HHI")  # of a mod: command, flags, meter; of a configuration: length, flags, meter
METER_BAND = Struct(">HHII4x")  # type, length, rate, burst
METER_REQUEST = Struct(">I4x")  # meter
FLUSH_ZONE = Struct(">II6xH")  # vendor, subtype, zone
PORT_STATS_REQUEST = Struct(">I4x")  # port
# Length, port, [duration], packets and bytes in and out, dropped and faulty in and out (7.3.5.6)
PORT_STATS = Struct(">H2xI8x8Q")
# Meter, length, [pad, flows, packets and bytes in, duration] (7.3.5.13); each band: packets and bytes
METER_STATS = Struct(">IH34x")
METER_BAND_STATS = Struct(">QQ")
UNKNOWN_COUNTER = 0xFFFFFFFFFFFFFFFF

# Fields that have an older name in the classes NXM_OF (0) and NXM_NX (1) of the same width: class and number
# (ovs-fields(7)). OVS writes these names in Nicira actions.
NXM_NAMES = {
    "eth_dst": (0, 1),
    "eth_src": (0, 2),
    "eth_type": (0, 3),
    "ip_proto": (0, 6),
    "ipv4_src": (0, 7),
    "ipv4_dst": (0, 8),
    "tcp_src": (0, 9),
    "tcp_dst": (0, 10),
    "udp_src": (0, 11),
    "udp_dst": (0, 12),
    "icmpv4_type": (0, 13),
    "icmpv4_code": (0, 14),
    "arp_op": (0, 15),
    "arp_spa": (0, 16),
    "arp_tpa": (0, 17),
    "tunnel_id": (1, 16),
    "arp_sha": (1, 17),
    "arp_tha": (1, 18),
    "ipv6_src": (1, 19),
    "ipv6_dst": (1, 20),
    "icmpv6_type": (1, 21),
    "icmpv6_code": (1, 22),
    "ipv6_nd_target": (1, 23),
    "ipv6_nd_sll": (1, 24),
    "ipv6_nd_tll": (1, 25),
}
