"""Ways to damage a compiled state: each takes it, with the intent, and returns the damaged one (or None)."""

from tests.support.mutations import (  # noqa: F401 -- they enter their kinds
    actions,
    matches,
    peering,
    policing,
    routing,
    rules,
    strange,
    tunnels,
)
from tests.support.mutations.base import MUTATIONS, Mutation, States, Subject

__all__ = ["MUTATIONS", "Mutation", "States", "Subject"]
