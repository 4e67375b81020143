"""The report of the benchmarks, and the part of it that stands in the documents."""

from __future__ import annotations

from benchmarks import report

COUNTED = {"stock": 1_000.0, "structure": 2_000.0, "default": 900.0}
TIMED = {mode: {"thread": 1.0, "thread_us": 2.0} for mode in ("stock", "structure", "default")}
RESULTS = {
    "date": "today",
    "commit": "abc",
    "machine": {"cpu": "a CPU", "cores": 2, "system": "Linux", "load": 0.1},
    "environments": [
        {
            "python": "3.11",
            "django": "5.2",
            "optimised": True,
            "instructions": {report.goals.ROWS[0].workload: COUNTED},
            "clock": {report.goals.ROWS[0].workload: TIMED},
        }
    ],
}


def test_documents_have_instructions_and_no_times_nor_missed_goals_again():
    whole, published = report.markdown(RESULTS), report.markdown(RESULTS, published=True)

    assert "| CPU time, sending thread" in whole
    assert "### Goals not reached" in whole
    assert "| instructions, sending thread" in published
    assert "**2.00, not ≤ " in published
    assert "CPU time" not in published
    assert "### Goals not reached" not in published
