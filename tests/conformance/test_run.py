"""The conformance run can tell a tracer that changes behaviour from one that does not."""

from __future__ import annotations

import pytest

from tests.conformance import run

RUNTESTS = """
import sys
import unittest

from django.dispatch import Signal


class SendTests(unittest.TestCase):
    def test_responses(self):
        signal = Signal()

        def receiver(**named):
            return 7

        signal.connect(receiver)

        self.assertEqual(signal.send(None), [(receiver, 7)])

    def test_each(self):
        with self.subTest("nothing to send"):
            self.assertEqual(Signal().send(None), [])

    @unittest.skip("as on some databases")
    def test_skipped(self): ...

    def test_broken_anyway(self):
        self.fail("stock fails too")


if __name__ == "__main__":
    name = "SendTests" + sys.argv[-1].partition("SendTests")[2]
    suite = unittest.defaultTestLoader.loadTestsFromName(name, sys.modules["__main__"])
    sys.exit(not unittest.TextTestRunner().run(suite).wasSuccessful())
"""

FAITHFUL = """
def start_recording():
    return lambda: {"dispatches": 3, "receiver_calls": 2}
"""

CARELESS = """
from django.dispatch import Signal

def start_recording():
    Signal.send = lambda self, sender, **named: []
    return lambda: {"dispatches": 3, "receiver_calls": 2}
"""

FAILING = """
def start_recording():
    print("Recording failed in send; the application is not affected.")
    return lambda: {"dispatches": 3, "tracer_failures": 1, "failed in send: KeyError": 1}
"""

CRASHING = """
import os

def start_recording():
    os._exit(3)
"""


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """Return a function that runs the small suite above stock and under the given recording."""
    (tmp_path / "runtests.py").write_text(RUNTESTS)
    recording = tmp_path / "recording.py"
    monkeypatch.setattr(run, "RECORDING", recording)

    def compare(source):
        recording.write_text(source)
        return run.compare(tmp_path, "sends", 60)

    return compare


@pytest.mark.process
def test_compare_with_a_tracer_that_changes_nothing(compare):
    row = compare(FAITHFUL)

    assert row.is_clean, row.problem
    assert (row.stock_passed, row.traced_passed, row.stock_failed, row.skipped) == (2, 2, 1, 1)
    assert (row.dispatches, row.receiver_calls) == (3, 2)


@pytest.mark.process
def test_compare_with_a_tracer_that_changes_responses(compare):
    row = compare(CARELESS)

    assert not row.is_clean
    (failure,) = row.new_failures.values()
    assert failure.startswith("passed stock, failed traced\nFAIL: test_responses")


@pytest.mark.process
def test_compare_with_a_tracer_that_fails_inside(compare):
    row = compare(FAILING)

    assert not row.is_clean
    assert row.problem.splitlines()[:3] == [
        "the tracer failed",
        "failed in send: KeyError: 1",
        "Recording failed in send; the application is not affected.",
    ]


@pytest.mark.process
def test_compare_with_a_tracer_that_crashes(compare):
    row = compare(CRASHING)

    assert not row.is_clean
    assert row.problem.startswith("traced run of sends left no report")


@pytest.mark.parametrize(
    ("stock", "traced", "change"),
    [
        ("passed", "failed", "passed stock, failed traced"),
        ("passed", "skipped", "passed stock, skipped traced"),
        ("skipped", "error", "skipped stock, error traced"),
        ("failed", "passed", None),
        ("failed", "error", None),
        ("passed", "passed", None),
    ],
)
def test_changes_of_one_test(stock, traced, change):
    assert run.changes({"a": stock}, {"a": traced}) == ({"a": change} if change else {})


def test_subtests_named_after_an_address_are_the_same_in_both_runs():
    stock = run.without_addresses({"send (mails=[<Mail object at 0x7f3e12>])": "skipped"})
    traced = run.without_addresses({"send (mails=[<Mail object at 0x6a11f0>])": "skipped"})

    assert stock == traced


def test_changes_of_a_test_that_vanished():
    assert run.changes({"a": "passed"}, {}) == {"a": "passed stock, not run traced"}


def test_changes_of_a_failure_that_only_tracing_has():
    assert run.changes({}, {"setUpClass (x.Y)": "error"}) == {
        "setUpClass (x.Y)": "not run stock, error traced"
    }


def test_documents_have_the_sums_of_all_modules_and_each_new_failure():
    rows = [
        run.Comparison("signals", stock_passed=3, traced_passed=3, dispatches=7, stock_seconds=0.5),
        run.Comparison(
            "delete", stock_passed=2, traced_passed=1, new_failures={"a.B.test": "gone"}
        ),
    ]
    total = run.in_all(rows)
    lines = run.markdown(rows, [total]).splitlines()

    assert (total.stock_passed, total.traced_passed, total.dispatches) == (5, 4, 7)
    assert [line for line in lines if line.startswith("| ")][1:] == [
        "| all 2 | 5 | 4 | 0 | 0 | 0 | 7 | 0 | 0 | 0.5 | 0.0 | 1 |"
    ]
    assert "### a.B.test" in lines
