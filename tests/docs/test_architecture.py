"""The architecture as docs/architecture.md has it: the picture is the contracts', its rooms are told."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def room_map():
    """Return the script as a module."""
    path = REPOSITORY / "scripts" / "room_map.py"
    spec = importlib.util.spec_from_file_location("room_map", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rooms_are_drawn_as_the_contracts_say(room_map):
    text = room_map.PAGE.read_text(encoding="utf-8")

    assert [name for _, name, _ in room_map.PICTURE.findall(text)] == ["rooms", "recording"]
    assert room_map.page(text) == text, "python scripts/room_map.py draws it anew"


@pytest.mark.parametrize("contract", ["rooms", "recording"])
def test_every_room_is_told(room_map, contract):
    text = room_map.PAGE.read_text(encoding="utf-8")
    table = text.split(f"<!-- {contract}: end -->", 1)[1].split("\n## ", 1)[0]
    told = re.findall(r"`(\w+)/?`", "".join(re.findall(r"^\| (.+?) \|", table, re.MULTILINE)))

    rooms = [room for layer in room_map.layers(contract) for room in layer]
    assert sorted(set(rooms) - set(told)) == []


def test_walls_meet_the_floors(room_map):
    assert room_map.draw([["a"], ["b", "cc"], ["d"]]) == (
        "┌────────┐\n│ a      │\n├───┬────┤\n│ b │ cc │\n├───┴────┤\n│ d      │\n└────────┘\n"
    )
