"""Ids of spans."""

from __future__ import annotations

from tracing.spans.ids import span_id, span_ids

ROOT = "00f067aa0ba902b7"


def test_many_ids_of_a_trace_are_those_made_one_by_one():
    id_of = span_ids(ROOT)

    assert [id_of(number) for number in range(50)] == [span_id(ROOT, n) for n in range(50)]


def test_the_root_keeps_its_id():
    assert span_ids(ROOT)(0) == span_id(ROOT, 0) == ROOT
