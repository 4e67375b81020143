"""One sale, seen on every face: panel, viewer, log file and terminal agree on the same tree."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.browser.test_panel import (
    ROOT,
    buy_a_car,
    carsales,
    environment_of,
    open_panel,
    switch_to,
    tree_of,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

Row = tuple[str, str]
"""(signal and sender, receiver)."""


def last(path: str) -> str:
    return path.rpartition(".")[2]


def rows_of_viewer(address: str, trace_id: str) -> list[Row]:
    deadline = time.monotonic() + 120
    response = httpx.get(f"{address}/tracing/traces/{trace_id}.json", timeout=60)
    # Log file and database are written one after the other.
    while response.status_code == httpx.codes.NOT_FOUND and time.monotonic() < deadline:
        time.sleep(0.1)
        response = httpx.get(f"{address}/tracing/traces/{trace_id}.json", timeout=60)
    assert response.status_code == httpx.codes.OK
    document = response.json()
    return sorted(
        (f"{last(dispatch['signal'])} {dispatch['sender']}", last(call["receiver"]["name"]))
        for dispatch in document["dispatches"]
        for call in dispatch["receiver_calls"]
    )


def rows_of_log(path: Path, trace_id: str) -> list[Row]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return sorted(
        (f"{last(line['signal'])} {line['sender']}", last(call["receiver"]["name"]))
        for line in lines
        if line["event"] == "dispatch_finished" and line["trace_id"] == trace_id
        for call in line["receiver_calls"]
    )


def rows_of_terminal(directory: Path, trace_id: str) -> list[Row]:
    environment = environment_of("tests.asgi_project.settings_of_carsales", directory)
    shown = subprocess.run(
        [sys.executable, "-m", "django", "tracing", "show", trace_id, "--format", "json"],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    document: dict[str, Any] = json.loads(shown.stdout)
    return sorted(
        (f"{last(dispatch['signal'])} {dispatch['sender']}", last(call["receiver"]))
        for dispatch in document["dispatches"]
        for call in dispatch["receivers"]
    )


def rows_of_panel(tree: list[tuple[int, str, str]]) -> list[Row]:
    """Pair each receiver with the dispatch that stands above it, one level out."""
    rows: list[Row] = []
    above: dict[int, str] = {}
    for level, label, _outcome in tree:
        text = " ".join(label.split())
        above[level] = text
        if level % 2 == 0:
            rows.append((above[level - 1], text))
    return sorted(rows)


def wait_for_trace(path: Path, name: str) -> str:
    """Return the id of the newest trace called *name* once its line is in the log file."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        # What follows the last line end is still being written.
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        for text in reversed(lines):
            line = json.loads(text)
            if line["event"] == "trace_finished" and line.get("name") == name:
                return str(line["trace_id"])
        time.sleep(0.1)
    pytest.fail(f"The log file has no trace {name!r}.")


def test_the_faces_agree_on_the_tree_of_a_sale(open_page, tmp_path):
    with carsales(tmp_path) as address:
        page = open_page(address)
        buy_a_car(page)
        log = tmp_path / "logs" / "tracing.jsonl"
        trace_id = wait_for_trace(log, "POST /orders/<int:pk>/check-out/")
        switch_to(page, "POST", "/check-out/")
        panel = open_panel(page)
        ids = panel.locator(".ids").inner_text()
        tree = tree_of(panel)
        in_viewer = rows_of_viewer(address, trace_id)
    in_log = rows_of_log(log, trace_id)
    in_terminal = rows_of_terminal(tmp_path, trace_id)

    assert trace_id in ids
    assert ("post_save orders.Order", "make_sale") in in_viewer
    assert in_log == in_viewer
    assert in_terminal == in_viewer
    in_panel = rows_of_panel(tree)
    # The panel's window closes before request_finished is sent, and it folds repetitions.
    assert {row for row in in_viewer if not row[0].startswith("request_finished")} >= set(in_panel)
    assert ("post_save orders.Order", "make_sale") in in_panel
