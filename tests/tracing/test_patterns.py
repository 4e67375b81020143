"""Tests of regular expressions that are compiled later."""

from __future__ import annotations

import re

import pytest

from tracing.patterns import pattern


def test_pattern_is_compiled_when_it_is_used_and_not_before():
    wrong = pattern("(")

    with pytest.raises(re.error):
        wrong.search("")


def test_pattern_finds_what_a_compiled_one_finds():
    later, compiled = pattern("b(.)", re.IGNORECASE), re.compile("b(.)", re.IGNORECASE)

    assert later.pattern == compiled.pattern
    assert later.search("aBc")[1] == compiled.search("aBc")[1] == "c"
    assert later.sub("-", "abc bd") == compiled.sub("-", "abc bd")
    assert later.search == later.search
