"""Tests of numbers, names and places as text."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tracing.analysis import formatting
from tracing.capture.spans import Callsite, ReceiverLabel


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (1, "1 ns"),
        (999, "999 ns"),
        (1_000, "1.00 µs"),
        (1_234, "1.23 µs"),
        (12_345, "12.3 µs"),
        (123_456, "123 µs"),
        (999_400, "999 µs"),
        (999_500, "1.00 ms"),
        (9_996_000, "10.0 ms"),
        (99_960_000, "100 ms"),
        (1_000_000_000, "1.00 s"),
        (61_200_000_000, "61.2 s"),
        (7_200_000_000_000, "7,200 s"),
        (-1_500_000, "-1.50 ms"),
    ],
)
def test_human_ns_has_three_significant_digits(nanoseconds, text):
    assert formatting.human_ns(nanoseconds) == text


@pytest.mark.parametrize(
    ("nanoseconds", "text"), [(0, "±0 ns"), (1500, "+1.50 µs"), (-1500, "-1.50 µs")]
)
def test_human_difference_shows_its_sign(nanoseconds, text):
    assert formatting.human_difference(nanoseconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (1234, "1,234"), (99_999, "99,999"), (123_456, "123 k"), (1_234_567, "1.23 M")],
)
def test_human_count_stays_readable(count, text):
    assert formatting.human_count(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(12, "12 bytes"), (1234, "1.23 kB"), (12_345_678, "12.3 MB"), (3_000_000_000, "3.00 GB")],
)
def test_human_bytes_uses_powers_of_ten(count, text):
    assert formatting.human_bytes(count) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (0.004, "<1 %"), (0.126, "13 %"), (1, "100 %")]
)
def test_human_percent_never_calls_something_nothing(share, text):
    assert formatting.human_percent(share) == text


@pytest.mark.parametrize(
    ("position", "text"),
    [(0, "1st"), (1, "2nd"), (2, "3rd"), (3, "4th"), (10, "11th"), (11, "12th"), (20, "21st")],
)
def test_ordinal_counts_from_one(position, text):
    assert formatting.ordinal(position) == text


def test_plural_follows_the_count():
    texts = [formatting.plural(n, "query", "queries") for n in (0, 1, 2)]

    assert texts == ["0 queries", "1 query", "2 queries"]
    assert formatting.plural(2, "call") == "2 calls"


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("core.orders", 20, "core.orders"),
        ("core.orders.receivers.make_sale", 16, "core.…rs.make_sale"),
        ("abcdef", 1, "…"),
        ("abcdef", 0, ""),
    ],
)
def test_shorten_middle_keeps_both_ends(text, width, short):
    shortened = formatting.shorten_middle(text, width)

    assert len(shortened) <= width
    assert shortened[:3] == short[:3]
    if width > len(text):
        assert shortened == text
    elif width > 3:
        assert text.startswith(shortened.split("…")[0])
        assert text.endswith(shortened.split("…")[1])


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("core.orders.receivers.make_sale", "make_sale"),
        ("core.search.Indexer.on_save", "Indexer.on_save"),
        ("core.search.Indexer()", "Indexer()"),
        ("functools.partial(core.mail.notify)", "partial(notify)"),
        ("core.apps.connect.<locals>.<lambda>", "connect.<locals>.<lambda>"),
        ("make_sale", "make_sale"),
    ],
)
def test_short_receiver_drops_the_modules(name, short):
    assert formatting.short_receiver(name) == short


def test_place_is_relative_to_the_project(settings):
    here = Path(__file__).resolve()

    assert formatting.place(str(here), 3) == f"{here.relative_to(Path.cwd())}:3"
    assert formatting.place("", 3) == ""
    assert formatting.place("/elsewhere/a.py") == "/elsewhere/a.py"


def test_place_is_relative_to_the_installed_packages():
    assert formatting.place(sys.modules["django"].__file__, 1) == "django/__init__.py:1"


def test_texts_name_the_place():
    label = ReceiverLabel("a.b", "/elsewhere/a.py", 7)

    assert formatting.receiver_text(label) == "a.b (/elsewhere/a.py:7)"
    assert formatting.receiver_text(ReceiverLabel("len")) == "len"
    assert formatting.callsite_text(Callsite("/elsewhere/a.py", 9, "f")) == "f (/elsewhere/a.py:9)"
    assert formatting.callsite_text(None) == "unknown code"


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("/srv/other/.venv/lib/python3.12/site-packages/django/apps/config.py", True),
        ("/usr/lib/python3/dist-packages/django/apps/config.py", True),
        ("C:\\shop\\.venv\\Lib\\site-packages\\django\\apps\\config.py", True),
        (json.__file__, True),
        ("", True),
        ("/srv/shop/packages/receivers.py", False),
    ],
)
def test_file_of_a_library_is_known_as_such_from_another_host_too(file, expected):
    assert formatting.in_library(file) is expected
