"""Tests of durations, moments, sizes and counts: one grammar for settings, command and search."""

from __future__ import annotations

import argparse
from contextlib import suppress
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracing import units
from tracing.conf import read
from tracing.management.commands.tracing import EPILOG
from tracing.management.verbs import base
from tracing.presentation.templating import draw
from tracing.search.parser import parse
from tracing.search.query import QueryError
from tracing.viewer.forms import DurationField

NOW = 1_800_000_000_000_000_000
SECOND = 1_000_000_000
HOUR = 3_600 * SECOND


# -- Reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("7ns", 7),
        ("200us", 200_000),
        ("200µs", 200_000),
        ("200\N{GREEK SMALL LETTER MU}s", 200_000),
        ("50ms", 50_000_000),
        ("0.1s", 100_000_000),
        ("1.5 s", 1_500_000_000),
        ("90S", 90 * SECOND),
        ("2m", 120 * SECOND),
        ("30min", 1_800 * SECOND),
        ("2h", 2 * HOUR),
        ("1.5d", 36 * HOUR),
        ("1w", 168 * HOUR),
        (" 7,200 s ", 2 * HOUR),
        ("0s", 0),
        ("day", 24 * HOUR),
        ("2 days", 48 * HOUR),
        ("minute", 60 * SECOND),
    ],
)
def test_parse_duration_knows_every_unit(text, nanoseconds):
    assert units.parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "d",
        "ms",
        "-1s",
        "7y",
        "7d8h",
        "1,5s",
        "1e3s",
        "\N{ARABIC-INDIC DIGIT ONE}s",
        "s" * 500,
        "day 2",
    ],
)
def test_parse_duration_refuses_what_is_none_and_lists_the_units(text):
    with pytest.raises(ValueError, match="is no duration") as caught:
        units.parse_duration(text)

    assert str(caught.value).startswith(repr(text)[:60])
    assert f"(units: {units.DURATION_UNITS})" in str(caught.value)
    assert len(str(caught.value)) < 220


def test_parse_duration_refuses_what_no_column_holds():
    assert units.parse_duration("15000w") < 2**63
    for text in ("16000w", "9" * 4_000 + "w"):
        with pytest.raises(ValueError, match="is too much"):
            units.parse_duration(text)


def test_parse_age_is_a_duration_as_python_has_it():
    assert units.parse_age("1.5 d") == timedelta(hours=36)
    assert units.parse_age("30min") == timedelta(minutes=30)
    with pytest.raises(ValueError, match="'7y' is no duration"):
        units.parse_age("7y")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("500", 500),
        ("500b", 500),
        ("12 bytes", 12),
        ("500M", 500_000_000),
        ("2GB", 2_000_000_000),
        ("2TB", 2_000_000_000_000),
        ("1.5k", 1_500),
        ("1 MiB", 1 << 20),
        ("1GiB", 1 << 30),
        ("3gi", 3 << 30),
        ("1,024 kB", 1_024_000),
    ],
)
def test_parse_size_knows_every_unit(text, count):
    assert units.parse_size(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1", "1XB", "1iB", "1 2"])
def test_parse_size_refuses_what_is_none_and_lists_the_units(text):
    with pytest.raises(ValueError, match="is no size") as caught:
        units.parse_size(text)

    assert f"(units: {units.SIZE_UNITS})" in str(caught.value)


def test_parse_size_refuses_what_no_column_holds():
    with pytest.raises(ValueError, match="is too much"):
        units.parse_size("9999999999TB")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", NOW),
        ("2h", NOW - 2 * HOUR),
        ("1.5h", NOW - 3 * HOUR // 2),
        ("1d", NOW - 24 * HOUR),
        ("day", NOW - 24 * HOUR),
        ("15000w", 0),
        ("1970-01-01T00:00:01", SECOND),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1800000000000", NOW),
        ("1800000000000000", NOW),
    ],
)
def test_parse_timestamp_is_ago_or_a_date(text, moment, settings):
    settings.TIME_ZONE = "UTC"

    assert units.parse_timestamp(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "soon", "7", "25:99", "9999-01-01", "1969-01-01", "7y"])
def test_parse_timestamp_refuses_what_is_none_and_lists_the_units(text):
    with pytest.raises(ValueError, match="is no time") as caught:
        units.parse_timestamp(text, NOW)

    assert f"(units: {units.DURATION_UNITS})" in str(caught.value)


def test_parse_timestamp_takes_a_time_of_the_day_as_of_today_in_the_current_zone(settings):
    settings.TIME_ZONE = "UTC"

    assert units.parse_timestamp("8:00", NOW) == NOW // (24 * HOUR) * 24 * HOUR + 8 * HOUR


def test_messages_bound_and_escape_what_they_name():
    with pytest.raises(ValueError, match="is no duration") as caught:
        units.parse_duration("\x1b[31m" + "x" * 5_000)

    assert str(caught.value).startswith("'\\x1b[31mxxx")
    assert "x" * 60 not in str(caught.value)


# -- The same everywhere -----------------------------------------------------------------------


