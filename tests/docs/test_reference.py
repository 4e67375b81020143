"""The reference against the code: what is generated is what would be written today."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

import tracing
import tracing.testing
from tracing.conf import FIELDS
from tracing.management.verbs import VERBS

REPOSITORY = Path(__file__).resolve().parents[2]
WITHOUT_OPTIONS = {"pause", "resume", "status"}
IN_GUIDES = {"explain", "why-not", "wiring", "review", "mcp", "clickhouse-schema"}
"""Verbs whose options a guide tells."""


@pytest.fixture
def reference():
    """Return the script as a module."""
    path = REPOSITORY / "scripts" / "reference.py"
    spec = importlib.util.spec_from_file_location("reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["settings", "commands", "search", "python"])
def test_page_is_what_the_code_says(reference, name):
    [path] = [page for page in reference.PAGES if page.stem == name]
    text = path.read_text(encoding="utf-8")

    assert reference.page(text) == text, "python scripts/reference.py writes it anew"


def test_every_setting_verb_and_public_name_has_its_place(reference):
    settings, commands, _search, python = [page.read_text("utf-8") for page in reference.PAGES]

    assert sorted(re.findall(r"^\| `([A-Z_]+)` \|", settings, re.MULTILINE)) == sorted(FIELDS)
    assert (
        set(re.findall(r"<!-- options ([\w-]+): begin -->", commands))
        == {verb.name for verb in VERBS} - WITHOUT_OPTIONS - IN_GUIDES
    )
    assert {*tracing.__all__, *tracing.testing.__all__} <= set(
        re.findall(r"^### `(\w+)`$", python, re.MULTILINE)
    )


@pytest.mark.parametrize("verb", sorted(IN_GUIDES))
def test_options_without_a_table_are_on_the_page_that_is_named_instead(reference, verb):
    commands = reference.PAGES[1]
    section = commands.read_text("utf-8").partition(f"\n## {verb}\n")[2].partition("\n## ")[0]
    [guide] = re.findall(r"\]\((\.\./guides/[\w-]+\.md)", section)
    text = section + (commands.parent / guide).read_text("utf-8")

    spelled = re.findall(r"^\| `(--[\w-]+)", reference.options(verb), re.MULTILINE)
    assert spelled
    assert [option for option in spelled if option not in text] == []


def test_every_key_of_a_dictionary_of_settings_is_described(reference):
    text = reference.PAGES[0].read_text("utf-8")
    parts = {"KEEP", "LOG", "OTLP", "PIPELINE", "SPOOL", "PRUNE", "VIEWER", "PANEL"}

    assert parts <= set(re.findall(r"<!-- settings (\w+): begin -->", text))


def test_docstring_becomes_markdown(reference):
    text = """Do ``this``.

    More of it,
    on two lines: docs/security.md#what-is-stored.

    Args:
        name: Its name, or
            another.
        *rest: Others.

    Raises:
        ValueError: It is none.
    """

    assert reference.described(text) == (
        "Do `this`.\n\nMore of it, on two lines: [Security](../security.md#what-is-stored).\n\n"
        "- `name`: Its name, or another.\n- `*rest`: Others.\n\n"
        "Raises:\n\n- `ValueError`: It is none.\n"
    )


def test_cell_with_a_bar_stays_one_cell(reference):
    assert reference.table(["a"], [["x | y"]]) == "| a |\n| --- |\n| x \\| y |\n"
