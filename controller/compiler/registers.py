"""Named registers: what each bit of the packet's metadata means. No other module names a regN.

| register | name      | meaning                                                                  |
|----------|-----------|--------------------------------------------------------------------------|
| reg0     | NETWORK   | VNI of the network the packet is in; 0 before ADMISSION                   |
| reg1     | FROM_PORT | number of the local port that sent it; 0 if it came out of the overlay    |
| reg2     | TO_PORT   | OpenFlow port it will leave by                                            |
| reg3     | ORIGIN    | bit 0: a local port sent it; bit 1: it came out of the overlay            |
"""

from __future__ import annotations

from dataclasses import dataclass

from controller.flows import Field, Load, field


@dataclass(frozen=True, slots=True)
class Register:
    """Bits [0, bits) of one register field, under the name of what they mean."""

    name: str
    field: Field
    bits: int = 32

    def load(self, value: int) -> Load:
        """Return the action that writes value."""
        if value >> self.bits:
            raise ValueError(f"{self.name}: {value:#x} has more than {self.bits} bits")
        return Load(self.field, 0, self.bits, value)


NETWORK = Register("NETWORK", field("reg0"))
FROM_PORT = Register("FROM_PORT", field("reg1"))
TO_PORT = Register("TO_PORT", field("reg2"), 16)
ORIGIN = Register("ORIGIN", field("reg3"), 2)

ORIGIN_LOCAL = 1
ORIGIN_OVERLAY = 2

REGISTERS = (NETWORK, FROM_PORT, TO_PORT, ORIGIN)
