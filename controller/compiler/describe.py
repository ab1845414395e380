"""The pipeline as a page for people, made from the declarations and from compiled flows. Pure.

docs/pipeline.md is this text; a test fails when it is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from cloison.model import Vni
from cloison.names import PortName
from controller.compiler.compile import compile_host
from controller.compiler.pipeline import TABLE_NAMES, TABLES, Table
from controller.compiler.registers import REGISTERS
from controller.compiler.view import HostView, NetworkView, PortView
from controller.flows import Flow
from controller.flows.text import field_text, flows_text

_HEAD = """# The pipeline on br-int

Made from the code by `make docs`; a test fails when the two differ. OpenFlow 1.4 with Nicira extensions.
Every table's miss drops, by an explicit flow of priority 0, so that drops are counted where they happen.
No flow says NORMAL or FLOOD, none learns, none sends to the controller.

## The way of a frame

    local port ─► ADMISSION ─► ADDRESSING ─► FORWARD ─► OUTPUT ─► local port, or the network's VXLAN device
                     └─ IPv6 ─► ND_GUARD ─┘     ▲
    VXLAN device ─► ADMISSION ──────────────────┘

1. ADMISSION believes a local port only if every source address in the frame is the port's own. A frame
   out of a VXLAN device is in that device's network, whatever it says.
2. ADDRESSING writes the *wire MAC* of the destination address (0a:f0 + IPv4 address, 0a:f6 + low 32 bits of
   the IPv6 address; for ARP and neighbour solicitations, of the target): one flow per subnet, not per port.
3. FORWARD finds the wire MAC among the ports of this host and puts the real MAC back; failing that the
   frame goes to the VXLAN device, whose static forwarding database knows the VTEP of each wire MAC.
4. What nobody has goes nowhere: no flow, or no FDB entry, and silence.

"""


def pipeline_page() -> str:
    """Return the whole page."""
    parts = [_HEAD, _register_table(), "\n## Tables\n"]
    flows = sorted(compile_host(example_host()).values(), key=lambda f: (f.table, -f.priority))
    for table in TABLES:
        parts.append(_table_section(table, [f for f in flows if f.table == table.number]))
    parts.append(_counts())
    return "".join(parts)


def example_host() -> HostView:
    """One network with a subnet of each family, one dual-stack port on it, and a VXLAN device."""
    network = NetworkView(
        tenant_number=1,
        vni=Vni(5001),
        subnets=(ip_network("10.0.0.0/24"), ip_network("2001:db8::/64")),
        tunnel_ofport=2,
    )
    port = PortView(
        tenant_number=1,
        port_number=77,
        vni=Vni(5001),
        ofport=3,
        mac=0x525400000005,
        addresses=(ip_address("10.0.0.5"), ip_address("2001:db8::5")),
    )
    return HostView({network.vni: network}, {PortName("acme", "web", "web1"): port})


def _register_table() -> str:
    rows = (f"| {r.name} | {field_text(r.field.name)}[0..{r.bits - 1}] |\n" for r in REGISTERS)
    return "## Registers\n\n| name | bits |\n|---|---|\n" + "".join(rows)


def _table_section(table: Table, flows: Iterable[Flow]) -> str:
    goes_to = ", ".join(TABLE_NAMES[n] for n in table.next) or "nowhere"
    lines = [
        f"\n### {table.number} {table.name}\n",
        f"\n{table.purpose}\n",
        f"\n- matches: {_names(sorted(field_text(name) for name in table.matches))}",
        f"\n- reads: {_names(r.name for r in table.reads)}",
        f"\n- writes: {_names([*(r.name for r in table.writes), *sorted(map(field_text, table.rewrites))])}",
        f"\n- may go to: {goes_to}",
        f"\n- sends: {'yes' if table.outputs else 'no'}\n",
        "\n```\n",
        flows_text(flows, TABLE_NAMES),
        "```\n",
    ]
    return "".join(lines)


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"


def _counts() -> str:
    static = len(compile_host(HostView({}, {})))
    host = example_host()
    network = len(compile_host(HostView(host.networks, {}))) - static
    port = len(compile_host(HostView({}, host.ports))) - static
    only4 = {n: _without_ipv6(p) for n, p in host.ports.items()}
    port4 = len(compile_host(HostView({}, only4))) - static
    return (
        "\n## How many flows\n\n"
        f"{static} static ones; {network} for a network with a subnet of each family; {port4} for a port\n"
        f"with one IPv4 address, {port} for one with an IPv6 address besides. None for a remote port.\n"
    )


def _without_ipv6(port: PortView) -> PortView:
    return PortView(
        tenant_number=port.tenant_number,
        port_number=port.port_number,
        vni=port.vni,
        ofport=port.ofport,
        mac=port.mac,
        addresses=port.addresses4,
    )
