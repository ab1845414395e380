"""`cloison router set-gateway`, `unset-gateway`; `cloison external-network addresses`."""

from __future__ import annotations

from typing import Any

import click

from cloison.v1 import external_network_pb2, router_pb2
from controller.cli import commands, completion, output, plan_commands, session
from controller.cli.fields_outside import external_network_name
from controller.cli.resources import EXTERNAL_NETWORK, ROUTER


@click.command("set-gateway")
@click.argument("router", shell_complete=completion.names_of("router"))
@click.argument("external_network", shell_complete=completion.names_of("external-network"))
@commands.scoped(ROUTER)
@click.option("--ip", "addresses", multiple=True, help="Its address there; one a family.  [default: any]")
@click.option("--no-snat", is_flag=True, help="Only floating IPs and routed prefixes go out.")
@click.option("--distributed-snat", is_flag=True, help="Each host sends out what its own ports send.")
@click.option("--routed-prefix", "prefixes", multiple=True, help="Not translated; repeatable.")
@commands.dry_run_option
@output.option
def set_gateway(
    router: str,
    external_network: str,
    addresses: tuple[str, ...],
    no_snat: bool,
    distributed_snat: bool,
    prefixes: tuple[str, ...],
    dry_run: bool,
    output: str,
    **values: Any,
) -> None:
    """Let a ROUTER go out by an EXTERNAL_NETWORK; what is not said is as by default."""
    gateway = router_pb2.RouterGateway(
        external_network=external_network_name(external_network),
        ip_addresses=addresses,
        no_snat=no_snat,
        distributed_snat=distributed_snat,
        routed_prefixes=prefixes,
    )
    _update(
        router_pb2.Router(name=commands.name_of(ROUTER, router, values), gateway=gateway), dry_run, output
    )


@click.command("unset-gateway")
@click.argument("router", shell_complete=completion.names_of("router"))
@commands.scoped(ROUTER)
@commands.dry_run_option
@output.option
def unset_gateway(router: str, dry_run: bool, output: str, **values: Any) -> None:
    """Take a ROUTER's way out away."""
    _update(router_pb2.Router(name=commands.name_of(ROUTER, router, values)), dry_run, output)


def _update(message: router_pb2.Router, dry_run: bool, how: str) -> None:
    request = router_pb2.UpdateRouterRequest(router=message)
    request.update_mask.paths.append("gateway")
    if dry_run:
        plan_commands.dry_run([request], how)
        return
    stub = ROUTER.stub(session.current().channel)
    output.one(session.current().call(stub.UpdateRouter, request), how)


@click.command()
@click.argument("name", shell_complete=completion.names_of("external-network"))
@output.option
def addresses(name: str, output: str) -> None:
    """Show who has which address of an external network NAME; all ports of an address are its owner's."""
    request = external_network_pb2.ListExternalAddressesRequest(
        name=external_network_name(name), page_size=commands.PAGE_SIZE
    )
    stub = EXTERNAL_NETWORK.stub(session.current().channel)
    _show(list(commands.paged(stub.ListExternalAddresses, request, "addresses")), output)


def _show(found: list[Any], how: str) -> None:
    columns = (
        ("ADDRESS", lambda a: a.ip_address),
        ("TENANT", lambda a: a.tenant.removeprefix("tenants/") or "-"),
        ("OWNER", lambda a: a.owner),
        ("WAITS FOR", lambda a: " ".join(h.removeprefix("hosts/") for h in a.waiting_for) or "-"),
    )
    output.many(found, columns, how, "no addresses are taken")
