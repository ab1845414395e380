"""`python -m agent`, and `cloison-agent`: what has to come before anything else is imported."""

from __future__ import annotations

from agent.lean import hold_collections
from cloison.lean import share_memory


def main() -> None:
    """Run the agent until SIGTERM."""
    share_memory()
    hold_collections()
    from agent.command import main as command

    command()


if __name__ == "__main__":
    main()