def test_one_grammar_of_durations_in_settings_command_and_search():
    for text in ("30min", "2h", "1w"):
        nanoseconds = units.parse_duration(text)

        settings, problems = read({"PRUNE": {"older_than": text}, "LOG": {"every": text}})
        assert problems == []
        assert settings.prune.older_than == timedelta(microseconds=nanoseconds // 1_000)
        assert settings.log.every_seconds == nanoseconds / 1e9
        assert base.duration(text) == nanoseconds
        assert parse(f"duration>{text}", now_ns=NOW).number == nanoseconds
        assert parse(f"since:{text}", now_ns=NOW).number == NOW - nanoseconds
        assert DurationField().clean(text) == text


def test_one_grammar_of_sizes_in_settings_and_command():
    for text in ("2TB", "1GiB", "500M"):
        settings, problems = read({"PRUNE": {"max_size": text}, "LOG": {"max_size": text}})
        assert problems == []
        assert settings.prune.max_size == settings.log.max_bytes == base.size(text)


def test_each_face_says_the_same_of_what_is_no_duration():
    with pytest.raises(ValueError, match="is no duration") as caught:
        units.parse_duration("7y")
    message = str(caught.value)

    with pytest.raises(argparse.ArgumentTypeError) as refused:
        base.duration("7y")
    assert str(refused.value) == message
    with pytest.raises(QueryError) as wrong:
        parse("kind:request duration>7y", now_ns=NOW)
    assert (wrong.value.message, wrong.value.start, wrong.value.end) == (message, 22, 24)
    [problem] = read({"PRUNE": {"older_than": "7y"}})[1]
    assert problem.message == f"TRACING['PRUNE'] has older_than = '7y': {message}"


def test_documents_and_help_name_the_units_once():
    docs = Path(__file__).parents[2] / "docs"
    settings = (docs / "reference" / "settings.md").read_text().replace("`", "")
    help_of_command = " ".join(EPILOG.split())
    help_of_search = draw("tracing/includes/language.html", {})

    assert settings.count(units.DURATION_UNITS) == settings.count(units.SIZE_UNITS) == 1
    assert help_of_command.count(units.DURATION_UNITS) == 1
    assert help_of_command.count(units.SIZE_UNITS) == 1
    assert (
        help_of_search.replace("<code>", "").replace("</code>", "").count(units.DURATION_UNITS) == 1
    )
    for name in (
        "reference/commands.md",
        "reference/search.md",
    ):
        assert "settings.md#durations-times-and-sizes" in (docs / name).read_text()


# -- Writing -----------------------------------------------------------------------------------


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
def test_format_ns_has_three_significant_digits(nanoseconds, text):
    assert units.format_ns(nanoseconds) == text


@pytest.mark.parametrize(
    ("nanoseconds", "text"), [(0, "±0 ns"), (1500, "+1.50 µs"), (-1500, "-1.50 µs")]
)
def test_format_difference_shows_its_sign(nanoseconds, text):
    assert units.format_difference(nanoseconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (1234, "1,234"), (99_999, "99,999"), (123_456, "123 k"), (1_234_567, "1.23 M")],
)
def test_format_count_stays_readable(count, text):
    assert units.format_count(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1 byte"),
        (12, "12 bytes"),
        (1234, "1.23 kB"),
        (12_345_678, "12.3 MB"),
        (3_000_000_000, "3.00 GB"),
    ],
)
def test_format_bytes_uses_powers_of_ten(count, text):
    assert units.format_bytes(count) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (0.004, "<1 %"), (0.126, "13 %"), (1, "100 %")]
)
def test_format_percent_never_calls_something_nothing(share, text):
    assert units.format_percent(share) == text


@pytest.mark.parametrize(
    ("position", "text"),
    [(0, "1st"), (1, "2nd"), (2, "3rd"), (3, "4th"), (10, "11th"), (11, "12th"), (20, "21st")],
)
def test_ordinal_counts_from_one(position, text):
    assert units.ordinal(position) == text


def test_plural_follows_the_count():
    texts = [units.plural(n, "query", "queries") for n in (0, 1, 2)]

    assert texts == ["0 queries", "1 query", "2 queries"]
    assert units.plural(2, "call") == "2 calls"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "now"), (1, "1 s ago"), (119, "1 min ago"), (7_199, "1 h ago"), (200_000, "2 d ago")],
)
def test_format_ago_is_in_the_largest_whole_unit(seconds, text):
    assert units.format_ago(seconds * SECOND) == text


@given(st.integers(0, 10**18))
def test_durations_as_written_are_read_back_within_their_three_digits(nanoseconds):
    read = units.parse_duration(units.format_ns(nanoseconds))

    assert abs(read - nanoseconds) * 200 <= nanoseconds


@given(st.integers(0, 10**18))
def test_sizes_as_written_are_read_back_within_their_three_digits(count):
    read = units.parse_size(units.format_bytes(count))

    assert abs(read - count) * 200 <= count


@given(
    st.decimals(0, 10_000, places=3),
    st.sampled_from(["ns", "us", "ms", "s", "m", "min", "h", "d", "w"]),
)
def test_parse_duration_is_exact_to_the_nanosecond(number, unit):
    whole = units.parse_duration(f"1{unit}")

    assert abs(units.parse_duration(f"{number}{unit}") - Fraction(number) * whole) <= Fraction(1, 2)


@pytest.mark.thorough
@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    for parser in (units.parse_duration, units.parse_size, lambda t: units.parse_timestamp(t, NOW)):
        with suppress(ValueError):
            assert 0 <= parser(text) < 2**63
