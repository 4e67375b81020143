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
            "instructions": {
                report.goals.ROWS[0].workload: COUNTED,
                "request": {"stock": 100.0, "complete": 104.0},
                "request-process": {"stock": 100.0, "complete": 120.0},
            },
            "clock": {report.goals.ROWS[0].workload: TIMED},
        }
    ],
}


def test_documents_have_ratios_of_instructions_alone():
    whole, published = report.markdown(RESULTS), report.published(RESULTS)

    assert "| CPU time, sending thread" in whole
    assert "### Goals not reached" in whole
    assert "2.00, not ≤ " in whole
    assert published.splitlines()[-5:] == [
        "| instructions | Python 3.11, Django 5.2 |",
        "|---|---:|",
        f"| {report.goals.ROWS[0].title} | 0.90 (≤ 1.30) |",
        "| a request, its thread | 1.04 (≤ 1.05) |",
        "| a request, whole process: worker, database, log file | 1.20 (≤ 1.60) |",
    ]
