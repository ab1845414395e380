"""Libraries import what they can use if it is there, and all of themselves. What the agent has no use for is
not to fill the memory of every host, nor to take part in its start.
"""

from __future__ import annotations

import gc
import sys
from functools import partial
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType


def hold_collections() -> None:
    """Look for no garbage until `resume_collections`: nearly all that is made at a start stays.

    Python walks through it again and again, for a fifth of the time that the start takes.
    """
    gc.disable()


def resume_collections() -> None:
    """Look for garbage again, but not in what is there now."""
    gc.freeze()
    gc.enable()


def in_parts(*packages: str) -> None:
    """Let modules of these packages be imported without the code of the packages themselves.

    That, which imports all the others, runs when somebody asks a package for what is no module of it. Parents
    first.
    """
    for name in packages:
        spec = None if name in sys.modules else find_spec(name)
        if spec is not None:
            module = sys.modules[name] = module_from_spec(spec)
            vars(module)["__getattr__"] = partial(_found_in, module)


def _found_in(package: ModuleType, name: str) -> object:
    """What `package.name` is, while the package's own code has not run."""
    if name.startswith("__"):
        raise AttributeError(f"module {package.__name__!r} has no attribute {name!r}")
    if find_spec(f"{package.__name__}.{name}") is not None:
        return import_module(f"{package.__name__}.{name}")
    del vars(package)["__getattr__"]
    spec = package.__spec__
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(package)
    return getattr(package, name)
