"""Tests of the hazard that a receiver is connected in one kind of process and not in another."""

from __future__ import annotations

import time

from tests.tracing.samples import plain_trace
from tests.tracing.wirings import HOUR, connected, version
from tracing.analysis.hazards import OF_PROCESSES, SEVERITIES, configure, find
from tracing.analysis.hazards.processes import diagnose_processes
from tracing.analysis.process_wiring import differences, kinds_of


def diagnose(*versions):
    now_ns = time.time_ns()
    return diagnose_processes(differences(kinds_of(versions, now_ns), now_ns))


def test_finding_names_receiver_kinds_and_the_line_that_connects_it(settings):
    settings.TIME_ZONE = "UTC"
    (found,) = diagnose(
        version("web", "index", release="1.1"),
        version("command nightly", release="1.1", first=HOUR),
        version("worker rq", release="1.1", first=HOUR),
    )

    assert (found.hazard, found.severity) == ("wired-differently", "warning")
    assert found.message == (
        "index (/srv/shop/receivers.py:12) is connected to post_save of shop.Order in web, "
        "and not in worker rq and command nightly."
    )
    assert (found.file, found.line, found.trace_id) == ("/srv/shop/receivers.py", 12, None)
    web, worker, command = found.evidence
    assert web.startswith("web: connected at /srv/shop/apps.py:9, since release 1.1, 20")
    assert worker.startswith("worker rq: not connected, since release 1.1, 20")
    assert command.startswith("command nightly: not connected, since")
    assert found.remedy.startswith("Connect it in ready()")


def test_receiver_for_any_sender_names_none():
    (found,) = diagnose(version("web", connected("index", sender="None")), version("worker rq"))

    assert "is connected to post_save in web, and" in found.message


def test_project_accepts_or_switches_it_off(settings):
    told = version("web", "index"), version("worker rq")
    settings.TRACING = {
        **settings.TRACING,
        "KNOWN_HAZARDS": [{"hazard": "wired-differently", "reason": "the worker sells nothing"}],
    }
    (known,) = diagnose(*told)
    assert known.known == "the worker sells nothing"

    settings.TRACING = {**settings.TRACING, "HAZARDS": {"wired-differently": False}}
    assert diagnose(*told) == []

    settings.TRACING = {**settings.TRACING, "KNOWN_HAZARDS": []}
    settings.TRACING["HAZARDS"] = {"wired-differently": {"severity": "error"}}
    assert [each.severity for each in diagnose(*told)] == ["error"]


def test_rule_of_processes_finds_nothing_in_a_trace():
    rules = configure({})

    assert {rule.id for rule in OF_PROCESSES} <= {each.rule.id for each in rules.rules}
    assert find(plain_trace(1), rules) == []
    for rule in OF_PROCESSES:
        assert rule.severity in SEVERITIES
        assert rule.find(None, {}) == ()
