"""Tests of text in the terminal: laid out alike with and without rich, for any width."""

from __future__ import annotations

import io
import re
import sys

import pytest
from django.core.management import call_command

from tests.tracing.command_line import ANSI, Screen, checkout, store
from tracing.management.layout import Text, rows_of, width_of, wrapped
from tracing.management.terminal import joined, stacked, table, text

DATABASES = pytest.mark.django_db(databases="__all__")
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def releases(db):
    return store(
        *(checkout(number, release="1.0", own_ms=5 + number % 3) for number in range(1, 4)),
        *(checkout(number, release="1.1", own_ms=9 + number % 3) for number in range(4, 7)),
    )


def screen_of(*arguments, **options):
    """Return what somebody sees who looks, and what stderr has."""
    screen, stderr = Screen(), io.StringIO()
    call_command("tracing", *arguments, stdout=screen, stderr=stderr, **options)
    return screen.getvalue(), stderr.getvalue()


TEXTS = (
    ["list"],
    ["list", "--everything"],
    ["show", "last", "--all", "--totals", "--sql"],
    ["show", "last", "--why", "2"],
    ["tail", "--tree"],
    ["stats", "--by", "call"],
    ["hazards"],
    ["hazards", "--rules"],
    ["wiring"],
    ["compare", "--before", "1.0", "--after", "1.1", "--all"],
    ["diff", "00000001", "00000002"],
    ["status"],
    ["prune", "--max-rows", "1000", "--dry-run"],
    ["pause"],
    ["resume"],
)
"""Every verb that writes for people."""


@DATABASES
@pytest.mark.parametrize("arguments", TEXTS, ids=" ".join)
def test_without_rich_the_text_is_the_same_without_colours(releases, monkeypatch, arguments):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured, _ = screen_of(*arguments)
    for module in ("rich", "rich.console", "rich.text"):
        monkeypatch.setitem(sys.modules, module, None)
    text, warned = screen_of(*arguments)

    assert (ANSI.search(text), warned) == (None, "")
    assert [line.rstrip() for line in ESCAPES.sub("", coloured).splitlines()] == text.splitlines()
    assert text.strip()


@DATABASES
def test_colours_that_are_forced_name_what_they_need(releases, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    text, warned = screen_of("list", force_color=True)

    assert ANSI.search(text) is None
    assert "pip install 'django-signal-tracing[cli]'" in warned


# --- layout --------------------------------------------------------------------------------------


def plain_rows(made, width):
    return [line.plain for line in rows_of(made, width)]


def plain_lines(whole, width):
    return [line.plain for line in wrapped(whole, width)]


def test_table_aligns_numbers_to_the_right_and_fills_no_last_column():
    made = table("number", "name", right=("number",))
    made.add_row(text("7"), text("x"))
    made.add_row(text("1,200"), text("long name"))

    assert plain_rows(made, 80) == ["number  name", "     7  x", " 1,200  long name"]


def test_table_counts_the_columns_that_characters_take():
    made = table("name", "n")
    made.add_row(text("日本"), text("1"))
    made.add_row(text("e\u0301a"), text("2"))

    assert width_of("日本e\u0301") == 5
    assert plain_rows(made, 80) == ["name  n", "日本  1", "e\u0301a    2"]


def test_cell_that_is_cut_keeps_its_style():
    made = table("name")
    made.add_row(joined(("abc", "bold"), ("defgh", "dim")))
    made.add_row(text("日本語"))

    _, row, wide = rows_of(made, 5)
    assert row.parts == [("abc", "bold"), ("d", "dim"), ("…", "dim")]
    assert wide.plain == "日本…"


def test_row_may_have_fewer_cells_than_there_are_columns():
    made = table("a", "b")
    made.add_row(text("only"))

    assert plain_rows(made, 80) == ["a     b", "only"]


@pytest.mark.parametrize(
    ("sentence", "lines"),
    [
        ("", [""]),
        ("short", ["short"]),
        ("x" * 45, ["x" * 30, "x" * 15]),
        ("word " * 8, ["word word word word word word", "word word "]),
        (
            "  in word word word word word word word",
            ["  in word word word word word", "  word word"],
        ),
        (" " * 25 + "deep enough", [" " * 25 + "deep", "enough"]),
        ("日本" * 10, ["日本" * 7 + "日", "本" + "日本" * 2]),
    ],
)
def test_sentence_is_broken_between_words(sentence, lines):
    assert plain_lines(text(sentence), 30) == lines


def test_broken_sentence_keeps_its_styles():
    whole = joined(("word " * 5, "bold"), ("word " * 3, "dim"))

    first, second = wrapped(whole, 28)
    assert first.parts == [("word " * 4 + "word", "bold")]
    assert second.parts == [("word " * 3, "dim")]


def test_texts_are_stacked_on_lines_of_their_own():
    assert stacked(text("a"), text("b", "bold")).parts == [("a", ""), ("\n", ""), ("b", "bold")]
    assert not stacked()
    assert not Text(("", "bold"))
