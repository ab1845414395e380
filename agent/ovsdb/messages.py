"""The messages of the database client, told apart and read by Python's own parser of JSON.

The client's own looks at every character in Python, unless a library in C was built with it: of the start of
a host with some thousand ports that was a good part.
"""

from __future__ import annotations

import json
import re
from typing import Any

# A bracket, or a string; whether that was closed is in its group.
_TOKEN = re.compile(r'[{}\[\]]|"(?:[^"\\]+|\\.)*("?)', re.DOTALL)


class Parser:
    """Stands for ovs.json.Parser: is fed what arrives until a message, which is an object, is whole."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        # A string that what was fed so far does not close, and how many brackets are open before it.
        self._open = ""
        self._depth = 0
        self._done = self._refused = False

    def feed(self, text: str) -> int:
        """Take in text up to the end of the message; return how many characters that were."""
        pending, before = self._open + text, len(self._open)
        self._open = ""
        if not self._depth and pending.strip()[:1] not in ("", "{"):
            self._done = self._refused = True
            return len(text)
        for token in _TOKEN.finditer(pending):
            first = pending[token.start()]
            if first == '"':
                if not token[1]:
                    self._parts.append(pending[: token.start()])
                    self._open = pending[token.start() :]
                    return len(text)
            elif first in "{[":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth == 0:
                    self._done = True
                    self._parts.append(pending[: token.end()])
                    return token.end() - before
        self._parts.append(pending)
        return len(text)

    def is_done(self) -> bool:
        """Tell whether a message is whole, or none can come of what was fed."""
        return self._done

    def finish(self) -> Any:
        """Return the message, or in words what is wrong with it."""
        if self._refused:
            return "a message begins with a brace"
        try:
            return json.loads("".join([*self._parts, self._open]))
        except (ValueError, RecursionError) as err:
            return f"no JSON: {err}"
