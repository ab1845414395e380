"""The context file: which controllers one can talk to, with which certificates, and which is current.

Like kubectl's. Holds paths of keys, never keys; written for its owner only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import click
import yaml

CONFIG_ENV, CONTEXT_ENV = "CLOISON_CONFIG", "CLOISON_CONTEXT"
SERVER_NAME = "controller.c1"


@dataclass(frozen=True)
class Context:
    """How to reach one controller. endpoint: unix:PATH or HOST:PORT; tenant: assumed where none is named."""

    endpoint: str
    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = SERVER_NAME
    insecure: bool = False
    tenant: str = ""


@dataclass(frozen=True)
class Contexts:
    """The file's content."""

    current: str = ""
    contexts: Mapping[str, Context] = field(default_factory=dict)

    def chosen(self, name: str | None) -> tuple[str, Context]:
        """Return the context named, or else the current one, with its name; raises a click error."""
        wanted = name or self.current
        if not self.contexts:
            raise click.ClickException(
                f"no context yet in {path()}. Make one: cloison context set NAME --endpoint HOST:PORT "
                "--ca FILE --cert FILE --key FILE"
            )
        if wanted not in self.contexts:
            known = ", ".join(sorted(self.contexts))
            raise click.ClickException(f"there is no context {wanted!r} in {path()}; there are: {known}")
        return wanted, self.contexts[wanted]

    def with_context(self, name: str, context: Context) -> Contexts:
        """Return the same with one context set; the first one becomes current."""
        return replace(self, current=self.current or name, contexts={**self.contexts, name: context})


def path() -> Path:
    """Return where the file is."""
    named = os.environ.get(CONFIG_ENV)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "cloison" / "config.yaml"


def _context(name: str, raw: Any) -> Context:
    known = {f.name: f.type for f in fields(Context)}
    if not isinstance(raw, dict) or "endpoint" not in raw or not raw.keys() <= known.keys():
        raise click.ClickException(
            f"{path()}: context {name!r} is a mapping with endpoint, and possibly {', '.join(sorted(known))}"
        )
    return Context(**raw)


def load() -> Contexts:
    """Read the file; empty if there is none. Raises a click error if it cannot be understood."""
    try:
        raw = yaml.safe_load(path().read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return Contexts()
    except (OSError, yaml.YAMLError) as error:
        raise click.ClickException(f"cannot read {path()}: {error}") from error
    contexts = raw.get("contexts") or {} if isinstance(raw, dict) else None
    if not isinstance(contexts, dict):
        raise click.ClickException(f"{path()} holds no mapping `contexts`; see: cloison context set --help")
    return Contexts(
        current=str(raw.get("current") or os.environ.get(CONTEXT_ENV) or ""),
        contexts={str(name): _context(str(name), value) for name, value in contexts.items()},
    )


def save(contexts: Contexts) -> None:
    """Write the file in one step, readable for its owner only."""
    target = path()
    target.parent.mkdir(parents=True, exist_ok=True)
    raw = {"current": contexts.current, "contexts": {n: asdict(c) for n, c in contexts.contexts.items()}}
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    fresh.touch(mode=0o600)
    fresh.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    fresh.replace(target)
