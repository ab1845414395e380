"""Shell completion with the names that there are. Never fails, never takes long: no answer, no proposals."""

from __future__ import annotations

from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

from controller.cli import contexts
from controller.cli.names import parent_name
from controller.cli.session import connect

TIMEOUT_S = 1.0
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def names_of(noun: str) -> Complete | None:
    """Return a completer for the names of a resource, None if noun is none."""
    from controller.cli.resources import ALL  # it describes options, which are completed by this module

    resource = ALL.get(noun)
    if resource is None:
        return None

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            root = ctx.find_root()
            context = contexts.load().chosen(root.params.get("context_name"))[1]
            scope = {
                "tenant": ctx.params.get("tenant") or context.tenant or None,
                "network": ctx.params.get("network"),
            }
            request = getattr(resource.module, f"List{resource.message}sRequest")(page_size=200)
            if resource.parents:
                request.parent = parent_name(resource.parents, scope, wildcard=True)
            with connect(context) as channel:
                method = getattr(resource.stub(channel), f"List{resource.message}s")
                found = getattr(method(request, timeout=TIMEOUT_S), resource.plural_field)
        except Exception:  # noqa: BLE001 - whatever it is, it must not disturb somebody who is typing
            return []
        full = "/" in incomplete
        names = [item.name if full else item.name.rsplit("/", 1)[-1] for item in found]
        return [CompletionItem(name) for name in sorted(set(names)) if name.startswith(incomplete)]

    return complete
