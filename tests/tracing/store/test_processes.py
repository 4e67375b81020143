"""Tests of what processes write down of their connections."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.tracing.samples import plain_trace
from tests.tracing.wirings import DAY, HOUR, connected, keep, version
from tracing import models
from tracing.analysis.process_wiring import TOLD_NS
from tracing.clocks import time
from tracing.conf.parts import Retention
from tracing.exporters.database import DatabaseExporter
from tracing.pipeline import PipelineStatistics
from tracing.spans.processes import ProcessWiring
from tracing.store import retention
from tracing.store.backends import open_database
from tracing.store.processes import (
    MOST_VERSIONS,
    WiringReports,
    compared,
    decode,
    encode,
    versions,
)

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

ONE = ("web1", 7, 1)
OTHER = ("web1", 8, 1)


@pytest.fixture
def database():
    database = open_database("tracing")
    database.connect()
    yield database
    database.close()


def wiring(*receivers, kind="web", release="1.1", started_ns=5):
    return ProcessWiring(
        kind=kind,
        release=release,
        started_ns=started_ns,
        connections=[connected(each, at_ns=9) for each in receivers],
    )


def stored():
    """Return (kind, release, receivers) of each version, the oldest first."""
    return [
        (
            each.kind,
            each.release,
            [one.receiver.name.rpartition(".")[2] for one in each.connections],
        )
        for each in sorted(versions(), key=lambda each: each.first_seen_ns)
    ]


def test_new_wiring_is_written_down_once_for_all_processes_of_a_kind(database):
    reports = WiringReports()
    reports.tell(database, ONE, wiring("count", "index"))
    (first,) = versions()
    reports.tell(database, OTHER, wiring("index", "count", started_ns=6))
    reports.tell(database, ONE, wiring("count", "index"))
    (again,) = versions()

    assert stored() == [("web", "1.1", ["count", "index"])]
    assert again.first_seen_ns == first.first_seen_ns
    assert again.last_seen_ns > first.last_seen_ns
    (connection, _) = again.connections
    assert (connection.file, connection.line, connection.at_ns) == ("/srv/shop/apps.py", 9, 0)


def test_other_wiring_kind_or_release_is_another_version(database):
    reports = WiringReports()
    for told in (
        wiring("count"),
        wiring("count", "index"),
        wiring("count", release="1.2"),
        wiring("count", kind="worker rq"),
    ):
        reports.tell(database, ONE, told)

    assert stored() == [
        ("web", "1.1", ["count"]),
        ("web", "1.1", ["count", "index"]),
        ("web", "1.2", ["count"]),
        ("worker rq", "1.1", ["count"]),
    ]


def test_process_tells_now_and_then_that_it_lives(database, monkeypatch):
    reports = WiringReports()
    reports.tell(database, ONE, wiring("count"))
    (first,) = versions()
    reports.refresh(database, [ONE])
    assert versions() == [first]

    monkeypatch.setattr(time, "monotonic_ns", lambda: TOLD_NS + 10**18)
    reports.refresh(database, [ONE])
    assert versions()[0].last_seen_ns > first.last_seen_ns

    models.WiringVersion.objects.all().delete()
    monkeypatch.setattr(time, "monotonic_ns", lambda: 3 * TOLD_NS + 10**18)
    reports.refresh(database, [ONE])
    assert not reports.knows(ONE)


def test_of_a_kind_whose_wiring_changes_all_the_time_the_newest_versions_are_kept(database):
    reports = WiringReports()
    for number in range(MOST_VERSIONS + 3):
        reports.tell(database, ONE, wiring(f"receiver_{number}"))
    reports.tell(database, OTHER, wiring("count", kind="worker rq"))

    kept = stored()
    assert len(kept) == MOST_VERSIONS + 1
    assert kept[0][2] == ["receiver_3"]


@pytest.mark.parametrize("kind", ["collector", "autoreloader"])
def test_process_in_which_nothing_of_the_application_runs_tells_nothing(database, kind):
    reports = WiringReports()
    reports.tell(database, ONE, wiring("count", kind=kind))
    reports.refresh(database, [ONE])

    assert versions() == []
    assert reports.knows(ONE)


@pytest.mark.thorough
def test_worker_of_a_process_tells_what_that_has_connected():
    exporter = DatabaseExporter()
    exporter.export([plain_trace(1)])
    exporter.tick(PipelineStatistics())
    (told,) = versions()
    models.WiringVersion.objects.all().delete()
    exporter._reports.forget()
    exporter.tick(PipelineStatistics())
    exporter.shutdown()

    assert told.kind == "tests"
    assert told.connections
    assert [each.fingerprint for each in versions()] == [told.fingerprint]


def test_collector_tells_what_others_have_connected():
    state = {
        "host": "web1",
        "process": 7,
        "started_ns": 1,
        "seen_ns": time.time_ns(),
        "recorded": 1,
        "dropped": 0,
        "queued": 0,
        "exporters": {},
        "version": "1",
    }
    exporter = DatabaseExporter()
    exporter.begin(paused=False)
    exporter.tell_of([state | {"wiring": encode(wiring("count"))}])
    exporter.tell_of([state])
    exporter.tell_of([state | {"process": 8, "wiring": "{of another release"}])
    exporter.shutdown()

    # The collector of this test is a run of tests, and tells so.
    assert [each for each in stored() if each[0] != "tests"] == [("web", "1.1", ["count"])]


def test_pruning_forgets_what_was_not_heard_of_for_a_quarter_of_a_year():
    keep(version("web", "count", first=100 * DAY, last=91 * DAY))
    keep(version("web", "index", first=91 * DAY, last=89 * DAY))

    retention.prune(Retention(older_than=timedelta(days=1)))

    assert stored() == [("web", "", ["index"])]


def test_what_another_release_of_the_tracer_wrote_is_left_out():
    keep(version("web", "count"))
    models.WiringVersion.objects.create(
        kind="web", fingerprint="x", first_seen_ns=1, last_seen_ns=2, started_ns=1, connections="{}"
    )

    assert stored() == [("web", "", ["count"])]
    assert decode('{"host": 1}') is None


def test_kinds_are_compared_as_of_a_moment():
    now_ns = time.time_ns()
    keep(version("web", "index"), version("worker rq", "count", "index"))

    kinds, (found,) = compared(now_ns)
    later, _ = compared(now_ns + 8 * 24 * HOUR)

    assert [kind.name for kind in kinds] == ["web", "worker rq"]
    assert [place.kind for place in found.missing] == ["web"]
    assert later == []
