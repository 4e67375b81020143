"""Tests of names and places as text."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tracing.analysis import names
from tracing.spans.records import Callsite, ReceiverLabel


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
    shortened = names.shorten_middle(text, width)

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
    assert names.short_receiver(name) == short


def test_place_is_relative_to_the_project(settings):
    here = Path(__file__).resolve()

    assert names.place(str(here), 3) == f"{here.relative_to(Path.cwd())}:3"
    assert names.place("", 3) == ""
    assert names.place("/elsewhere/a.py") == "/elsewhere/a.py"


def test_place_is_relative_to_the_installed_packages():
    assert names.place(sys.modules["django"].__file__, 1) == "django/__init__.py:1"


def test_texts_name_the_place():
    label = ReceiverLabel("a.b", "/elsewhere/a.py", 7)

    assert names.receiver_text(label) == "a.b (/elsewhere/a.py:7)"
    assert names.receiver_text(ReceiverLabel("len")) == "len"
    assert names.callsite_text(Callsite("/elsewhere/a.py", 9, "f")) == "f (/elsewhere/a.py:9)"
    assert names.callsite_text(None) == "unknown code"


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
    assert names.in_library(file) is expected
