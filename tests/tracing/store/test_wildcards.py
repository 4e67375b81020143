"""Tests of names with ``*``: SQL and Python agree, and no name makes a comparison take long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracing.models import TraceLabel
from tracing.store.wildcards import FitsWildcard, fits

NAMES = [
    "", "a", "ab", "aab", "orders:check_out", "100%", "100x", "a_b", "axb", "back\\slash", "it's",
    "two\nlines", "Upper", "*",
]  # fmt: skip
PATTERNS = [
    "*", "**", "a*", "*b", "a*b", "*a*b", "ab*b", "a*a", "orders:*", "*CHECK*", "100%*", "*_b",
    "back\\*", "*\\*", "it'*", "two*lines", "upper*", "o*:*_*t", "*" * 50,
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.django_db(databases=["default", "tracing"])
def test_database_and_python_find_the_same(pattern):
    TraceLabel.objects.bulk_create(
        TraceLabel(key=str(place), name=name) for place, name in enumerate(NAMES)
    )

    found = TraceLabel.objects.filter(FitsWildcard("name", pattern)).values_list("name", flat=True)
    assert sorted(found) == sorted(name for name in NAMES if fits(pattern, name))


@given(st.text("ab*", max_size=8), st.text("ab", max_size=10))
@pytest.mark.thorough
def test_star_is_any_text(pattern, name):
    expression = ".*".join(re.escape(part) for part in pattern.split("*"))

    assert fits(pattern, name) is (re.fullmatch(expression, name) is not None)


def test_name_that_nearly_fits_everywhere_is_told_at_once():
    # As a regular expression this takes longer than anybody lives.
    assert not fits("*a" * 400 + "b", "a" * 5_000)


@pytest.mark.django_db(databases=["default", "tracing"])
def test_database_tells_at_once_too():
    TraceLabel.objects.create(key="1", name="a" * 255)

    assert not TraceLabel.objects.filter(FitsWildcard("name", "*a" * 100 + "b")).exists()
