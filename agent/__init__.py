"""The agent: one per host; carries the plan out in the bridge and the kernel. Never imports controller."""

from cloison.lean import as_if_absent

# Tracebacks in colour; the compiler of protobuf and services of servers.
with as_if_absent("rich", "better_exceptions", "grpc_tools", "grpc_health", "grpc_reflection"):
    import grpc  # noqa: F401
    import structlog.dev  # noqa: F401
