"""The commands of every resource, made from its description: list, get, create, update, delete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from uuid import uuid4

import click

from controller.cli import completion, output, plan_commands, realized, session
from controller.cli.names import full_name, parent_name, split_parent
from controller.cli.resources import Resource

F = TypeVar("F", bound=Callable[..., Any])
PAGE_SIZE = 1000


def make_group(resource: Resource) -> click.Group:
    """Return the group of a resource's commands."""
    group = click.Group(resource.noun, help=resource.help)
    group.add_command(_list(resource))
    group.add_command(_get(resource))
    group.add_command(_get(resource, "show", hidden=True))
    if resource.writable:
        group.add_command(_create(resource))
        group.add_command(_update(resource))
        group.add_command(_delete(resource))
    return group


# -- options ---------------------------------------------------------------------------------------


def scoped(resource: Resource) -> Callable[[F], F]:
    """Add an option for each parent."""

    def decorate(function: F) -> F:
        for noun in reversed(resource.parents):
            function = click.option(
                f"-{noun[0]}",
                f"--{noun}",
                envvar=f"CLOISON_{noun.upper()}",
                metavar="NAME",
                help=f"The {noun} it is in.",
                shell_complete=completion.names_of(noun),
            )(function)
        return function

    return decorate


def _named(resource: Resource) -> Callable[[F], F]:
    noun = "port" if resource.suffix else resource.noun
    return click.argument("name", metavar="NAME", shell_complete=completion.names_of(noun))


def _with_fields(resource: Resource, *, update: bool) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        fields = [f for f in resource.fields if f.on_update or not update]
        for field in reversed(fields):
            function = click.option(
                *field.flags,
                field.parameter,
                help=field.help,
                multiple=field.multiple,
                is_flag=field.is_flag,
                type=field.type,
                default=None,
                required=field.required and not update,
                shell_complete=completion.names_of(field.names or field.flags[0].lstrip("-")),
            )(function)
        return click.option(
            "--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label; repeatable."
        )(function)

    return decorate


dry_run_option = plan_commands.dry_run_option
etag_option = click.option("--etag", default="", help="Only if it still has this etag.")


def scope_of(values: dict[str, Any]) -> dict[str, str | None]:
    """Return the parents that were given, or that the context gives."""
    tenant = values.get("tenant") or session.current().context.tenant or None
    return {"tenant": tenant, "network": values.get("network")}


def _labels(pairs: tuple[str, ...]) -> dict[str, str]:
    labels = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--label")
        labels[key] = value
    return labels


def _apply(resource: Resource, message: Any, values: dict[str, Any], parent: str) -> set[str]:
    """Set the fields for which options were given; return their names."""
    changed = set()
    for field in resource.fields:
        value = values.get(field.parameter)
        if value is not None and value != ():
            field.apply(message, value, parent)
            changed.add(field.field)
    return changed


def _method(resource: Resource, verb: str) -> Any:
    stub = resource.stub(session.current().channel)
    return getattr(stub, f"{verb}{resource.message}{'s' if verb == 'List' else ''}")


def _request(resource: Resource, verb: str) -> Any:
    return getattr(resource.module, f"{verb}{resource.message}{'s' if verb == 'List' else ''}Request")


# -- commands --------------------------------------------------------------------------------------


def _list(resource: Resource) -> click.Command:
    @click.command("list", help=f"List {resource.noun}s; without a parent, all that you may see.")
    @scoped(resource)
    @output.option
    def command(output: str, **values: Any) -> None:
        found = list(all_of(resource, scope_of(values)))
        _show_many(resource, found, output)

    return command


def _show_many(resource: Resource, found: list[Any], how: str) -> None:
    output.many(found, resource.columns, how, f"no {resource.noun}s")


def all_of(resource: Resource, scope: dict[str, str | None], timeout_s: float = 30.0) -> Iterator[Any]:
    """Yield everything under a parent, page by page."""
    request = _request(resource, "List")(page_size=PAGE_SIZE)
    if resource.parents:
        request.parent = parent_name(resource.parents, scope, wildcard=True)
    yield from paged(_method(resource, "List"), request, resource.plural_field, timeout_s)


def paged(method: Any, request: Any, field: str, timeout_s: float = 30.0) -> Iterator[Any]:
    """Yield what a method lists in that field of its answers, page by page."""
    while True:
        answer = session.current().call(method, request, timeout_s)
        yield from getattr(answer, field)
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token


def _get(resource: Resource, verb: str = "get", *, hidden: bool = False) -> click.Command:
    @click.command(verb, help=f"Show one {resource.noun}, by its name or full name.", hidden=hidden)
    @_named(resource)
    @scoped(resource)
    @output.option
    def command(name: str, output: str, **values: Any) -> None:
        _show_one(fetch(resource, name_of(resource, name, values)), output)

    return command


def _show_one(message: Any, how: str) -> None:
    output.one(message, how)


