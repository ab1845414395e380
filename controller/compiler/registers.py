"""Named registers: what each bit of the packet's metadata means. No other module names a regN.

| register  | name         | meaning                                                                       |
|-----------|--------------|-------------------------------------------------------------------------------|
| reg0      | NETWORK      | VNI of the network the packet is in; 0 before ADMISSION                        |
| reg1      | FROM_PORT    | number of the local port that sent it; 0 if no local port did                  |
| reg2      | TO_PORT      | OpenFlow port it will leave by                                                 |
| reg3[0-2] | ORIGIN       | bit 0: a local port sent it; 1: it came out of the overlay; 2: a local service |
| reg3[3]   | OVERSIZE     | it does not fit into the overlay                                               |
| reg3[4]   | ABROAD       | it is to cross to another tenant, once its own one lets it out                |
| reg4      | FROM_PROFILE | policy profile of the port that sent it                                        |
| reg5      | TO_PROFILE   | policy profile of the local port it is for                                     |
| reg6      | INITIATOR    | policy profile of the port that opened the connection                          |
| reg7      | RESPONDER    | policy profile of the port that the connection was opened to                   |
| reg8      | TENANT       | number of the tenant whose network it is in, or whose policy it is yet to pass |
| reg9      | CLAIMED_IP   | the sender's address as IPv4 or ARP say it                                     |
| reg10     | CLAIMED_LOW  | the sender's MAC as they say it, bits 0 to 31                                  |
| reg11     | CLAIMED_HIGH | its bits 32 to 47; bit 16: it is IPv4 or ARP that says so                      |
| reg12     | ABROAD_AS    | profile by which the other tenant knows who sends from this one                |
| reg13     | ABROAD_TO    | number of the other tenant                                                     |

Out of the overlay FROM_PROFILE means something of tracked packets only: of all else it is a part of a MAC,
and nothing rests on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from controller.flows import Field, Load, Move, field


@dataclass(frozen=True, slots=True)
class Register:
    """Bits [start, start + bits) of one register field, under the name of what they mean."""

    name: str
    field: Field
    bits: int = 32
    start: int = 0

    def load(self, value: int) -> Load:
        """Return the action that writes value.

        Raises ValueError if it does not fit.
        """
        return _load(self, value)

    def copy(self, source: Register) -> Move:
        """Return the action that writes what stands in source."""
        return Move(source.field, source.start, self.field, self.start, self.bits)

    def equals(self, value: int) -> dict[str, tuple[int, int]]:
        """Return the terms of a match on the whole register."""
        return self.has(value, (1 << self.bits) - 1)

    def has(self, value: int, mask: int) -> dict[str, tuple[int, int]]:
        """Return the terms of a match on some of its bits."""
        return {self.field.name: (value << self.start, mask << self.start)}


@lru_cache(maxsize=1 << 12)
def _load(register: Register, value: int) -> Load:
    """See Register.load; the flows of a port share theirs."""
    if value >> register.bits:
        raise ValueError(f"{register.name}: {value:#x} has more than {register.bits} bits")
    return Load(register.field, register.start, register.bits, value)


NETWORK = Register("NETWORK", field("reg0"))
FROM_PORT = Register("FROM_PORT", field("reg1"))
TO_PORT = Register("TO_PORT", field("reg2"), 16)
ORIGIN = Register("ORIGIN", field("reg3"), 3)
OVERSIZE = Register("OVERSIZE", field("reg3"), 1, start=3)
FROM_PROFILE = Register("FROM_PROFILE", field("reg4"))
TO_PROFILE = Register("TO_PROFILE", field("reg5"))
INITIATOR = Register("INITIATOR", field("reg6"))
RESPONDER = Register("RESPONDER", field("reg7"))
TENANT = Register("TENANT", field("reg8"))
CLAIMED_IP = Register("CLAIMED_IP", field("reg9"))
CLAIMED_LOW = Register("CLAIMED_LOW", field("reg10"))
CLAIMED_HIGH = Register("CLAIMED_HIGH", field("reg11"))

CLAIMS_IPV4_BIT = 16
"""Of CLAIMED_HIGH."""
ABROAD = Register("ABROAD", field("reg3"), 1, start=4)
ABROAD_AS = Register("ABROAD_AS", field("reg12"))
ABROAD_TO = Register("ABROAD_TO", field("reg13"))

ORIGIN_LOCAL = 1
ORIGIN_OVERLAY = 2
ORIGIN_SERVICE = 4

REGISTERS = (
    NETWORK,
    FROM_PORT,
    TO_PORT,
    ORIGIN,
    OVERSIZE,
    FROM_PROFILE,
    TO_PROFILE,
    INITIATOR,
    RESPONDER,
    TENANT,
    CLAIMED_IP,
    CLAIMED_LOW,
    CLAIMED_HIGH,
    ABROAD,
    ABROAD_AS,
    ABROAD_TO,
)
