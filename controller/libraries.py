"""What the controller's process does without in the libraries it uses; to be imported before any of them."""

from __future__ import annotations

from cloison.lean import as_if_absent

# Tracebacks in colour; threads of another kind; the compiler of protobuf.
with as_if_absent("rich", "better_exceptions", "greenlet", "grpc_tools"):
    import grpc  # noqa: F401
    import structlog.dev  # noqa: F401
