"""The pipeline as a page for people, made from the declarations and from compiled flows. Pure.

docs/pipeline.md is this text; a test fails when it is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_network

from cloison.addresses import ROUTER_MAC
from cloison.model import Direction, EtherType, Meta, SecurityGroup, SecurityGroupRule, Vni
from cloison.names import PortName, SecurityGroupName, TenantName
from controller.compiler.compile import compile_host
from controller.compiler.pipeline import TABLE_NAMES, TABLES, Table
from controller.compiler.policy import policy_cost
from controller.compiler.registers import REGISTERS, Register
from controller.compiler.view import (
    CrossingView,
    ExitView,
    HostUnitView,
    HostView,
    NetworkView,
    NextHop,
    PolicyView,
    PortView,
    RouterView,
    RouteView,
)
from controller.flows import Flow
from controller.flows.text import field_text, flows_text

_HEAD = """# The pipeline on br-int

Made from the code by `make docs`; a test fails when the two differ. OpenFlow 1.4 with Nicira extensions.
Every table's miss drops, by an explicit flow of priority 0, so that drops are counted where they happen.
No flow says NORMAL or FLOOD, none learns, none sends to the controller.

## The way of a frame

    local port ─► ADMISSION ─────► SERVICES ─► TRACK ─► OPENING ─► TRACKED ─► ADDRESSING ─► FORWARD
                     └─ IPv6 ─► ND_GUARD ─┘ │ └─ ARP, ND ───────────────────────────┘         ▲ │
    VXLAN device, service port ─► ADMISSION ┼─────────────────────────────────────────────────┘ │
                                            ▼                                                   │
    services of this host ◄─ SERVICE ◄─ METER ◄────── too big ─── TAG ◄─ EXIT ◄─ elsewhere ─────┤
                                                                   │      │                     │
    VXLAN device ◄─ OUTPUT ◄───────────────────────────────────────┴──────┘ ARP, ND             │
    local port ◄─ OUTPUT ◄─ SOURCE ◄─ COMMIT ◄─ INGRESS ◄─ EGRESS ◄─ DIRECTION ◄─ DELIVER ◄─────┘
                    └─ ARP, ND, what the services say ───────────────────────────────┘

1. ADMISSION believes a local port only if every source address in the frame is the port's own. A frame
   out of a VXLAN device is in that device's network, whatever it says.
2. SERVICES sends what is for the services of this host (DHCP, names, metadata, routers) to them, so much a
   second of each port, and to nobody else.
3. TRACK and TRACKED know the connections of the port that sends, each port in a zone of its own. OPENING
   lets it open so many a second.
4. ADDRESSING writes the *wire MAC* of the destination address (0a:f0 + IPv4 address, 0a:f6 + low 32 bits of
   the IPv6 address; for ARP and neighbour solicitations, of the target): one flow per subnet, not per port.
5. IP to the MAC of a router goes from ADDRESSING by ROUTE: the longest prefix says into which network, the
   TTL gets one less, and from then on it is as if it had been sent there. So routing is done at the sender's
   host, by flows for the router's subnets and routes. A port may have a way out of its own, to the edge on
   its host, that wins over the router's default route. What asks for a router's address, is for the router
   itself, has no hop left or no route is answered by the services of this host.
6. FORWARD finds the wire MAC among the ports of this host and puts the real MAC back; failing that the
   frame goes to the VXLAN device, whose static forwarding database knows the VTEP of each wire MAC. In a
   network with multicast, what is for a group or for all is copied, so much a second of each port
   (SPREADING): to DELIVER for each local port, to EXIT for each other host (under that host's MAC,
   0a:f5 + VTEP), and what comes from there to local ports only.
7. To another host EXIT and TAG put the sender's *policy profile*, the number of its set of security groups,
   into the source MAC: 0a:f4 + number. So a member of a remote group costs no flow anywhere.
8. DELIVER to COMMIT judge, once, at the receiver's host: the egress rules of who opened the connection and
   the ingress rules of whom it was opened to, for every packet of both directions. A rule withdrawn stops
   what it had admitted. SOURCE then hides the profile: the source MAC is the source address's wire MAC.
9. To another tenant a packet goes only by a peering: ROUTE sends it by DIRECTION to COMMIT at once, to be
   judged by its own tenant's rules, to which the other side is one profile; COMMIT sends it on to FORWARD
   under the number by which the other tenant knows this side, to be judged there as any other.
10. What nobody has goes nowhere: no flow, or no FDB entry, and silence.

Profiles 1 and 2 are no sets of groups. 1 is a port without port security: it may send and get everything but
tags, and what others may send it is for their egress rules to say. Its packets are tracked, so that replies
to it are known as replies; what its zone finds invalid passes, since it may route what goes another way back.
2 is a port without groups, to and from which no rule admits anything.

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
    """One network with a subnet of each family, one dual-stack port on it, a VXLAN device, a small policy."""
    network = NetworkView(
        tenant_number=1,
        vni=Vni(5001),
        subnets=(ip_network("10.0.0.0/24"), ip_network("2001:db8::/64")),
        tunnel_ofport=2,
        routers=(example_router(),),
    )
    port = PortView(
        tenant_number=1,
        port_number=77,
        vni=Vni(5001),
        ofport=3,
        mac=0x525400000005,
        addresses=(ip_address("10.0.0.5"), ip_address("2001:db8::5")),
        profile=16,
        exits=(ExitView(ROUTER_MAC, 4, Vni(5003), 0x525400000064),),
    )
    return HostView(
        networks={network.vni: network},
        ports={PortName("acme", "web", "web1"): port},
        unit=HostUnitView(service_ofport=1, mtu=1450),
        policies={TenantName("acme"): example_policy()},
    )


