"""`cloison security-group rule`: adding, listing and taking away single rules."""

from __future__ import annotations

from typing import Any

import click

from cloison.v1 import security_group_pb2 as pb
from controller.cli import commands, completion, output, plan_commands, realized, session
from controller.cli.names import split_parent
from controller.cli.resources import SECURITY_GROUP

_GROUP = completion.names_of(SECURITY_GROUP.noun)
_COLUMNS: tuple[output.Column, ...] = (
    ("RULE", lambda m: m.id),
    ("DIRECTION", lambda m: pb.SecurityGroupRule.Direction.Name(m.direction).lower()),
    ("FAMILY", lambda m: pb.SecurityGroupRule.EtherType.Name(m.ether_type) if m.ether_type else "any"),
    ("PROTOCOL", lambda m: m.protocol or "any"),
    ("PORTS", lambda m: _detail(m)),
    ("REMOTE", lambda m: m.remote_prefix or _short(m.remote_group or m.remote_address_group) or "anyone"),
    ("DESCRIPTION", lambda m: m.description),
)


def _detail(rule: Any) -> str:
    """Return ports, or type and code, on one line."""
    if rule.HasField("icmp_type"):
        return f"type {rule.icmp_type}" + (f" code {rule.icmp_code}" if rule.HasField("icmp_code") else "")
    if not (rule.port_min or rule.port_max):
        return "any"
    return str(rule.port_min) if rule.port_min == rule.port_max else f"{rule.port_min}-{rule.port_max}"


def _short(name: str) -> str:
    kinds = {"securityGroups": "group", "addressGroups": "address group"}
    parts = name.split("/")
    return f"{kinds[parts[-2]]} {parts[-1]}" if name else ""


def ports_of(text: str, hint: str = "--port") -> tuple[int, int]:
    """Return the ends of '22' or '8000-8080'; raises a click error."""
    low, dash, high = text.partition("-")
    if not (low.isdecimal() and (high.isdecimal() if dash else True)) or len(text) > 11:
        raise click.BadParameter(f"{text!r} is no port or range such as 22 or 8000-8080", param_hint=hint)
    return int(low), int(high) if dash else int(low)


@click.group()
def rule() -> None:
    """Single rules of security groups."""


@rule.command("list")
@click.argument("group", shell_complete=_GROUP)
@commands.scoped(SECURITY_GROUP)
@output.option
def list_rules(group: str, output: str, **values: Any) -> None:
    """List the rules of a GROUP."""
    found = commands.fetch(SECURITY_GROUP, commands.name_of(SECURITY_GROUP, group, values))
    _show(found, output)


def _show(group: pb.SecurityGroup, how: str) -> None:
    if how != "table":
        output.one(group, how)
        return
    output.many(list(group.rules), _COLUMNS, how, "no rules: nothing is admitted")


@rule.command("add")
@click.argument("group", shell_complete=_GROUP)
@commands.scoped(SECURITY_GROUP)
@click.option("--ingress", "direction", flag_value="INGRESS", help="Opened by others.")
@click.option("--egress", "direction", flag_value="EGRESS", help="Opened by ports of the group.")
@click.option("--ipv4", "family", flag_value="IPV4", help="IPv4 only.")
@click.option("--ipv6", "family", flag_value="IPV6", help="IPv6 only.")
@click.option("--protocol", default="", help="tcp, udp, icmp, icmpv6, ..., or a number.  [default: any]")
@click.option("--port", metavar="N[-M]", help="Destination port or range.  [default: any]")
@click.option("--icmp-type", type=click.IntRange(0, 255), help="Of icmp or icmpv6.  [default: any]")
@click.option("--icmp-code", type=click.IntRange(0, 255), help="Of that type.  [default: any]")
@click.option("--remote-prefix", default="", help="The other end is in this range.")
@click.option("--remote-group", default="", help="The other end is in this group.", shell_complete=_GROUP)
@click.option(
    "--remote-address-group",
    default="",
    help="The other end is in these ranges.",
    shell_complete=completion.names_of("address-group"),
)
@click.option("--description", default="", help="What it is for.")
@click.option("--id", "rule_id", default="", help="Its id.  [default: one is made]")
@commands.etag_option
@realized.options
@commands.dry_run_option
@output.option
def add(group: str, dry_run: bool, etag: str, output: str, **values: Any) -> None:
    """Admit connections to, or from, the ports of a GROUP."""
    if values["direction"] is None:
        raise click.UsageError("say who opens the connections: --ingress (others) or --egress (its ports)")
    name = commands.name_of(SECURITY_GROUP, group, values)
    request = pb.AddSecurityGroupRulesRequest(name=name, etag=etag)
    _fill(request.rules.add(), split_parent(name)[0], values)
    _carry_out("Add", request, output, dry_run, values)


def _fill(message: pb.SecurityGroupRule, tenant: str, values: dict[str, Any]) -> None:
    message.direction = values["direction"]
    if values["family"]:
        message.ether_type = values["family"]
    if values["port"]:
        message.port_min, message.port_max = ports_of(values["port"])
    for field in ("icmp_type", "icmp_code"):
        if values[field] is not None:
            setattr(message, field, values[field])
    for field in ("protocol", "remote_prefix", "description"):
        setattr(message, field, values[field])
    message.id = values["rule_id"]
    for field, plural in (("remote_group", "securityGroups"), ("remote_address_group", "addressGroups")):
        text = values[field]
        if text:
            setattr(message, field, text if "/" in text else f"{tenant}/{plural}/{text}")


@rule.command("remove")
@click.argument("group", shell_complete=_GROUP)
@click.argument("rules", metavar="RULE...", nargs=-1, required=True)
@commands.scoped(SECURITY_GROUP)
@commands.etag_option
@realized.options
@commands.dry_run_option
@output.option
def remove(group: str, rules: tuple[str, ...], dry_run: bool, etag: str, output: str, **values: Any) -> None:
    """Take rules out of a GROUP, by their ids; connections that only they admitted stop at once."""
    name = commands.name_of(SECURITY_GROUP, group, values)
    request = pb.RemoveSecurityGroupRulesRequest(name=name, rule_ids=rules, etag=etag)
    _carry_out("Remove", request, output, dry_run, values)


def _carry_out(verb: str, request: Any, how: str, dry_run: bool, values: dict[str, Any]) -> None:
    if dry_run:
        plan_commands.dry_run([request], how)
        return
    stub = SECURITY_GROUP.stub(session.current().channel)
    made = session.current().call(getattr(stub, f"{verb}SecurityGroupRules"), request)
    if values["wait"]:
        realized.wait(made.name, made.revision, values["timeout"])
    _show(made, how)
