"""Values as text: no more of a value is read than is kept, whatever its size."""

from __future__ import annotations

import sys
import threading
import tracemalloc
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.db.models.signals import post_save

from tracing.instrumentation.attributes.arguments import MAX_FIELDS, details_reader
from tracing.instrumentation.attributes.values import MAX_MESSAGE, Redaction, error_text


def _allocated(call):
    """Return how many blocks of memory *call* takes at most while it runs, in a thread that counts."""
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


HUGE = {
    "dict": dict.fromkeys(range(200_000), 1),
    "list": list(range(200_000)),
    "tuple": tuple(range(200_000)),
    "set": set(range(200_000)),
    "frozenset": frozenset(range(200_000)),
    "string": "x" * 1_000_000,
    "bytes": b"x" * 1_000_000,
    "int": 1 << 1_000_000,
    "Decimal": Decimal("1" * 200_000),
    "nested": [[dict.fromkeys(range(1_000), "y" * 200)] * 1_000] * 1_000,
    "string as key": {"k" * 1_000_000: 1},
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_huge_value_is_not_copied(kind):
    value = HUGE[kind]

    assert _allocated(lambda: Redaction().named({"value": value})) < 50_000


def test_what_is_left_out_is_counted():
    redaction = Redaction(max_items=2)

    texts = redaction.named({"one": [1, 2, 3], "two": {"a": 1, "b": 2, "c": 3}, "three": 3})

    assert texts == {
        "one": "list(1, 2, … 1 more)",
        "two": "{'a': 1, 'b': 2, … 1 more}",
        "…": "1 more",
    }


def test_items_of_a_collection_end_when_its_text_is_long():
    text = Redaction(max_text=30, max_length=50).text(["x" * 30] * 10)

    assert text == f"list({', '.join([repr('x' * 30)] * 2)}, … 8 more)"


class _Changing(threading.Thread):
    """Changes a dictionary and a set all the time."""

    def __init__(self):
        super().__init__()
        self.mapping = {}
        self.items = set()
        self.over = False

    def run(self):
        number = 0
        while not self.over:
            number += 1
            self.mapping[number] = number
            self.items.add(number)
            if number % 50 == 0:
                self.mapping.clear()
                self.items.clear()


def test_a_collection_that_another_thread_changes_is_read():
    changing = _Changing()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    changing.start()
    try:
        redaction = Redaction()
        for _ in range(2_000):
            texts = redaction.named({"mapping": changing.mapping, "items": changing.items})
            assert texts["mapping"][0] == "{"
            assert texts["items"][:4] == "set("
    finally:
        changing.over = True
        changing.join()
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset])
def test_of_many_update_fields_the_first_are_kept(kind):
    fields = kind(f"field{number}" for number in range(100_000))
    named = {"instance": User(pk=1), "created": False, "raw": False, "using": "default"}
    read = details_reader(post_save, User)

    details = read(User, {**named, "update_fields": fields})

    assert len(details[-1]) == MAX_FIELDS
    assert _allocated(lambda: read(User, {**named, "update_fields": fields})) < 50_000


@pytest.mark.parametrize(
    "error",
    [KeyError("x" * 1_000_000), ValueError("x" * 1_000_000, 1), OSError("x" * 1_000_000)],
    ids=["key", "several", "one"],
)
def test_the_text_of_an_error_about_a_huge_string_is_not_made(error):
    assert len(error_text(error)[1]) <= MAX_MESSAGE + 1
    assert _allocated(lambda: error_text(error)) < 50_000
