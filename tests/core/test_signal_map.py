"""Tests of the map of signals in core/README.md: it is that of the code."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tracing.analysis.building import TraceBuilder

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "scripts" / "signal_map.py"


@pytest.fixture(scope="module")
def signal_map():
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("signal_map", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.process
def test_the_map_is_that_of_the_code():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--check"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, f"python scripts/signal_map.py draws it anew:\n{done.stderr}"


@pytest.mark.thorough
def test_each_receiver_that_is_connected_stands_in_the_map(signal_map):
    text = (REPOSITORY / "core" / "README.md").read_text(encoding="utf-8")
    names = {name for ours in signal_map.connected().values() for name in ours}

    assert len(names) > 10
    assert [
        name for name in names if f"| `{name.replace('.receivers', '')[5:]}` |" not in text
    ] == []


def test_a_receiver_that_is_never_called_is_named(signal_map):
    heard = {("post_save", "cars.Car"): ["core.cars.receivers.unknown"]}

    with pytest.raises(SystemExit, match=r"core\.cars\.receivers\.unknown"):
        signal_map.Map(heard, TraceBuilder().build())


def test_what_a_receiver_sends_in_turn_is_drawn(signal_map):
    heard = {
        ("post_save", "cars.Car"): ["core.cars.receivers.update_buyer"],
        ("order_placed", "orders.Order"): ["core.orders.receivers.thank_buyer"],
    }
    build = TraceBuilder()
    placed = build.dispatch("core.orders.signals.order_placed", "orders.Order")
    thanks = build.call(placed, "core.orders.receivers.thank_buyer")
    saved = build.dispatch("django.db.models.signals.post_save", "cars.Car", thanks)
    build.call(saved, "core.cars.receivers.update_buyer")

    lines = signal_map.Map(heard, build.build()).lines()

    assert "    thank_buyer -.-> s1" in lines
    assert lines[-1].endswith("| Tell the buyer that the order arrived. | `post_save cars.Car` |")


def test_only_what_stands_between_the_marks_is_drawn_anew(signal_map):
    text = f"before\n{signal_map.BEGIN}old\n{signal_map.END}after\n"

    drawn = signal_map.page(text, ["new"])

    assert drawn == f"before\n{signal_map.BEGIN}\nnew\n\n{signal_map.END}after\n"
    assert signal_map.page(drawn, ["new"]) == drawn
