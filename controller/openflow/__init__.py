"""Switches: sessions, encoding, bundles. The only importer of os_ken, and the one place where threads are.

The rest of the controller uses switch.py (the seam), fake.py (in tests), server.py (the real thing) and
refusal.py.
"""

from cloison.lean import as_if_empty

_UNUSED = (*(f"ofproto.ofproto_v1_{minor}_parser" for minor in (0, 2, 3, 5)), "lib.packet.packet")

# os-ken brings the messages of every version of OpenFlow, and what reads packets of every kind: 11 MiB.
with as_if_empty(*(f"os_ken.{name}" for name in _UNUSED)):
    import os_ken.base.app_manager  # first: os_ken.controller cannot be imported before it
    import os_ken.controller.ofp_handler  # noqa: F401