def example_router() -> RouterView:
    """Joins 10.0.0.0/24 with 10.1.0.0/24 of another network, where 192.0.2.0/24 is behind a port.

    By a peering 10.0.0.0/24 is joined with 10.9.0.0/24 of another tenant.
    """
    return RouterView(
        mac=ROUTER_MAC,
        here=(ip_address("10.0.0.1"),),
        addresses=(ip_address("10.0.0.1"), ip_address("10.1.0.1")),
        routes=(
            RouteView(prefix=ip_network("10.0.0.0/24"), vni=Vni(5001)),
            RouteView(prefix=ip_network("10.1.0.0/24"), vni=Vni(5002)),
            RouteView(prefix=ip_network("192.0.2.0/24"), vni=Vni(5002), next_hop=NextHop(0x525400000009)),
            RouteView(
                prefix=ip_network("10.9.0.0/24"),
                vni=Vni(6001),
                crossing=CrossingView(ip_network("10.0.0.0/24"), 20, 30, 2),
            ),
        ),
    )


def example_policy() -> PolicyView:
    """Two profiles: 16 in group default, 17 in default and web; web takes tcp 80 to 81 from anywhere."""
    default, web = SecurityGroupName("acme", "default"), SecurityGroupName("acme", "web")
    egress = SecurityGroupRule(id="egress", number=1, direction=Direction.EGRESS)
    same = SecurityGroupRule(id="same", number=2, direction=Direction.INGRESS, remote_group=default)
    http = SecurityGroupRule(
        id="http",
        number=1,
        direction=Direction.INGRESS,
        ether_type=EtherType.IPV4,
        protocol=6,
        port_min=80,
        port_max=81,
        remote_prefix=ip_network("192.0.2.0/24"),
    )
    groups = (
        SecurityGroup(name=default, meta=Meta(uid=""), number=1, rules=(egress, same)),
        SecurityGroup(name=web, meta=Meta(uid=""), number=2, rules=(http,)),
    )
    return PolicyView(
        tenant_number=1,
        profiles={16: (default,), 17: (default, web)},
        groups={group.name: group for group in groups},
        address_groups={},
    )


def _register_table() -> str:
    rows = (f"| {r.name} | {_bits(r)} |\n" for r in REGISTERS)
    return "## Registers\n\n| name | bits |\n|---|---|\n" + "".join(rows)


def _bits(register: Register) -> str:
    last = register.start + register.bits - 1
    bits = f"{register.start}" if register.bits == 1 else f"{register.start}..{last}"
    return f"{field_text(register.field.name)}[{bits}]"


def _table_section(table: Table, flows: Iterable[Flow]) -> str:
    goes_to = ", ".join(TABLE_NAMES[n] for n in table.next) or "nowhere"
    lines = [
        f"\n### {table.number} {table.name}\n",
        f"\n{table.purpose}\n",
        f"\n- matches: {_names(sorted(field_text(name) for name in table.matches))}",
        f"\n- reads: {_names(r.name for r in table.reads)}",
        f"\n- writes: {_names([*(r.name for r in table.writes), *sorted(map(field_text, table.rewrites))])}",
        f"\n- may go to: {goes_to}",
        f"\n- does: {_names(_deeds(table))}",
        f"\n- drops as: {table.drop_reason}\n",
        "\n```\n",
        flows_text(flows, TABLE_NAMES),
        "```\n",
    ]
    return "".join(lines)


def _deeds(table: Table) -> Iterable[str]:
    if table.zone is not None:
        zone = next((r.name for r in REGISTERS if r.field == table.zone), "the port it came in by")
        yield f"connection tracking, zone {zone}"
    if table.conjoins:
        yield "conjunctions"
    if table.ages:
        yield "decrementing the TTL"
    if table.meters:
        yield "metering"
    if table.sends:
        yield "sending"


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"


def _counts() -> str:
    nothing = HostView({}, {})
    static = len(compile_host(nothing))
    host = example_host()
    host = replace(host, ports={name: replace(port, exits=()) for name, port in host.ports.items()})

    def more(view: HostView) -> int:
        return len(compile_host(view)) - static

    alone = {vni: replace(network, routers=()) for vni, network in host.networks.items()}
    routed = len(compile_host(host)) - len(compile_host(replace(host, networks=alone)))

    only4 = {n: replace(p, addresses=p.addresses4) for n, p in host.ports.items()}
    cost = policy_cost(example_policy())
    return (
        "\n## How many flows\n\n"
        f"{static} static ones, {more(replace(nothing, unit=host.unit))} for the host;"
        f" {more(replace(nothing, networks=alone))} for a network with a subnet of each family;\n"
        f"{more(replace(nothing, ports=only4))} for a port with one IPv4 address,"
        f" {more(replace(nothing, ports=host.ports))} for one with an IPv6 address besides."
        " None for a remote port.\n"
        "One more in ROUTE for each family in which it has a way out of its own.\n"
        f"The router above: {routed} in each network of it that has a port on the host, of which one for each"
        " of its\naddresses and routes.\n"
        f"The policy above: {cost.flows}, with {cost.masks} distinct masks. A policy costs the sum of the"
        " profiles, addresses and\nport ranges of its rules, on each host with a port of the tenant.\n"
    )
