"""Tests of hazards marked as known: by setting and by comment."""

from __future__ import annotations

import os

import pytest

from tests.tracing.analysis.building import MS, TraceBuilder, label
from tracing.analysis.hazards import configure, diagnose, find
from tracing.analysis.hazards.known import parse
from tracing.spans.records import Callsite


def slow(receiver="core.reports.receivers.build", **options):
    build = TraceBuilder()
    build.call(build.dispatch(), label(receiver, **options), own_ns=200 * MS)
    return build.build()


@pytest.mark.parametrize(
    "entry",
    [
        "slow-receiver",
        "slow-receiver:core.reports.*",
        "slow-*: core.reports.receivers.build",
        {"hazard": "slow-receiver", "sender": "orders.Order", "reason": "KNOWN_HAZARDS"},
        {"hazard": "*", "signal": "*.post_save"},
        {"hazard": "slow-receiver", "message": "build (*"},
        {"hazard": "slow-receiver", "trace": "orders:*"},
    ],
)
def test_known_hazard_is_recognised_by_setting(entry):
    (hazard,) = find(slow(), configure({"KNOWN_HAZARDS": [entry]}))

    assert hazard.known == "KNOWN_HAZARDS"


@pytest.mark.parametrize(
    "entry",
    [
        "n-plus-one",
        "slow-receiver:core.orders.*",
        {"hazard": "slow-receiver", "sender": "sales.Sale"},
        {"hazard": "slow-receiver", "trace": "load_cars"},
    ],
)
def test_known_hazard_does_not_cover_others(entry):
    (hazard,) = find(slow(), configure({"KNOWN_HAZARDS": [entry]}))

    assert hazard.known == ""


@pytest.mark.parametrize(
    ("receiver", "known"),
    [
        ("django.contrib.auth.management.create_permissions", "Django's own receiver"),
        ("django_shop.receivers.build", ""),
    ],
)
def test_cost_of_receivers_of_django_is_known(receiver, known):
    (hazard,) = find(slow(receiver), configure({}))

    assert hazard.known == known


def test_cost_of_receivers_of_recorded_migrations_is_known():
    build = TraceBuilder()
    dispatch = build.dispatch(sender="migrations.Migration")
    build.call(dispatch, "core.reports.build", own_ns=200 * MS)

    (hazard,) = find(build.build(), configure({}))

    assert hazard.known == "Django's own record of migrations"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (3, "3 is neither a string nor a dictionary"),
        ({"receiver": "a"}, "{'receiver': 'a'} has no key 'hazard'"),
        ({"hazard": "a", "why": "b"}, "{'hazard': 'a', 'why': 'b'} has unknown keys ['why']"),
    ],
)
def test_known_hazard_that_is_none_is_a_problem_not_an_error(entry, message):
    configuration = configure({"KNOWN_HAZARDS": [entry]})

    assert configuration.problems == [f"KNOWN_HAZARDS: {message}"]
    with pytest.raises(ValueError, match=r"neither|no key|unknown keys"):
        parse(entry)


SOURCE = """\
# tracing: known slow-receiver, n-plus-one (the clerk waits anyway)
@receiver(post_save)
@other(
    1,
)
def build(instance, **kwargs):
    pass


def plain(instance, **kwargs):
    pass


@receiver(post_save)
def inline(instance, **kwargs):  # tracing: known slow-receiver
    pass


def write():
    Order.objects.update(total=1)  # tracing: known bypassed-receivers
    # tracing: known bypassed-receivers (a one-off)
    Order.objects.update(total=2)
    Order.objects.update(total=3)
"""


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "receivers.py"
    path.write_text(SOURCE)
    return str(path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (2, "the clerk waits anyway"),
        (6, "the clerk waits anyway"),
        (10, ""),
        (14, "marked in the source"),
        (15, "marked in the source"),
    ],
)
def test_known_hazard_is_recognised_by_a_comment_at_the_receiver(module, line, reason):
    (hazard,) = find(slow(file=module, line=line), configure({}))

    assert hazard.known == reason


@pytest.mark.parametrize(
    ("line", "reason"), [(20, "marked in the source"), (22, "a one-off"), (23, "")]
)
def test_known_hazard_is_recognised_by_a_comment_at_the_place(module, line, reason):
    build = TraceBuilder()
    build.bypass(callsite=Callsite(module, line, "write"))
    (hazard,) = find(build.build(), configure({}))

    assert hazard.known == reason


def test_known_hazard_comment_is_for_the_rules_it_names(module):
    build = TraceBuilder()
    build.bypass(callsite=Callsite(module, 6, "write"))
    (hazard,) = find(build.build(), configure({}))

    assert hazard.known == ""


def test_known_hazard_comment_is_read_again_when_the_file_changes(tmp_path):
    path = tmp_path / "receivers.py"
    path.write_text("def build(): pass\n")
    before = find(slow(file=str(path), line=1), configure({}))[0].known
    path.write_text("def build(): pass  # tracing: known slow-receiver\n")
    os.utime(path, ns=(1, 1))
    after = find(slow(file=str(path), line=1), configure({}))[0].known

    assert (before, after) == ("", "marked in the source")


@pytest.mark.parametrize("file", ["/nowhere/a.py", "", "a\0b.py"])
def test_known_hazard_survives_a_missing_source(file):
    (hazard,) = find(slow(file=file, line=3), configure({}))

    assert hazard.known == ""


def test_diagnose_puts_only_unknown_hazards_into_the_trace(settings):
    settings.TRACING = {"KNOWN_HAZARDS": ["slow-receiver"]}
    trace = slow()

    assert diagnose(trace) == []
    assert (trace.hazards, trace.hazard_count) == ([], 0)
    assert [hazard.known for hazard in trace.known_hazards] == ["KNOWN_HAZARDS"]
    assert trace.hazard_count == 0
