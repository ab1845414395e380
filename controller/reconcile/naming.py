"""What a bridge calls its ports, as far as it has said so. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Naming:
    """ports: interfaces by OpenFlow port, None while the bridge cannot be asked.

    service_ofport: where the local services are; kept while the bridge cannot be asked, as its flows are.
    """

    ports: Mapping[int, str] | None = None
    service_ofport: int | None = None

    def has(self, ofport: int, name: str) -> bool:
        """Tell whether the bridge has this interface (of a guest, or a VXLAN device) under this number.

        Unknown is yes: nothing can be sent then, and it is asked before anything is. But not where it last
        had the services: the agent of a bridge that has started anew may be the first to give that number to
        somebody else, and two would have it.
        """
        if self.ports is None:
            return ofport != self.service_ofport
        return self.ports.get(ofport) == name

    def renamed(self, before: Naming) -> Set[int] | None:
        """Return the numbers that the bridge calls otherwise than before; None: any may be."""
        if before.ports is None or self.ports is None:
            return None
        return {ofport for ofport, _ in before.ports.items() ^ self.ports.items()}
