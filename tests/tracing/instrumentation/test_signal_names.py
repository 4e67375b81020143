"""Names of signals: found where a module holds them, not searched for again and again."""

from __future__ import annotations

import sys
import types

import pytest
from django.db.models.signals import m2m_changed, post_save
from django.dispatch import Signal

from tracing.instrumentation.attributes import signal_names
from tracing.instrumentation.attributes.signal_names import Allowance, Search, signal_name

UNNAMED = "django.dispatch.Signal (unnamed)"
placed = None


@pytest.fixture
def search(monkeypatch):
    """Count the searches, which are as rare as they may be."""
    search = Search()
    search._rest = Allowance(1, 10**9)
    monkeypatch.setattr(signal_names, "_search", search)
    runs = []
    find_all = signal_names._find_all
    monkeypatch.setattr(signal_names, "_find_all", lambda: runs.append(1) or find_all())
    signal_name(Signal())
    runs.clear()
    return runs


@pytest.mark.thorough
def test_signals_made_for_each_object_are_searched_for_once(search):
    names = {signal_name(Signal()) for _ in range(300)}

    assert names == {UNNAMED}
    assert search == []


def test_a_module_imported_later_brings_names(search, monkeypatch):
    module = types.ModuleType("imported_later")
    module.done = Signal()
    assert signal_name(module.done) == UNNAMED

    monkeypatch.setitem(sys.modules, "imported_later", module)

    assert signal_name(module.done) == "imported_later.done"
    assert len(search) == 1


def test_a_signal_in_the_place_of_another_is_named(search, monkeypatch):
    first, second = Signal(), Signal()
    monkeypatch.setattr(signal_names, "example", first, raising=False)
    assert signal_name(first) == "tracing.instrumentation.attributes.signal_names.example"

    monkeypatch.setattr(signal_names, "example", second)

    assert signal_name(second) == "tracing.instrumentation.attributes.signal_names.example"


def test_a_signal_that_did_not_show_is_named_once_a_search_is_free(search, monkeypatch):
    signal = Signal()
    monkeypatch.setattr(sys.modules[__name__], "placed", signal)  # In the place of None.
    before = signal_name(signal)

    monkeypatch.setattr(signal_names._search, "_rest", Allowance(1, 1))

    assert before == UNNAMED
    assert signal_name(signal) == f"{__name__}.placed"


def test_an_allowance_is_a_burst_and_then_a_share_of_the_time():
    now = [0.0]
    allowance = Allowance(2, 10, lambda: now[0])
    done = 0
    for _ in range(100):
        if allowance.has_room():
            allowance.take(1.0)
            done += 1
        now[0] += 1.0

    assert done == 2 + 9


def test_signals_of_models_are_known_without_a_search(monkeypatch):
    monkeypatch.setattr(signal_names, "_find", lambda: pytest.fail("searched"))

    assert signal_name(m2m_changed) == "django.db.models.signals.m2m_changed"
    assert signal_name(post_save) == "django.db.models.signals.post_save"
