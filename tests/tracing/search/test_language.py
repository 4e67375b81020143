"""Tests of the search language: what a query means, and where its mistakes are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracing.search.completion import complete_key, place_at, problem_of
from tracing.search.parser import parse, quoted
from tracing.search.query import (
    EVERYTHING,
    KEYS,
    And,
    Descendant,
    Not,
    Or,
    QueryError,
    Term,
    Text,
)

NOW = 1_800_000_000_000_000_000
HOUR = 3_600_000_000_000


def meaning(text):
    """Return a query as nested tuples, without positions."""

    def plain(query):
        match query:
            case Term():
                return (query.key.name, query.operator, query.value)
            case Text():
                return query.text
            case And():
                return ("and", *map(plain, query.parts))
            case Or():
                return ("or", *map(plain, query.parts))
            case Not():
                return ("not", plain(query.part))
            case Descendant():
                return ("under", *map(plain, query.chain))

    return plain(parse(text, now_ns=NOW))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("signal:post_save", ("signal", ":", "post_save")),
        ("checkout", "checkout"),
        ('"two words"', "two words"),
        (r'"a \"quoted\" word"', 'a "quoted" word'),
        ('name:"two words"', ("name", ":", "two words")),
        ("duration>50ms", ("duration", ">", "50ms")),
        ("queries>=10", ("queries", ">=", "10")),
        ("user:3 kind:request", ("and", ("user", ":", "3"), ("kind", ":", "request"))),
        ("user:3 AND kind:request", ("and", ("user", ":", "3"), ("kind", ":", "request"))),
        ("a OR b c", ("or", "a", ("and", "b", "c"))),
        ("NOT a b", ("and", ("not", "a"), "b")),
        ("-kind:request", ("not", ("kind", ":", "request"))),
        ("(a OR b) c", ("and", ("or", "a", "b"), "c")),
        ("NOT NOT a", ("not", ("not", "a"))),
        ("instance:orders.Order:42", ("instance", ":", "orders.Order:42")),
        ("receiver:functools.partial(a.b)", ("receiver", ":", "functools.partial(a.b)")),
        ("(receiver:a)", ("receiver", ":", "a")),
        ("receiver:f.<locals>.g", ("receiver", ":", "f.<locals>.g")),
        (
            "receiver:a >> receiver:b >> took>1ms",
            ("under", ("receiver", ":", "a"), ("receiver", ":", "b"), ("took", ">", "1ms")),
        ),
        ("since:2026-11-22T10:00", ("since", ":", "2026-11-22T10:00")),
        ("kind:*", ("kind", ":", "*")),
    ],
)
def test_parse_understands(text, expected):
    assert meaning(text) == expected


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_parse_of_nothing_is_everything(text):
    assert parse(text, now_ns=NOW) == EVERYTHING


@pytest.mark.parametrize(
    ("text", "wrong", "message", "corrected"),
    [
        ("outcom:raised", "outcom", "There is no key “outcom”.", "outcome:raised"),
        ("a kind:reqest b", "reqest", "no kind", "a kind:request b"),
        ("hazard:recursio", "recursio", "no hazard", "hazard:recursion"),
        ("duration>50", "50", "no duration", "duration>50ms"),
        ("duration>soon", "soon", "no duration", ""),
        ("queries>many", "many", "whole number", ""),
        ("since:yesterday", "yesterday", "no time", ""),
        ("kind>request", ">", "cannot be compared", "kind:request"),
        ("(kind:request", "(", "not closed", ""),
        ("a )", ")", "Nothing is open", ""),
        (") a", ")", "Something must stand before this", ""),
        ('name:"half', '"half', "not closed", ""),
        ('x "half', '"half', "not closed", ""),
        ("a OR", "R", "Something must follow", ""),
        ("OR a", "OR", "must stand before OR", ""),
        (">> receiver:a", ">>", "must stand before >>", ""),
        ("word >> receiver:a", ">>", "Only conditions on dispatches", ""),
        ("receiver:a >> user:3", ">>", "Only conditions on dispatches", ""),
        ("user:", "user:", "A value must follow", ""),
        (": a", ":", "A key must stand before", ""),
        ("a \0 b", "\0", "cannot hold this character", ""),
        ("zzzzzz:1", "zzzzzz", "There is no key", ""),
        ("unheard>3", "unheard", "There is no key “unheard”.", "orphans>3"),
    ],
)
def test_parse_points_at_the_mistake(text, wrong, message, corrected):
    with pytest.raises(QueryError) as caught:
        parse(text, now_ns=NOW)
    problem = problem_of(text, caught.value)

    assert (problem.wrong, problem.corrected) == (wrong, corrected)
    assert message in problem.message
    assert problem.before + problem.wrong + problem.after == text


@pytest.mark.parametrize("text", ["(" * 5_00 + "a", "NOT " * 400 + "a", "a " * 2_000])
def test_parse_refuses_what_is_too_large(text):
    with pytest.raises(QueryError):
        parse(text, now_ns=NOW)


@pytest.mark.thorough
@given(st.text(max_size=60))
def test_parse_answers_anything_with_a_query_or_a_place(text):
    try:
        found = parse(text, now_ns=NOW)
    except QueryError as error:
        found = error

    if isinstance(found, QueryError):
        assert 0 <= found.start <= found.end <= max(len(text), 1)
    else:
        assert isinstance(found, Term | Text | And | Or | Not | Descendant)


@pytest.mark.thorough
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_quoted_values_are_read_back_as_they_were(value):
    assert parse(f"name:{quoted(value)}", now_ns=NOW).value == value


@pytest.mark.parametrize(
    ("text", "cursor", "typed", "key", "replaced"),
    [
        ("sig", 3, "sig", None, "sig"),
        ("kind:request sen", 16, "sen", None, "sen"),
        ("kind:req", 8, "req", "kind", "req"),
        ("(receiver:core.or user:3", 17, "core.or", "receiver", "core.or"),
        ("-kind:", 6, "", "kind", ""),
        ("duration>5", 10, "5", "duration", "5"),
        ("kind:request", 7, "re", "kind", "request"),
        ("", 0, "", None, ""),
        ("nokey:val", 9, "nokey:val", None, "nokey:val"),
    ],
)
def test_place_of_the_cursor(text, cursor, typed, key, replaced):
    place = place_at(text, cursor)

    assert (place.typed, place.key.name if place.key else None) == (typed, key)
    assert text[place.start : place.end] == replaced


def test_complete_key_gives_those_that_begin_so_first():
    texts = [completion.text for completion in complete_key(place_at("re", 2))]

    assert texts == ["release:", "receivers>", "receiver:", "created:"]


def test_complete_key_gives_operators_where_they_are_begun():
    assert [found.text for found in complete_key(place_at("a OR", 4))][-1] == "OR "


def test_every_key_has_a_hint_and_an_operator():
    assert all(key.hint and key.operators for key in KEYS.values())
