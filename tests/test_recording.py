"""The whole line in one process: a sale is traced, stored and logged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tracing
from tracing.instrumentation.in_tests import log_path_of_tests
from tracing.models import Trace


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_request_is_stored_and_logged_under_one_trace_id(recording, client, settings):
    client.get("/cars/")

    assert tracing.flush(30)
    stored = Trace.objects.get(kind="request")
    log = log_path_of_tests(Path(settings.TRACING["LOG"]["path"]))
    lines = log.read_text(encoding="utf-8").splitlines()
    finished = [line for line in map(json.loads, lines) if line["event"] == "trace_finished"]
    assert stored.trace_id in {line["trace_id"] for line in finished}
