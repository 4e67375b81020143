"""Characters that a terminal obeys are escaped, and what is JSON stays JSON."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from tracing.spans.escapes import (
    escape_cell,
    escape_control,
    escape_json,
    escape_json_bytes,
    json_text,
)

UNSEEN = [
    chr(number)
    for number in range(sys.maxunicode + 1)
    if unicodedata.category(chr(number)) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
]


def is_harmless(text):
    return all(character.isprintable() or character in "\n\t" for character in text)


def test_all_unseen_characters_are_escaped_in_json():
    # Two halves of a pair, one after the other, are read as what they are halves of.
    value = {"name": " ".join(UNSEEN), "seen": "große 車 \U0001f697"}

    text = json_text(value)

    assert json.loads(text, strict=True) == value
    assert not any(character in text for character in UNSEEN)
    assert "große 車 \U0001f697" in text


def test_log_lines_in_bytes_are_escaped_alike():
    line = '{"a":"\u009b31m\u202e\x7f"}'.encode()

    assert escape_json_bytes(line) == b'{"a":"\\u009b31m\\u202e\\u007f"}'
    assert escape_json_bytes(b'{"a":1}') == b'{"a":1}'
    assert escape_json('{"a":"é"}') == '{"a":"é"}'


@pytest.mark.parametrize("character", UNSEEN[:: max(1, len(UNSEEN) // 200)])
def test_one_line_of_text_cannot_command_a_terminal(character):
    line = escape_control(f"a{character}b")

    assert is_harmless(line)
    assert "\n" not in line


def test_a_cell_keeps_its_lines():
    assert escape_cell("a\nb\tc\x1b[31m\u202e") == "a\nb\tc\\x1b[31m\\u202e"
