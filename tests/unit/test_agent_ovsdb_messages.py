"""Messages of the database: told apart wherever the stream is cut, and read as Python reads JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise

import ovs.json
import pytest
from hypothesis import given
from hypothesis import strategies as st

import agent.ovsdb.thread  # noqa: F401  # puts the parser in its place
from agent.ovsdb.messages import Parser

TEXTS = st.text(alphabet=st.sampled_from('ab"\\{}[]:, \n\u00e4\U0001f600'), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.dictionaries(TEXTS, VALUES, max_size=4)


def read(pieces: Iterable[str]) -> list[object]:
    """Feed as ovs.jsonrpc does: what is behind a message is for the next parser."""
    parser, found = Parser(), []
    for piece in pieces:
        rest = piece
        while rest:
            rest = rest[parser.feed(rest) :]
            if parser.is_done():
                found.append(parser.finish())
                parser = Parser()
    return found


@given(st.lists(MESSAGES, max_size=4), st.lists(st.integers(0, 300), max_size=12), st.booleans())
def test_messages_are_the_same_however_they_arrive(
    messages: list[dict[str, object]], cuts: list[int], ascii_only: bool
) -> None:
    text = "\n ".join(json.dumps(message, ensure_ascii=ascii_only) for message in messages)
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert read(text[a:b] for a, b in pairwise(places)) == messages


@given(MESSAGES)
def test_messages_are_told_apart_character_by_character(message: dict[str, object]) -> None:
    assert read(json.dumps(message) * 2) == [message, message]


@pytest.mark.parametrize("text", ["hello", "[1]", '"{}"', "}", '{"a" 1}', '{"a": [}'])
def test_what_is_no_message_is_refused_in_words(text: str) -> None:
    (found,) = read([text, "}"])[:1]
    assert isinstance(found, str)


def test_the_client_reads_with_it() -> None:
    assert ovs.json.PARSER == ovs.json.PARSER_C or ovs.json.Parser is Parser
