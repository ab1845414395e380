"""Reading single values of YAML documents, where every scalar is text."""

from __future__ import annotations

from typing import Any


class Wrong(Exception):
    """A field is not what it should be; expected says what is."""

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field}: {expected}")


def text_of(value: Any, field: str) -> str:
    """Return a value that is one text; raises Wrong."""
    if not isinstance(value, str):
        raise Wrong(field, "one value, not a list or mapping")
    return value


def texts_of(value: Any, field: str) -> list[str]:
    """Return a list of texts; one value alone will do. Raises Wrong."""
    if value == "":
        return []
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Wrong(field, "a list of values such as [a, b]")
    return value


def truth_of(value: Any, field: str) -> bool:
    """Return a value that is true or false; raises Wrong."""
    known = {"true": True, "yes": True, "false": False, "no": False}
    if not isinstance(value, str) or value.lower() not in known:
        raise Wrong(field, f"true or false, not {value!r}")
    return known[value.lower()]


def number_of(value: Any, field: str) -> int:
    """Return a value that is a number from 0 to 4294967295; raises Wrong."""
    text = text_of(value, field)
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < 1 << 32):
        raise Wrong(field, f"a number, not {text!r}")
    return int(text)
