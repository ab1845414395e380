"""The agent: one per host; carries the plan out in the bridge and the kernel. Never imports controller."""
