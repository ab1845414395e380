"""The five standard methods, once for all resources (AIP-131 to AIP-135).

A resource is described by a `Kind`; what it stores is decided by its intents. This module brings in time
and uids, runs intents through the store, shows results, and turns pages.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic
from uuid import uuid4

from cloison.model import Revision
from controller.api import validate
from controller.api.auth import Caller, current_caller
from controller.api.intents.common import R, Stamp, found
from controller.api.parents import Parent
from controller.api.tokens import PageTokens
from controller.api.views import Views
from controller.store.state import State
from controller.store.store import Store
from controller.store.txn import Txn

# A deleted resource has no revision of its own to wait for; this one WaitRealized takes.
REVISION_METADATA_KEY = "cloison-revision"


@dataclass(frozen=True)
class Api:
    """What every service works with. now_ns: nanoseconds since 1970."""

    store: Store
    views: Views
    tokens: PageTokens
    now_ns: Callable[[], int]

    def stamp(self, caller: Caller) -> Stamp:
        """Return time and a new uid for one call."""
        return Stamp(self.now_ns(), str(uuid4()), caller.is_operator)


@dataclass(frozen=True)
class Kind(Generic[R]):
    """One resource: where it lies in the state, how names are read, and its intents."""

    plural: str
    parse: Callable[[str], Any]
    table: Callable[[State], Mapping[Any, R]]
    under: Callable[[State, Any], Iterable[R]]
    collection: Sequence[str]
    list_response: type[Any]
    create: Callable[[State, Any, Stamp], tuple[Txn, R]]
    update: Callable[[State, Any, Stamp], tuple[Txn, R]]
    delete: Callable[[State, Any], tuple[Txn, R]]
    # Whose it is says the first part of its name; else table itself holds what the caller may see.
    of_tenants: bool = True


class Standard(Generic[R]):
    """Create, get, list, update and delete one kind of resource."""

    def __init__(self, api: Api, kind: Kind[R]) -> None:
        self._api = api
        self._kind: Kind[R] = kind

    async def create(self, request: Any) -> Any:
        """Store a new object; a request that is repeated (request_id) gets what the first one made."""
        stamp = self._api.stamp(current_caller())
        return await self._change(
            lambda state: self._kind.create(state, request, stamp), request.validate_only
        )

    async def update(self, request: Any) -> Any:
        """Store the changed fields."""
        return await self.change(request, self._kind.update)

    async def change(self, request: Any, intent: Callable[[State, Any, Stamp], tuple[Txn, R]]) -> Any:
        """Store what an intent makes of the object that a request names: for methods of one resource only."""
        stamp = self._api.stamp(current_caller())
        return await self._change(lambda state: intent(state, request, stamp), request.validate_only)

    async def delete(self, request: Any, context: Any) -> None:
        """Remove an object and give back what it held; the trailers say at which revision."""

        def build(state: State) -> tuple[Txn, R]:
            return self._kind.delete(state, request)

        if request.validate_only:
            self._validated(build)
            return
        revision, _ = await self._api.store.transact(build)
        context.set_trailing_metadata(((REVISION_METADATA_KEY, str(revision)),))

    def get(self, request: Any) -> Any:
        """Return one object."""
        return self._show(found(self._kind.table(self._api.store.state), self._kind.parse(request.name)))

    def list(self, request: Any) -> Any:
        """Return one page of the objects under a parent, in the order of their names."""
        state, caller, kind = self._api.store.state, current_caller(), self._kind
        size = validate.page_size(request.page_size)
        within = caller.tenant if kind.of_tenants else None
        parent = Parent.parse(getattr(request, "parent", ""), kind.collection, within)
        scope = f"{kind.plural}|{parent}|{caller.tenant or ''}"
        after = self._api.tokens.open(scope, request.page_token)
        page = page_of(parent.members(state, kind.table(state), kind.under), after, size)
        response = kind.list_response()
        getattr(response, kind.plural).extend(self._show(resource) for resource in page[:size])
        if len(page) > size:
            response.next_page_token = self._api.tokens.make(scope, "/".join(page[size - 1].name))
        return response

    async def _change(self, build: Callable[[State], tuple[Txn, R]], validate_only: bool) -> Any:
        return self._show(await self._commit(build, validate_only))

    async def _commit(self, build: Callable[[State], tuple[Txn, R]], validate_only: bool) -> R:
        if validate_only:
            return self._validated(build)
        revision, resource = await self._api.store.transact(build)
        # Without a revision it is new in this transaction; with one it is as it was found.
        return resource if resource.meta.revision else _at(resource, revision)

    def _validated(self, build: Callable[[State], tuple[Txn, R]]) -> R:
        txn, resource = build(self._api.store.state)
        txn.check_limits(self._api.store.limits)
        return resource

    def _show(self, resource: R) -> Any:
        return self._api.views.resource(resource, tenant_view=current_caller().tenant is not None)


def page_of(resources: Iterable[Any], after: str, size: int) -> list[Any]:
    """Return the first size + 1 resources whose name comes after the given one ('/'-joined ids)."""
    last = tuple(after.split("/")) if after else ()
    rest = (r for r in resources if tuple(r.name) > last)
    return heapq.nsmallest(size + 1, rest, key=lambda r: tuple(r.name))


def _at(resource: R, revision: Revision) -> R:
    return replace(resource, meta=replace(resource.meta, revision=revision))
