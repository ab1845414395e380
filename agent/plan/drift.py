"""Names what is wrong when actual departed from desired by itself.

Kinds are those of the contract's Drift.
"""

from __future__ import annotations

from agent.plan.actual import link_name
from agent.plan.operations import Operations
from agent.plan.scope import Scope
from cloison.addresses import format_mac
from cloison.model import Vni


def drifts(operations: Operations, planned: Scope) -> dict[str, list[str]]:
    """Return the operations outside planned, as kind -> what is concerned.

    planned is the scope in which desired changed; there, differences are work and no drift. Entries of a
    device that has to be made are not told one by one: they follow the device.
    """
    found: dict[str, list[str]] = {}

    def note(kind: str, vni: Vni, text: str) -> None:
        if not planned.covers(vni):
            found.setdefault(kind, []).append(f"{link_name(vni)}{text}")

    made = {spec.vni for spec in (*operations.links_create, *operations.links_replace)}
    for create in operations.links_create:
        note("LINK_MISSING", create.vni, "")
    for spec in (*operations.links_replace, *operations.links_update):
        note("LINK_ALTERED", spec.vni, "")
    for vni in operations.links_delete:
        note("LINK_FOREIGN", vni, "")
    for vni, mac in operations.fdb_delete:
        if mac not in planned.macs.get(vni, ()):
            note("FDB_FOREIGN", vni, f" {format_mac(mac)}")
    for put in operations.fdb_put:
        if put.vni not in made and put.mac not in planned.macs.get(put.vni, ()):
            note("FDB_ALTERED" if put.present else "FDB_MISSING", put.vni, f" {format_mac(put.mac)}")
    if operations.firewall is not None and not planned.firewall and not planned.everything:
        found["FIREWALL_ALTERED"] = ["nftables table cloison"]
    return found
