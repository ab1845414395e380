"""A plan as a page: what becomes of which object, on which hosts, and who can then talk to whom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from cloison.v1 import plan_pb2
from controller.cli import output

PAIRS_SHOWN_MAX = 20
_SIGNS = {
    plan_pb2.ObjectChange.CREATE: ("+", "green"),
    plan_pb2.ObjectChange.UPDATE: ("~", "yellow"),
    plan_pb2.ObjectChange.DELETE: ("-", "red"),
}


def show(plan: plan_pb2.ChangePlan, how: str) -> None:
    """Show a plan as a page, or as data."""
    if how != "table":
        output.data(output.to_dict(plan), how)
        return
    if not plan.changes:
        click.echo("No changes: everything is as it should be.")
    for change in plan.changes:
        _show_change(change)
    _show_hosts(plan.hosts)
    _show_reach("Can talk then, and could not before:", plan.becomes_reachable, "green")
    _show_reach("Can no longer talk:", plan.stops_being_reachable, "red")
    for violation in plan.violations:
        click.secho(f"! {violation.kind}: {violation.message}", fg="red", bold=True)
        for step in violation.path:
            click.echo(f"    {step.host} {step.stage} {step.rule} {step.note}".rstrip())
    for note in plan.notes:
        click.secho(f"! {note}", fg="yellow")
    if plan.changes:
        click.echo(summary(plan))


def summary(plan: plan_pb2.ChangePlan) -> str:
    """Return the plan in one line."""
    actions = [change.action for change in plan.changes]
    kinds = plan_pb2.ObjectChange
    pairs = {frozenset((r.source, r.target)) for r in plan.becomes_reachable}
    cut = {frozenset((r.source, r.target)) for r in plan.stops_being_reachable}
    return (
        f"Plan: {actions.count(kinds.CREATE)} to create, {actions.count(kinds.UPDATE)} to change, "
        f"{actions.count(kinds.DELETE)} to delete; {len(pairs)} pairs come to talk, {len(cut)} cease to."
    )


def _show_change(change: plan_pb2.ObjectChange) -> None:
    sign, color = _SIGNS.get(change.action, ("?", "white"))
    click.echo(f"{click.style(sign, fg=color, bold=True)} {change.name}")
    for field in change.fields:
        if change.action == plan_pb2.ObjectChange.UPDATE:
            click.echo(f"    {field.field}: {field.before or '-'} -> {field.after or '-'}")
        elif change.action == plan_pb2.ObjectChange.CREATE:
            click.echo(f"    {field.field}: {field.after}")


def _show_hosts(hosts: Iterable[plan_pb2.HostImpact]) -> None:
    rows = [
        (host.host.removeprefix("hosts/"), *(number or "-" for number in _counts(host))) for host in hosts
    ]
    if rows:
        click.echo()
        output.table(rows, ("HOST", "FLOWS +", "~", "-", "FDB +", "-"))


def _counts(host: plan_pb2.HostImpact) -> tuple[int, ...]:
    flows = (host.flows_added, host.flows_modified, host.flows_deleted)
    return (*flows, host.fdb_added, host.fdb_deleted)


def _show_reach(title: str, reaches: Iterable[plan_pb2.Reach], color: str) -> None:
    pairs = dict(_pairs(reaches))
    if not pairs:
        return
    click.echo()
    click.secho(title, bold=True)
    for (names, condition), spaces in list(pairs.items())[:PAIRS_SHOWN_MAX]:
        click.secho(f"  {names}{f'  ({condition})' if condition else ''}", fg=color)
        for space in spaces:
            click.echo(f"      {space}")
    if len(pairs) > PAIRS_SHOWN_MAX:
        click.echo(f"  and {len(pairs) - PAIRS_SHOWN_MAX} pairs more: -o json shows all")


def _pairs(reaches: Iterable[plan_pb2.Reach]) -> Iterator[tuple[tuple[str, str], list[str]]]:
    """Yield pairs with what passes from address to address; both directions together where there are both."""
    by_pair: dict[tuple[str, str, str], list[str]] = {}
    for reach in reaches:
        key = (_short(reach.source), _short(reach.target), reach.condition)
        by_pair[key] = [space for space in reach.spaces if " -> " in space] or list(reach.spaces)
    done: set[tuple[str, str, str]] = set()
    for (source, target, condition), spaces in by_pair.items():
        back = (target, source, condition)
        if back in done:
            continue
        done.add((source, target, condition))
        both = back in by_pair
        arrow = "<->" if both else "->"
        yield (f"{source} {arrow} {target}", condition), spaces + (by_pair[back] if both else [])


def _short(name: str) -> str:
    """tenants/acme/networks/web/ports/a -> acme/web/a"""
    return "/".join(name.split("/")[1::2])
