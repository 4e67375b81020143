"""Batches that are joined for an exporter which wants much at once."""

from __future__ import annotations

import pytest

from tests.tracing.samples import plain_trace
from tracing.conf.parts import PipelineOptions
from tracing.pipeline import Gathering, TemporaryError
from tracing.pipeline.delivery import Delivery

NEVER = 1e9
ITEMS_OF_ONE = 3


class Wanting:
    """An exporter that wants several traces at once, and refuses what it is told to."""

    name = "wanting"

    def __init__(self, traces=3, seconds=NEVER):
        self.gathers = Gathering(traces * ITEMS_OF_ONE, seconds)
        self.error = None
        self.poison = None
        self.batches = []
        self.tried = []

    def export(self, batch):
        numbers = [int(trace.trace_id, 16) for trace in batch]
        self.tried.append(numbers)
        if self.error is not None:
            raise self.error
        if self.poison in numbers:
            raise KeyError("poison")
        self.batches.append(numbers)


@pytest.fixture
def exporter():
    return Wanting()


@pytest.fixture
def delivery(exporter):
    return Delivery(exporter)


def offer(delivery, *numbers):
    for number in numbers:
        delivery.offer([plain_trace(number)], PipelineOptions())
        delivery.run(forced=False)


def test_batches_wait_until_there_is_enough(exporter, delivery):
    offer(delivery, 1, 2)
    assert (exporter.batches, delivery.is_gathering) == ([], True)
    assert delivery.statistics().waiting == 2

    offer(delivery, 3)
    assert (exporter.batches, len(delivery.waiting), delivery.items) == ([[1, 2, 3]], 0, 0)
    assert delivery.statistics().exported == 3


def test_first_of_them_waits_no_longer_than_it_may():
    exporter = Wanting(seconds=0)
    offer(Delivery(exporter), 1, 2)

    assert exporter.batches == [[1], [2]]


def test_flush_does_not_wait(exporter, delivery):
    offer(delivery, 1)
    delivery.run(forced=True)

    assert exporter.batches == [[1]]


def test_failed_batch_comes_again_as_it_was(exporter, delivery):
    exporter.error = TemporaryError("down")
    offer(delivery, 1, 2, 3, 4, 5)
    assert not delivery.is_gathering
    delivery.run(forced=True)
    exporter.error = None
    delivery.run(forced=True)

    assert exporter.tried == [[1, 2, 3], [1, 2, 3], [1, 2, 3], [4, 5]]
    assert delivery.statistics().exported == 5


def test_what_cannot_be_exported_is_found_and_the_rest_is_not_joined_to_it(exporter, delivery):
    exporter.poison = 2
    offer(delivery, 1, 2, 3, 4)
    delivery.run(forced=True)

    assert exporter.batches == [[1], [3], [4]]
    assert (delivery.dropped, delivery.exported, delivery.items) == (1, 3, 0)


def test_others_get_each_batch_as_it_comes():
    exporter = Wanting()
    exporter.gathers = None
    offer(Delivery(exporter), 1, 2)

    assert exporter.batches == [[1], [2]]
