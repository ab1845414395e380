"""What the peer is asked for, as ovn-nbctl takes it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tests.bench.layout import NETWORKS, TCP_OPEN, Guest


def tenant_commands(tenant: int, guests: Sequence[Guest]) -> Iterator[list[str]]:
    """A tenant with its router, its networks, its ports and the group that holds them all."""
    router, group = f"r{tenant}", f"pg{tenant}"
    yield ["lr-add", router]
    for network in range(NETWORKS):
        switch, gateway = f"t{tenant}n{network}", f"10.{tenant & 255}.{network}.1/24"
        mac = f"0a:ff:{tenant >> 8:02x}:{tenant & 255:02x}:{network:02x}:01"
        yield ["ls-add", switch]
        yield ["lrp-add", router, f"{router}-{switch}", mac, gateway]
        yield ["lsp-add", switch, f"{switch}-r"]
        yield ["lsp-set-type", f"{switch}-r", "router"]
        yield ["lsp-set-addresses", f"{switch}-r", "router"]
        yield ["lsp-set-options", f"{switch}-r", f"router-port={router}-{switch}"]
    for guest in guests:
        yield from port_commands(guest)
    yield ["pg-add", group, *(guest.id for guest in guests)]
    ports = ", ".join(map(str, TCP_OPEN))
    for direction, priority, match, action in (
        ("to-lport", 1002, f"outport == @{group} && ip4 && ip4.src == ${group}_ip4", "allow-related"),
        (
            "to-lport",
            1002,
            f"outport == @{group} && ip4 && tcp && tcp.dst == {{{ports}}}",
            "allow-related",
        ),
        ("from-lport", 1002, f"inport == @{group} && ip4", "allow-related"),
        ("to-lport", 1001, f"outport == @{group} && ip", "drop"),
        ("from-lport", 1001, f"inport == @{group} && ip", "drop"),
    ):
        yield ["--type=port-group", "acl-add", group, direction, str(priority), match, action]


def port_commands(guest: Guest) -> Iterator[list[str]]:
    """A port with its addresses and port security; in no group."""
    where = f"{guest.mac} {guest.address}"
    yield ["lsp-add", f"t{guest.tenant}n{guest.network}", guest.id]
    yield ["lsp-set-addresses", guest.id, where]
    yield ["lsp-set-port-security", guest.id, where]


def own_match(guest: Guest) -> str:
    """What the rule of a guest's own admits."""
    return f'outport == "{guest.id}" && ip4 && ip4.src == {guest.tenant_range} && tcp.dst == {guest.rule}'


def joined(commands: Iterable[list[str]]) -> list[str]:
    """Several commands as one transaction."""
    words: list[str] = []
    for command in commands:
        words += ["--", *command] if words else command
    return words
