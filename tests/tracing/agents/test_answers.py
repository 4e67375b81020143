"""Tests of answers for agents: bounded, in parts, and nothing lost between two."""

from __future__ import annotations

import json

import pytest

from tracing.agents.answers import BYTES_PER_TOKEN, Cursor, bounded, read
from tracing.agents.tools import ArgumentsError, tool_named

LIST = tool_named("find_traces")
SHOW = tool_named("show_trace")


def dispatch(number, *receivers, **others):
    return {
        "number": number,
        "signal": "django.db.models.signals.post_save",
        "receivers": [
            {"receiver": name, "number": number + at} for at, name in enumerate(receivers, 1)
        ],
        **others,
    }


def answer(document, tool, cursor=None, tokens=2_000):
    return json.loads(bounded(document, tool, Cursor.of(cursor), tokens))


def test_what_is_empty_or_says_nothing_to_an_agent_is_left_out():
    row = {"trace_id": "ab", "failed": False, "error": "", "http_status": None, "errors": {}}

    found = answer([row | {"process": 7, "query_count": 0, "share": 0.123456}], LIST)

    assert found == {"entries": [{"trace_id": "ab", "share": 0.123}], "total": 1}


def test_receivers_follow_their_dispatch_a_level_deeper():
    found = answer({"name": "checkout", "dispatches": [dispatch(1, "a", "b"), dispatch(4)]}, SHOW)

    assert found["name"] == "checkout"
    assert [(each["number"], each.get("level", 0)) for each in found["entries"]] == [
        (1, 0),
        (2, 1),
        (3, 1),
        (4, 0),
    ]


@pytest.mark.parametrize("tokens", [100, 300, 2_000])
def test_parts_hold_everything_once_and_each_fits(tokens):
    document = {
        "name": "a long import",
        "dispatches": [
            dispatch(10 * n, "shop.receivers.count", "shop.receivers.tell") for n in range(90)
        ],
    }
    numbers, cursor, texts = [], None, []
    while cursor is not None or not texts:
        texts.append(bounded(document, SHOW, Cursor.of(cursor), tokens))
        part = json.loads(texts[-1])
        numbers += [each.get("number", 0) for each in part["entries"]]
        cursor = part.get("cursor")

    assert numbers == [n for at in range(0, 900, 10) for n in (at, at + 1, at + 2)]
    assert max(len(text.encode()) for text in texts) <= tokens * BYTES_PER_TOKEN
    assert ["name" in json.loads(text) for text in texts] == [True] + [False] * (len(texts) - 1)


def test_an_entry_that_is_too_large_is_cut_and_says_so():
    row = {"trace_id": "ab", "error": "x" * 9_000, "tags": list(range(1, 2_000))}

    (found,) = answer([row], LIST, tokens=500)["entries"]

    assert found == {
        "trace_id": "ab",
        "error": f"{'x' * 300}…",
        "tags": [1, 2, 3, 4, 5, 6, 7, 8, "… 1991 more"],
    }


@pytest.mark.parametrize(
    "large",
    [
        {f"key {n}": "x" * 90 for n in range(500)},
        [{"a": ["y" * 400] * 9, "b": ["z" * 400] * 9}] * 9,
        "車" * 9_000,
    ],
    ids=["object", "lists", "letters-of-three-bytes"],
)
def test_no_entry_is_too_large_for_an_answer(large):
    text = bounded([{"trace_id": "ab", "attributes": large}] * 3, LIST, Cursor.of(None), 500)

    shown = bounded(
        {"name": "cd", "more": large, "dispatches": [{"x": large}]}, SHOW, Cursor(), 500
    )

    found = json.loads(text)
    assert max(len(text.encode()), len(shown.encode())) <= 500 * BYTES_PER_TOKEN
    assert json.loads(shown)["name"] == "cd"
    assert found["entries"][0]["trace_id"] == "ab"
    assert ("…" in text, found["total"]) == (True, 3)


def test_unseen_characters_are_escaped():
    text = bounded([{"name": "a\u202eb\x9bc"}], LIST, Cursor.of(None))

    assert text == '{"entries":[{"name":"a\\u202eb\\u009bc"}],"total":1}'


@pytest.mark.parametrize(
    "text", ["7", "x.1700000000000", "7.1", "-1.1700000000000", "7.17000000000001"]
)
def test_what_is_no_cursor_is_told(text):
    with pytest.raises(ArgumentsError, match="is no cursor: give the one of the answer"):
        Cursor.of(text)


def test_json_is_found_behind_what_the_project_prints():
    assert read('Loading settings [dev]\n[not json]\n[\n  {"a": 1}\n]\n') == [{"a": 1}]


@pytest.mark.parametrize("text", ["", "No trace.\n", '{"a": 1'])
def test_no_json_is_an_error(text):
    with pytest.raises(ValueError, match="no JSON"):
        read(text)
