"""Policy flows, compiled once for a tenant and given to each host that has a port of it.

They do not depend on the host. So a port that is plugged costs no compilation, and all hosts share the flows.
"""

from __future__ import annotations

from collections.abc import Iterable

from cloison.names import HostName, TenantName
from controller.compiler import policy_flows
from controller.flows import Flow
from controller.reconcile.exchange import renewed
from controller.reconcile.views import policy_view
from controller.store.state import State


class KnownFailure(Exception):
    """A policy could not be compiled before, and nothing it is made of has changed since."""


class Policies:
    """The policy flows of all tenants that are on some host."""

    def __init__(self) -> None:
        self._flows: dict[TenantName, tuple[Flow, ...]] = {}
        # Tenants whose flows may be others by now.
        self._stale: set[TenantName] = set()
        self._failed: set[TenantName] = set()

    def forget(self, tenants: Iterable[TenantName]) -> None:
        """The rules of these tenants may be others."""
        for tenant in tenants:
            if tenant in self._flows:
                self._stale.add(tenant)
            self._failed.discard(tenant)

    def flows(self, state: State, tenant: TenantName, host: HostName) -> tuple[Flow, ...]:
        """Return the flows of a tenant's policy on a host; the same object as long as nothing changes.

        Raises whatever the compiler raises, and KnownFailure for the next hosts of the same tenant.
        """
        hosts = state.tenant_hosts(tenant)
        if host not in hosts:
            if not hosts:
                self._flows.pop(tenant, None)
                self._stale.discard(tenant)
            return ()
        known = self._flows.get(tenant)
        if known is None or tenant in self._stale:
            view = policy_view(state, tenant, host)
            if view is None:
                return ()
            if tenant in self._failed:
                raise KnownFailure(str(tenant))
            self._failed.add(tenant)
            # Of the same objects as before as far as they are equal: so all who look see what has changed.
            known = self._flows[tenant] = renewed(known or (), policy_flows(view))
            self._failed.discard(tenant)
            self._stale.discard(tenant)
        return known
