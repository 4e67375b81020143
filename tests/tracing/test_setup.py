"""Tests of setting up: one wrong value stops nothing else."""

from __future__ import annotations

import pytest
from django.db import close_old_connections

from tracing import pipeline, setup
from tracing.conf import get_problems
from tracing.instrumentation import failures, sampling
from tracing.instrumentation.attributes.names import receiver_label
from tracing.instrumentation.attributes.redaction import key_text, policy
from tracing.instrumentation.attributes.values import error_text
from tracing.spans.records import Dispatch, Kind, Method, ReceiverCall, ReceiverLabel, Trace


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
    settings.TRACING = {
        "ENABLED": False,
        "SAMPLE_RATIO": 0.25,
        "EXPORTERS": ["memory", "log"] if "LOG" in wrong else ["memory"],
        **wrong,
    }

    setup.configure()

    names = [exporter.name for exporter in pipeline.default.exporters]
    assert names == (["memory", "log"] if "LOG" in wrong else ["memory"])
    assert sampling.switch.sampler.ratio == 0.25
    assert len(get_problems()) == 1


def test_retention_of_the_settings_reaches_the_store(settings):
    settings.TRACING = {
        "ENABLED": False,
        "EXPORTERS": ["database"],
        "PRUNE": {"older_than": "7d"},
        "STORE_IN_TESTS": True,
    }

    setup.configure()

    exporter = pipeline.default.exporters[0]
    assert exporter.retention.older_than.days == 7


def test_the_settings_say_what_is_secret(settings):
    settings.TRACING = {
        "ENABLED": False,
        "EXPORTERS": [],
        "SENSITIVE_KEYS": "nickname",
        "CLEAR_KEYS": ["cars.Car"],
        "CAPTURE_ERROR_MESSAGES": False,
    }
    setup.configure()
    try:
        assert policy.is_sensitive("Nickname")
        assert key_text("cars.Car", "A") == "A"
        assert error_text(ValueError("of a customer")) == ("ValueError", "")
    finally:
        settings.TRACING = {"ENABLED": False, "EXPORTERS": []}
        setup.configure()
    assert not policy.is_sensitive("Nickname")
    assert error_text(ValueError("of a customer")) == ("ValueError", "of a customer")


def test_the_settings_say_what_is_mine(settings):
    decided = []
    for patterns in ([], ["django.*"], []):
        settings.TRACING = {"ENABLED": False, "EXPORTERS": [], "MINE": patterns}
        setup.configure()
        decided.append([receiver_label(each).mine for each in (close_old_connections, sorted_out)])

    assert decided == [[False, True], [True, False], [False, True]]


def sorted_out(sender, **named):
    pass


def test_no_values_are_kept_where_the_sensitive_keys_cannot_be_read(settings):
    settings.TRACING = {"ENABLED": False, "CAPTURE_VALUES": True, "SENSITIVE_KEYS": "(("}

    assert setup.capture_options()["options"].values is None


@pytest.mark.parametrize("kept", [False, True])
def test_statements_are_compared_in_any_case_and_kept_only_where_that_is_asked_for(settings, kept):
    settings.TRACING = {
        "ENABLED": False,
        "EXPORTERS": ["memory"],
        **({"CAPTURE_STATEMENTS": True} if kept else {}),
    }
    setup.configure()
    call = ReceiverCall(
        number=2,
        position=0,
        receiver=ReceiverLabel("shop.receivers.total"),
        start_ns=0,
        duration_ns=9,
        query_count=7,
        statements=(("SELECT ?", 7, 5),),
    )
    dispatch = Dispatch(
        number=1, signal="shop.sold", sender="None", method=Method.SEND, start_ns=0, duration_ns=9
    )
    dispatch.receiver_calls = [call]
    trace = Trace("a" * 32, Kind.BLOCK, "sale", started_ns=1, duration_ns=9, dispatches=[dispatch])

    pipeline.default.submit(trace)
    pipeline.default.force_flush()
    exported = pipeline.default.exporters[0].traces[-1]

    assert [hazard.hazard for hazard in exported.hazards] == ["n-plus-one"]
    assert exported.dispatches[0].receiver_calls[0].statements == (
        (("SELECT ?", 7, 5),) if kept else ()
    )


@pytest.mark.parametrize("key", ["path", "PATH"])
def test_log_file_is_known_by_whichever_way_its_key_is_written(settings, tmp_path, key):
    settings.TRACING = {"ENABLED": False, "LOG": {key: tmp_path / "signals.jsonl"}}

    assert setup.log_path() == tmp_path / "signals.jsonl"
