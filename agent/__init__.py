"""The agent: one per host; carries the plan out in the bridge and the kernel. Never imports controller."""

from cloison.lean import as_if_absent

# Tracebacks in colour; loggers for each greenlet.
with as_if_absent("rich", "better_exceptions", "greenlet"):
    import structlog.dev  # noqa: F401