def name_of(resource: Resource, name: str, values: dict[str, Any]) -> str:
    """Return the full name of what was named on the command line."""
    noun = "port" if resource.suffix else resource.noun
    return (
        full_name(noun, resource.parents, name, scope_of(values)).removesuffix(resource.suffix)
        + resource.suffix
    )


def fetch(resource: Resource, name: str) -> Any:
    """Return one resource as it is now."""
    return session.current().call(_method(resource, "Get"), _request(resource, "Get")(name=name))


def _create(resource: Resource) -> click.Command:
    article = "an" if resource.noun[0] in "aeiou" else "a"

    @click.command("create", help=f"Create {article} {resource.noun}.")
    @_named(resource)
    @scoped(resource)
    @_with_fields(resource, update=False)
    @realized.options
    @dry_run_option
    @output.option
    def command(name: str, labels: tuple[str, ...], dry_run: bool, output: str, **values: Any) -> None:
        parent, resource_id = split_parent(name_of(resource, name, values))
        request = _request(resource, "Create")(request_id=str(uuid4()))
        setattr(request, f"{resource.field}_id", resource_id)
        if resource.parents:
            request.parent = parent
        message = getattr(request, resource.field)
        message.SetInParent()
        message.labels.update(_labels(labels))
        _apply(resource, message, values, parent)
        _change(resource, "Create", request, output, dry_run, values)

    return command


def _change(
    resource: Resource, verb: str, request: Any, how: str, dry_run: bool, values: dict[str, Any]
) -> None:
    """Do it, wait if that was asked for, and show the outcome; or show what would be."""
    if dry_run:
        plan_commands.dry_run([request], how)
        return
    made = session.current().call(_method(resource, verb), request)
    if values["wait"]:
        realized.wait(made.name, made.revision, values["timeout"])
        made = fetch(resource, made.name)
    _show_one(made, how) if how != "table" else _show_many(resource, [made], how)


def _update(resource: Resource) -> click.Command:
    article = "an" if resource.noun[0] in "aeiou" else "a"
    clearable = sorted({f.field for f in resource.fields if f.on_update} | {"labels"})

    @click.command("update", help=f"Change {article} {resource.noun}: only what is given here.")
    @_named(resource)
    @scoped(resource)
    @_with_fields(resource, update=True)
    @click.option("--remove-label", "removed", multiple=True, metavar="KEY", help="Drop a label; repeatable.")
    @click.option("--clear", multiple=True, type=click.Choice(clearable), help="Empty a field; repeatable.")
    @etag_option
    @realized.options
    @dry_run_option
    @output.option
    def command(
        name: str,
        labels: tuple[str, ...],
        removed: tuple[str, ...],
        clear: tuple[str, ...],
        etag: str,
        dry_run: bool,
        output: str,
        **values: Any,
    ) -> None:
        full = name_of(resource, name, values)
        request = _request(resource, "Update")()
        message = getattr(request, resource.field)
        message.name, message.etag = full, etag
        paths = set(clear) | _apply(resource, message, values, split_parent(full)[0])
        if labels or removed:
            _change_labels(
                fetch(resource, full), message, _labels(labels), removed, keep="labels" not in clear
            )
            paths.add("labels")
        if not paths:
            raise click.UsageError("nothing to change: give an option for what should be different")
        request.update_mask.paths.extend(sorted(paths))
        _change(resource, "Update", request, output, dry_run, values)

    return command


def _change_labels(
    current: Any, message: Any, added: dict[str, str], removed: tuple[str, ...], *, keep: bool
) -> None:
    """Set labels from those there are; the etag sees to it that nobody else's change is lost."""
    kept = current.labels if keep else {}
    message.labels.update({k: v for k, v in kept.items() if k not in removed} | added)
    message.etag = message.etag or current.etag


def _delete(resource: Resource) -> click.Command:
    @click.command("delete", help=f"Delete {resource.noun}s that nothing depends on.")
    @click.argument(
        "names", metavar="NAME...", nargs=-1, required=True, shell_complete=completion.names_of(resource.noun)
    )
    @scoped(resource)
    @etag_option
    @realized.options
    @dry_run_option
    @output.option
    def command(names: tuple[str, ...], etag: str, dry_run: bool, output: str, **values: Any) -> None:
        gone: dict[str, int] = {}
        full_names = [name_of(resource, name, values) for name in names]
        requests = [_request(resource, "Delete")(name=full, etag=etag) for full in full_names]
        if dry_run:
            plan_commands.dry_run(requests, output)
            return
        for request in requests:
            _, trailers = session.current().call(_method(resource, "Delete").with_call, request)
            click.echo(f"{request.name} deleted")
            gone[request.name] = _revision_in(trailers)
        if values["wait"]:
            for full, revision in gone.items():
                realized.wait(full, revision, values["timeout"])

    return command


def _revision_in(call: Any) -> int:
    """Return the revision at which something was deleted, as the controller says it beside its answer."""
    return int(dict(call.trailing_metadata() or ()).get("cloison-revision", 0))
