"""Tests of the sums by path of a process: how they are written, kept and chosen."""

from __future__ import annotations

import random
import time
from datetime import timedelta

import pytest

from tests.tracing.viewer.traces import order
from tracing.analysis.explain.trees import Tree
from tracing.analysis.histogram import HOUR_NS
from tracing.conf.parts import Retention
from tracing.exporters.database import DatabaseExporter
from tracing.store import path_sums
from tracing.store.models import PathRollup, SignalLabel, TraceLabel
from tracing.store.path_sums import PathBuffer
from tracing.store.retention import compact_rollups, prune

DAY_NS = 24 * HOUR_NS


pytestmark = pytest.mark.django_db(databases=["default", "tracing"], transaction=True)


@pytest.fixture
def exporter():
    found = DatabaseExporter()
    yield found
    found.shutdown()


def count_of(signal="post_save"):
    """Return how many dispatches of a signal the trees have."""
    labels = SignalLabel.objects.filter(name__endswith=signal)
    rows = PathRollup.objects.filter(signal__in=list(labels.values_list("pk", flat=True)))
    tree = Tree.decode(*(bytes(row.tree) for row in rows))
    return sum(root.step.count for root in tree.roots.values())


def test_process_writes_one_row_of_each_tree_in_an_hour(exporter):
    started = time.time_ns()
    for number in range(1, 4):
        trace = order(number)
        trace.started_ns = started
        exporter.export([trace])
        exporter.force_flush()

    # Two pairs and a name.
    assert PathRollup.objects.count() == 3
    assert count_of() == 3


def test_what_could_not_be_written_comes_with_the_next(exporter, monkeypatch):
    exporter.export([order(1)])
    exporter.force_flush()
    writer = exporter._writer
    monkeypatch.setattr(writer, "_write_paths", lambda _database: 1 / 0)
    exporter.export([order(2)])
    exporter.force_flush()
    monkeypatch.undo()

    assert count_of() == 1
    exporter.force_flush()
    assert count_of() == 2


def test_names_are_found_again_after_they_were_pruned(exporter):
    exporter.export([order(1)])
    exporter.force_flush()
    exporter.export([order(2, name="orders:cancel")])
    PathRollup.objects.all().delete()
    prune(Retention(older_than=timedelta(0), keep_rollups=timedelta(0)))

    exporter.force_flush()

    names = TraceLabel.objects.values_list("name", flat=True)
    # Trees to which nothing was added are not written again.
    assert {*names} == {"orders:cancel"}
    assert count_of() == 2


def test_tree_of_a_name_goes_with_its_last_trace(exporter):
    exporter.export([order(1)])
    exporter.force_flush()

    prune(Retention(older_than=timedelta(0)))

    assert not PathRollup.objects.filter(label__gt=0).exists()
    assert count_of() == 1


@pytest.mark.thorough
def test_hours_and_days_are_added_up_without_loss(exporter):
    now = time.time_ns() // DAY_NS * DAY_NS
    for number in range(1, 9):
        trace = order(number)
        trace.started_ns = now - 10 * DAY_NS + number // 2 * HOUR_NS
        exporter.export([trace])
        exporter.force_flush()
    rows = PathRollup.objects.count()

    compact_rollups(now_ns=now)

    assert rows > 3
    assert {row.writer for row in PathRollup.objects.all()} == {"merged"}
    assert PathRollup.objects.count() == 3
    assert count_of() == 8


def test_old_ones_are_pruned_with_the_statistics(exporter):
    old = order(1)
    old.started_ns -= 9 * DAY_NS
    exporter.export([old, order(2)])
    exporter.force_flush()

    prune(Retention(keep_rollups=timedelta(days=4)))

    assert count_of() == 1


def test_of_more_than_there_is_time_for_a_part_is_added(monkeypatch):
    buffer = PathBuffer()
    monkeypatch.setattr(path_sums, "_random", random.Random(1).random)
    monkeypatch.setattr(buffer, "_adjust", lambda _now: None)
    buffer._ratio = 0.5
    buffer.add([order(number) for number in range(1, 201)])

    (tree,) = [Tree.decode(data) for (_, root), data in buffer.due().items() if root[2]]

    (root,) = tree.roots.values()
    assert 70 < root.step.count < 130


def test_part_follows_the_time_that_adding_takes():
    buffer = PathBuffer()
    ratios = []
    for spent in (0.1, 0.01, 0.0, 0.0, 0.0, 0.0):
        buffer._spent = spent
        buffer._adjust(buffer._since + 1.0)
        ratios.append(buffer._ratio)

    assert ratios == pytest.approx([0.1, 0.1, 0.2, 0.4, 0.8, 1.0])


def test_random_numbers_of_the_application_come_as_ever():
    buffer = PathBuffer()
    buffer._ratio = 0.5
    random.seed(7)
    expected = random.random()

    random.seed(7)
    buffer.add([order(1), order(2)])

    assert random.random() == expected
