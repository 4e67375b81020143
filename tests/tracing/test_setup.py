"""Tests of setting up: one wrong value stops nothing else."""

from __future__ import annotations

import pytest

from tracing import pipeline, setup
from tracing.capture import failures, sampling


@pytest.fixture(autouse=True)
def set_up_again(settings, monkeypatch):
    monkeypatch.setattr(failures, "counts", failures.counts.copy())
    yield
    settings.TRACING = {"ENABLED": False, "EXPORTERS": []}
    setup.configure()


@pytest.mark.parametrize(
    "wrong",
    [
        {"SAMPLE_BY_PATH": ["/cars/*"]},
        {"SAMPLE_BY_KIND": {"request": "half"}},
        {"KEEP": {"slow_ms": "soon"}},
        {"PIPELINE": {"queue_limits": 5}},
        {"LOG": {"paht": "x"}},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_one_wrong_value_leaves_the_rest_in_force(settings, wrong):
    before = failures.counts.total()
    settings.TRACING = {
        "ENABLED": False,
        "SAMPLE_RATIO": 0.25,
        "EXPORTERS": ["memory", "log"] if "LOG" in wrong else ["memory"],
        **wrong,
    }

    setup.configure()

    assert [exporter.name for exporter in pipeline.default.exporters] == ["memory"]
    assert sampling.switch.sampler.ratio == 0.25
    assert failures.counts.total() == before + 1


def test_retention_of_the_settings_reaches_the_store(settings):
    settings.TRACING = {
        "ENABLED": False,
        "EXPORTERS": ["database"],
        "PRUNE": {"older_than": "7d"},
    }

    setup.configure()

    exporter = pipeline.default.exporters[0]
    assert exporter.retention.older_than.days == 7


def test_no_values_are_kept_where_the_sensitive_keys_cannot_be_read(settings):
    settings.TRACING = {"ENABLED": False, "CAPTURE_VALUES": True, "SENSITIVE_KEYS": "(("}

    assert setup.capture_options()["options"].values is None
