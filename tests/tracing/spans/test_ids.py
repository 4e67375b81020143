"""Ids of spans."""

from __future__ import annotations

from tracing.spans.ids import span_id, span_ids, span_number

ROOT = "00f067aa0ba902b7"


def test_many_ids_of_a_trace_are_those_made_one_by_one():
    id_of = span_ids(ROOT)

    assert [id_of(number) for number in range(50)] == [span_id(ROOT, n) for n in range(50)]


def test_the_root_keeps_its_id():
    assert span_ids(ROOT)(0) == span_id(ROOT, 0) == ROOT


def test_ids_follow_each_other_past_the_zero_which_is_none():
    last = "f" * 16

    ids = [span_id(last, number) for number in range(3)]

    assert ids == [last, "0" * 15 + "1", "0" * 15 + "2"]
    assert [span_number(last, each) for each in ids] == [0, 1, 2]


def test_ids_of_other_traces_have_no_number():
    assert span_number(ROOT, ROOT[::-1]) is None
    assert span_number(ROOT, "not-hexadecimal!") is None
    assert span_number(ROOT, "") is None
